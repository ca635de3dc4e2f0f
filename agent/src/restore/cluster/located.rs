//! Settings that say where a cluster's own files lie.
//!
//! A configuration that was copied with its cluster names the original's
//! directory, if it names any: whoever starts the copy by hand starts the
//! original, or has it write the original's pid file. So where a restored
//! configuration has such a setting, or takes in others that may, the settings
//! are made again at its end, and name the restored directory. A configuration
//! without them is left alone: that directory may be moved.
//!
//! `postgresql.auto.conf` wins over `postgresql.conf`, but for the data
//! directory, which it cannot set. What we start ourselves has these settings on
//! its command line, too (`server`).

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::{fs::readlinkat, io::Errno};

use super::{
    ClusterRestoreError,
    auto_conf::{self, Block, quoted, read, replace, with},
    owner::Owner,
};
use crate::allowed::AllowedDirectory;

const BLOCK: Block = Block {
    begin: "# Strongroom: where this restored cluster lies.",
    end: "# Strongroom: end of where it lies.",
};
const MORE: &str = "Before, its configuration led to the original. Edit these \
     lines when you move the directory.";

/// The files, under what name each is written anew, and whether it can say where
/// the data directory is.
const FILES: [(&str, &str, bool); 2] = [
    ("postgresql.conf", "postgresql.conf.strongroom", true),
    (auto_conf::FILE, auto_conf::NEW, false),
];

const DATA_DIRECTORY: &str = "data_directory";

/// Has the configuration of a restored cluster lead nowhere else. Gives notes on
/// what was done, for people.
pub(super) fn settle(
    target: &AllowedDirectory,
    owner: Option<&Owner>,
) -> Result<Vec<String>, ClusterRestoreError> {
    let root = target.descriptor();
    let root = root.map_err(ClusterRestoreError::file("open", target.path()))?;
    let mut notes = Vec::new();
    for (name, unfinished, all) in FILES {
        let path = target.path().join(name);
        let text = text_of(&root, name).map_err(ClusterRestoreError::file("read", &path))?;
        // Lines of an earlier restore of its original lead to that.
        if !leads_elsewhere(&text) && !has_ours(&text) {
            continue;
        }
        let mut settings = settings(target.path()).map_err(ClusterRestoreError::file(
            "name in a setting",
            target.path(),
        ))?;
        settings.retain(|(name, _)| all || *name != DATA_DIRECTORY);
        let names: Vec<_> = settings.iter().map(|(name, _)| *name).collect();
        let lines = BLOCK.lines(MORE, &settings);
        replace(
            &root,
            (name, unfinished),
            owner,
            &with(&text, BLOCK, &lines),
        )
        .map_err(ClusterRestoreError::file("write", &path))?;
        notes.push(format!(
            "its {name} may say where the original lies: {} are set again at the end of it, so \
             that they lead to {}; edit those lines if you move the directory",
            names.join(", "),
            target.path().display()
        ));
    }
    Ok(notes)
}

/// Of a link, a text that takes in what it leads to.
fn text_of(root: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    match readlinkat(root, name, Vec::new()) {
        Ok(to) => {
            let to = to.into_string().map_err(io::Error::other)?;
            Ok(format!("include '{}'\n", quoted(&to)).into_bytes())
        }
        Err(Errno::INVAL | Errno::NOENT) => read(root, name),
        Err(error) => Err(error.into()),
    }
}

fn settings(target: &Path) -> io::Result<Vec<(&'static str, String)>> {
    let file = |name: &str| {
        let path = target.join(name).into_os_string().into_string();
        path.map_err(|_| io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8"))
    };
    let data = file("")?.trim_end_matches('/').to_owned();
    Ok(vec![
        (DATA_DIRECTORY, data),
        ("hba_file", file("pg_hba.conf")?),
        ("ident_file", file("pg_ident.conf")?),
        ("external_pid_file", String::new()),
    ])
}

/// Whether a configuration says where something lies, or takes in another one.
/// As in PostgreSQL's `utils/misc/guc-file.l`, a line is a name, in any case, and
/// what is behind it.
fn leads_elsewhere(text: &[u8]) -> bool {
    const NAMES: [&str; 7] = [
        DATA_DIRECTORY,
        "hba_file",
        "ident_file",
        "external_pid_file",
        "include",
        "include_if_exists",
        "include_dir",
    ];
    let text = String::from_utf8_lossy(&without_ours(text)).into_owned();
    text.split(['\n', '\r']).any(|line| {
        let line = line.trim_start();
        let in_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let end = line.find(|it: char| !in_name(it)).unwrap_or(line.len());
        NAMES
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&line[..end]))
    })
}

