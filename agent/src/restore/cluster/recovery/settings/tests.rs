//! Files of settings as a server reads them.

use std::{fs, process::Command};

use proptest::prelude::*;
use strongroom_layout::position::Lsn;
use strongroom_tests::scratch::Scratch;

use super::*;
use crate::restore::cluster::auto_conf::{FILE, without};

fn named(path: &Path) -> AllowedDirectory {
    AllowedDirectory::named(path).unwrap()
}

fn settings(stop: RecoveryTarget) -> Settings {
    Settings {
        restore_command: copying(Path::new("/d")).unwrap(),
        timeline: TimelineId(3),
        stop,
    }
}

/// What a server understands: the last of each name, quotes removed.
fn understood(text: &str, name: &str) -> Option<String> {
    let prefix = format!("{name} = '");
    let line = text.lines().rfind(|line| line.starts_with(&prefix))?;
    let inner = line.strip_prefix(&prefix)?.strip_suffix('\'')?;
    let mut value = String::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character == '\'' {
            assert_eq!(rest.next(), Some('\''), "{line}");
        }
        value.push(match character {
            '\\' => match rest.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    Some(value)
}

#[test]
fn exactly_one_target_is_set_and_none_behind_it() {
    let at = "2026-11-20T12:00:00.5+01:00".parse().unwrap();
    let all = [
        (
            RecoveryTarget::Time(at),
            "recovery_target_time",
            "2026-11-20 11:00:00.500000+00",
        ),
        (
            RecoveryTarget::Lsn(Lsn(0x1_2000_0028)),
            "recovery_target_lsn",
            "1/20000028",
        ),
        (RecoveryTarget::Xid(742), "recovery_target_xid", "742"),
        (
            RecoveryTarget::RestorePoint("it's \\ here".into()),
            "recovery_target_name",
            "it's \\ here",
        ),
    ];
    for (stop, name, value) in all {
        let lines = settings(stop).lines();
        let set: Vec<_> = TARGETS
            .into_iter()
            .filter(|name| understood(&lines, name).unwrap() != "")
            .collect();
        assert_eq!(set, [name], "{lines}");
        assert_eq!(understood(&lines, name).unwrap(), value);
        let last = lines
            .lines()
            .rfind(|line| line.starts_with("recovery_target"));
        assert!(last.unwrap().starts_with(name), "{lines}");
    }
    let latest = settings(RecoveryTarget::Latest).lines();
    assert!(
        TARGETS
            .iter()
            .all(|name| understood(&latest, name).unwrap().is_empty())
    );
    assert_eq!(
        understood(&latest, "recovery_target_timeline").unwrap(),
        "3"
    );
}

#[test]
fn what_the_original_would_do_in_a_recovery_is_set_again() {
    // Its commands could remove files, and it would wait, or stop for ever.
    for stop in [RecoveryTarget::Latest, RecoveryTarget::Xid(742)] {
        let lines = settings(stop).lines();
        for (name, value) in [
            ("recovery_end_command", ""),
            ("archive_cleanup_command", ""),
            ("recovery_min_apply_delay", "0"),
            ("recovery_target_action", "promote"),
            ("recovery_target_inclusive", "on"),
            ("hot_standby", "off"),
        ] {
            assert_eq!(understood(&lines, name).as_deref(), Some(value), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn names_of_any_kind_are_understood(name in "[^\0]{1,20}") {
        let lines = settings(RecoveryTarget::RestorePoint(name.clone())).lines();
        prop_assert_eq!(understood(&lines, "recovery_target_name").unwrap(), name);
        // And leave no line behind when it is over.
        let left = without(format!("a = 'b'\n{lines}c = 'd'\n").as_bytes(), BLOCK);
        prop_assert_eq!(left, b"a = 'b'\nc = 'd'\n");
    }
}

#[test]
fn the_settings_come_last_and_go_again() {
    let scratch = Scratch::new("recovery-settings");
    let path = scratch.join(FILE);
    // No line end at the end, as editors leave it.
    fs::write(&path, "port = '5'\nrecovery_target_xid = '7'").unwrap();
    let settings = settings(RecoveryTarget::Lsn(Lsn(5)));
    for _ in 0..2 {
        settings.write(&named(scratch.path()), None).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(BLOCK.begin).count(), 1, "{text}");
        assert_eq!(understood(&text, "recovery_target_xid").unwrap(), "");
        assert_eq!(understood(&text, "port").unwrap(), "5");
    }
    assert!(is_signalled(&named(scratch.path())).unwrap());
    forget(&named(scratch.path()), None).unwrap();
    let left = fs::read_to_string(&path).unwrap();
    assert_eq!(left, "port = '5'\nrecovery_target_xid = '7'\n");
    fs::remove_file(&path).unwrap();
    settings.write(&named(scratch.path()), None).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with(BLOCK.begin));
}

#[test]
fn a_link_in_the_place_of_the_settings_is_refused() {
    let scratch = Scratch::new("recovery-settings-link");
    let precious = scratch.file("precious", "data");
    std::os::unix::fs::symlink(&precious, scratch.join(FILE)).unwrap();
    let latest = settings(RecoveryTarget::Latest);
    latest.write(&named(scratch.path()), None).unwrap_err();
    assert_eq!(fs::read(precious).unwrap(), b"data");
}

#[test]
fn a_shell_sees_every_path_as_it_is() {
    let scratch = Scratch::new("recovery-shell");
    let odd = scratch.dir("odd $HOME `x` 'quoted' \"path\" 100% %f");
    fs::write(odd.join("segment"), "log").unwrap();
    let command = copying(&odd).unwrap();
    // As the server replaces it.
    let command = command.replace("%%", "\u{1}");
    let command = command.replace("%f", "segment").replace("%p", "to here");
    let mut shell = Command::new("sh");
    let shell = shell.arg("-c").arg(command.replace('\u{1}', "%"));
    assert!(
        shell
            .current_dir(scratch.path())
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(fs::read(scratch.join("to here")).unwrap(), b"log");
    let waiting = waiting(Path::new("/usr/bin/a b"), Path::new("/d")).unwrap();
    assert_eq!(waiting, "'/usr/bin/a b' wal fetch '/d' %f \"%p\"");
}
