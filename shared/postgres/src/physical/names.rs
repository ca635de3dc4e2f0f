//! What files of a data directory are called.
//!
//! Source: "Database File Layout" of the manual and `common/relpath.c`.

/// A part of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// Its rows.
    Main,
    /// The free space map.
    FreeSpace,
    /// The visibility map.
    Visibility,
    /// What an unlogged relation is after a crash.
    Initial,
}

/// A file of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelationFile {
    /// `relfilenode`.
    pub number: u32,
    /// Which part.
    pub fork: Fork,
    /// Which of the pieces of a gigabyte.
    pub segment: u32,
    /// Only for one session.
    pub temporary: bool,
}

impl RelationFile {
    /// The relation that a file of a database's directory, or of `global`,
    /// belongs to: `16384`, `16384_vm`, `16384.3`, `16384_init`, `t4_16390`.
    /// `None` for all other files.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let (temporary, rest) = match name.strip_prefix('t') {
            Some(rest) => {
                let (backend, rest) = rest.split_once('_')?;
                number(backend)?;
                (true, rest)
            }
            None => (false, name),
        };
        let (rest, segment) = match rest.split_once('.') {
            Some((rest, segment)) => (rest, number(segment).filter(|it| *it > 0)?),
            None => (rest, 0),
        };
        let (relation, fork) = match rest.split_once('_') {
            None => (rest, Fork::Main),
            Some((relation, "fsm")) => (relation, Fork::FreeSpace),
            Some((relation, "vm")) => (relation, Fork::Visibility),
            Some((relation, "init")) => (relation, Fork::Initial),
            Some(_) => return None,
        };
        Some(Self {
            number: number(relation).filter(|it| *it > 0)?,
            fork,
            segment,
            temporary,
        })
    }
}

/// Decimal digits without a leading zero.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok())?
}

/// The number of a database, or of a tablespace, whose directory is named so.
pub fn oid(name: &[u8]) -> Option<u32> {
    number(std::str::from_utf8(name).ok()?).filter(|oid| *oid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_relations_are_told_from_others() {
        let file = |number, fork, segment, temporary| {
            Some(RelationFile {
                number,
                fork,
                segment,
                temporary,
            })
        };
        for (name, wanted) in [
            ("16384", file(16384, Fork::Main, 0, false)),
            ("16384.12", file(16384, Fork::Main, 12, false)),
            ("16384_vm", file(16384, Fork::Visibility, 0, false)),
            ("16384_fsm.1", file(16384, Fork::FreeSpace, 1, false)),
            ("16384_init", file(16384, Fork::Initial, 0, false)),
            ("t4_16390", file(16390, Fork::Main, 0, true)),
            ("t4_16390_fsm.2", file(16390, Fork::FreeSpace, 2, true)),
        ] {
            assert_eq!(RelationFile::parse(name.as_bytes()), wanted, "{name}");
        }
        for name in [
            "",
            "PG_VERSION",
            "pg_control",
            "pg_filenode.map",
            "pg_internal.init",
            "0",
            "016384",
            "16384.0",
            "16384.",
            "16384_",
            "16384_old",
            "16384 ",
            "+16384",
            "t_16384",
            "t4",
            "t4_",
            "tx_1",
            "99999999999",
            "16384.1.2",
            "16384_vm_vm",
        ] {
            assert_eq!(RelationFile::parse(name.as_bytes()), None, "{name}");
        }
        assert_eq!(RelationFile::parse(b"\xff"), None);
        assert_eq!(
            (oid(b"5"), oid(b"0"), oid(b"pgsql_tmp")),
            (Some(5), None, None)
        );
    }
}
