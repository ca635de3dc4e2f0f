//! Links in a data directory, and what its owner may not read: neither is
//! followed, and what that costs is said.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::geteuid,
};
use serde_json::Value;
use strongroom_tests::{cluster::directory_for_postgres, operator::text};

use super::site::Site;
use crate::world::{POLICY, assert_says, snapshot_of};

/// Puts a link in place of something, as somebody does whose disk is full.
struct Moved {
    place: PathBuf,
    outside: PathBuf,
}

impl Moved {
    fn new(place: PathBuf, outside: &Path) -> Self {
        let outside = outside.join(place.file_name().expect("a name"));
        fs::rename(&place, &outside).expect("it can be moved");
        symlink(&outside, &place).expect("a link");
        Self { place, outside }
    }

    fn back(&self) {
        fs::remove_file(&self.place).expect("a link to remove");
        fs::rename(&self.outside, &self.place).expect("it can be moved back");
    }
}

/// The failure of a backup, in words.
fn failure(site: &Site) -> String {
    let failure = site.failure();
    assert_eq!(failure["code"], "source", "{failure:#}");
    text(&failure["message"])
}

/// A backup with warnings: the job, and each warning's code and the end of its
/// path.
fn backup_with_warnings(site: &Site) -> (Value, Vec<(String, String)>) {
    let jobs = site
        .world
        .operator()
        .json_with(3, &["run", POLICY, "--wait"]);
    let job = jobs["jobs"][0].clone();
    let warnings = job["warnings"].as_array().expect("warnings").iter();
    let mut warnings: Vec<_> = warnings
        .map(|warning| {
            let path = text(&warning["path"]["text"]);
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            (text(&warning["code"]), name)
        })
        .collect();
    warnings.sort();
    (job, warnings)
}

