//! `backup_label` and `tablespace_map`, as the server gives them at the end of
//! a backup and reads them at the start of a recovery.

use super::{Lsn, TimelineId, names::oid};

/// What a `backup_label` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins.
    pub start: Lsn,
    /// The checkpoint that it begins with.
    pub checkpoint: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Taken from a standby.
    pub from_standby: bool,
}

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// A line of `backup_label` is missing or not understood.
    #[error("backup_label has no valid line \"{0}\"")]
    Line(&'static str),
    /// A line of `tablespace_map` is none.
    #[error("tablespace_map has an invalid line {0}")]
    Map(usize),
}

impl BackupLabel {
    /// Parses what `pg_backup_stop` gave, or the file.
    pub fn parse(text: &str) -> Result<Self, InvalidLabel> {
        let field = |key: &'static str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            let value = value.and_then(|rest| rest.strip_prefix(": "));
            value.ok_or(InvalidLabel::Line(key))
        };
        let position = |key| {
            let value = field(key)?;
            let lsn = value.split(' ').next().unwrap_or_default();
            lsn.parse().map_err(|_| InvalidLabel::Line(key))
        };
        let timeline = "START TIMELINE";
        Ok(Self {
            start: position("START WAL LOCATION")?,
            checkpoint: position("CHECKPOINT LOCATION")?,
            timeline: field(timeline)?
                .parse()
                .map(TimelineId)
                .map_err(|_| InvalidLabel::Line(timeline))?,
            from_standby: field("BACKUP FROM")? == "standby",
        })
    }
}

/// A tablespace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tablespace {
    /// Its number, and the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it lies: absolute.
    pub path: String,
}

/// Parses a `tablespace_map`: per line a number, a space and a path in which a
/// backslash stands before line ends and backslashes.
pub fn parse_tablespace_map(text: &str) -> Result<Vec<Tablespace>, InvalidLabel> {
    let mut found = Vec::new();
    let mut line = String::new();
    let mut escaped = false;
    for character in text.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            '\n' | '\r' if !escaped => {
                if !line.is_empty() {
                    found.push(tablespace(&line, found.len() + 1)?);
                }
                line.clear();
            }
            character => {
                line.push(character);
                escaped = false;
            }
        }
    }
    if !line.is_empty() {
        found.push(tablespace(&line, found.len() + 1)?);
    }
    Ok(found)
}

fn tablespace(line: &str, number: usize) -> Result<Tablespace, InvalidLabel> {
    let invalid = || InvalidLabel::Map(number);
    let (digits, path) = line.split_once(' ').ok_or_else(invalid)?;
    Ok(Tablespace {
        oid: oid(digits.as_bytes()).ok_or_else(invalid)?,
        path: path.to_owned(),
    })
}

/// Writes a `tablespace_map`.
pub fn write_tablespace_map(tablespaces: &[Tablespace]) -> String {
    let mut text = String::new();
    for tablespace in tablespaces {
        text.push_str(&tablespace.oid.to_string());
        text.push(' ');
        for character in tablespace.path.chars() {
            if matches!(character, '\n' | '\r' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LABEL: &str = "START WAL LOCATION: 0/5000028 (file 000000010000000000000005)\n\
        CHECKPOINT LOCATION: 0/5000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-21 12:00:00 UTC\nLABEL: strongroom\nSTART TIMELINE: 1\n";

    #[test]
    fn a_label_s_lines_are_found() {
        let label = BackupLabel::parse(LABEL).unwrap();
        assert_eq!(label.start, "0/5000028".parse().unwrap());
        assert_eq!(label.checkpoint, "0/5000060".parse().unwrap());
        assert_eq!(label.timeline, TimelineId(1));
        assert!(!label.from_standby);
        let standby = LABEL.replace("primary", "standby");
        assert!(BackupLabel::parse(&standby).unwrap().from_standby);
    }

    #[test]
    fn a_line_that_is_missing_or_wrong_is_named() {
        for (line, broken) in [
            ("START WAL LOCATION", LABEL.replace("0/5000028", "here")),
            ("CHECKPOINT LOCATION", LABEL.replace("CHECKPOINT", "CHECK")),
            ("START TIMELINE", LABEL.replace("START TIMELINE: 1", "")),
        ] {
            let error = BackupLabel::parse(&broken).unwrap_err();
            assert_eq!(error, InvalidLabel::Line(line));
        }
    }

    #[test]
    fn tablespaces_of_any_path_come_back() {
        let tablespaces: Vec<_> = ["/srv/fast disk", "/with\nline", "/back\\slash\r", "/ends\\"]
            .iter()
            .zip(16_400..)
            .map(|(path, oid)| Tablespace {
                oid,
                path: (*path).into(),
            })
            .collect();
        let text = write_tablespace_map(&tablespaces);
        assert_eq!(parse_tablespace_map(&text), Ok(tablespaces));
        assert_eq!(parse_tablespace_map(""), Ok(vec![]));
        for wrong in ["x /srv\n", "16400\n", "0 /srv\n"] {
            assert_eq!(parse_tablespace_map(wrong), Err(InvalidLabel::Map(1)));
        }
    }
}
