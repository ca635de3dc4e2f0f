//! Whatever a snapshot says, nothing outside of the target is touched.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use strongroom_layout::{ObjectId, ObjectKind, ObjectName};
use strongroom_repository::{
    Repository,
    format::{
        blob::BlobKind,
        blob_codec::{BlobCodec, blob_id},
        index::{IndexBlob, IndexFile, IndexPack},
        key_file::KeyOwner,
        pack::{PackEntry, PackHeader},
        snapshot::Snapshot,
    },
    store::{Body, fs::FsStore},
};
use strongroom_spec::{DirectoryTarget, Overwrite, RestoreSpec};

use super::support::{Hook, PASSWORD, Place, write};
use crate::restore::marker::marker_name;

/// A repository whose trees are given as JSON.
pub(super) struct Forge {
    pub(super) place: Place,
    repository: Arc<Repository>,
}

impl Forge {
    pub(super) fn new() -> Self {
        let place = Place::new();
        let store = Arc::new(FsStore::new(place.repository_path()));
        let owner = KeyOwner {
            created: Timestamp::UNIX_EPOCH,
            username: "root".into(),
            hostname: "evil".into(),
        };
        let created = Repository::create(store, PASSWORD, owner);
        let repository = place.runtime.block_on(created).unwrap();
        Self {
            place,
            repository: Arc::new(repository),
        }
    }

    /// Stores a blob in a pack of its own; returns its id.
    fn blob(&self, kind: BlobKind, plaintext: &[u8]) -> ObjectId {
        let key = self.repository.key();
        let mut pack = Vec::new();
        let sealed = BlobCodec::new(3)
            .unwrap()
            .seal(key, kind, plaintext, &mut pack)
            .unwrap();
        let entry = PackEntry {
            id: blob_id(plaintext),
            kind,
            offset: 0,
            length: sealed.length,
            uncompressed_length: sealed.uncompressed_length,
        };
        let header = PackHeader {
            entries: vec![entry],
        };
        pack.extend_from_slice(&header.seal(key).unwrap());
        let body = Body::new(pack);
        let packs = vec![IndexPack {
            id: body.sha256,
            blobs: vec![IndexBlob::from(entry)],
        }];
        let name = ObjectName::data_pack(body.sha256);
        let index = IndexFile { packs }.encode().unwrap();
        self.place.runtime.block_on(async {
            self.repository.store().put(name, body).await.unwrap();
            let saved = self.repository.save_unpacked(ObjectKind::Index, &index);
            saved.await.unwrap();
        });
        entry.id
    }

    pub(super) fn tree(&self, nodes: &[String]) -> ObjectId {
        let json = format!("{{\"nodes\":[{}]}}\n", nodes.join(","));
        self.blob(BlobKind::Tree, json.as_bytes())
    }

