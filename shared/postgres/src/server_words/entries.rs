//! Which entries of a dump `pg_restore --verbose` could not make. Pure.
//!
//! ```text
//! pg_restore: creating INDEX "public.by_name"
//! pg_restore: while PROCESSING TOC:
//! pg_restore: from TOC entry 3238; 1259 16408 INDEX by_name postgres
//! pg_restore: error: could not execute query: ERROR:  function unaccent(text) does not exist
//! pg_restore: warning: errors ignored on restore: 1
//! ```
//!
//! With several jobs, lines of one may stand between two of another. A line's
//! text is written in one piece, what it begins with in another: so an entry is
//! found whatever stands before it, and is the right one; the error beside it
//! may be another's.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{HELD_BACK, Listener};

/// Who speaks.
const PROGRAM: &str = "pg_restore:";
/// Settings that a newer `pg_restore` asks for and an older server does not
/// know; nothing of a restore depends on them.
const SETTINGS: [&str; 2] = ["transaction_timeout", "idle_session_timeout"];
/// Remarks that are kept.
const REMARKS: usize = 100;

/// What was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// By their number in the dump: entries that failed, with the error as far
    /// as it may be shown.
    pub failed: BTreeMap<u32, String>,
    /// Settings that the server does not know.
    pub unknown_settings: BTreeSet<String>,
    /// Errors of no entry, and warnings.
    pub remarks: Vec<String>,
    /// It says that it went on to its end in spite of errors.
    pub finished: bool,
}

/// Hears one `pg_restore --verbose`, line by line.
#[derive(Debug, Default)]
pub struct EntryListener {
    listener: Listener,
    entry: Option<u32>,
    /// What was heard so far.
    pub heard: Heard,
}

impl EntryListener {
    /// Takes a line; gives what of it may be shown as the program's last words.
    pub fn hear(&mut self, line: &str) -> Option<String> {
        let shown = self.listener.hear(line);
        // Several jobs write pieces of lines between each other's.
        let mut words = line.trim_end();
        if words.trim_start().starts_with(PROGRAM)
            && let Some(at) = words.rfind(&format!("{PROGRAM} from TOC entry "))
        {
            words = &words[at..];
        }
        while let Some(rest) = words.trim_start().strip_prefix(PROGRAM) {
            words = rest;
        }
        let words = words.trim_start();
        if let Some(entry) = words.strip_prefix("from TOC entry ") {
            let number = entry.split(';').next().unwrap_or_default();
            self.entry = number.parse().ok();
            if let Some(entry) = self.entry {
                self.heard.failed.entry(entry).or_default();
            }
            return shown;
        }
        if words.starts_with("while ") {
            self.entry = None;
            return None;
        }
        if words.starts_with("warning: errors ignored on restore: ") {
            self.heard.finished = true;
            return None;
        }
        let shown = shown?;
        let said = shown.trim_start_matches(PROGRAM).trim_start();
        if let Some(error) = said.strip_prefix("error: ") {
            self.error(error);
            return Some(shown);
        }
        if let Some(added) = said
            .strip_prefix("DETAIL:  ")
            .or(said.strip_prefix("HINT:  "))
        {
            let last = self.entry.and_then(|it| self.heard.failed.get_mut(&it));
            if let Some(last) = last {
                last.push_str("; ");
                last.push_str(added);
            }
            return Some(shown);
        }
        if said.starts_with("warning: ") {
            self.remark(said);
            return Some(shown);
        }
        // What it is at.
        None
    }

    fn error(&mut self, error: &str) {
        let (_, message) = error.split_once("ERROR:  ").unwrap_or(("", error));
        if let Some(setting) = unknown_setting(message) {
            self.heard.unknown_settings.insert(setting.to_owned());
            return;
        }
        let Some(entry) = self.entry else {
            self.remark(error);
            return;
        };
        let known = self.heard.failed.entry(entry).or_default();
        // The first is what the others come of.
        if known.is_empty() {
            message.clone_into(known);
        }
    }

    fn remark(&mut self, text: &str) {
        if self.heard.remarks.len() < REMARKS {
            self.heard.remarks.push(text.to_owned());
        }
    }
}

impl Heard {
    /// The error of an entry, for people.
    pub fn words(message: &str) -> &str {
        if message.is_empty() {
            HELD_BACK
        } else {
            message
        }
    }
}

fn unknown_setting(message: &str) -> Option<&str> {
    let name = message.strip_prefix("unrecognized configuration parameter \"")?;
    let name = name.strip_suffix('"')?;
    SETTINGS.contains(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        let mut listener = EntryListener::default();
        for line in text.lines() {
            listener.hear(line);
        }
        listener.heard
    }

    #[test]
    fn entries_are_named_with_what_failed() {
        let heard = heard(
            "pg_restore: connecting to database for restore\n\
             pg_restore: while INITIALIZING:\n\
             pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"\n\
             Command was: SET transaction_timeout = 0;\n\
             pg_restore: creating POLICY \"public.t p\"\n\
             pg_restore: while PROCESSING TOC:\n\
             pg_restore: from TOC entry 3389; 3256 16394 POLICY t p postgres\n\
             pg_restore: error: could not execute query: ERROR:  role \"worker\" does not exist\n\
             Command was: CREATE USER MAPPING FOR u SERVER s OPTIONS (\n    password 'hush'\n);\n\
             pg_restore: from TOC entry 3390; 0 16394 TABLE DATA t postgres\n\
             pg_restore: error: COPY failed for table \"t\": ERROR:  a function's own hush\n\
             pg_restore: warning: errors ignored on restore: 3\n",
        );
        assert!(heard.finished && heard.remarks.is_empty(), "{heard:?}");
        assert_eq!(heard.failed[&3389], "role \"worker\" does not exist");
        assert_eq!(heard.failed.len(), 2);
        assert!(heard.unknown_settings.contains("transaction_timeout"));
        assert!(!format!("{heard:?}").contains("hush"), "{heard:?}");
    }

    #[test]
    fn lines_of_several_jobs_may_be_torn() {
        let heard = heard(
            "pg_restore:pg_restore: from TOC entry 7; 3256 16394 POLICY t p postgres\n\
             pg_restore: error: could not execute query: ERROR:  role \"worker\" does not exist\n \
             while PROCESSING TOC:\n\
             pg_restore: pg_restore: from TOC entry 8; 1 2 INDEX t_i postgres\n\
             pg_restore: error: pg_restore: from TOC entry 9; 0 3 ROW SECURITY t me\n",
        );
        let failed: Vec<_> = heard.failed.keys().copied().collect();
        assert_eq!(failed, [7, 8, 9]);
        assert!(!heard.finished);
    }

    #[test]
    fn an_entry_that_sets_what_nobody_knows_is_a_failure() {
        let heard = heard(
            "pg_restore: from TOC entry 5; 1255 16402 FUNCTION public f() me\n\
             pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"mine\"\n",
        );
        assert!(heard.failed[&5].contains("mine"), "{heard:?}");
    }
}
