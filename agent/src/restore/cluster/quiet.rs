//! What a server that we start does not do: anything that the original does to
//! the world around it.
//!
//! These settings stand in a block at the end of `postgresql.auto.conf`. So
//! they hold for whoever starts the server again by hand, until he takes the
//! lines away; what only this run concerns (`server`) is on its command line.
//! Restored with `keep_settings`, none of it is there.

use std::{fs, io::Read};

use strongroom_postgres::physical::manifest::Manifest;

use super::{
    ClusterRestoreError,
    auto_conf::{self, Block, FILE},
    owner::Owner,
    programs::Programs,
    recovery::RecoveryError,
};
use crate::allowed::AllowedDirectory;

const BLOCK: Block = Block {
    begin: "# Strongroom: switched off in this restored cluster.",
    end: "# Strongroom: end of what is switched off.",
};

const PRELOADED: &str = "shared_preload_libraries";

/// What a library of an extension calls that has a resource manager of its own.
const REGISTERS: &[u8] = b"RegisterCustomRmgr";

/// Larger libraries are not looked into.
const LARGEST_LIBRARY: u64 = 256 << 20;

/// For whom it holds: major versions from one to another.
struct Setting(&'static str, &'static str, std::ops::RangeInclusive<u32>);

const ALL: std::ops::RangeInclusive<u32> = 0..=u32::MAX;

/// Beside the preloaded libraries.
const SETTINGS: [Setting; 18] = [
    // The archive is the original's. Neither commands nor libraries are run.
    Setting("archive_mode", "off", ALL),
    Setting("archive_cleanup_command", "", ALL),
    Setting("recovery_end_command", "", ALL),
    // Slots of publishers and of a primary have one taker.
    Setting("max_logical_replication_workers", "0", ALL),
    Setting("primary_conninfo", "", ALL),
    Setting("primary_slot_name", "", ALL),
    // Commits would wait for standbys that are not there.
    Setting("synchronous_standby_names", "", ALL),
    Setting("session_preload_libraries", "", ALL),
    Setting("local_preload_libraries", "", ALL),
    // It runs functions of the databases' owners, in indexes and their statistics.
    Setting("autovacuum", "off", ALL),
    Setting("listen_addresses", "127.0.0.1", ALL),
    Setting("bonjour", "off", ALL),
    // It may run a command for the key.
    Setting("ssl", "off", ALL),
    // These lie outside of the data directory, often, and are the original's.
    Setting("external_pid_file", "", ALL),
    Setting("logging_collector", "off", ALL),
    Setting("log_destination", "stderr", ALL),
    Setting("stats_temp_directory", "pg_stat_tmp", 0..=14),
    Setting("event_triggers", "off", 17..=u32::MAX),
];

/// The libraries that the original preloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Libraries {
    /// Replay needs them.
    kept: Vec<String>,
    left: Vec<String>,
}

/// Decided: which settings, for which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    major: u32,
    libraries: Libraries,
}

impl Quiet {
    /// Decides which libraries replay needs, of those that are installed beside
    /// the server: `managers` are the resource managers of extensions in the log.
    pub(super) fn decide(
        manifest: &Manifest,
        managers: impl Iterator<Item = u8>,
        programs: &Programs,
    ) -> Result<Self, ClusterRestoreError> {
        let preloaded = manifest.settings.get(PRELOADED);
        let preloaded = preloaded.map_or("", String::as_str);
        let managers: Vec<_> = managers.map(|it| it.to_string()).collect();
        let directories = programs.library_directories();
        let (kept, left): (Vec<_>, Vec<_>) = list(preloaded)
            .into_iter()
            .partition(|library| !managers.is_empty() && may_register(library, &directories));
        if kept.is_empty() && !managers.is_empty() {
            return Err(ClusterRestoreError::NoLibrary {
                managers: managers.join(", "),
                libraries: if left.is_empty() {
                    "none".into()
                } else {
                    left.join(", ")
                },
            });
        }
        Ok(Self {
            major: manifest.major,
            libraries: Libraries { kept, left },
        })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let ours = SETTINGS.iter().filter(|it| it.2.contains(&self.major));
        let mut all: Vec<_> = ours
            .map(|Setting(name, value, _)| (*name, (*value).to_owned()))
            .collect();
        let quoted = |it: &String| format!("\"{}\"", it.replace('"', "\"\""));
        let kept: Vec<_> = self.libraries.kept.iter().map(quoted).collect();
        all.push((PRELOADED, kept.join(", ")));
        all
    }

