//! The commands, from the command line to the exit code.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{Command as Process, ExitCode},
};

use clap::Parser;
use strongroom_compare::{CompareOptions, compare};

use super::{OfflineArgs, run};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    offline: OfflineArgs,
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(place.path("password"), "secret\n").unwrap();
        fs::create_dir(place.path("source")).unwrap();
        fs::write(place.path("source/file"), "content").unwrap();
        fs::write(place.path("source/large"), vec![7; 3_000_000]).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec!["offline".into(), arguments[0].into()];
        all.extend(["--repository".into(), self.path("repository").into()]);
        all.extend(["--password-file".into(), self.path("password").into()]);
        all.extend(arguments[1..].iter().map(Into::into));
        all
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<ExitCode> {
        let cli = Cli::try_parse_from(self.arguments(arguments)).unwrap();
        run(cli.offline).await
    }

    async fn succeed(&self, arguments: &[&str]) {
        let code = self.run(arguments).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }

    async fn fail(&self, arguments: &[&str]) -> String {
        format!("{:#}", self.run(arguments).await.unwrap_err())
    }

    fn restic(&self, arguments: &[&str]) {
        let output = Process::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.path("repository"))
            .arg("--password-file")
            .arg(self.path("password"))
            .args(arguments)
            .output()
            .expect("`restic` must be installed: apt-get install restic");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic failed: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_that_restic_confirms() {
    let place = Place::new();
    let source = place.path("source");
    let source_text = source.to_str().unwrap();
    place.succeed(&["init"]).await;
    place
        .succeed(&["backup", source_text, "--tag", "one"])
        .await;
    place
        .succeed(&["backup", source_text, "--output", "json"])
        .await;
    place.succeed(&["snapshots"]).await;
    place.succeed(&["ls", "latest"]).await;
    place
        .succeed(&["ls", "latest", source_text, "--flat", "--output", "json"])
        .await;
    place.succeed(&["check", "--read-data"]).await;
    let target = place.path("target");
    let target_text = target.to_str().unwrap();
    place
        .succeed(&["restore", "latest", "--target", target_text, "--dry-run"])
        .await;
    assert!(!target.exists());
    place
        .succeed(&["restore", "latest", "--target", target_text])
        .await;
    let restored = target.join(source.strip_prefix("/").unwrap());
    let comparison = compare(&source, &restored, &CompareOptions::default()).unwrap();
    assert!(comparison.is_identical(), "{:?}", comparison.differences);
    assert_eq!(
        fs::read_dir(place.path("repository/locks"))
            .unwrap()
            .count(),
        0
    );
    place.restic(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_program_is_backed_up_unless_it_fails() {
    let place = Place::new();
    place.succeed(&["init"]).await;
    let error = place
        .fail(&["backup", "--command", "dump.sql", "--", "false"])
        .await;
    assert!(error.contains("dump.sql"), "{error}");
    let large = place.path("source/large");
    let large = large.to_str().unwrap();
    place
        .succeed(&["backup", "--command", "dump.sql", "--", "cat", large])
        .await;
    let target = place.path("target");
    place
        .succeed(&["restore", "latest", "--target", target.to_str().unwrap()])
        .await;
    assert_eq!(
        fs::read(target.join("dump.sql")).unwrap(),
        fs::read(large).unwrap()
    );
    place.restic(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said() {
    let place = Place::new();
    let error = place.fail(&["snapshots"]).await;
    assert!(error.contains("no repository here"), "{error}");
    place.succeed(&["init"]).await;
    let error = place.fail(&["init"]).await;
    assert!(error.contains("already"), "{error}");
    let error = place.fail(&["restore", "abcd", "--target", "/tmp/x"]).await;
    assert!(error.contains("abcd"), "{error}");
    fs::write(place.path("password"), "wrong").unwrap();
    let error = place.fail(&["snapshots"]).await;
    assert!(error.contains("wrong password"), "{error}");
    fs::write(place.path("password"), " \n").unwrap();
    let error = place.fail(&["snapshots"]).await;
    assert!(error.contains("is empty"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_makes_a_check_fail() {
    let place = Place::new();
    place.succeed(&["init"]).await;
    let source = place.path("source");
    place.succeed(&["backup", source.to_str().unwrap()]).await;
    let mut packs = Vec::new();
    for directory in fs::read_dir(place.path("repository/data")).unwrap() {
        let directory = fs::read_dir(directory.unwrap().path()).unwrap();
        packs.extend(directory.map(|pack| pack.unwrap().path()));
    }
    fs::remove_file(&packs[0]).unwrap();
    let code = place.run(&["check"]).await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn wrong_usage_is_refused() {
    let place = Place::new();
    for arguments in [
        &["backup"][..],
        &["restore", "latest"],
        &["restore", "latest", "--target", "x", "--overwrite", "maybe"],
        &["backup", "x", "--force", "--parent", "latest"],
        &["backup", "--command", "dump.sql"],
        &["backup", "--command", "dump.sql", "--exclude", "x", "true"],
        &["unknown"],
    ] {
        Cli::try_parse_from(place.arguments(arguments)).unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_change_nothing_else() {
    let place = Place::new();
    let source = place.path("source");
    let source = source.to_str().unwrap();
    place.succeed(&["init"]).await;
    // More threads than fit into the memory: fewer do it.
    let machine = ["--threads", "64", "--memory", "30MiB"];
    let rates = [
        "--limit-upload",
        "1GiB/s",
        "--limit-download",
        "1GiB/s",
        "--limit-read",
        "1GiB/s",
    ];
    let backup = [&["backup", source][..], &machine, &rates].concat();
    place.succeed(&backup).await;
    let download = &rates[2..4];
    let check = [&["check", "--read-data", "--threads", "1"][..], download].concat();
    place.succeed(&check).await;
    let target = place.path("target");
    let target = target.to_str().unwrap();
    let restore = ["restore", "latest", "--target", target];
    place
        .succeed(&[&restore[..], &machine, download].concat())
        .await;
    let restored = place.path("target").join(source.trim_start_matches('/'));
    let comparison = compare(&place.path("source"), &restored, &CompareOptions::default()).unwrap();
    assert!(comparison.is_identical(), "{:?}", comparison.differences);
}

#[test]
fn limits_that_cannot_work_are_refused_with_what_can() {
    let place = Place::new();
    for (arguments, says) in [
        (
            &["backup", "x", "--threads", "0"][..],
            &["--threads", "'0'", "at least 1"][..],
        ),
        (
            &["restore", "latest", "--target", "x", "--memory", "1MiB"],
            &["--memory", "'1MiB'", "at least \"22MiB\""],
        ),
        (
            &["backup", "x", "--limit-upload", "0B/s"],
            &["--limit-upload", "'0B/s'", "at least \"1KiB/s\""],
        ),
        (
            &["check", "--limit-download", "fast"],
            &["--limit-download", "'fast'", "not a rate"],
        ),
        (
            &["backup", "x", "--limit-read", "9B/s"],
            &["--limit-read", "'9B/s'", "at least \"1KiB/s\""],
        ),
    ] {
        let error = Cli::try_parse_from(place.arguments(arguments)).unwrap_err();
        let error = error.to_string();
        for part in says {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn a_bucket_is_addressed_as_asked() {
    let place = Place::new();
    let password = place.path("password");
    let arguments = [
        "offline",
        "snapshots",
        "--repository=s3:http://192.0.2.1/bucket",
        "--addressing=virtual-host",
        "--password-file",
        password.to_str().unwrap(),
    ];
    let cli = Cli::try_parse_from(arguments).unwrap();
    let error = run(cli.offline).await.unwrap_err();
    assert!(format!("{error:#}").contains("in front of an address"));
}
