//! Reading what was written, and refusing what was damaged.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use strongroom_layout::{Directory, ObjectId, ObjectKind, ObjectName};

use super::*;
use crate::{
    Repository,
    format::{
        blob::{BlobId, BlobKind},
        blob_codec::{BlobCodec, blob_id},
        index::{IndexBlob, IndexFile, IndexPack},
        key_file::KeyOwner,
        node::Tree,
        pack::{PackEntry, PackHeader},
    },
    store::{Body, SharedStore, memory::MemoryStore},
};

mod claims;

/// What a reader was told of.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Trouble>>>);

impl Told {
    fn listen(&self) -> OnTrouble {
        let told = Arc::clone(&self.0);
        OnTrouble(Arc::new(move |trouble| told.lock().push(trouble)))
    }

    /// All of it, a line each.
    fn text(&self) -> String {
        let lines = self.0.lock();
        let lines = lines
            .iter()
            .map(|it| format!("{}: {}\n", it.object, it.cause));
        lines.collect()
    }
}

struct Place {
    store: SharedStore,
    repository: Arc<Repository>,
}

impl Place {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::default());
        let owner = KeyOwner {
            created: Timestamp::UNIX_EPOCH,
            username: "root".into(),
            hostname: "web-1".into(),
        };
        let repository = Repository::create(store.clone(), "password", owner).await;
        Self {
            store,
            repository: Arc::new(repository.unwrap()),
        }
    }

    /// Writes a pack and an index for it; returns the pack's id.
    async fn add_pack(&self, kind: BlobKind, blobs: &[&[u8]]) -> ObjectId {
        let key = self.repository.key();
        let mut codec = BlobCodec::new(3).unwrap();
        let mut pack = Vec::new();
        let mut header = PackHeader::default();
        for plaintext in blobs {
            let offset = pack.len() as u32;
            let sealed = codec.seal(key, kind, plaintext, &mut pack).unwrap();
            header.entries.push(PackEntry {
                id: blob_id(plaintext),
                kind,
                offset,
                length: sealed.length,
                uncompressed_length: sealed.uncompressed_length,
            });
        }
        pack.extend_from_slice(&header.seal(key).unwrap());
        let body = Body::new(pack);
        let id = body.sha256;
        self.store
            .put(ObjectName::data_pack(id), body)
            .await
            .unwrap();
        let blobs = header.entries.into_iter().map(IndexBlob::from).collect();
        let index = IndexFile {
            packs: vec![IndexPack { id, blobs }],
        };
        self.save_index(&index).await;
        id
    }

    async fn save_index(&self, index: &IndexFile) -> ObjectId {
        let json = index.encode().unwrap();
        let saved = self.repository.save_unpacked(ObjectKind::Index, &json);
        saved.await.unwrap()
    }

    async fn reader(&self) -> Arc<Reader> {
        self.reader_and_trouble().await.0
    }

    /// A reader, and what it is told of.
    async fn reader_and_trouble(&self) -> (Arc<Reader>, Told) {
        let told = Told::default();
        let reader = Reader::open(self.repository.clone(), told.listen()).await;
        (reader.unwrap(), told)
    }

    /// Replaces the stored bytes of an object.
    async fn change(&self, object: ObjectName, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::from(self.store.get(object, None).await.unwrap());
        change(&mut bytes);
        self.store.remove(object).await.unwrap();
        self.store.put(object, Body::new(bytes)).await.unwrap();
    }
}

#[tokio::test]
async fn blobs_and_trees_come_back() {
    let place = Place::new().await;
    let tree = Tree::default().encode().unwrap();
    place
        .add_pack(BlobKind::Data, &[b"one", b"", &[7; 10_000]])
        .await;
    place.add_pack(BlobKind::Tree, &[&tree]).await;
    let reader = place.reader().await;
    assert_eq!(reader.index().len(), 4);
    for plaintext in [&b"one"[..], b"", &[7; 10_000]] {
        let found = reader.blob(BlobKind::Data, &blob_id(plaintext)).await;
        assert_eq!(found.unwrap(), plaintext);
    }
    assert_eq!(reader.tree(&blob_id(&tree)).await.unwrap(), Tree::default());
    let missing = reader.blob(BlobKind::Tree, &blob_id(b"one")).await;
    assert!(matches!(missing, Err(ReadError::NotIndexed { .. })));
}

