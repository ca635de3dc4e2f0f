//! The script that runs failed tests again, with a `cargo` that does as it is told.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use strongroom_tests::scratch::Scratch;

/// Answers as `cargo nextest` and `cargo test` do. `first`: names that fail when all
/// run; `second` and `third`: that fail alone, the first and the second time.
const CARGO: &str = r#"#!/usr/bin/env bash
echo "$*" >>"$PLACE/calls"
[[ "$1 $2" != "nextest --version" ]] || exit "$NEXTEST"
[[ "$*" != *profile\ again* && "$*" != *--exact* ]] || {
    name=${*##*(=}; name=${name%)}; name=${name##* }
    echo "$name" >>"$PLACE/alone"
    [[ $(grep -cx "$name" "$PLACE/alone") == 1 ]] && list=second || list=third
    ! grep -qx "$name" "$PLACE/$list"
    exit
}
[[ ! -e $PLACE/broken ]] || exit 101
mkdir -p "$CARGO_TARGET_DIR/nextest/ci"
{
    while read -r name; do
        echo "test $name ... FAILED" >&3
        echo "<testcase name=\"$name\" classname=\"some::binary\" time=\"1\">"
        echo "<failure type=\"test failure\">no</failure></testcase>"
    done <"$PLACE/first"
    echo "test good ... ok" >&3
    echo '<testcase name="good" classname="some::binary" time="1"></testcase>'
} 3>&1 >"$CARGO_TARGET_DIR/nextest/ci/junit.xml"
[[ ! -s $PLACE/first ]]
"#;

struct Run {
    code: i32,
    /// What ran alone, in order.
    alone: Vec<String>,
    flaky: String,
    said: String,
}

/// Runs it where these fail: first with all others, then alone.
fn again(nextest: bool, broken: bool, [first, second, third]: [&[&str]; 3]) -> Run {
    let scratch = Scratch::new("again");
    for (name, list) in [("first", first), ("second", second), ("third", third)] {
        let mut lines = list.join("\n");
        if !lines.is_empty() {
            lines.push('\n');
        }
        scratch.file(name, &lines);
    }
    if broken {
        scratch.file("broken", "");
        // Of an earlier run.
        let report = "<testcase name=\"old\" classname=\"b\">\n<failure type=\"x\">no</failure>\n";
        let reports = scratch.dir("target/nextest/ci");
        fs::write(reports.join("junit.xml"), report).expect("a report");
    }
    scratch.file("alone", "");
    let cargo = scratch.dir("bin").join("cargo");
    fs::write(&cargo, CARGO).expect("a script");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = std::env::var("PATH").expect("a path");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("again"))
        .args(["--workspace", "--", "filter"])
        .env("PATH", format!("{}:{path}", scratch.join("bin").display()))
        .env("PLACE", scratch.path())
        .env("NEXTEST", if nextest { "0" } else { "101" })
        .env("CARGO_TARGET_DIR", scratch.dir("target"))
        .env("STRONGROOM_FLAKY_FILE", scratch.join("flaky"))
        .output()
        .expect("the script runs");
    let alone = fs::read_to_string(scratch.join("alone")).expect("a list");
    Run {
        code: output.status.code().expect("a code"),
        alone: alone.lines().map(str::to_owned).collect(),
        flaky: fs::read_to_string(scratch.join("flaky")).unwrap_or_default(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn what_passes_is_not_run_again() {
    for nextest in [true, false] {
        let run = again(nextest, false, [&[], &[], &[]]);
        assert_eq!((run.code, run.alone.len()), (0, 0), "{}", run.said);
        assert_eq!(run.flaky, "");
    }
}

#[test]
fn what_fails_once_and_passes_alone_twice_is_flaky() {
    for nextest in [true, false] {
        let run = again(nextest, false, [&["a::one", "b::two"], &[], &[]]);
        assert_eq!(run.code, 0, "{}", run.said);
        assert_eq!(run.alone, ["a::one", "a::one", "b::two", "b::two"]);
        let binary = if nextest { "some::binary" } else { "any" };
        let flaky = format!("{binary} a::one\n{binary} b::two\n");
        assert_eq!(run.flaky, flaky);
        assert!(run.said.contains("FLAKY"), "{}", run.said);
    }
}

#[test]
fn what_fails_alone_has_failed_the_first_time_or_the_second() {
    for nextest in [true, false] {
        let run = again(nextest, false, [&["a::one"], &["a::one"], &[]]);
        assert_eq!((run.code, run.alone.len()), (1, 1), "{}", run.said);
        let run = again(nextest, false, [&["a::one", "b::two"], &[], &["a::one"]]);
        assert_eq!((run.code, run.alone.len()), (1, 4), "{}", run.said);
        assert!(run.said.contains("FAILED"), "{}", run.said);
        assert!(run.flaky.ends_with("b::two\n") && run.flaky.lines().count() == 1);
    }
}

#[test]
fn many_failures_and_builds_that_fail_are_no_rare_ones() {
    let nine = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for nextest in [true, false] {
        let run = again(nextest, false, [&nine, &[], &[]]);
        assert_eq!((run.code, run.alone.len()), (1, 0), "{}", run.said);
        let run = again(nextest, false, [&nine[..8], &[], &[]]);
        assert_eq!((run.code, run.alone.len()), (0, 16), "{}", run.said);
    }
    let run = again(true, true, [&[], &[], &[]]);
    assert_eq!((run.code, run.alone.len()), (1, 0), "{}", run.said);
    assert!(run.said.contains("nothing is run again"), "{}", run.said);
}
