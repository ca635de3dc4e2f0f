//! Reading what restic wrote, down to each blob, and giving it back byte for
//! byte.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
};

use strongroom_layout::{Directory, ObjectName};
use strongroom_repository::{
    Repository,
    format::{
        blob::{BlobId, BlobKind, BlobLocation},
        blob_codec::{BlobCodec, blob_id},
        index::{IndexBlob, IndexFile},
        node::{NodeKind, Tree},
        pack::PackHeader,
    },
};

use super::{PASSWORD, Place};

#[tokio::test]
async fn compressed() {
    reads("auto").await;
}

#[tokio::test]
async fn not_compressed() {
    reads("off").await;
}

#[tokio::test]
async fn compressed_as_much_as_possible() {
    reads("max").await;
}

async fn reads(compression: &str) {
    let place = Place::new();
    place.restic(["init"]);
    let source = place.path("source");
    write_source(&source);
    let backup = [
        "backup",
        "--with-atime",
        "--tag",
        "a",
        "--tag",
        "b",
        "--compression",
        compression,
    ];
    let arguments = backup.iter().map(OsStr::new).chain([source.as_os_str()]);
    place.restic(arguments);

    let repository = Repository::open(place.store(), PASSWORD).await.unwrap();
    let (id, snapshot) = repository.find_snapshot("latest").await.unwrap();
    assert_eq!(snapshot.paths, [source.to_str().unwrap()]);
    assert_eq!(snapshot.tags, ["a", "b"]);
    let prefix = &id.to_string()[..8];
    assert_eq!(repository.find_snapshot(prefix).await.unwrap().0, id);

    let mut reader = Reader::new(&repository).await;
    let entries = reader.walk(&snapshot.tree, &place).await;
    let relative = source.strip_prefix("/").unwrap();
    let found = |name: &[u8]| {
        let path = relative.join(OsStr::from_bytes(name));
        entries
            .get(path.as_os_str().as_bytes())
            .unwrap_or_else(|| panic!("{} is missing", path.display()))
    };
    for (name, content) in files() {
        assert_eq!(found(name), &content, "{}", name.escape_ascii());
    }
    assert_eq!(found(b"sub/link"), b"../some target");
    assert_eq!(reader.compresses_data(), compression != "off");
}

fn files() -> Vec<(&'static [u8], Vec<u8>)> {
    let text = b"All work and no play makes Jack a dull boy.\n".repeat(1000);
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    vec![
        (b"empty", Vec::new()),
        (b"text", text),
        (b"noise", noise),
        (b"<a>&\"\\", b"1".to_vec()),
        (b"latin \xe4\xf6\xfc\xff", b"2".to_vec()),
        (b"line\nfeed\ttab\x01\x7f", b"3".to_vec()),
        (
            "sub/日本 e\u{301}\u{200b}\u{2028}\u{ad}😀\u{e000}".as_bytes(),
            b"4".to_vec(),
        ),
    ]
}

fn write_source(source: &std::path::Path) {
    std::fs::create_dir_all(source.join("sub")).unwrap();
    for (name, content) in files() {
        std::fs::write(source.join(OsStr::from_bytes(name)), content).unwrap();
    }
    symlink("../some target", source.join("sub/link")).unwrap();
    let setgid = std::fs::Permissions::from_mode(0o2751);
    std::fs::set_permissions(source.join("sub"), setgid).unwrap();
}

/// The plainest reader: every blob is fetched when it is needed.
struct Reader<'a> {
    repository: &'a Repository,
    places: HashMap<BlobId, (BlobKind, BlobLocation)>,
    codec: BlobCodec,
}

impl<'a> Reader<'a> {
    async fn new(repository: &'a Repository) -> Self {
        let mut places = HashMap::new();
        let store = repository.store();
        for listed in store.list(Directory::Index).await.unwrap() {
            let json = repository.load_unpacked(ObjectName::index(listed.id)).await;
            for pack in IndexFile::decode(&json.unwrap()).unwrap().packs {
                let header = header(repository, pack.id).await;
                let mut expected: Vec<_> =
                    header.entries.into_iter().map(IndexBlob::from).collect();
                let mut indexed = pack.blobs.clone();
                expected.sort_by_key(|blob| blob.offset);
                indexed.sort_by_key(|blob| blob.offset);
                assert_eq!(indexed, expected);
                for blob in pack.blobs {
                    places.insert(blob.id, (blob.kind, blob.location(pack.id)));
                }
            }
        }
        Self {
            repository,
            places,
            codec: BlobCodec::new(3).unwrap(),
        }
    }

    fn compresses_data(&self) -> bool {
        self.places
            .values()
            .any(|(kind, at)| *kind == BlobKind::Data && at.uncompressed_length.is_some())
    }

    async fn blob(&mut self, id: &BlobId) -> Vec<u8> {
        let (_, at) = self.places[id];
        let pack = self
            .repository
            .store()
            .get(ObjectName::data_pack(at.pack), None)
            .await
            .unwrap();
        let sealed = &pack[at.offset as usize..][..at.length as usize];
        let mut out = Vec::new();
        self.codec
            .open(
                self.repository.key(),
                id,
                sealed,
                at.uncompressed_length,
                &mut out,
            )
            .unwrap();
        out
    }

    /// Every file's content and symlink's target by path; encodes each tree
    /// again and compares.
    async fn walk(&mut self, root: &BlobId, place: &Place) -> HashMap<Vec<u8>, Vec<u8>> {
        let mut entries = HashMap::new();
        let mut left = vec![(Vec::new(), *root)];
        while let Some((directory, id)) = left.pop() {
            let json = self.blob(&id).await;
            assert_eq!(json, place.restic(["cat", "blob", &id.to_string()]));
            let tree = Tree::decode(&json).unwrap();
            assert_eq!(blob_id(&tree.encode().unwrap()), id);
            for node in tree.nodes {
                let path = [&directory[..], &node.name].concat();
                match node.kind {
                    NodeKind::Dir { subtree } => {
                        left.push(([&path[..], b"/"].concat(), subtree.unwrap()));
                        if path.ends_with(b"/sub") {
                            assert_eq!(node.mode, 0o2751);
                        }
                    }
                    NodeKind::Symlink { target } => {
                        entries.insert(path, target);
                    }
                    NodeKind::File { size, content, .. } => {
                        let mut bytes = Vec::new();
                        for id in content {
                            bytes.extend(self.blob(&id).await);
                        }
                        assert_eq!(bytes.len() as u64, size);
                        entries.insert(path, bytes);
                    }
                    other => panic!("{} is a {}", path.escape_ascii(), other.as_str()),
                }
            }
        }
        entries
    }
}

async fn header(repository: &Repository, pack: strongroom_layout::ObjectId) -> PackHeader {
    let object = ObjectName::data_pack(pack);
    let bytes = repository.store().get(object, None).await.unwrap();
    PackHeader::open(repository.key(), &bytes, bytes.len() as u64).unwrap()
}