    /// For people: what is off, and how it comes on again.
    pub(super) fn notes(&self, target: &str) -> Vec<String> {
        let Libraries { kept, left } = &self.libraries;
        let mut notes = vec![
            "switched off, so that it does nothing of what the original does: archiving, \
             subscriptions, commits that wait for standbys, connections from other hosts, \
             preloaded libraries and the jobs that they run, autovacuum"
                .to_owned(),
        ];
        if !left.is_empty() {
            notes.push(format!(
                "libraries that are not preloaded: {}",
                left.join(", ")
            ));
        }
        if !kept.is_empty() {
            notes.push(format!(
                "libraries that are preloaded, for the log holds records of theirs: {}",
                kept.join(", ")
            ));
        }
        notes.push(format!(
            "to have it do what the original does, remove the lines between \"{}\" and \"{}\" \
             from {target}/{FILE} and restart it, or restore with --keep-settings; started by \
             hand, it takes its port from its configuration",
            BLOCK.begin, BLOCK.end
        ));
        notes
    }
}

/// Switches off what `quiet` says; `None`: everything is as the original had it.
pub(super) fn switch_off(
    target: &AllowedDirectory,
    owner: Option<&Owner>,
    quiet: Option<&Quiet>,
) -> Result<(), RecoveryError> {
    let lines = quiet.map(|quiet| {
        let more = "Remove these lines to have it do what the original does.";
        BLOCK.lines(more, &quiet.settings())
    });
    auto_conf::edit(target, owner, BLOCK, &lines.unwrap_or_default())
}

/// The names in a list of libraries, as `SplitDirectoriesString` in PostgreSQL's
/// `utils/adt/varlena.c` takes it apart: between commas, with quotes or without.
fn list(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some((part, behind)) = rest.split_once('"') {
                name.push_str(part);
                rest = behind;
                let Some(doubled) = rest.strip_prefix('"') else {
                    break;
                };
                name.push('"');
                rest = doubled;
            }
            rest = rest.split_once(',').map_or("", |(_, behind)| behind);
        } else {
            let (plain, behind) = rest.split_once(',').unwrap_or((rest, ""));
            name.push_str(plain.trim_end());
            rest = behind;
        }
        if !name.is_empty() {
            names.push(name);
        }
        rest = rest.trim_start();
    }
    names
}

/// Of a list that somebody wrote: what we write of it is read as the same.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    let kept = list(text);
    assert!(kept.iter().all(|name| !name.is_empty()));
    let libraries = Libraries {
        kept: kept.clone(),
        left: Vec::new(),
    };
    let written = Quiet {
        major: 15,
        libraries,
    };
    let (_, value) = written.settings().pop().expect("there are some");
    assert_eq!(list(&value), kept);
}