/// The names in a directory of a snapshot.
fn names(site: &Site, snapshot: &str, path: &str) -> Vec<String> {
    let listing =
        site.world
            .operator()
            .json(&["snapshots", "ls", snapshot, path, "--limit", "1000"]);
    let entries = listing["entries"].as_array().expect("entries").iter();
    entries
        .map(|entry| {
            let path = text(&entry["path"]["text"]);
            path.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A restored server with such a link writes into the original's files.
#[test]
fn a_link_in_the_clusters_data_fails_the_backup_by_name() {
    let site = Site::new("physical-links", "");
    let cluster = &site.cluster;
    let (data, space) = (cluster.data(), cluster.beside("space"));
    let outside = cluster.beside("outside");
    cluster.sql(&format!(
        "CREATE TABLESPACE space LOCATION '{}'",
        space.display()
    ));
    cluster.sql(
        "CREATE TABLE t AS SELECT generate_series(1, 1000) n;\
         CREATE TABLE far TABLESPACE space AS SELECT generate_series(1, 1000) n",
    );
    let database = cluster.sql("SELECT oid FROM pg_database WHERE datname = 'postgres'");
    let version = fs::read_dir(&space).expect("a directory").next();
    let version = version.expect("a version").expect("an entry").path();
    let places = [
        data.join("base").join(&database),
        data.join("base"),
        data.join("global"),
        data.join("pg_xact"),
        data.join("pg_multixact/members"),
        data.join("pg_logical"),
        data.join("pg_tblspc"),
        data.join("PG_VERSION"),
        data.join("global/pg_control"),
        cluster.file_of("t"),
        version.join(&database),
        version.clone(),
    ];
    for place in places {
        let moved = Moved::new(place.clone(), &outside);
        let message = failure(&site);
        let to = moved.outside.to_str().expect("UTF-8");
        let place = place.to_str().expect("UTF-8");
        assert_says(&message, &[place, "symbolic link", to, "tablespace"]);
        moved.back();
    }
    // Nor does what no restore would take.
    let deep = data.join("deep");
    fs::create_dir_all(deep.join("d/".repeat(100))).expect("directories");
    assert_says(
        &failure(&site),
        &["deep/d/d", "directories deep", "remove it"],
    );
    fs::remove_dir_all(deep).expect("removed");
    assert_eq!(site.slots(), "0");
    let (snapshot, _) = site.backup();
    let to = site.world.restores.join("space");
    let to = format!("{}={}", space.display(), to.display());
    let mut restored = site.start_restored(&snapshot, "data", &["--tablespace", &to]);
    assert_eq!(restored.sql("SELECT count(*) FROM t"), "1000");
    assert_eq!(restored.sql("SELECT count(*) FROM far"), "1000");
    restored.prove();
}

/// What PostgreSQL makes itself, or makes anew.
#[test]
fn links_that_a_server_may_have_are_no_links_in_the_backup() {
    let mut site = Site::new("physical-good-links", "");
    site.cluster.sql("CREATE TABLE t AS SELECT 7 AS n");
    let (data, outside) = (site.cluster.data(), site.cluster.beside("outside"));
    site.cluster.stop();
    for name in ["pg_wal", "pg_subtrans", "pg_stat_tmp"] {
        Moved::new(data.join(name), &outside);
    }
    site.cluster.start_again();
    let (snapshot, _) = site.backup();
    let mut restored = site.start_restored(&snapshot, "data", &[]);
    assert_eq!(restored.sql("SELECT n FROM t"), "7");
    for name in ["pg_wal", "pg_subtrans", "pg_stat_tmp"] {
        let kept = fs::symlink_metadata(restored.data.join(name)).expect("a directory");
        assert!(kept.is_dir(), "{name}");
    }
    restored.prove();

    // Configuration that a link leads to is kept beside the cluster; other
    // links are left out.
    Moved::new(data.join("postgresql.conf"), &outside);
    symlink("/nowhere", data.join("dangling")).expect("a link");
    symlink(&outside, data.join("log")).expect("a link");
    let (job, warnings) = backup_with_warnings(&site);
    let left_out = |name: &str| ("link-left-out".to_owned(), name.to_owned());
    assert_eq!(warnings, [left_out("dangling"), left_out("log")], "{job:#}");
    let snapshot = snapshot_of(&job);
    let kept = names(&site, &snapshot, "/pgdata");
    for name in ["dangling", "log", "postgresql.conf"] {
        assert!(!kept.iter().any(|it| it == name), "{kept:?}");
    }
    assert_eq!(names(&site, &snapshot, "/config"), ["postgresql.conf"]);
}

/// As everybody sees it whose files these are not.
fn close(path: &Path, owner: Option<u32>) {
    let closed = fs::Permissions::from_mode(if path.is_dir() { 0o700 } else { 0o600 });
    fs::set_permissions(path, closed).expect("chmod");
    chown(path, owner, owner).expect("root may give away");
}

/// Makes something another's for as long as a backup takes, which must fail and
/// name it.
fn refused(site: &Site, path: &Path) {
    let before = fs::metadata(path).expect("it is there");
    close(path, Some(0));
    let message = failure(site);
    chown(path, Some(before.uid()), Some(before.gid())).expect("root may give away");
    fs::set_permissions(path, before.permissions()).expect("chmod");
    let path = path.to_str().expect("UTF-8");
    assert_says(&message, &[path, "belongs to root", "who owns the cluster"]);
}

#[test]
fn a_log_of_another_user_is_not_read() {
    if !geteuid().is_root() {
        return;
    }
    let mut site = Site::new("physical-foreign-log", "");
    let log = site.cluster.data().join("pg_wal");
    let history = log.join("00000009.history");
    fs::write(&history, "secret").expect("a file");
    refused(&site, &history);
    fs::remove_file(&history).expect("a file to remove");

    // A link into somebody else's directory, even if it is open to all.
    let other = site.cluster.beside("other");
    site.cluster.stop();
    let moved = Moved::new(log.clone(), &other);
    site.cluster.start_again();
    site.backup();
    let open = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&moved.outside, mode).expect("chmod");
    };
    let owner = fs::metadata(&moved.outside).expect("it is there").uid();
    open(0o777);
    chown(&moved.outside, Some(0), None).expect("root may give away");
    let message = failure(&site);
    chown(&moved.outside, Some(owner), None).expect("root may give away");
    open(0o700);
    assert_says(
        &message,
        &[log.to_str().expect("UTF-8"), "belongs to root", "postgres"],
    );
}

#[test]
fn data_of_another_user_is_not_read() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new("physical-foreign", "");
    let cluster = &site.cluster;
    let (data, space) = (cluster.data(), cluster.beside("space"));
    cluster.sql(&format!(
        "CREATE TABLESPACE space LOCATION '{}'",
        space.display()
    ));
    cluster
        .sql("CREATE TABLE t AS SELECT 7 AS n; CREATE TABLE far TABLESPACE space AS SELECT 8 AS n");
    cluster.sql("CHECKPOINT");
    let far = cluster.file_of("far").canonicalize().expect("a file");
    for path in [
        cluster.file_of("t"),
        far.clone(),
        far.parent()
            .and_then(Path::parent)
            .expect("a version")
            .to_owned(),
    ] {
        refused(&site, &path);
    }
    // No server starts on a directory that is open to others.
    let open = |mode| fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("chmod");
    open(0o755);
    let message = failure(&site);
    open(0o700);
    assert_says(&message, &[data.to_str().expect("UTF-8"), "755"]);

    // What is not the server's is left out, and so are links on numbers that
    // it does not know.
    fs::write(data.join("root.note"), "note").expect("a file");
    fs::create_dir(data.join("root.dir")).expect("a directory");
    fs::write(data.join("root.dir/x"), "x").expect("a file");
    close(&data.join("root.note"), Some(0));
    close(&data.join("root.dir"), Some(0));
    mknodat(CWD, data.join("a.fifo"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let stray = site.world.scratch.join("stray");
    directory_for_postgres(&stray);
    fs::write(stray.join("secret"), "secret").expect("a file");
    symlink(&stray, data.join("pg_tblspc/99999")).expect("a link");
    let (job, warnings) = backup_with_warnings(&site);
    let wanted = [
        ("foreign-file", "root.dir"),
        ("foreign-file", "root.note"),
        ("stray-tablespace", "99999"),
        ("type-not-stored", "a.fifo"),
    ];
    let wanted = wanted.map(|(code, name)| (code.to_owned(), name.to_owned()));
    assert_eq!(warnings, wanted, "{job:#}");
    let snapshot = snapshot_of(&job);
    let kept = names(&site, &snapshot, "/pgdata");
    assert!(!kept.iter().any(|it| it.starts_with("root.")), "{kept:?}");
    assert_eq!(names(&site, &snapshot, "/tablespaces").len(), 1);
    let to = site.world.restores.join("space");
    let to = format!("{}={}", space.display(), to.display());
    let mut restored = site.start_restored(&snapshot, "data", &["--tablespace", &to]);
    assert_eq!(restored.sql("SELECT n FROM t"), "7");
    assert_eq!(restored.sql("SELECT n FROM far"), "8");
    assert!(!restored.data.join("pg_tblspc/99999").exists());
    restored.prove();
}

#[test]
fn a_tablespace_inside_the_data_directory_is_stored_once() {
    let site = Site::new("physical-inside", "");
    let inside = site.cluster.data().join("ts");
    directory_for_postgres(&inside);
    site.cluster.sql(&format!(
        "CREATE TABLESPACE inside LOCATION '{}'",
        inside.display()
    ));
    site.cluster.sql(
        "CREATE TABLE t TABLESPACE inside AS SELECT id, repeat(md5(id::text), 20) AS pad \
         FROM generate_series(1, 10000) id",
    );
    let (snapshot, _) = site.backup();
    let kept = names(&site, &snapshot, "/pgdata");
    assert!(
        kept.contains(&"base".to_owned()) && !kept.contains(&"ts".to_owned()),
        "{kept:?}"
    );
    assert_eq!(names(&site, &snapshot, "/tablespaces").len(), 1);
    let to = site.world.restores.join("moved");
    let to = format!("{}={}", inside.display(), to.display());
    let mut restored = site.start_restored(&snapshot, "data", &["--tablespace", &to]);
    assert_eq!(restored.sql("SELECT count(*) FROM t"), "10000");
    assert!(!restored.data.join("ts").exists());
    restored.prove();
    // Else it goes with the data directory.
    let mut with = site.start_restored(&snapshot, "with", &[]);
    assert_eq!(with.sql("SELECT count(*) FROM t"), "10000");
    let place = with.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid > 16000");
    assert_eq!(place, with.data.join("ts").to_str().expect("UTF-8"));
    with.sql("INSERT INTO t VALUES (0, 'of the copy')");
    assert_eq!(site.cluster.sql("SELECT count(*) FROM t"), "10000");
    with.prove();
}

/// A file system that is not mounted looks like an empty directory.
#[test]
fn a_tablespace_whose_files_are_not_there_fails_the_backup() {
    let site = Site::new("physical-unmounted", "");
    let space = site.cluster.beside("space");
    site.cluster.sql(&format!(
        "CREATE TABLESPACE space LOCATION '{}'",
        space.display()
    ));
    let away = site.cluster.beside("away");
    let version = fs::read_dir(&space).expect("a directory").next();
    let version = version.expect("a version").expect("an entry").path();
    let moved = away.join("version");
    fs::rename(&version, &moved).expect("it can be moved");
    let message = failure(&site);
    assert_says(&message, &[space.to_str().expect("UTF-8"), "mounted"]);
    fs::rename(&moved, &version).expect("it can be moved back");
    site.backup();
}
