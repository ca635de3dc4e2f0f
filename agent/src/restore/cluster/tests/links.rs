//! Links in a snapshot of a cluster.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use strongroom_postgres::physical::DEEPEST;
use strongroom_tests::cluster::as_postgres;

use super::site::Site;

#[test]
fn what_lies_too_deep_for_a_cluster_is_refused_before_anything_is_written() {
    let site = Site::new("cluster-deep", "");
    fs::create_dir_all(site.pgdata("extension").join("d/".repeat(DEEPEST))).unwrap();
    let mut work = site.work(site.store());
    work.target.start = false;
    let refusal = site.refusal(&work);
    for word in ["extension/d/d/d", "directories deep", "--cluster"] {
        assert!(refusal.contains(word), "{refusal}");
    }
    assert!(!site.data().exists(), "something was written");
}

/// Puts a link to the original in the place of what the snapshot has.
fn link(site: &Site, path: &str) {
    let place = site.pgdata(path);
    if place.is_dir() {
        fs::remove_dir_all(&place).unwrap();
    } else {
        fs::remove_file(&place).unwrap();
    }
    symlink(site.cluster.data().join(path), place).unwrap();
}

#[test]
fn a_snapshot_with_links_into_the_original_is_refused_before_anything_is_written() {
    let site = Site::new("cluster-links", "");
    let relation = site.cluster.file_of("ledger");
    let relation = relation.strip_prefix(site.cluster.data()).unwrap();
    let database = relation.parent().unwrap().to_str().unwrap();
    let relation = relation.to_str().unwrap();
    site.cluster.sql("CHECKPOINT");
    let before = fs::read(site.cluster.data().join(relation)).unwrap();
    let kept = site.scratch.join("kept");
    for path in [relation, database, "pg_xact", "postgresql.auto.conf"] {
        fs::rename(site.scratch.join("snapshot"), &kept).unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&kept, &site.scratch.join("snapshot")])
            .status();
        assert!(copied.unwrap().success());
        link(&site, path);
        let snapshot = site.store();
        for (start, recovery) in [(true, None), (false, None), (true, Some(site.recovery()))] {
            let mut work = site.work(snapshot);
            (work.target.start, work.recovery) = (start, recovery);
            let refusal = site.refusal(&work);
            assert!(refusal.contains("a symbolic link"), "{refusal}");
            assert!(refusal.contains(path), "{refusal}");
            assert!(!site.data().exists(), "{path}: something was written");
        }
        fs::remove_dir_all(site.scratch.join("snapshot")).unwrap();
        fs::remove_dir_all(site.scratch.join("repository")).unwrap();
        fs::rename(&kept, site.scratch.join("snapshot")).unwrap();
    }
    let after = fs::read(site.cluster.data().join(relation)).unwrap();
    assert!(before == after, "the original was written to");
    assert_eq!(site.cluster.sql("SELECT count(*) FROM ledger"), "1000");
}

#[test]
fn a_link_that_a_server_only_reads_is_restored_and_one_of_its_log_is_left_out() {
    let site = Site::new("cluster-links-read", "");
    let logs = site.scratch.dir("logs");
    let hba = site.scratch.join("hba");
    fs::rename(site.pgdata("pg_hba.conf"), &hba).unwrap();
    symlink(&hba, site.pgdata("pg_hba.conf")).unwrap();
    symlink(&logs, site.pgdata("log")).unwrap();
    let result = site.run(&site.work(site.store())).unwrap();
    let server = site.server(&result);
    assert_eq!(server.sql("SELECT count(*) FROM ledger"), "1000");
    assert_eq!(fs::read_link(site.data().join("pg_hba.conf")).unwrap(), hba);
    assert!(!site.data().join("log").is_symlink());
    let (warnings, _) = site.monitor.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].cause.contains("left out"), "{warnings:?}");
}

/// It is the server's user's already by its number, so that nothing is given away
/// that would take its rights.
#[test]
fn a_file_of_a_cluster_gets_no_rights() {
    let site = Site::new("cluster-rights", "");
    let program = site.pgdata("base/program");
    fs::write(&program, "").unwrap();
    let user = fs::metadata(site.pgdata("PG_VERSION")).unwrap();
    chown(&program, Some(user.uid()), Some(user.gid())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    // `cap_setuid+ep`, of the kernel's second version.
    let mut capability = [0_u8; 20];
    (capability[0], capability[3], capability[4]) = (1, 2, 0x80);
    let name = "security.capability";
    rustix::fs::setxattr(&program, name, &capability, rustix::fs::XattrFlags::empty()).unwrap();
    site.run(&site.work(site.store())).unwrap();
    let restored = site.data().join("base/program");
    assert_eq!(fs::metadata(&restored).unwrap().mode() & 0o7000, 0);
    let found = rustix::fs::getxattr(&restored, name, &mut [0_u8; 64]);
    assert_eq!(found, Err(rustix::io::Errno::NODATA));
}

#[test]
fn a_link_that_appears_while_a_server_starts_stops_it() {
    let site = Site::new("cluster-links-late", "");
    let snapshot = site.store();
    let precious = site.scratch.dir("precious");
    let program = fs::read_to_string(site.program()).unwrap();
    let link = format!("ln -sfn '{}' base/stray\nexec", precious.display());
    fs::write(site.program(), program.replace("exec", &link)).unwrap();
    fs::set_permissions(site.program(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut work = site.work(snapshot);
    work.recovery = Some(site.recovery());
    let refusal = site.refusal(&work);
    let (stray, precious) = ("base/stray", precious.to_str().unwrap());
    assert!(
        refusal.contains(stray) && refusal.contains(precious),
        "{refusal}"
    );
    assert!(!runs(&site.data()), "the server still runs");
}

/// Whether a server runs on a directory.
fn runs(data: &Path) -> bool {
    let mut status = as_postgres(strongroom_tests::cluster::server_programs().join("pg_ctl"));
    let status = status.args(["status", "-D"]).arg(data).status();
    status.unwrap().success()
}
