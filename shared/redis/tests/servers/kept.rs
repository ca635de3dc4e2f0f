//! A restore has succeeded when the target would hold its data after a crash.

use strongroom_redis::restore::durable::Keeps;
use strongroom_tests::{
    redis::{Server, assert_same, contents, fill},
    scratch::Scratch,
    small_disk::SmallDisk,
};

use super::*;

/// Both take it seconds to write their data to disk, and load without it.
#[tokio::test]
async fn a_crash_right_behind_a_restore_loses_nothing() {
    let scratch = Scratch::new("crash");
    let source = Server::start(&scratch, "source");
    fill(&source);
    source.run(&["DEBUG", "POPULATE", "1000", "many", "20"]);
    let rdb = back_up(&connection(&source)).await.unwrap();
    for (name, configuration, keeps) in [
        (
            "append-only",
            "appendonly yes\nappendfsync always",
            Keeps::AppendOnly,
        ),
        ("snapshots", "save 3600 1", Keeps::Snapshots),
    ] {
        let configuration = format!("{configuration}\nrepl-diskless-load swapdb");
        let mut target = Server::with(&scratch, name, &configuration);
        target.run(&["SET", "old", "value"]);
        target.run(&["CONFIG", "SET", "rdb-key-save-delay", "2000"]);
        let outcome = try_restore(&connection(&target), &rdb, false)
            .await
            .unwrap();
        assert_eq!(outcome.before.keeps, keeps);
        assert_eq!(keeps.warning(), None);
        target.kill();
        target.start_again();
        assert_same(&contents(&source), &contents(&target));
    }
}

#[tokio::test]
async fn a_target_that_keeps_nothing_or_does_not_say_so_is_told_apart() {
    let scratch = Scratch::new("nothing");
    let source = Server::start(&scratch, "source");
    source.run(&["SET", "a", "b"]);
    let rdb = back_up(&connection(&source)).await.unwrap();
    let target = Server::start(&scratch, "target");
    let outcome = try_restore(&connection(&target), &rdb, false)
        .await
        .unwrap();
    assert_eq!(outcome.before.keeps, Keeps::Nothing);
    let warning = outcome.before.keeps.warning().unwrap();
    assert!(warning.contains("neither appendonly nor save"), "{warning}");

    let user = "user default on nopass ~* &* +@all -config -bgsave";
    let silent = Server::with(&scratch, "silent", user);
    let outcome = try_restore(&connection(&silent), &rdb, false)
        .await
        .unwrap();
    let warning = outcome.before.keeps.warning().unwrap();
    let wanted = "ACL SETUSER default +config|get +bgsave";
    assert!(warning.contains(wanted), "{warning}");
}

/// The data fits into memory, and not onto the disk.
#[tokio::test]
async fn a_target_whose_disk_is_full_fails_and_says_so() {
    let scratch = Scratch::new("full");
    let source = Server::start(&scratch, "source");
    source.run(&["CONFIG", "SET", "rdbcompression", "no"]);
    source.run(&["DEBUG", "POPULATE", "40", "large", "100000"]);
    let rdb = back_up(&connection(&source)).await.unwrap();
    for (name, configuration, wanted) in [
        ("append-only", "appendonly yes", "BGREWRITEAOF"),
        ("snapshots", "save 3600 1", "BGSAVE"),
    ] {
        let disk = scratch.dir(&format!("{name}-disk"));
        let _mounted = SmallDisk::mount(&disk, "1m");
        let configuration = format!(
            "{configuration}\ndir {}\nrepl-diskless-load swapdb\nrdbcompression no",
            disk.display()
        );
        let target = Server::with(&scratch, name, &configuration);
        let error = try_restore(&connection(&target), &rdb, false)
            .await
            .unwrap_err();
        assert!(matches!(error, RedisError::NotKept { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(wanted) && said.contains("disk"), "{said}");
        assert!(!said.contains("  "), "{said}");
        // It is a primary all the same, with what was restored.
        assert_eq!(target.info("role"), "master");
        assert_eq!(target.run(&["DBSIZE"]).integer(), 40);
    }
}
