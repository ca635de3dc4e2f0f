//! Command lines of `pg_dump` and its siblings. Pure. Where to connect to is
//! told by environment, and passwords never stand here.

use std::ffi::OsString;

use super::manifest::Content;
use crate::name;

/// How long a lock is waited for, in milliseconds: a dump that waits for one
/// makes everybody behind it wait too.
pub const LOCK_TIMEOUT: u32 = 60_000;

/// A dump of the environment's database to standard output, at an exported
/// snapshot; what is selected is added by [`select`](super::select).
/// Compression is ours. `encoding`: the database's own, whatever its role is set
/// to: names and sums are told in that.
pub fn dump(content: Content, snapshot: &str, encoding: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        "--format=custom".into(),
        "--compress=0".into(),
        "--no-password".into(),
        "--quote-all-identifiers".into(),
        format!("--lock-wait-timeout={LOCK_TIMEOUT}").into(),
        format!("--snapshot={snapshot}").into(),
        format!("--encoding={encoding}").into(),
    ];
    match content {
        Content::All => {}
        Content::Schema => all.push("--schema-only".into()),
        Content::Data => all.push("--data-only".into()),
    }
    all
}

/// Roles and tablespaces to standard output. `through`: a database that the role
/// may connect to, which need not be one that every server has.
pub fn globals(through: &str, passwords: bool) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        "--globals-only".into(),
        "--no-password".into(),
        "--quote-all-identifiers".into(),
        name::os(&format!("--database={}", database(through))),
    ];
    if !passwords {
        all.push("--no-role-passwords".into());
    }
    all
}

/// A connection string that names a database and nothing else, whatever is in
/// its name (PostgreSQL manual, 34.1.1.1).
pub fn database(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_globals_are_read_through_the_connection_s_own_database() {
        let all = globals("a=b", true);
        assert!(all.contains(&"--database=dbname='a=b'".into()), "{all:?}");
        let dump = dump(Content::Data, "00000003-1", "UTF8");
        for argument in ["--data-only", "--snapshot=00000003-1", "--encoding=UTF8"] {
            assert!(dump.iter().any(|it| it == argument), "{dump:?}");
        }
    }

    #[test]
    fn names_cannot_become_parameters() {
        assert_eq!(database("a=b host=x"), "dbname='a=b host=x'");
        assert_eq!(database("it's\\"), "dbname='it\\'s\\\\'");
    }
}
