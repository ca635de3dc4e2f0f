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

/// The first major version of `pg_dump` that reads what is selected from a file.
pub const FILTERS: u32 = 17;

/// What is selected by arguments, as a file for `--filter` (PostgreSQL manual,
/// pg_dump), and the arguments that cannot stand there: in a file a carriage return
/// is passed over.
pub fn filter(arguments: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<u8>) {
    const WORDS: [(&[u8], &[u8]); 4] = [
        (b"--table=", b"include table "),
        (b"--exclude-table=", b"exclude table "),
        (b"--schema=", b"include schema "),
        (b"--exclude-schema=", b"exclude schema "),
    ];
    let (mut left, mut file) = (Vec::new(), Vec::new());
    for argument in arguments {
        let pattern = WORDS.iter().find_map(|(option, words)| {
            let pattern = argument.strip_prefix(*option)?;
            (!pattern.contains(&b'\r')).then_some((words, pattern))
        });
        let Some((words, pattern)) = pattern else {
            left.push(argument.clone());
            continue;
        };
        file.extend_from_slice(words);
        // Only in quotes are there any of these.
        for byte in pattern {
            match byte {
                b'\\' => file.extend_from_slice(b"\\\\"),
                b'\n' => file.extend_from_slice(b"\\n"),
                byte => file.push(*byte),
            }
        }
        file.push(b'\n');
    }
    (left, file)
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
    fn a_filter_says_the_same_as_arguments() {
        let arguments = [
            &b"--table=\"s\".(\"a\"|\"b\\\nc\")"[..],
            b"--exclude-schema=(\"x\")",
            b"--table=\"s\".(\"cr\r\")",
        ];
        let (left, file) = filter(&arguments.map(<[u8]>::to_vec));
        assert_eq!(left, [arguments[2]]);
        let expected = "include table \"s\".(\"a\"|\"b\\\\\\nc\")\n\
                        exclude schema (\"x\")\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
    }

    #[test]
    fn names_cannot_become_parameters() {
        assert_eq!(database("a=b host=x"), "dbname='a=b host=x'");
        assert_eq!(database("it's\\"), "dbname='it\\'s\\\\'");
    }
}
