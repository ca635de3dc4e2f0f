//! A scratch place with a source, a repository and a target.

use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use strongroom_compare::{CompareOptions, beneath, compare};
use strongroom_layout::{Directory, ObjectId};
use strongroom_repository::{Repository, store::fs::FsStore};
use strongroom_spec::{DirectoryTarget, Overwrite, RestoreOutcome, RestoreSpec};
use strongroom_tests::noise;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    allowed::AllowedDirectory,
    monitor::Monitor,
    restore::{RestoreError, RestoreOptions, run},
};

pub(super) const PASSWORD: &str = "correct horse battery staple";

/// Something to be done in the midst of a restore.
#[derive(Clone, Default)]
pub(crate) struct Hook(pub(crate) Option<Arc<dyn Fn() + Send + Sync>>);

impl Hook {
    pub(crate) fn call(&self) {
        if let Some(call) = &self.0 {
            call();
        }
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

pub(super) struct Place {
    directory: TempDir,
    pub(super) runtime: Runtime,
    pub(super) monitor: Arc<Monitor>,
    pub(super) options: RestoreOptions,
}

impl Place {
    pub(super) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests restore owners and devices: run them as root"
        );
        Self {
            directory: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap(),
            monitor: Arc::new(Monitor::new(CancellationToken::new())),
            options: RestoreOptions::default(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn source(&self) -> PathBuf {
        let path = self.path("source");
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn target(&self) -> PathBuf {
        self.path("target")
    }

    /// Where the source's copy lies after a restore.
    pub(super) fn restored(&self) -> PathBuf {
        self.target().join(self.source().strip_prefix("/").unwrap())
    }

    pub(super) fn repository_path(&self) -> PathBuf {
        self.path("repository")
    }

    /// Runs restic on the repository and returns what it prints.
    pub(super) fn restic<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let output = Command::new("restic")
            .args(["--quiet", "--no-cache", "--repo"])
            .arg(self.repository_path())
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .expect("`restic` must be installed: apt-get install restic");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic failed: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has restic back up the source into a new repository.
    pub(super) fn backed_up(&self) {
        self.restic(["init"]);
        self.restic([OsStr::new("backup"), self.source().as_os_str()]);
    }

    pub(super) fn repository(&self) -> Arc<Repository> {
        let store = Arc::new(FsStore::new(self.repository_path()));
        let repository = self.runtime.block_on(Repository::open(store, PASSWORD));
        Arc::new(repository.unwrap())
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&self) -> ObjectId {
        let repository = self.repository();
        let found = self.runtime.block_on(repository.find_snapshot("latest"));
        found.unwrap().0
    }

    pub(super) fn work(&self) -> RestoreSpec<DirectoryTarget> {
        RestoreSpec::new(
            self.snapshot(),
            DirectoryTarget {
                directory: self.target().to_str().unwrap().into(),
                ..DirectoryTarget::default()
            },
        )
    }

    pub(super) fn run(
        &self,
        work: &RestoreSpec<DirectoryTarget>,
    ) -> Result<RestoreOutcome, RestoreError> {
        run(
            self.repository(),
            self.runtime.handle().clone(),
            work,
            &AllowedDirectory::named(Path::new(&work.target.directory)).unwrap(),
            &self.options,
            self.monitor.clone(),
        )
    }

    pub(super) fn restore(&self, overwrite: Overwrite) -> Result<RestoreOutcome, RestoreError> {
        self.run(&RestoreSpec {
            target: DirectoryTarget {
                overwrite,
                ..self.work().target
            },
            ..self.work()
        })
    }

    /// Fails unless the restored tree is the source.
    pub(super) fn assert_identical(&self) {
        assert_identical(&self.source(), &self.restored());
    }

    /// Objects of a directory of the repository, as files on disk.
    pub(super) fn objects(&self, directory: Directory) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.repository_path().join(directory.as_str()), &mut found);
        found.sort();
        found
    }

    /// The data packs, and those that hold trees.
    pub(super) fn packs(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        self.objects(Directory::Data).into_iter().partition(|pack| {
            let id = pack.file_name().unwrap().to_str().unwrap();
            !self.is_tree_pack(id)
        })
    }

    fn is_tree_pack(&self, id: &str) -> bool {
        let repository = self.repository();
        let index = strongroom_repository::read::load_index(&repository);
        let (index, _) = self.runtime.block_on(index).unwrap();
        let blobs = index.blobs_by_pack().into_iter();
        blobs
            .filter(|blob| index.location(*blob).pack.to_string() == id)
            .any(|blob| index.kind(blob) == strongroom_repository::format::blob::BlobKind::Tree)
    }

    pub(super) fn marker_stands(&self) -> bool {
        fs::read_dir(self.target()).unwrap().any(|entry| {
            let name = entry.unwrap().file_name();
            name.as_bytes().starts_with(b".strongroom-restore-")
        })
    }
}

pub(super) fn assert_identical(source: &Path, restored: &Path) {
    let comparison = compare(source, restored, &CompareOptions::default()).unwrap();
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(comparison.is_identical(), "{differences:#?}");
    assert!(comparison.entries > 0);
}

/// Changes the stored bytes of an object.
pub(super) fn change(object: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(object).unwrap();
    change(&mut bytes);
    fs::remove_file(object).unwrap();
    fs::write(object, bytes).unwrap();
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

pub(super) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A tree with every kind of entry that a files source can meet.
pub(super) fn every_kind(root: &Path) {
    let at = |name: &str| root.join(name);
    write(&at("plain.txt"), "hello\n");
    write(&at("empty"), "");
    write(&at("dir/deep/er/file"), noise(1, 3_000));
    write(&at("large"), noise(2, 20_000_000));
    write(
        &at("text"),
        "the same line again and again\n".repeat(200_000),
    );
    write(&at("again"), noise(1, 3_000));
    write(&root.join(OsStr::from_bytes(b"odd \xff\n\"name\\")), "odd");
    write(&at("ünï/cödé"), "names");
    fs::create_dir(at("empty-dir")).unwrap();

    fs::hard_link(at("plain.txt"), at("dir/hard")).unwrap();
    fs::hard_link(at("empty"), at("dir/hard-empty")).unwrap();
    symlink("plain.txt", at("symlink")).unwrap();
    symlink("/does/not/exist", at("dir/dangling")).unwrap();
    let device = makedev(1, 3);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    mknodat(
        CWD,
        at("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        device,
    )
    .unwrap();
    mknodat(
        CWD,
        at("disk"),
        FileType::BlockDevice,
        Mode::RUSR,
        makedev(7, 1),
    )
    .unwrap();

    sparse(&at("sparse"));
    metadata(root);
    deep(root);
}

/// Data at the start and the end, nothing between.
fn sparse(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"end", (64 << 20) - 3).unwrap();
}

fn metadata(root: &Path) {
    let at = |name: &str| root.join(name);
    let mode = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let owner = |name: &str, uid, gid| {
        std::os::unix::fs::lchown(at(name), Some(uid), Some(gid)).unwrap();
    };
    owner("text", 12, 34);
    owner("symlink", 56, 78);
    owner("dir/deep", 90, 12);
    mode("text", 0o6755);
    mode("again", 0o000);
    mode("dir/deep/er", 0o1777);
    mode("empty-dir", 0o555);
    lsetxattr(
        at("again"),
        "user.note",
        b"\x00\xffraw",
        XattrFlags::empty(),
    )
    .unwrap();
    lsetxattr(at("dir"), "user.dir", b"value", XattrFlags::empty()).unwrap();
    for (name, acl) in [("plain.txt", "u:12:rw"), ("dir", "u:12:rwx,d:g:34:rx")] {
        let set = Command::new("setfacl")
            .args(["-m", acl])
            .arg(at(name))
            .status();
        assert!(set.expect("`setfacl` must be installed").success());
    }
    touch(&at("plain.txt"), -1_000_000_000, 123_456_789);
    touch(&at("symlink"), 1_000_000_000, 5);
    touch(&at("dir/deep"), 2_000_000_000, 999_999_999);
    touch(&at("fifo"), 1_234_567_890, 0);
}

pub(super) fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(CWD, path, &times, flags).unwrap();
}

/// Directories within directories, some 3,000 bytes of path: restic reaches
/// no further.
fn deep(root: &Path) {
    let mut directory = beneath::open_root(root).unwrap();
    for _ in 0..15 {
        let name = [b'd'; 200];
        rustix::fs::mkdirat(&directory, name.as_slice(), Mode::RWXU).unwrap();
        directory = beneath::open_child(&directory, &name).unwrap();
    }
    let path = beneath::proc_path(directory.as_fd(), b"bottom");
    fs::write(OsStr::from_bytes(&path), "deep").unwrap();
}
