//! Why a script cannot be restored by us.

/// Every variant names the line, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Of `pg_dump --create` and `pg_dumpall`.
    #[error(
        "line {line}: \\connect goes to another database, and only one is restored: dump a single \
         database with pg_dump, without --create"
    )]
    Connect {
        /// Where.
        line: u64,
    },
    /// Another command of `psql`.
    #[error(
        "line {line}: {command} is a command for psql, which is not used: what it does would \
         happen on the agent's host"
    )]
    Meta {
        /// Where.
        line: u64,
        /// The command, without what follows it.
        command: String,
    },
    /// In the middle of a statement.
    #[error(
        "line {line}: a backslash outside of texts and names is a command for psql, which is not \
         used"
    )]
    Backslash {
        /// Where.
        line: u64,
    },
    /// Something else behind a `COPY`.
    #[error("line {line}: rows must follow on the line behind COPY … FROM stdin;")]
    BehindCopy {
        /// Where.
        line: u64,
    },
    /// The end is missing.
    #[error(
        "it ends within the statement of line {line}: it was cut off, or a quote is not closed"
    )]
    CutOff {
        /// Where the statement begins.
        line: u64,
    },
    /// Rows without `\.`.
    #[error("it ends within the rows of the COPY of line {line}: it was cut off")]
    CutOffRows {
        /// Of the COPY.
        line: u64,
    },
    /// The line that `pg_dump` writes last is not there.
    #[error("the last line of pg_dump is missing: it was cut off")]
    NoFoot,
    /// It would not fit into memory.
    #[error("the statement of line {line} is longer than 64 MiB")]
    TooLong {
        /// Where it begins.
        line: u64,
    },
    /// No text.
    #[error("the statement of line {line} has a zero byte in it: this is no SQL")]
    Nul {
        /// Where it begins.
        line: u64,
    },
    /// Not UTF-8.
    #[error("the statement of line {line} is not UTF-8: dump with --encoding=UTF8")]
    Encoding {
        /// Where it begins.
        line: u64,
    },
    /// It says that it is not UTF-8.
    #[error("line {line}: the script's encoding is {value:?}: dump with --encoding=UTF8")]
    ClientEncoding {
        /// Where.
        line: u64,
        /// Its name, as far as it is one.
        value: String,
    },
}
