//! Fuzz targets: whatever a store gives back may have been written by anybody.
//!
//! Whoever holds a repository's key can seal what he likes, so most targets
//! begin behind the envelope: under the seal, every byte is foreign.

use std::{
    cell::RefCell,
    io::{self, Read as _},
};

use strongroom_layout::{SystemId, WalName, WalPart, position::Lsn, position::TimelineId};

pub use crate::store::s3::fuzz::store_listing;
use crate::{
    format::{
        blob_codec::{BlobCodec, MOST_PER_BYTE},
        config::Config,
        crypto::MasterKey,
        index::IndexFile,
        key_file::KeyFile,
        lock::Lock,
        node::Tree,
        pack::{PackHeader, TRAILER_LENGTH},
        sha256::sha256,
        snapshot::Snapshot,
        unpacked,
        wal::WalCodec,
    },
    read::IndexBuilder,
};

/// What unpacks to more is left alone, bytes: a small input may do so, and
/// that is no fault.
const UNPACKED: u64 = 1 << 20;

fn key() -> MasterKey {
    MasterKey::from_bytes(&[7; 64])
}

/// An envelope that may be none. Both ways of opening it agree.
pub fn envelope(data: &[u8]) {
    let mut appended = b"before".to_vec();
    let mut in_place = data.to_vec();
    let opened = key().open_into(data, &mut appended);
    if let Ok(text) = key().open(&mut in_place) {
        opened.unwrap();
        assert_eq!(&appended[6..], text);
    } else {
        opened.unwrap_err();
        assert_eq!(appended, b"before");
        assert_eq!(in_place, data);
    }
}

thread_local! {
    /// Contexts of zstd are dear.
    static BLOBS: RefCell<BlobCodec> = RefCell::new(BlobCodec::new(3).unwrap());
    static WAL: RefCell<WalCodec> = RefCell::new(WalCodec::new().unwrap());
}

/// A blob: the length that an index says it has (4 bytes), and its zstd.
pub fn blob(data: &[u8]) {
    let Some((length, compressed)) = data.split_first_chunk() else {
        return;
    };
    let length = u32::from_le_bytes(*length);
    if is_large_and_possible(length.into(), compressed) {
        return;
    }
    let sealed = key().seal(compressed).unwrap();
    let mut out = b"before".to_vec();
    let opened =
        BLOBS.with_borrow_mut(|codec| codec.open_unnamed(&key(), &sealed, Some(length), &mut out));
    match opened {
        Ok(_) => assert_eq!(out.len(), 6 + length as usize),
        Err(_) => assert_eq!(out, b"before"),
    }
}

fn is_large_and_possible(length: u64, compressed: &[u8]) -> bool {
    length > UNPACKED && length <= compressed.len() as u64 * MOST_PER_BYTE
}

/// What is in a pack's header, behind the length of the blobs before it
/// (4 bytes). It reads back as it was written.
pub fn pack_header(data: &[u8]) {
    let Some((blobs, entries)) = data.split_first_chunk() else {
        return;
    };
    if let Ok(header) = PackHeader::decode(entries, u32::from_le_bytes(*blobs).into()) {
        assert_eq!(header.encode(), entries);
    }
}

/// The end of a pack: first of one that is nothing but these bytes, then of
/// one whose sealed header they are.
pub fn pack_tail(data: &[u8]) {
    let _ = PackHeader::open(&key(), data, data.len() as u64);
    let mut tail = key().seal(data).unwrap();
    let length = tail.len() as u32;
    tail.extend(length.to_le_bytes());
    assert_eq!(tail.len(), data.len() + 32 + TRAILER_LENGTH);
    let _ = PackHeader::open(&key(), &tail, tail.len() as u64);
}

/// An index file's JSON: it comes back as it was read, and all it lists can be
/// looked up.
pub fn index(data: &[u8]) {
    let Ok(file) = IndexFile::decode(data) else {
        return;
    };
    assert_eq!(IndexFile::decode(&file.encode().unwrap()).unwrap(), file);
    let mut builder = IndexBuilder::default();
    builder.add(&file).unwrap();
    let index = builder.build().unwrap();
    for blob in file.packs.iter().flat_map(|pack| &pack.blobs) {
        let found = index.require(blob.kind, &blob.id).unwrap();
        index.location(found);
        index.plaintext_length(found);
    }
    for pack in index.packs() {
        index.pack_end(pack);
    }
    index.blobs_by_pack();
}

/// The plaintext of an index, snapshot or lock file.
pub fn unpacked(data: &[u8]) {
    if let [2, compressed @ ..] = data
        && let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(compressed)
        && io::copy(&mut decoder.take(UNPACKED + 1), &mut io::sink()).unwrap_or(0) > UNPACKED
    {
        return;
    }
    if let Ok(json) = unpacked::decode("index", data.to_vec()) {
        let again = unpacked::encode("index", &json).unwrap();
        assert_eq!(unpacked::decode("index", again).unwrap(), json);
    }
}

