//! What a role needs in order to dump a database, looked at beforehand: all that
//! is missing at once, with the statements that grant it.

use std::fmt;

use super::{
    hold::Held,
    list::{Inside, Listed},
    manifest::{Content, RelationKind, Selection},
    select::Selected,
};
use crate::{
    connection::{ServerError, Session},
    inventory::Role,
    name::Text,
    sql,
};

/// Names in full up to here.
const NAMED: usize = 10;

/// What a role may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRights {
    role: String,
    database: String,
    /// A statement, and why it is needed.
    statements: Vec<(String, String)>,
}

impl fmt::Display for MissingRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the role {:?} may not read all that is to be dumped of the database {:?}: run in it, \
             as a superuser",
            self.role, self.database
        )?;
        for (statement, why) in &self.statements {
            // Names of others stand in it: one with a line break must not become a
            // statement of whoever copies this.
            write!(f, "\n  {statement}; -- {}", one_line(why))?;
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    let escaped = text.chars().map(|it| {
        if it.is_control() || matches!(it, '\u{2028}' | '\u{2029}') {
            it.escape_unicode().to_string()
        } else {
            it.to_string()
        }
    });
    escaped.collect()
}

/// What a dump lacks because of who asks, though it succeeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// User mappings whose options may not be read, as `ROLE on SERVER`.
    pub mappings: Vec<String>,
    /// Subscriptions, which only a superuser may dump.
    pub subscriptions: Vec<String>,
}

impl Held {
    /// Looks for rights that the role lacks for dumping `selected`.
    pub(super) async fn missing_rights(
        &self,
        inside: &Inside,
        selected: &Selected,
        selection: &Selection,
        role: &Role,
        database: &str,
    ) -> Result<Option<MissingRights>, ServerError> {
        if role.superuser {
            return Ok(None);
        }
        let session = &self.session;
        // What an extension has dumped is dumped with the whole database.
        let with_extensions = !selection.is_narrow();
        let taken = |kinds: &[RelationKind]| -> Vec<&Listed> {
            let relations = inside.relations.iter();
            relations
                .filter(|it| {
                    let of_extension =
                        it.configuration && with_extensions && !it.exclude_tables.contains(&true);
                    kinds.contains(&it.kind)
                        && (selected.relations.contains(&it.oid) || of_extension)
                })
                .collect()
        };
        let rows = selection.content != Content::Schema;
        let to = sql::identifier(&role.name);
        let mut statements = Vec::new();
        // All of them are locked, whatever is dumped of them.
        let tables = taken(&[RelationKind::Table, RelationKind::PartitionedTable]);
        let mut unreadable = without(session, &tables, READABLE).await?;
        let sequences = taken(&[RelationKind::Sequence]);
        if rows {
            unreadable.extend(without(session, &sequences, SEQUENCE_READABLE).await?);
        }
        let mut closed: Vec<&str> = without(session, &tables, SCHEMA_USABLE)
            .await?
            .into_iter()
            .map(|it| it.schema.as_str())
            .collect();
        closed.dedup();
        if !unreadable.is_empty() || !closed.is_empty() {
            let what = names(
                unreadable
                    .iter()
                    .map(|it| sql::qualified(&it.schema, &it.name)),
            );
            let schemas = names(closed.iter().map(|it| format!("schema {it:?}")));
            let why = [what, schemas].into_iter().filter(|it| !it.is_empty());
            let why = format!("it may not read {}", why.collect::<Vec<_>>().join("; "));
            statements.extend(grants(session, &unreadable, &closed, &to, why));
        }
        if rows {
            // Of a partitioned table its partitions are read, under what holds for
            // each of them.
            let read = taken(&[RelationKind::Table]);
            let hidden = without(session, &read, UNHIDDEN).await?;
            if !hidden.is_empty() {
                let tables = names(hidden.iter().map(|it| sql::qualified(&it.schema, &it.name)));
                let why = format!("row security would hide rows of {tables}");
                statements.push((format!("ALTER ROLE {to} BYPASSRLS"), why));
            }
        }
        if rows && !selection.is_narrow() {
            let objects = large_objects(session).await?;
            if !objects.is_empty() {
                let list = objects.iter().take(NAMED).map(ToString::to_string);
                let list = list.collect::<Vec<_>>().join(", ");
                let many = objects.len();
                statements.push((
                    format!("GRANT SELECT ON LARGE OBJECT {list} TO {to}"),
                    format!(
                        "it may not read {many} large objects, which no other right covers; for \
                         all of them, and those to come: ALTER ROLE {to} SET \
                         lo_compat_privileges = on (which lets it change them, too)"
                    ),
                ));
            }
        }
        Ok((!statements.is_empty()).then(|| MissingRights {
            role: role.name.clone(),
            database: database.to_owned(),
            statements,
        }))
    }

    /// Looks for what the role cannot read and `pg_dump` leaves out.
    pub(super) async fn unread(
        &self,
        selection: &Selection,
        role: &Role,
    ) -> Result<Unread, ServerError> {
        if role.superuser || selection.content == Content::Data || selection.is_narrow() {
            return Ok(Unread::default());
        }
        Ok(Unread {
            mappings: texts(&self.session, "list user mappings", MAPPINGS).await?,
            subscriptions: texts(&self.session, "list subscriptions", SUBSCRIPTIONS).await?,
        })
    }
}

