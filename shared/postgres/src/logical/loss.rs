//! Why a database that a policy asks for is not in a snapshot. Pure.

use std::fmt;

use crate::{
    connection::ServerError,
    inventory::{Database, Inventory},
};

/// The kinds of loss. The words are those of the warnings' codes, and stand in
/// manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The policy names it, and the server has no such database.
    Missing,
    /// It was there when the backup began, and is no more.
    Vanished,
    /// An interrupted `DROP DATABASE` left it.
    Invalid,
    /// The connection's role may not connect to it, or not read all of it.
    Forbidden,
    /// It, or the role, may have no more sessions.
    Limited,
    /// Another session holds a lock for too long.
    Locked,
    /// A standby had to choose between the dump and following its primary.
    Conflict,
    /// Nothing in it is what the policy selects.
    Empty,
    /// Anything else.
    Failed,
}

impl Loss {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Vanished,
        Self::Invalid,
        Self::Forbidden,
        Self::Limited,
        Self::Locked,
        Self::Conflict,
        Self::Empty,
        Self::Failed,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "database-missing",
            Self::Vanished => "database-vanished",
            Self::Invalid => "database-invalid",
            Self::Forbidden => "database-forbidden",
            Self::Limited => "database-limited",
            Self::Locked => "database-locked",
            Self::Conflict => "database-conflict",
            Self::Empty => "database-empty",
            Self::Failed => "database-failed",
        }
    }

    /// Whether the server has something to be dumped there, so that a snapshot
    /// without it is partial. `named`: the policy has its exact name.
    pub const fn is_of_a_part(self, named: bool) -> bool {
        named || !matches!(self, Self::Vanished | Self::Empty)
    }

    /// Whether the same may go well a little later.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Limited | Self::Locked | Self::Conflict | Self::Failed
        )
    }

    /// Of what a session of ours was told.
    pub fn of(error: &ServerError) -> Self {
        match error {
            ServerError::NoDatabase { .. } => Self::Vanished,
            ServerError::Refused { .. } | ServerError::Privilege { .. } => Self::Forbidden,
            ServerError::TooMany { .. } => Self::Limited,
            ServerError::Query { state, .. } => match state.as_deref() {
                Some("55P03") => Self::Locked,
                Some("40001") => Self::Conflict,
                _ => Self::Failed,
            },
            _ => Self::Failed,
        }
    }

    /// Of what may be shown of the words of `pg_dump`.
    pub fn of_words(words: &str) -> Self {
        for (known, loss) in [
            ("conflict with recovery", Self::Conflict),
            ("lock timeout", Self::Locked),
            ("too many connections for", Self::Limited),
            ("remaining connection slots", Self::Limited),
            ("too many clients", Self::Limited),
            ("does not exist", Self::Failed),
            ("permission denied", Self::Forbidden),
            ("row-level security", Self::Forbidden),
            ("no matching", Self::Empty),
        ] {
            if words.contains(known) {
                return loss;
            }
        }
        Self::Failed
    }

    /// What it really was, as the server shows now; `None`: the same.
    pub fn found(inventory: &Inventory, database: &Database) -> Option<Self> {
        match inventory.databases.iter().find(|it| it.oid == database.oid) {
            None => Some(Self::Vanished),
            Some(found) if found.is_invalid() => Some(Self::Invalid),
            Some(found) if found.name != database.name => Some(Self::Vanished),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is wrong with an invalid database, and what to do.
pub fn invalid(name: &str) -> String {
    format!(
        "the database is invalid: a DROP DATABASE was interrupted, and nothing can be read of it \
         any more; drop it ({}), or list it in exclude_databases",
        format_args!("DROP DATABASE {}", crate::sql::identifier(name))
    )
}

/// That the role may not connect, and the statement that lets it.
pub fn forbidden(name: &str, role: &str) -> String {
    format!(
        "the role {role:?} may not connect to the database: GRANT CONNECT ON DATABASE {} TO {}, \
         or list it in exclude_databases",
        crate::sql::identifier(name),
        crate::sql::identifier(role)
    )
}

/// Sessions that the dump of one database has at a time: one holds the snapshot.
pub const SESSIONS: i32 = 2;

/// That a limit leaves too few sessions, and the statement that raises it;
/// `None`: it does not.
pub fn limited(database: &Database, inventory: &Inventory) -> Option<String> {
    let too_few = |limit: i32| (0..SESSIONS).contains(&limit) && !inventory.role.superuser;
    let (whose, limit, statement) = if too_few(inventory.role.connection_limit) {
        let name = crate::sql::identifier(&inventory.role.name);
        let limit = inventory.role.connection_limit;
        (format!("role {name}"), limit, format!("ALTER ROLE {name}"))
    } else if too_few(database.connection_limit) {
        let name = crate::sql::identifier(&database.name);
        let limit = database.connection_limit;
        (
            format!("database {name}"),
            limit,
            format!("ALTER DATABASE {name}"),
        )
    } else {
        return None;
    };
    Some(format!(
        "a dump needs {SESSIONS} sessions at a time, one that holds the snapshot and one that \
         reads, and the {whose} may have {limit}: {statement} CONNECTION LIMIT {SESSIONS} or more"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_by_itself_is_no_part() {
        for loss in Loss::ALL {
            assert!(loss.is_of_a_part(true));
            let nothing_there = [Loss::Vanished, Loss::Empty].contains(&loss);
            assert_eq!(loss.is_of_a_part(false), !nothing_there);
        }
    }

    #[test]
    fn words_of_pg_dump_are_told_apart() {
        for (words, loss) in [
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout",
                Loss::Locked,
            ),
            (
                "ERROR:  canceling statement due to conflict with recovery",
                Loss::Conflict,
            ),
            (
                "FATAL:  too many connections for role \"single\"",
                Loss::Limited,
            ),
            ("ERROR:  permission denied for table t", Loss::Forbidden),
            ("pg_dump: error: no matching tables were found", Loss::Empty),
            (
                "could not write to output file: No space left",
                Loss::Failed,
            ),
        ] {
            assert_eq!(Loss::of_words(words), loss, "{words}");
        }
    }
}