/// A tree's JSON. What was read is written in a form that no longer changes:
/// times outside of Go's range and names of attributes that are not UTF-8 have
/// been replaced by then.
pub fn tree(data: &[u8]) {
    let Ok(tree) = Tree::decode(data) else {
        return;
    };
    for node in &tree.nodes {
        assert!(!matches!(&node.name[..], b"" | b"." | b".."));
        assert!(!node.name.contains(&b'/') && !node.name.contains(&0));
    }
    let written = tree.encode().unwrap();
    let again = Tree::decode(&written).unwrap();
    assert_eq!(again.nodes.len(), tree.nodes.len());
    assert_eq!(again.encode().unwrap(), written);
}

/// A snapshot's JSON.
pub fn snapshot(data: &[u8]) {
    if let Ok(snapshot) = Snapshot::decode(data) {
        let written = snapshot.encode().unwrap();
        let again = Snapshot::decode(&written).unwrap();
        assert_eq!(again.encode().unwrap(), written);
    }
}

/// A lock's JSON, and whether it is stale at its own time.
pub fn lock(data: &[u8]) {
    if let Ok(lock) = Lock::decode(data) {
        assert!(!lock.is_stale(lock.time));
        lock.is_stale(jiff::Timestamp::MAX);
        lock.is_stale(jiff::Timestamp::MIN);
        let written = lock.encode().unwrap();
        assert_eq!(Lock::decode(&written).unwrap().encode().unwrap(), written);
    }
}

/// A config's JSON: it reads back as it was written.
pub fn config(data: &[u8]) {
    if let Ok(config) = Config::decode(data) {
        assert_eq!(Config::decode(&config.encode().unwrap()).unwrap(), config);
    }
}

/// A key file. One that is cheap to open is opened.
pub fn key_file(data: &[u8]) {
    if let Ok(file) = KeyFile::decode(data) {
        let written = file.encode().unwrap();
        let again = KeyFile::decode(&written).unwrap();
        assert_eq!(again.encode().unwrap(), written);
        if file.work() <= 1 << 14 {
            let _ = again.open("geheim");
        }
    }
}

/// An object of the write-ahead log: whether it is a history (1 byte), where
/// its part ends (4 bytes), then the header and the zstd that lie under the
/// seal.
pub fn wal_object(data: &[u8]) {
    let Some((&[history, ref end @ ..], plaintext)) = data.split_first_chunk::<5>() else {
        return;
    };
    let end = u64::from(u32::from_le_bytes(*end)) + 1;
    let part = match history & 1 {
        1 => WalPart::History,
        _ => WalPart::Range {
            start: Lsn(0),
            end: Lsn(end),
        },
    };
    let compressed = plaintext.get(32..).unwrap_or_default();
    if is_large_and_possible(end, compressed) {
        return;
    }
    let sealed = key().seal(plaintext).unwrap();
    let name = WalName {
        system: SystemId(7),
        timeline: TimelineId(1),
        part,
        id: sha256(&sealed),
    };
    let opened = WAL.with_borrow_mut(|codec| codec.open(&key(), &name, sealed));
    if let (Ok(opened), WalPart::Range { .. }) = (&opened, part) {
        assert_eq!(opened.len() as u64, end);
    }
}

#[cfg(test)]
mod runs {
    use strongroom_layout::ObjectId;

    use super::*;
    use crate::{
        format::{blob::BlobKind, index::IndexPack, key_file::KeyOwner, pack::PackEntry},
        store::s3::fuzz::seeds,
    };

