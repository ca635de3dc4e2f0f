//! Functions that run with the rights of a table's owner and may be changed by another:
//! those in expressions of indexes and of extended statistics, whenever the table is
//! analyzed, vacuumed or reindexed, and those of materialized views, when they are
//! refreshed.

use super::{
    acting::Key,
    subject::{Given, Part},
};
use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// A function that runs with the rights of the session's role, and belongs to another
/// that is no superuser. Members of extensions are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// The function.
    pub key: Key,
    /// As a statement has it: `ROUTINE public.f(integer)`.
    pub object: String,
    /// Whom it belongs to.
    pub owner: String,
    /// What calls it, such as an index: its name.
    pub by: String,
    /// The table, or the materialized view.
    table: [Part; 3],
}

const QUESTION: &str = "SELECT p.oid, p.oid::pg_catalog.regprocedure::pg_catalog.text, \
    r.rolname::pg_catalog.text, n.nspname::pg_catalog.text, t.relname::pg_catalog.text, u.by_name \
    FROM (SELECT d.refobjid AS called, i.indrelid AS of_table, \
    i.indexrelid::pg_catalog.regclass::pg_catalog.text AS by_name \
    FROM pg_catalog.pg_depend d \
    JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) d.objid \
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
    UNION ALL SELECT d.refobjid, s.stxrelid, s.stxname::pg_catalog.text \
    FROM pg_catalog.pg_depend d \
    JOIN pg_catalog.pg_statistic_ext s ON s.oid OPERATOR(pg_catalog.=) d.objid \
    WHERE d.classid OPERATOR(pg_catalog.=) \
    'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::pg_catalog.oid \
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
    UNION ALL SELECT d.refobjid, w.ev_class, w.ev_class::pg_catalog.regclass::pg_catalog.text \
    FROM pg_catalog.pg_depend d \
    JOIN pg_catalog.pg_rewrite w ON w.oid OPERATOR(pg_catalog.=) d.objid \
    JOIN pg_catalog.pg_class m ON m.oid OPERATOR(pg_catalog.=) w.ev_class \
    WHERE m.relkind OPERATOR(pg_catalog.=) 'm'::pg_catalog.\"char\" \
    AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid \
    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid) u \
    JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) u.called \
    JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.proowner \
    JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) u.of_table \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.relnamespace \
    WHERE p.proowner OPERATOR(pg_catalog.<>) t.relowner AND NOT r.rolsuper \
    AND pg_catalog.pg_get_userbyid(t.relowner) OPERATOR(pg_catalog.=) current_user \
    AND p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend e WHERE \
    e.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
    AND e.objid OPERATOR(pg_catalog.=) p.oid \
    AND e.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\") \
    ORDER BY 1, 6";

const FUNCTIONS: &str = "SELECT p.oid FROM pg_catalog.pg_proc p \
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid";

/// All functions and procedures of the session's database that are not the server's own.
pub async fn functions(session: &Session) -> Result<Vec<Key>, ServerError> {
    let error = |error| ServerError::query("list the functions", &error);
    let rows = session.query(FUNCTIONS, &[]).await.map_err(error)?;
    let key = |row: &tokio_postgres::Row| row.try_get(0).map(Key::Function);
    rows.iter()
        .map(key)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// All of them in the session's database, once for each that calls one.
pub async fn lent(session: &Session) -> Result<Vec<Lent>, ServerError> {
    let error = |error| ServerError::query("list what runs with a table's owner's rights", &error);
    let rows = session.query(QUESTION, &[]).await.map_err(error)?;
    let read = |row: &tokio_postgres::Row| {
        let text = |at| row.try_get(at).map(|Text(text)| text);
        Ok(Lent {
            key: Key::Function(row.try_get(0)?),
            object: format!("ROUTINE {}", text(1)?),
            owner: text(2)?,
            by: text(5)?,
            table: [Part::Name(text(3)?), Part::Mark('.'), Part::Name(text(4)?)],
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

impl Lent {
    /// Whether its table is among what was given.
    pub fn is_given(&self, given: &Given) -> bool {
        given.has(&[&["TABLE"], &["MATERIALIZED", "VIEW"]], &self.table)
    }

    /// Gives it to the session's role, which alone may change it then; its owner may call
    /// it still.
    pub async fn withhold(&self, session: &Session) -> Result<(), ServerError> {
        let owner = sql::identifier(&self.owner);
        // The names in these are the server's own words.
        for statement in [
            format!("ALTER {} OWNER TO CURRENT_USER", self.object),
            format!("GRANT EXECUTE ON {} TO {owner}", self.object),
        ] {
            let what = format!("withhold {} from {owner}", self.object);
            session.run_foreign(&what, &statement).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_for_along_a_search_path() {
        for query in [QUESTION, FUNCTIONS] {
            assert_eq!(sql::unqualified(query), None, "{query}");
        }
    }
}
