//! Command lines of `pg_dump` and its siblings. Pure. Where to connect to is
//! told by environment, and passwords never stand here.

use std::ffi::OsString;

use super::manifest::{Content, Selection};

/// How long a lock is waited for, in milliseconds: a dump that waits for one
/// makes everybody behind it wait too.
pub const LOCK_TIMEOUT: u32 = 60_000;

/// A dump of the environment's database to standard output, at an exported
/// snapshot. Compression is ours.
pub fn dump(selection: &Selection, snapshot: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        "--format=custom".into(),
        "--compress=0".into(),
        "--no-password".into(),
        "--quote-all-identifiers".into(),
        format!("--lock-wait-timeout={LOCK_TIMEOUT}").into(),
        format!("--snapshot={snapshot}").into(),
    ];
    match selection.content {
        Content::All => {}
        Content::Schema => all.push("--schema-only".into()),
        Content::Data => all.push("--data-only".into()),
    }
    for (option, patterns) in [
        ("schema", &selection.schemas),
        ("exclude-schema", &selection.exclude_schemas),
        ("table", &selection.tables),
        ("exclude-table", &selection.exclude_tables),
    ] {
        all.extend(patterns.iter().map(|it| format!("--{option}={it}").into()));
    }
    all
}

/// Roles and tablespaces to standard output.
pub fn globals(passwords: bool) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        "--globals-only".into(),
        "--no-password".into(),
        "--quote-all-identifiers".into(),
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
    fn patterns_are_one_argument_each() {
        let selection = Selection {
            tables: vec!["--file=/etc/passwd".into(), "a b".into()],
            content: Content::Data,
            ..Selection::default()
        };
        let all = dump(&selection, "00000003-1");
        for argument in [
            "--table=--file=/etc/passwd",
            "--table=a b",
            "--data-only",
            "--snapshot=00000003-1",
        ] {
            assert!(all.iter().any(|it| it == argument), "{all:?}");
        }
        assert!(all.iter().all(|it| it.to_str().unwrap().starts_with("--")));
    }

    #[test]
    fn names_cannot_become_parameters() {
        assert_eq!(database("a=b host=x"), "dbname='a=b host=x'");
        assert_eq!(database("it's\\"), "dbname='it\\'s\\\\'");
    }
}
