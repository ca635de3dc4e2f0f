//! The command source.

use std::time::{Duration, Instant};

use strongroom_spec::FailureCode;

use super::bench::Bench;
use crate::{
    backup::{BackupRequest, BackupSource},
    sources::command::Command,
};

fn request(bench: &Bench, script: &str, filename: Option<&str>) -> BackupRequest {
    BackupRequest {
        source: BackupSource::Command(Command {
            name: "dump".into(),
            argv: ["sh", "-c", script].map(Into::into).to_vec(),
            filename: filename.map(Into::into),
            report_stderr: true,
            allow_empty: false,
        }),
        ..bench.request()
    }
}

#[test]
fn the_output_is_one_file() {
    let bench = Bench::new();
    let small = bench.backup(&request(&bench, "printf hello; echo noise >&2", None));
    assert_eq!(bench.list_all(&small), ["dump"]);
    assert_eq!((small.result.files, small.result.bytes_total), (1, 5));
    assert_eq!(small.snapshot.paths, ["/dump"]);
    let large = bench.backup(&request(
        &bench,
        "yes text | head -c 20000000",
        Some("all.sql"),
    ));
    assert_eq!(bench.list_all(&large), ["all.sql"]);
    assert_eq!(large.result.bytes_read, 20_000_000);
    let id = large.result.snapshot.to_string();
    let dumped = bench.restic().run(["dump", &id, "/all.sql"]);
    assert!(dumped == "text\n".repeat(4_000_000));
    bench.restic().check();
}

#[test]
fn a_command_that_fails_leaves_no_snapshot_but_its_last_words() {
    let bench = Bench::new();
    let script =
        "echo some output; yes early | head -c 9000 >&2; printf 'last \\377 words' >&2; exit 3";
    let error = bench
        .try_backup(&request(&bench, script, None))
        .unwrap_err();
    assert_eq!(error.code(), FailureCode::Command);
    let message = error.to_string();
    assert!(message.contains("exit status: 3"), "{message}");
    assert!(message.ends_with("last \u{fffd} words"), "{message}");
    assert!(message.len() < 4096 + 200, "{}", message.len());

    let error = bench
        .try_backup(&request(&bench, "kill -9 $$", None))
        .unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[test]
fn a_command_that_prints_nothing_fails_unless_it_may() {
    let bench = Bench::new();
    let mut empty = request(&bench, "true", None);
    let error = bench.try_backup(&empty).unwrap_err();
    assert_eq!(error.code(), FailureCode::Command);
    assert!(error.to_string().contains("allow_empty"), "{error}");
    if let BackupSource::Command(command) = &mut empty.source {
        command.allow_empty = true;
    }
    let backup = bench.backup(&empty);
    assert_eq!(bench.list_all(&backup), ["dump"]);
    assert_eq!(backup.result.bytes_total, 0);
}

#[test]
fn impossible_commands_are_refused() {
    let bench = Bench::new();
    let mut missing = request(&bench, "", None);
    if let BackupSource::Command(command) = &mut missing.source {
        command.argv = vec!["/missing/program".into()];
    }
    let error = bench.try_backup(&missing).unwrap_err();
    assert!(error.to_string().contains("/missing/program"), "{error}");
    let name = request(&bench, "true", Some("../etc"));
    let error = bench.try_backup(&name).unwrap_err();
    assert!(error.to_string().contains("filename"), "{error}");
}

#[test]
fn a_cancelled_command_is_killed_with_its_children() {
    let bench = Bench::new();
    let pids = bench.scratch.path().join("pids");
    let script = format!(
        "sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let cancel = bench.monitor.cancel.clone();
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !pids.exists() {
                std::thread::yield_now();
            }
            cancel.cancel();
        });
        let error = bench
            .try_backup(&request(&bench, &script, None))
            .unwrap_err();
        assert_eq!(error.code(), FailureCode::Cancelled);
    });
    assert!(started.elapsed().as_secs() < 500);
    for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
        // A killed process closes its pipes before it is a zombie, so the
        // backup may have ended a moment earlier.
        let limit = Instant::now() + Duration::from_mins(1);
        loop {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || [") Z ", ") X "].iter().any(|dead| state.contains(dead)) {
                break;
            }
            assert!(Instant::now() < limit, "{pid} lives: {state}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
