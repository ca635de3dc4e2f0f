//! Versions of servers and of the programs that come with them.

use std::fmt;

/// A server's `server_version_num`, such as 150018 for 15.18.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub i32);

impl ServerVersion {
    /// The number that archives and data directories depend on.
    pub fn major(self) -> u32 {
        (self.0 / 10_000).unsigned_abs()
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

/// The major version in what a program says to `--version`, such as
/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
pub(crate) fn program_version(text: &str) -> Option<ProgramVersion> {
    let (_, rest) = text.split_once("(PostgreSQL)")?;
    let word = rest.split_whitespace().next()?;
    let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
    Some(ProgramVersion {
        major: digits.parse().ok()?,
        text: word.chars().take(40).collect(),
    })
}

/// The version of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramVersion {
    /// 15 of 15.18.
    pub major: u32,
    /// The whole, such as `15.18` or `18beta1`.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_shown() {
        assert_eq!(ServerVersion(150_018).to_string(), "15.18");
        assert_eq!(ServerVersion(130_000).major(), 13);
        for (text, major, shown) in [
            (
                "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                15,
                "15.18",
            ),
            ("psql (PostgreSQL) 18beta1", 18, "18beta1"),
        ] {
            let version = program_version(text).unwrap();
            assert_eq!((version.major, version.text.as_str()), (major, shown));
        }
        for text in ["", "pg_dump", "pg_dump (PostgreSQL)", "x (PostgreSQL) y"] {
            assert_eq!(program_version(text), None);
        }
    }
}