#[tokio::test]
async fn trees_that_span_segments_come_back() {
    let place = Place::new().await;
    let mut noise = vec![0; 5 << 20];
    getrandom::fill(&mut noise).unwrap();
    let blobs: Vec<&[u8]> = noise.chunks(700_000).chain([&noise[..3 << 20]]).collect();
    place.add_pack(BlobKind::Tree, &blobs).await;
    let reader = place.reader().await;
    for _ in 0..2 {
        for plaintext in &blobs {
            let found = reader.blob(BlobKind::Tree, &blob_id(plaintext)).await;
            assert_eq!(&found.unwrap(), plaintext);
        }
    }
}

/// Every way to damage a pack of two blobs; the error must name pack and blob.
#[tokio::test]
async fn damaged_blobs_are_never_returned() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage, &str); 4] = [
        ("flipped", |bytes| bytes[20] ^= 1, "authentication code"),
        ("truncated", |bytes| bytes.truncate(10), "truncated"),
        ("emptied", Vec::clear, "truncated"),
        ("zeroed", |bytes| bytes.fill(0), "authentication code"),
    ];
    for (name, damage, expected) in cases {
        let place = Place::new().await;
        let pack = place.add_pack(BlobKind::Data, &[b"first", b"second"]).await;
        place.change(ObjectName::data_pack(pack), damage).await;
        let reader = place.reader().await;
        let error = reader
            .blob(BlobKind::Data, &blob_id(b"first"))
            .await
            .unwrap_err();
        assert!(error.is_damage() && !error.is_retryable(), "{name}");
        let message = error.to_string();
        assert!(message.contains(&pack.to_string()), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[tokio::test]
async fn a_pack_swapped_for_another_valid_one_is_refused() {
    let place = Place::new().await;
    let one = place.add_pack(BlobKind::Data, &[b"first"]).await;
    let two = place.add_pack(BlobKind::Data, &[b"other"]).await;
    let other = place
        .store
        .get(ObjectName::data_pack(two), None)
        .await
        .unwrap();
    place
        .change(ObjectName::data_pack(one), |bytes| *bytes = other.to_vec())
        .await;
    let reader = place.reader().await;
    let error = reader
        .blob(BlobKind::Data, &blob_id(b"first"))
        .await
        .unwrap_err();
    let message = error.to_string();
    let wrong = blob_id(b"other").to_string();
    assert!(
        message.contains(&one.to_string()) && message.contains(&wrong),
        "{message}"
    );
}

#[tokio::test]
async fn a_missing_pack_is_named() {
    let place = Place::new().await;
    let pack = place.add_pack(BlobKind::Data, &[b"first"]).await;
    place
        .store
        .remove(ObjectName::data_pack(pack))
        .await
        .unwrap();
    let reader = place.reader().await;
    let error = reader
        .blob(BlobKind::Data, &blob_id(b"first"))
        .await
        .unwrap_err();
    assert!(error.is_missing() && error.is_damage());
    assert!(error.to_string().contains(&pack.to_string()), "{error}");
}

#[tokio::test]
async fn an_index_that_lies_about_a_blob_gives_no_wrong_bytes() {
    let place = Place::new().await;
    let pack = place.add_pack(BlobKind::Data, &[b"first", b"second"]).await;
    let reader = place.reader().await;
    let second: BlobId = blob_id(b"second");
    let at = reader.index().require(BlobKind::Data, &second).unwrap();
    let location = reader.index().location(at);
    for index in place.store.list(Directory::Index).await.unwrap() {
        place
            .store
            .remove(ObjectName::index(index.id))
            .await
            .unwrap();
    }
    let lie = IndexBlob {
        id: blob_id(b"first"),
        kind: BlobKind::Data,
        offset: location.offset,
        length: location.length,
        uncompressed_length: location.uncompressed_length,
    };
    let packs = vec![IndexPack {
        id: pack,
        blobs: vec![lie],
    }];
    place.save_index(&IndexFile { packs }).await;
    let reader = place.reader().await;
    let error = reader
        .blob(BlobKind::Data, &blob_id(b"first"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&second.to_string()), "{error}");
}
