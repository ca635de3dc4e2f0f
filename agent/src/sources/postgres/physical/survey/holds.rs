//! What a directory holds, by its path in the snapshot. Pure.

use strongroom_postgres::physical::{
    exclude::{Place, is_own},
    manifest::{PGDATA, TABLESPACES},
    names,
};

/// What the directory `name` holds, which lies in another with the path `path`.
pub(super) fn below(above: Place, path: &str, name: &[u8]) -> Place {
    match above {
        Place::Root if name == b"global" => Place::Global,
        Place::Root if is_own(Place::Root, name) => Place::Own,
        Place::Root | Place::Other => Place::Other,
        // `base/5`, `tablespaces/16400/PG_15_202209061/5`.
        Place::Own if names::oid(name).is_some() && holds_databases(path) => Place::Database,
        Place::Own | Place::Global | Place::Database => Place::Own,
    }
}

/// Whether the directories in one are databases: `base`, and a cluster's
/// directory in a tablespace, in its place or not.
fn holds_databases(path: &str) -> bool {
    let mut parts = path.split('/');
    let parts = [
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ];
    let is_version = |part: &str| part.starts_with("PG_");
    match parts {
        [Some(PGDATA), Some("base"), None, ..] => true,
        [Some(TABLESPACES), Some(_), Some(version), None, ..]
        | [
            Some(PGDATA),
            Some("pg_tblspc"),
            Some(_),
            Some(version),
            None,
        ] => is_version(version),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_where_databases_are() {
        for (path, name, wanted) in [
            ("pgdata/base", "5", Place::Database),
            ("pgdata/base", "pgsql_tmp", Place::Own),
            ("pgdata/pg_xact", "5", Place::Own),
            ("tablespaces/16400/PG_15_202209061", "5", Place::Database),
            ("tablespaces/16400/other", "5", Place::Own),
            (
                "pgdata/pg_tblspc/16400/PG_15_202209061",
                "5",
                Place::Database,
            ),
            ("pgdata/base/5", "7", Place::Own),
        ] {
            assert_eq!(below(Place::Own, path, name.as_bytes()), wanted, "{path}");
        }
        assert_eq!(below(Place::Root, "pgdata", b"global"), Place::Global);
        assert_eq!(below(Place::Root, "pgdata", b"base"), Place::Own);
        // Somebody's own directories, whatever they are called.
        assert_eq!(below(Place::Root, "pgdata", b"log"), Place::Other);
        assert_eq!(below(Place::Other, "pgdata/log", b"base"), Place::Other);
    }
}
