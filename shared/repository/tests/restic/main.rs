//! Against the real `restic`, which must be on the path: it opens what we
//! create, and we read what it writes.

mod theirs;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use jiff::Timestamp;
use strongroom_layout::ObjectKind;
use strongroom_repository::{
    Repository, RepositoryError,
    format::key_file::KeyOwner,
    store::{SharedStore, fs::FsStore},
};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery staple";

/// A directory with a repository in it, ours or restic's.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    fn store(&self) -> SharedStore {
        Arc::new(FsStore::new(self.repository()))
    }

    /// Runs restic on the repository; gives what it prints.
    fn restic<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
        let output = restic(&self.repository(), PASSWORD, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic failed: {errors}");
        output.stdout
    }
}

fn restic<S: AsRef<OsStr>>(
    repository: &Path,
    password: &str,
    arguments: impl IntoIterator<Item = S>,
) -> std::process::Output {
    Command::new("restic")
        .args(["--quiet", "--no-cache", "--repo"])
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", password)
        .output()
        .expect("`restic` must be installed: apt-get install restic")
}

fn owner() -> KeyOwner {
    KeyOwner {
        created: Timestamp::UNIX_EPOCH,
        username: "root".into(),
        hostname: "web-1".into(),
    }
}

#[tokio::test]
async fn restic_opens_what_we_create() {
    let place = Place::new();
    let repository = Repository::create(place.store(), PASSWORD, owner())
        .await
        .unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&place.restic(["cat", "config"])).unwrap();
    assert_eq!(config["version"], 2);
    assert_eq!(config["id"], repository.config().id.to_string());
    let keys = String::from_utf8(place.restic(["key", "list"])).unwrap();
    assert!(keys.contains("web-1"), "{keys}");
    place.restic(["check", "--read-data"]);

    let refused = restic(&place.repository(), "wrong", ["cat", "config"]);
    assert!(!refused.status.success());
}

#[tokio::test]
async fn both_write_into_one_repository() {
    let place = Place::new();
    Repository::create(place.store(), PASSWORD, owner())
        .await
        .unwrap();
    std::fs::write(place.path("file"), "content").unwrap();
    place.restic([OsStr::new("backup"), place.path("file").as_os_str()]);
    place.restic(["check", "--read-data"]);
    let repository = Repository::open(place.store(), PASSWORD).await.unwrap();
    assert_eq!(repository.snapshots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_restic_added_opens_too() {
    let place = Place::new();
    place.restic(["init"]);
    std::fs::write(place.path("password"), "second").unwrap();
    place.restic([
        OsStr::new("key"),
        OsStr::new("add"),
        OsStr::new("--new-password-file"),
        place.path("password").as_os_str(),
    ]);
    for password in [PASSWORD, "second"] {
        Repository::open(place.store(), password).await.unwrap();
    }
    let wrong = Repository::open(place.store(), "third").await;
    assert!(matches!(
        wrong,
        Err(RepositoryError::WrongPassword { keys: 2 })
    ));
}

#[tokio::test]
async fn version_1_is_read_and_locked_but_not_written() {
    let place = Place::new();
    place.restic(["init", "--repository-version", "1"]);
    let repository = Repository::open(place.store(), PASSWORD).await.unwrap();
    let message = repository.require_writable().unwrap_err().to_string();
    assert!(message.contains("version 1"), "{message}");
    assert!(message.contains("upgrade_repo_v2"), "{message}");
    let save = |kind, json: &'static str| repository.save_unpacked(kind, json.as_bytes());
    save(ObjectKind::Index, "{}").await.unwrap_err();
    // restic reads a lock that we write.
    let lock = r#"{"time":"2024-01-02T03:04:05Z","exclusive":false,"hostname":"h","username":"u","pid":1}"#;
    let id = save(ObjectKind::Lock, lock).await.unwrap().to_string();
    let shown = place.restic(["--no-lock", "cat", "lock", &id]);
    assert!(String::from_utf8(shown).unwrap().contains("\"h\""));
}
