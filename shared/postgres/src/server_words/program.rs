//! What `pg_dump` and its siblings say on standard error. Pure.
//!
//! ```text
//! pg_restore: while PROCESSING TOC:
//! pg_restore: from TOC entry 215; 0 16386 TABLE DATA people postgres
//! pg_restore: error: COPY failed for table "people": ERROR:  invalid input syntax for type date: "13.13."
//! CONTEXT:  COPY people, line 1, column born: "13.13."
//! pg_restore: error: could not execute query: ERROR:  role "u" does not exist
//! Command was: CREATE USER MAPPING FOR u SERVER s OPTIONS (
//!     password 'p'
//! );
//! ```

use super::{
    template::find,
    templates::{ADDED, MESSAGES, PROGRAM},
};

/// Who speaks.
const PROGRAMS: [&str; 4] = ["pg_dump", "pg_dumpall", "pg_restore", "psql"];

/// How important it is.
const LEVELS: [&str; 5] = ["error: ", "warning: ", "detail: ", "hint: ", "fatal: "];

/// How words of a server begin.
const SEVERITIES: [&str; 4] = ["ERROR:  ", "FATAL:  ", "PANIC:  ", "WARNING:  "];

/// What stands for words that are none of those that are known.
pub(super) const HELD_BACK: &str =
    "(words that may hold values are not shown: the server's log has them)";

/// Longer lines are no name of an object.
const LONGEST: usize = 500;

/// Hears one program, line by line.
#[derive(Debug, Default)]
pub struct Listener {
    /// A server's error has just been heard, and its details may follow.
    error: bool,
}

impl Listener {
    /// What of a line may be shown.
    pub fn hear(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end();
        // The name alone: what stands before it may be anybody's words.
        let spoken = line.split_once(": ").and_then(|(program, words)| {
            let name = program.rsplit('/').next()?;
            PROGRAMS.contains(&name).then_some((name, words))
        });
        let Some((program, words)) = spoken else {
            return self.continued(line);
        };
        self.error = false;
        let level = LEVELS.iter().find(|level| words.starts_with(**level));
        let level = level.copied().unwrap_or_default();
        let shown = self.words(&words[level.len()..])?;
        Some(format!("{program}: {level}{shown}"))
    }

    fn words(&mut self, words: &str) -> Option<String> {
        if is_command(words) {
            return None;
        }
        if names_entry(words) {
            return Some(words.to_owned());
        }
        for severity in SEVERITIES {
            let Some((head, message)) = words.split_once(severity) else {
                continue;
            };
            self.error = true;
            let head = head.trim_end().trim_end_matches(':');
            let head = match find(PROGRAM, head) {
                _ if head.is_empty() => String::new(),
                Some(head) => format!("{head}: "),
                None => String::new(),
            };
            let message = find(MESSAGES, message).unwrap_or_else(|| HELD_BACK.to_owned());
            return Some(format!("{head}{severity}{message}"));
        }
        let own = |words: &str| find(PROGRAM, words).or_else(|| find(MESSAGES, words));
        let parts = || {
            words.match_indices(": ").find_map(|(at, colon)| {
                let (head, tail) = (own(&words[..at])?, own(&words[at + colon.len()..])?);
                Some(format!("{head}: {tail}"))
            })
        };
        let known = find(PROGRAM, words).or_else(parts);
        Some(known.unwrap_or_else(|| HELD_BACK.to_owned()))
    }

    /// A line that goes on with what was said.
    fn continued(&self, line: &str) -> Option<String> {
        for label in ["DETAIL:  ", "HINT:  "] {
            if let Some(words) = line.strip_prefix(label) {
                let words = find(ADDED, words).filter(|_| self.error)?;
                return Some(format!("{label}{words}"));
            }
        }
        find(PROGRAM, line.trim_start()).filter(|_| line.starts_with('\t'))
    }
}

/// A statement, in whatever words it is announced.
fn is_command(words: &str) -> bool {
    [
        "Command was: ",
        "Query was: ",
        "query was: ",
        "command was: ",
    ]
    .iter()
    .any(|announced| words.starts_with(announced))
}

/// Where in the dump it is: the kind, the name and the owner of an object.
fn names_entry(words: &str) -> bool {
    let fits = words.len() <= LONGEST && !words.chars().any(char::is_control);
    fits && (words.starts_with("from TOC entry ")
        || matches!(
            words,
            "while INITIALIZING:" | "while PROCESSING TOC:" | "while FINALIZING:"
        ))
}
