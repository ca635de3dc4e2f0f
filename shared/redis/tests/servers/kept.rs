//! A restore has succeeded when the target would hold its data after a crash.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
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

/// Two servers: one with what is restored, and one that takes two seconds to
/// save it.
struct Slow {
    _scratch: Scratch,
    source: Server,
    target: Server,
    rdb: Vec<u8>,
}

impl Slow {
    async fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let source = Server::start(&scratch, "source");
        source.run(&["DEBUG", "POPULATE", "20", "key", "10"]);
        let rdb = back_up(&connection(&source)).await.unwrap();
        // Nothing of what it loads is on its disk before it saves.
        let configuration = "save 3600 1000000\nrepl-diskless-load swapdb";
        let target = Server::with(&scratch, "target", configuration);
        target.run(&["SET", "old", "value"]);
        target.run(&["CONFIG", "SET", "rdb-key-save-delay", "100000"]);
        Self {
            _scratch: scratch,
            source,
            target,
            rdb,
        }
    }

    /// Restores, and does something as soon as what was restored is saved.
    async fn restore(&self, meanwhile: impl FnOnce()) -> Result<Outcome, RedisError> {
        let to = connection(&self.target);
        let restore = try_restore(&to, &self.rdb, false);
        let (outcome, ()) = tokio::join!(restore, async {
            while self.target.info("rdb_bgsave_in_progress") != "1" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            meanwhile();
        });
        outcome
    }

    fn assert_survives(mut self) {
        self.target.kill();
        self.target.start_again();
        assert_same(&contents(&self.source), &contents(&self.target));
    }
}

/// The server does so itself at times, and leaves its status as it was.
#[tokio::test]
async fn a_save_that_a_signal_ends_is_not_taken_for_ours() {
    let slow = Slow::new("signal").await;
    let server = slow.target.program().pid();
    slow.restore(|| {
        let child = children(server)
            .pop()
            .expect("a server that saves has a child");
        kill_process(child, Signal::USR1).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(slow.target.info("rdb_last_bgsave_status"), "ok");
    slow.assert_survives();
}

fn children(of: u32) -> Vec<Pid> {
    let child = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        let own = entry.file_name().to_str()?.parse().ok()?;
        (parent == of.to_string()).then(|| Pid::from_raw(own))?
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(child)
        .collect()
}

#[tokio::test]
async fn a_save_waits_for_a_child_that_does_something_else() {
    let slow = Slow::new("busy").await;
    let cancel = CancellationToken::new();
    let to = connection(&slow.target);
    let request = Request {
        connection: &to,
        data: &dataset(&slow.rdb),
        length: slow.rdb.len() as u64,
        allow_replicas: false,
        attach: &|_| Ok(()),
        sent: &|_| {},
        // It may be written anew where nothing is appended, too.
        loaded: &|| {
            slow.target.run(&["BGREWRITEAOF"]);
            assert_eq!(slow.target.info("aof_rewrite_in_progress"), "1");
        },
        cancel: &cancel,
    };
    strongroom_redis::restore::whole::run(&request, &mut Pieces::of(&slow.rdb))
        .await
        .unwrap();
    slow.assert_survives();
}

#[tokio::test]
async fn a_connection_that_breaks_meanwhile_is_made_anew() {
    let slow = Slow::new("blip").await;
    slow.restore(|| {
        let killed = slow.target.run(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed.integer() > 0);
    })
    .await
    .unwrap();
    slow.assert_survives();
}

/// A Sentinel breaks all connections of the server that it makes follow.
#[tokio::test]
async fn a_server_that_is_taken_over_while_it_saves_is_told_as_that() {
    let slow = Slow::new("demoted").await;
    let promoted = slow.source.port().to_string();
    let error = slow
        .restore(|| {
            let mut sentinel = slow.target.client();
            sentinel.run(&["MULTI"]);
            sentinel.run(&["REPLICAOF", "127.0.0.1", &promoted]);
            sentinel.run(&["CLIENT", "KILL", "TYPE", "normal"]);
            sentinel.run(&["EXEC"]);
        })
        .await
        .unwrap_err();
    assert!(matches!(error, RedisError::TakenOver { .. }), "{error}");
    assert!(error.to_string().contains(&promoted), "{error}");
}

#[tokio::test]
async fn a_server_that_starts_again_while_it_saves_is_no_success() {
    let mut slow = Slow::new("again").await;
    let (to, rdb) = (connection(&slow.target), slow.rdb.clone());
    let restore = try_restore(&to, &rdb, false);
    let (outcome, ()) = tokio::join!(restore, async {
        while slow.target.info("rdb_bgsave_in_progress") != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slow.target.kill();
        slow.target.start_again();
    });
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("was restarted"), "{said}");
}