/// Whether a library may have a resource manager: it says so, or is not found
/// where libraries lie.
fn may_register(library: &str, directories: &[std::path::PathBuf]) -> bool {
    let name = library.strip_prefix("$libdir/").unwrap_or(library);
    let name = name.strip_suffix(".so").unwrap_or(name);
    // Absolute ones are themselves.
    let mut files = directories.iter().map(|it| it.join(format!("{name}.so")));
    let content = files.find_map(|path| {
        let file = fs::File::open(path).ok()?;
        let mut content = Vec::new();
        file.take(LARGEST_LIBRARY).read_to_end(&mut content).ok()?;
        Some(content)
    });
    content.is_none_or(|content| {
        content
            .windows(REGISTERS.len())
            .any(|window| window == REGISTERS)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use strongroom_tests::scratch::Scratch;

    use super::*;

    #[test]
    fn lists_of_libraries_are_taken_apart_as_a_server_does() {
        for (text, wanted) in [
            ("", &[][..]),
            (" ", &[]),
            ("pg_cron", &["pg_cron"]),
            ("a, b ,c", &["a", "b", "c"]),
            (
                "\"with, comma\",\"a \"\"quote\"\"\" , b",
                &["with, comma", "a \"quote\"", "b"],
            ),
            ("$libdir/x,,y", &["$libdir/x", "y"]),
            ("\"unended", &[]),
        ] {
            assert_eq!(list(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_library_is_kept_that_may_have_a_resource_manager() {
        let scratch = Scratch::new("quiet-libraries");
        fs::write(
            scratch.join("table_am.so"),
            b"\x7fELF\0RegisterCustomRmgr\0",
        )
        .unwrap();
        fs::write(
            scratch.join("cron.so"),
            b"\x7fELF\0RegisterBackgroundWorker\0",
        )
        .unwrap();
        let directories = [scratch.path().to_owned()];
        for (library, wanted) in [
            ("table_am", true),
            ("$libdir/table_am", true),
            ("cron", false),
            ("cron.so", false),
            ("$libdir/cron", false),
            ("lies_elsewhere", true),
        ] {
            assert_eq!(may_register(library, &directories), wanted, "{library}");
        }
        let absolute = scratch.join("cron");
        assert!(!may_register(absolute.to_str().unwrap(), &directories));
    }

    /// A line of [`SETTINGS`] that is lost is missed here: not every server has
    /// each of them, and some need what a test has not.
    #[test]
    fn whatever_reaches_out_is_off() {
        let all = [
            ("archive_mode", "off"),
            ("archive_cleanup_command", ""),
            ("recovery_end_command", ""),
            ("max_logical_replication_workers", "0"),
            ("primary_conninfo", ""),
            ("primary_slot_name", ""),
            ("synchronous_standby_names", ""),
            ("session_preload_libraries", ""),
            ("local_preload_libraries", ""),
            ("shared_preload_libraries", ""),
            ("autovacuum", "off"),
            ("listen_addresses", "127.0.0.1"),
            ("bonjour", "off"),
            ("ssl", "off"),
            ("external_pid_file", ""),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ];
        for (major, more) in [
            (13, Some(("stats_temp_directory", "pg_stat_tmp"))),
            (14, Some(("stats_temp_directory", "pg_stat_tmp"))),
            (15, None),
            (16, None),
            (17, Some(("event_triggers", "off"))),
            (18, Some(("event_triggers", "off"))),
        ] {
            let libraries = Libraries::default();
            let made = Quiet { major, libraries }.settings();
            let made: BTreeMap<_, _> = made.iter().map(|(name, it)| (*name, &**it)).collect();
            let wanted: BTreeMap<_, _> = all.into_iter().chain(more).collect();
            assert_eq!(made, wanted, "{major}");
        }
    }

    #[test]
    fn each_setting_is_made_once_and_only_where_it_exists() {
        let settings = |major| {
            let libraries = Libraries {
                kept: vec!["a".into(), "b\"c".into()],
                left: vec![],
            };
            Quiet { major, libraries }.settings()
        };
        for (major, older, newer) in [(13, true, false), (15, false, false), (17, false, true)] {
            let all = settings(major);
            let names: BTreeSet<_> = all.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.len(), all.len());
            assert_eq!(names.contains("stats_temp_directory"), older);
            assert_eq!(names.contains("event_triggers"), newer);
        }
        let (name, value) = settings(15).pop().unwrap();
        assert_eq!(
            (name, list(&value)),
            (PRELOADED, vec!["a".into(), "b\"c".into()])
        );
    }
}