    pub(super) fn file(&self, name: &str, content: &str) -> String {
        let id = self.blob(BlobKind::Data, content.as_bytes());
        let size = content.len();
        node(
            name,
            "file",
            &format!(r#""size":{size},"content":["{id}"]"#),
        )
    }

    /// Publishes a snapshot of the root tree.
    pub(super) fn publish(&self, root: ObjectId) -> ObjectId {
        let snapshot = Snapshot {
            time: Timestamp::UNIX_EPOCH,
            tree: root,
            parent: None,
            paths: vec!["/".into()],
            hostname: "evil".into(),
            username: "root".into(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: "evil".into(),
        };
        let json = snapshot.encode().unwrap();
        let saved = self.repository.save_unpacked(ObjectKind::Snapshot, &json);
        self.place.runtime.block_on(saved).unwrap()
    }

    /// Publishes a snapshot of the root tree and restores it.
    fn restore(&self, root: ObjectId, overwrite: Overwrite) -> Result<(), String> {
        self.restore_snapshot(self.publish(root), overwrite)
    }

    fn restore_snapshot(&self, snapshot: ObjectId, overwrite: Overwrite) -> Result<(), String> {
        let work = RestoreSpec::new(
            snapshot,
            DirectoryTarget {
                directory: self.place.target().to_str().unwrap().into(),
                overwrite,
                ..DirectoryTarget::default()
            },
        );
        let result = self.place.run(&work);
        result.map(drop).map_err(|error| error.to_string())
    }

    fn outside(&self) -> std::path::PathBuf {
        let outside = self.place.path("outside");
        fs::create_dir_all(&outside).unwrap();
        outside
    }
}

fn node(name: &str, kind: &str, rest: &str) -> String {
    let mode = if kind == "dir" {
        0x8000_01ed_u32
    } else {
        0o644
    };
    format!(
        r#"{{"name":{name:?},"type":"{kind}","mode":{mode},"mtime":"2024-01-02T03:04:05Z","atime":"2024-01-02T03:04:05Z","ctime":"2024-01-02T03:04:05Z","uid":0,"gid":0,{rest}}}"#
    )
}

fn dir(name: &str, subtree: ObjectId) -> String {
    node(
        name,
        "dir",
        &format!(r#""content":null,"subtree":"{subtree}""#),
    )
}

fn link(name: &str, target: &Path) -> String {
    let target = target.to_str().unwrap();
    node(
        name,
        "symlink",
        &format!(r#""linktarget":{target:?},"content":null"#),
    )
}

fn assert_empty(directory: &Path) {
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
}

#[test]
fn a_forged_but_honest_tree_is_restored() {
    let forge = Forge::new();
    let below = forge.tree(&[forge.file("file", "content")]);
    let root = forge.tree(&[dir("dir", below)]);
    forge.restore(root, Overwrite::Never).unwrap();
    let path = forge.place.target().join("dir/file");
    assert_eq!(fs::read(path).unwrap(), b"content");
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["..", ".", "../escaped", "a/b", "/escaped", ""] {
        let forge = Forge::new();
        let below = forge.tree(&[forge.file("file", "content")]);
        for root in [
            forge.tree(&[forge.file(name, "content")]),
            forge.tree(&[dir(name, below)]),
        ] {
            forge.restore(root, Overwrite::Always).unwrap_err();
        }
        assert!(!forge.place.path("escaped").exists(), "{name}");
        assert!(!forge.place.path("file").exists(), "{name}");
    }
}

#[test]
fn a_symlink_and_a_directory_of_one_name_are_refused() {
    let forge = Forge::new();
    let outside = forge.outside();
    let below = forge.tree(&[forge.file("file", "content")]);
    for nodes in [
        [link("x", &outside), dir("x", below)],
        [dir("x", below), link("x", &outside)],
    ] {
        let root = forge.tree(&nodes);
        forge.restore(root, Overwrite::Always).unwrap_err();
        assert_empty(&outside);
    }
}

#[test]
fn a_symlink_of_an_earlier_snapshot_is_not_followed() {
    let forge = Forge::new();
    let outside = forge.outside();
    let first = forge.tree(&[link("x", &outside)]);
    forge.restore(first, Overwrite::Never).unwrap();
    let below = forge.tree(&[forge.file("file", "content")]);
    let second = forge.tree(&[dir("x", below)]);
    let error = forge.restore(second, Overwrite::Never).unwrap_err();
    assert!(error.contains("not empty"), "{error}");
    forge.restore(second, Overwrite::IfChanged).unwrap();
    assert_empty(&outside);
    let replaced = forge.place.target().join("x");
    assert!(fs::symlink_metadata(replaced).unwrap().is_dir());
}

#[test]
fn symlinks_in_the_target_are_replaced_not_followed() {
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let forge = Forge::new();
        let outside = forge.outside();
        write(&outside.join("victim"), "untouched");
        let target = forge.place.target();
        fs::create_dir_all(&target).unwrap();
        symlink(&outside, target.join("dir")).unwrap();
        symlink(outside.join("victim"), target.join("file")).unwrap();
        let below = forge.tree(&[forge.file("victim", "overwritten")]);
        let root = forge.tree(&[dir("dir", below), forge.file("file", "overwritten")]);
        forge.restore(root, overwrite).unwrap();
        assert_eq!(fs::read(outside.join("victim")).unwrap(), b"untouched");
        assert_eq!(fs::read(target.join("dir/victim")).unwrap(), b"overwritten");
        assert_eq!(fs::read(target.join("file")).unwrap(), b"overwritten");
        assert!(fs::symlink_metadata(target.join("file")).unwrap().is_file());
    }
}

/// What an owner of a directory does there while root restores into it.
type Trick = fn(&Path, &Path);

#[test]
fn a_file_exchanged_before_its_metadata_gets_none_of_it() {
    const OWNER: u32 = 1234;
    let tricks: [(&str, Trick); 5] = [
        ("a file of his own", |at, own| {
            fs::rename(own, at.join("x")).unwrap();
        }),
        ("a second name of another file", |at, own| {
            fs::remove_file(at.join("x")).unwrap();
            fs::hard_link(own, at.join("x")).unwrap();
        }),
        ("a second name of what was written", |at, _| {
            fs::hard_link(at.join("x"), at.join("second")).unwrap();
        }),
        ("a directory", |at, own| {
            fs::remove_file(at.join("x")).unwrap();
            fs::remove_file(own).unwrap();
            fs::create_dir(own).unwrap();
            std::os::unix::fs::chown(own, Some(OWNER), Some(OWNER)).unwrap();
            fs::rename(own, at.join("x")).unwrap();
        }),
        ("a file of root's that he can reach", |at, own| {
            std::os::unix::fs::chown(own, Some(0), Some(0)).unwrap();
            fs::rename(own, at.join("x")).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        let mut forge = Forge::new();
        let target = forge.place.target();
        fs::create_dir_all(target.join("kept")).unwrap();
        std::os::unix::fs::chown(target.join("kept"), Some(OWNER), Some(OWNER)).unwrap();
        let own = forge.outside().join("own");
        write(&own, "his");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&own, Some(OWNER), Some(OWNER)).unwrap();
        let (at, his) = (target.join("kept"), own.clone());
        forge.place.options.before_finish = Hook(Some(Arc::new(move || trick(&at, &his))));
        let program = forge
            .file("x", "the snapshot's")
            .replace("\"mode\":420", &format!("\"mode\":{}", 0o755 | (1 << 23)))
            .replace("\"uid\":0", "\"uid\":77");
        let below = forge.tree(&[program]);
        let root = forge.tree(&[dir("kept", below)]);
        let error = forge.restore(root, Overwrite::IfChanged).unwrap_err();
        assert!(
            error.contains("exchanged") && error.contains("kept/x"),
            "{name}: {error}"
        );
        for path in [own, target.join("kept/x"), target.join("kept/second")] {
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            assert_ne!(found.uid(), 77, "{name}: {}", path.display());
            let rights = found.mode() & 0o6000;
            assert_eq!(rights, 0, "{name}: {}", path.display());
        }
    }
}

#[test]
fn a_directory_exchanged_before_its_metadata_gets_none_of_it() {
    let mut forge = Forge::new();
    let target = forge.place.target();
    fs::create_dir_all(target.join("kept/dir")).unwrap();
    let precious = forge.outside().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o700)).unwrap();
    let (at, other) = (target.join("kept"), precious);
    forge.place.options.before_finish = Hook(Some(Arc::new(move || {
        fs::rename(at.join("dir"), at.join("away")).unwrap();
        fs::rename(&other, at.join("dir")).unwrap();
    })));
    let empty = forge.tree(&[forge.file("x", "content")]);
    let given = dir("dir", empty).replace("\"uid\":0", "\"uid\":77");
    let below = forge.tree(&[given]);
    let root = forge.tree(&[dir("kept", below)]);
    let error = forge.restore(root, Overwrite::IfChanged).unwrap_err();
    assert!(
        error.contains("exchanged") && error.contains("kept/dir"),
        "{error}"
    );
    let found = fs::metadata(target.join("kept/dir")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o700));
}

#[test]
fn nothing_is_made_in_a_directory_that_was_exchanged_for_another() {
    // There before, and made by the restore.
    for there in [true, false] {
        let mut forge = Forge::new();
        let target = forge.place.target();
        fs::create_dir_all(target.join("kept")).unwrap();
        if there {
            fs::create_dir(target.join("kept/dir")).unwrap();
        }
        let precious = forge.outside().join("precious");
        fs::create_dir(&precious).unwrap();
        let (at, other) = (target.join("kept"), precious.clone());
        forge.place.options.before_finish = Hook(Some(Arc::new(move || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            let exchange = RenameFlags::EXCHANGE;
            renameat_with(CWD, at.join("dir"), CWD, &other, exchange).unwrap();
        })));
        let links = forge.tree(&[link("link", Path::new("/elsewhere"))]);
        let below = forge.tree(&[dir("dir", links)]);
        let root = forge.tree(&[dir("kept", below)]);
        let error = forge.restore(root, Overwrite::IfChanged).unwrap_err();
        assert!(
            error.contains("exchanged") && error.contains("kept/dir"),
            "{error}"
        );
        assert_empty(&target.join("kept/dir"));
        assert_empty(&precious);
    }
}

