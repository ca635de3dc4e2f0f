//! What of a server's words may leave its host.
//!
//! Messages of PostgreSQL quote what they are about: rows (`invalid input
//! syntax for type integer: "4111 1111 …"`), keys (DETAIL), lines of a `COPY`
//! (CONTEXT), whole statements (QUERY, `Command was`), passwords among them;
//! and a function may raise what it likes. None of that is for the coordinator,
//! its catalog and audit, nor for a log. What passes is known, not what does
//! not: the SQLSTATE and its name, and messages of the server itself whose
//! only variable parts are names of objects (`templates`). From a message that
//! is known to end in a value, the value is cut; of all others only the
//! condition remains. The server's own log has the rest.
//!
//! Names of objects pass: of tables, columns, roles, files. Who writes a value
//! where a name belongs is not helped.

mod conditions;
mod entries;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod log;
mod program;
mod template;
mod templates;

use std::fmt::Write as _;

use tokio_postgres::error::DbError;

use self::{
    conditions::condition,
    templates::{ADDED, MESSAGES},
};
pub use self::{
    entries::{EntryListener, Heard},
    log::log,
    program::Listener,
};

/// An error of a server.
pub fn error(error: &DbError) -> String {
    let mut text = message(error.code().code(), error.message());
    for (what, name) in [
        ("schema", error.schema()),
        ("table", error.table()),
        ("column", error.column()),
        ("data type", error.datatype()),
        ("constraint", error.constraint()),
    ] {
        // A function can say here what it likes, too.
        let name = name.filter(|name| is_name(name) && !text.contains(name));
        if let Some(name) = name {
            let _infallible = write!(text, "; {what} {name:?}");
        }
    }
    for added in [error.detail(), error.hint()].into_iter().flatten() {
        if let Some(added) = template::find(ADDED, added) {
            let _infallible = write!(text, "; {added}");
        }
    }
    text
}

/// A primary message, cleaned; its condition, if it is none of the server's.
pub fn message(state: &str, message: &str) -> String {
    template::find(MESSAGES, message).unwrap_or_else(|| unknown(state))
}

/// A detail or a hint, if it has no values.
pub(crate) fn added(text: &str) -> Option<String> {
    template::find(ADDED, text)
}

fn unknown(state: &str) -> String {
    let condition = condition(state).unwrap_or("an error");
    format!("{condition} (SQLSTATE {state}; its words may hold values: the server's log has them)")
}

/// As long as a name of the server's may be, and no text of several lines.
fn is_name(text: &str) -> bool {
    text.len() <= 63 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