/// What stands behind `x.id` and must hold of a table.
const READABLE: &str = "pg_catalog.has_table_privilege(x.id, 'SELECT')";
const SEQUENCE_READABLE: &str = "pg_catalog.has_sequence_privilege(x.id, 'SELECT')";
const SCHEMA_USABLE: &str = "pg_catalog.has_schema_privilege((SELECT c.relnamespace \
    FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) x.id), 'USAGE')";
const UNHIDDEN: &str = "NOT pg_catalog.row_security_active(x.id)";

/// By the rules of the view `pg_user_mappings`, which shows no options of
/// others, and does not say that it hides them.
const MAPPINGS: &str = "SELECT COALESCE(m.usename::pg_catalog.text, 'public') \
    OPERATOR(pg_catalog.||) ' on ' OPERATOR(pg_catalog.||) m.srvname::pg_catalog.text \
    FROM pg_catalog.pg_user_mappings m \
    JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) m.srvid \
    WHERE m.umoptions IS NULL AND NOT ( \
    CASE WHEN m.umuser OPERATOR(pg_catalog.=) 0 \
    THEN pg_catalog.pg_has_role(s.srvowner, 'USAGE') \
    ELSE m.usename OPERATOR(pg_catalog.=) current_user \
    AND (pg_catalog.pg_has_role(s.srvowner, 'USAGE') \
    OR pg_catalog.has_server_privilege(s.oid, 'USAGE')) END) \
    ORDER BY 1";

const SUBSCRIPTIONS: &str = "SELECT subname::pg_catalog.text FROM pg_catalog.pg_subscription \
    WHERE subdbid OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database \
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) ORDER BY 1";

/// Those of which `holds` does not.
async fn without<'a>(
    session: &Session,
    relations: &[&'a Listed],
    holds: &str,
) -> Result<Vec<&'a Listed>, ServerError> {
    if relations.is_empty() {
        return Ok(Vec::new());
    }
    let what = "look for the rights of its role";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let oids: Vec<u32> = relations.iter().map(|it| it.oid).collect();
    // What is gone meanwhile has no rights: NULL.
    let query = format!(
        "SELECT x.place::pg_catalog.int8 FROM pg_catalog.unnest($1::pg_catalog.oid[]) \
         WITH ORDINALITY AS x (id, place) WHERE NOT COALESCE({holds}, true) ORDER BY x.place"
    );
    let rows = session.query(&query, &[&oids]).await.map_err(error)?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let place: i64 = row.try_get(0).map_err(error)?;
        let at = usize::try_from(place - 1).unwrap_or(usize::MAX);
        found.extend(relations.get(at));
    }
    Ok(found)
}

/// As few statements as there can be.
fn grants(
    session: &Session,
    unreadable: &[&Listed],
    closed: &[&str],
    to: &str,
    why: String,
) -> Vec<(String, String)> {
    if session.version().major() >= 14 {
        return vec![(format!("GRANT pg_read_all_data TO {to}"), why)];
    }
    let mut statements = Vec::new();
    for schema in closed {
        let schema = sql::identifier(schema);
        statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {to}"));
    }
    for of_schema in unreadable.chunk_by(|a, b| a.schema == b.schema) {
        let schema = sql::identifier(&of_schema[0].schema);
        for (kind, is) in [
            ("TABLES", |it: &&&Listed| it.kind != RelationKind::Sequence),
            ("SEQUENCES", |it: &&&Listed| {
                it.kind == RelationKind::Sequence
            }),
        ] as [(&str, fn(&&&Listed) -> bool); 2]
        {
            if of_schema.iter().any(|it| is(&it)) {
                statements.push(format!(
                    "GRANT SELECT ON ALL {kind} IN SCHEMA {schema} TO {to}"
                ));
            }
        }
    }
    statements.dedup();
    statements.into_iter().map(|it| (it, why.clone())).collect()
}

/// Large objects that may not be read.
async fn large_objects(session: &Session) -> Result<Vec<u32>, ServerError> {
    let what = "look for the rights of its role on large objects";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session
        .query(
            "SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m \
             WHERE pg_catalog.current_setting('lo_compat_privileges') OPERATOR(pg_catalog.<>) 'on' \
             AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') \
             AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a \
             WHERE a.privilege_type OPERATOR(pg_catalog.=) 'SELECT' \
             AND (a.grantee OPERATOR(pg_catalog.=) 0 \
             OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) \
             ORDER BY m.oid",
            &[],
        )
        .await
        .map_err(error)?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(error)
}

async fn texts(session: &Session, what: &str, query: &str) -> Result<Vec<String>, ServerError> {
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session.query(query, &[]).await.map_err(error)?;
    rows.iter()
        .map(|row| row.try_get(0).map(|Text(text)| text))
        .collect::<Result<_, _>>()
        .map_err(error)
}

fn names(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut shown: Vec<_> = all.take(NAMED).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_statement_of_whoever_copies_what_is_said() {
        let missing = MissingRights {
            role: "reader".into(),
            database: "shop".into(),
            statements: vec![(
                "GRANT SELECT ON TABLE \"x\" TO \"reader\"".into(),
                "it may not read \"x\nALTER ROLE m SUPERUSER; --\"".into(),
            )],
        };
        let said = missing.to_string();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("x\\u{a}ALTER ROLE"), "{said}");
    }
}