fn has_ours(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(BLOCK.begin.as_bytes()))
}

fn without_ours(text: &[u8]) -> Vec<u8> {
    auto_conf::without(text, BLOCK)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use strongroom_tests::scratch::Scratch;

    use super::*;

    fn settled(text: &str) -> (String, Vec<String>, Scratch) {
        let scratch = Scratch::new("located");
        fs::write(scratch.join("postgresql.conf"), text).unwrap();
        let target = AllowedDirectory::named(scratch.path()).unwrap();
        let notes = settle(&target, None).unwrap();
        let text = fs::read_to_string(scratch.join("postgresql.conf")).unwrap();
        (text, notes, scratch)
    }

    #[test]
    fn a_configuration_that_leads_elsewhere_ends_with_where_it_lies() {
        for line in [
            "data_directory = '/srv/original'",
            "  Data_Directory '/srv/original'",
            "hba_file='/etc/hba'",
            "ident_file = x",
            "external_pid_file = '/run/original.pid'",
            "include '/etc/common'",
            "include_if_exists = 'x'",
            "port = 1\r\tINCLUDE_DIR 'conf.d'",
        ] {
            let (text, notes, scratch) = settled(line);
            let behind = text.strip_prefix(line).expect(line);
            let path = scratch.path().display();
            for part in [
                format!("\ndata_directory = '{path}'\n"),
                format!("\nhba_file = '{path}/pg_hba.conf'\n"),
                format!("\nident_file = '{path}/pg_ident.conf'\n"),
                "\nexternal_pid_file = ''\n".into(),
                "\n# Strongroom: ".into(),
            ] {
                assert!(behind.contains(&part), "{part:?} is not in {text}");
            }
            assert_eq!(notes.len(), 1);
            assert!(notes[0].contains("data_directory"), "{notes:?}");
            // Again, as a restore that goes on does: once.
            let target = AllowedDirectory::named(scratch.path()).unwrap();
            settle(&target, None).unwrap();
            let again = fs::read_to_string(scratch.join("postgresql.conf")).unwrap();
            assert_eq!(again, text);
        }
    }

    #[test]
    fn a_configuration_that_leads_nowhere_is_left_alone() {
        for text in [
            "",
            "#data_directory = 'ConfigDir'\nport = 5432",
            "log_directory = '/var/log'\n # hba_file = 'x'\n",
            "my.data_directory = 'x'\ninclude_something = 1\n",
        ] {
            let (after, notes, _scratch) = settled(text);
            assert_eq!((after.as_str(), notes.len()), (text, 0));
        }
    }

    #[test]
    fn lines_of_an_earlier_restore_lead_to_this_one_then() {
        let (first, ..) = settled("include 'x'\n");
        let alone = first.strip_prefix("include 'x'\n").unwrap();
        let (text, notes, scratch) = settled(alone);
        assert_eq!(notes.len(), 1);
        let path = format!("data_directory = '{}'", scratch.path().display());
        assert!(text.contains(&path), "{text}");
        assert_eq!(text.matches("data_directory").count(), 1, "{text}");
    }

    #[test]
    fn what_was_set_by_statement_is_set_again_behind_it() {
        let scratch = Scratch::new("located-auto");
        let auto = scratch.file(auto_conf::FILE, "hba_file = '/srv/original/pg_hba.conf'\n");
        let target = AllowedDirectory::named(scratch.path()).unwrap();
        assert_eq!(settle(&target, None).unwrap().len(), 1);
        let text = fs::read_to_string(auto).unwrap();
        let wanted = format!("hba_file = '{}/pg_hba.conf'", scratch.path().display());
        assert!(text.contains(&wanted), "{text}");
        assert!(!text.contains(DATA_DIRECTORY), "{text}");
        assert!(!scratch.join("postgresql.conf").exists());
    }

    #[test]
    fn a_linked_configuration_becomes_a_file_that_takes_it_in() {
        let scratch = Scratch::new("located-link");
        let original = scratch.file("it's original", "data_directory = '/srv/original'\n");
        let conf = scratch.join("postgresql.conf");
        symlink(&original, &conf).unwrap();
        let target = AllowedDirectory::named(scratch.path()).unwrap();
        settle(&target, None).unwrap();
        assert!(!conf.is_symlink());
        let text = fs::read_to_string(conf).unwrap();
        let include = original.display().to_string().replace('\'', "''");
        assert!(
            text.starts_with(&format!("include '{include}'\n# Strongroom")),
            "{text}"
        );
        assert!(text.contains("data_directory = "), "{text}");
        let kept = fs::read_to_string(original).unwrap();
        assert_eq!(kept, "data_directory = '/srv/original'\n");
    }
}