    fn compressed(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).unwrap()
    }

    fn text() -> Vec<u8> {
        b"all work and no play makes Jack a dull boy\n".repeat(20)
    }

    fn blobs() -> Vec<Vec<u8>> {
        let text = text();
        let length = (text.len() as u32).to_le_bytes();
        let mut streamed = zstd::stream::write::Encoder::new(length.to_vec(), 1).unwrap();
        io::Write::write_all(&mut streamed, &text).unwrap();
        vec![
            [&length[..], &compressed(&text)].concat(),
            // A frame that does not say how long it is.
            streamed.finish().unwrap(),
            [&[0; 4][..], &compressed(b"")].concat(),
        ]
    }

    /// A pack of a tree and two chunks, one of them raw.
    fn entries() -> PackHeader {
        let entry = |number: u8, kind, offset, length, uncompressed_length| PackEntry {
            id: ObjectId([number; 32]),
            kind,
            offset,
            length,
            uncompressed_length,
        };
        PackHeader {
            entries: vec![
                entry(1, BlobKind::Tree, 0, 100, Some(400)),
                entry(2, BlobKind::Data, 100, 32, None),
                entry(3, BlobKind::Data, 132, 5_000, Some(100_000)),
            ],
        }
    }

    fn headers() -> Vec<Vec<u8>> {
        let header = entries();
        let blobs: u32 = header.entries.iter().map(|entry| entry.length).sum();
        vec![
            [&blobs.to_le_bytes()[..], &header.encode()].concat(),
            vec![0; 4],
        ]
    }

    fn tails() -> Vec<Vec<u8>> {
        let seal = |header: PackHeader| header.seal(&key()).unwrap();
        vec![
            seal(entries()),
            seal(PackHeader::default()),
            entries().encode(),
        ]
    }

    fn indexes() -> Vec<Vec<u8>> {
        let pack = |number: u8| IndexPack {
            id: ObjectId([number; 32]),
            blobs: entries().entries.into_iter().map(Into::into).collect(),
        };
        let file = IndexFile {
            packs: vec![pack(8), pack(9)],
        };
        vec![
            file.encode().unwrap(),
            br#"{"supersedes":["x"],"packs":null}"#.to_vec(),
            br#"{"packs":[{"id":"0808080808080808080808080808080808080808080808080808080808080808","blobs":null}]}"#.to_vec(),
        ]
    }

    fn trees() -> Vec<Vec<u8>> {
        let restic = crate::format::tree::tests::RESTIC.as_bytes().to_vec();
        let small = br#"{"nodes":[{"name":"b","type":"fifo"},{"name":"a\\t\\U0001f600","type":"socket"},{"name":"c","type":"dev","device":7,"mtime":"9999-12-31T23:59:59.5-12:00","linktarget":"x"}]}"#;
        vec![restic, small.to_vec(), b"{\"nodes\":null}".to_vec()]
    }

    fn snapshots() -> Vec<Vec<u8>> {
        let id = "ab".repeat(32);
        let full = format!(
            r#"{{"time":"2026-11-21T02:47:53.93195992+01:00","parent":"{id}","tree":"{id}","paths":["/srv"],"hostname":"web-1","username":"root","uid":1,"gid":2,"excludes":["*.tmp"],"tags":["a"],"original":"{id}","program_version":"restic 0.14.0"}}"#
        );
        let least = format!(r#"{{"time":"0000-01-01T00:00:00Z","tree":"{id}","tags":null}}"#);
        vec![full.into_bytes(), least.into_bytes()]
    }

    fn locks() -> Vec<Vec<u8>> {
        let lock = r#"{"time":"2026-11-21T02:47:53.93195992Z","exclusive":true,"hostname":"web-1","username":"root","pid":4711,"uid":1,"gid":7}"#;
        vec![lock.into()]
    }

    fn keys() -> Vec<Vec<u8>> {
        let owner = KeyOwner {
            created: "2026-11-21T02:47:53Z".parse().unwrap(),
            username: "root".into(),
            hostname: "web-1".into(),
        };
        let file = KeyFile::create(&key(), "geheim", owner).unwrap();
        let json = String::from_utf8(file.encode().unwrap()).unwrap();
        let cheap = json.replace(r#""N":32768,"r":8"#, r#""N":2,"r":1"#);
        assert_ne!(cheap, json);
        vec![json.into_bytes(), cheap.into_bytes()]
    }

    fn logs() -> Vec<Vec<u8>> {
        let text = text();
        let end = u32::try_from(text.len()).unwrap();
        let head = |history: u8, end: u32| {
            let mut bytes = vec![history];
            bytes.extend((end - 1).to_le_bytes());
            bytes.extend([1, history, 0, 0, 1, 0, 0, 0]);
            bytes.extend(7_u64.to_le_bytes());
            bytes.extend(0_u64.to_le_bytes());
            let end = if history == 0 { end.into() } else { 0_u64 };
            bytes.extend(end.to_le_bytes());
            bytes
        };
        vec![
            [head(0, end), compressed(&text)].concat(),
            [
                head(1, 1),
                compressed(b"1\t0/3000000\tno recovery target specified\n"),
            ]
            .concat(),
        ]
    }

    #[test]
    fn seeds_are_valid() {
        let log = &logs()[0];
        super::wal_object(log);
        assert!(headers().iter().all(|it| {
            let (blobs, entries) = it.split_first_chunk().unwrap();
            PackHeader::decode(entries, u32::from_le_bytes(*blobs).into()).is_ok()
        }));
        assert!(indexes().iter().all(|it| IndexFile::decode(it).is_ok()));
        assert!(trees().iter().all(|it| Tree::decode(it).is_ok()));
        assert!(snapshots().iter().all(|it| Snapshot::decode(it).is_ok()));
        assert!(locks().iter().all(|it| Lock::decode(it).is_ok()));
        assert!(keys().iter().all(|it| KeyFile::decode(it).is_ok()));
        let cheap = KeyFile::decode(&keys()[1]).unwrap();
        assert!(cheap.work() <= 1 << 14);
    }

    strongroom_fuzz::short_runs! {
        envelope: vec![key().seal(b"plaintext").unwrap(), key().seal(b"").unwrap()],
        blob: blobs(),
        pack_header: headers(),
        pack_tail: tails(),
        index: indexes(),
        unpacked: vec![unpacked::encode("index", &text()).unwrap(), b"[]".to_vec()],
        tree: trees(),
        snapshot: snapshots(),
        lock: locks(),
        config: vec![Config::generate().unwrap().encode().unwrap()],
        key_file: keys(),
        wal_object: logs(),
        store_listing: seeds::listings(),
    }
}