#[test]
fn a_marker_that_no_restore_has_made_is_not_written() {
    let tricks: [(&str, Trick); 4] = [
        ("a second name", |marker, precious| {
            fs::hard_link(precious, marker).unwrap();
        }),
        ("a link", |marker, precious| {
            symlink(precious, marker).unwrap();
        }),
        ("a pipe", |marker, _| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                marker,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        }),
        ("a file of his", |marker, _| {
            write(marker, "his");
            std::os::unix::fs::chown(marker, Some(1234), None).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        let forge = Forge::new();
        let precious = forge.outside().join("precious");
        write(&precious, "untouched");
        let root = forge.tree(&[forge.file("file", "content")]);
        let snapshot = forge.publish(root);
        fs::create_dir_all(forge.place.target()).unwrap();
        let marker = forge.place.target().join(marker_name(snapshot));
        trick(&marker, &precious);
        let error = forge
            .restore_snapshot(snapshot, Overwrite::Never)
            .unwrap_err();
        assert!(error.contains(".strongroom-restore-"), "{name}: {error}");
        assert_eq!(fs::read(&precious).unwrap(), b"untouched", "{name}");
        if name == "a file of his" {
            assert_eq!(fs::read(&marker).unwrap(), b"his");
        }
    }
}

#[test]
fn a_tree_that_contains_itself_cannot_be_made_but_a_deep_one_ends() {
    let forge = Forge::new();
    let mut tree = forge.tree(&[forge.file("bottom", "deep")]);
    for _ in 0..100 {
        tree = forge.tree(&[dir(&"n".repeat(100), tree)]);
    }
    forge.restore(tree, Overwrite::Never).unwrap();
    let mut directory = strongroom_compare::beneath::open_root(&forge.place.target()).unwrap();
    for _ in 0..100 {
        directory = strongroom_compare::beneath::open_child(&directory, &[b'n'; 100]).unwrap();
    }
    let names = strongroom_compare::beneath::names(&directory).unwrap();
    assert_eq!(names, [Box::from(&b"bottom"[..])]);
}
