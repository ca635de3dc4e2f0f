//! Foreign keys that lead in a circle: rows alone come in no order that satisfies
//! them, unless they wait for the end.

use std::collections::{HashMap, HashSet};

use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// A foreign key that is checked at each statement's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StiffKey {
    /// Of its table.
    schema: String,
    table: String,
    name: String,
    /// Object ids of its table and of that which it leads to; of partitions those of the
    /// partitioned table.
    from: u32,
    to: u32,
}

/// Those that partitions have from their parents change with them.
const KEYS: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
    k.conname::pg_catalog.text, \
    COALESCE(pg_catalog.pg_partition_root(k.conrelid)::pg_catalog.oid, k.conrelid), \
    COALESCE(pg_catalog.pg_partition_root(k.confrelid)::pg_catalog.oid, k.confrelid) \
    FROM pg_catalog.pg_constraint k \
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) k.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    WHERE k.contype OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\" AND NOT k.condeferrable \
    AND k.conparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid ORDER BY 1, 2, 3";

/// The tables of the session's database, by schema and name, and the partitioned table
/// that each belongs to, or itself.
const TABLES: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
    COALESCE(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid) \
    FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog.\"char\"[])";

/// Keys that lead in a circle among these tables, given as schema and name.
pub async fn stiff(
    session: &Session,
    among: &[(&str, &str)],
) -> Result<Vec<StiffKey>, ServerError> {
    let error = |error: tokio_postgres::Error| ServerError::query("list the foreign keys", &error);
    let among: HashSet<_> = among.iter().collect();
    let mut tables = HashSet::new();
    for row in session.query(TABLES, &[]).await.map_err(error)? {
        let Text(schema) = row.try_get(0).map_err(error)?;
        let Text(table) = row.try_get(1).map_err(error)?;
        if among.contains(&(schema.as_str(), table.as_str())) {
            tables.insert(row.try_get(2).map_err(error)?);
        }
    }
    let rows = session.query(KEYS, &[]).await.map_err(error)?;
    let keys = rows.iter().map(|row| {
        let text = |at| row.try_get(at).map(|Text(text)| text);
        Ok(StiffKey {
            schema: text(0)?,
            table: text(1)?,
            name: text(2)?,
            from: row.try_get(3)?,
            to: row.try_get(4)?,
        })
    });
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(error)?;
    Ok(in_circles(keys, &tables))
}

/// A table whose rows refer to each other is none: they come in one statement.
fn in_circles(mut keys: Vec<StiffKey>, tables: &HashSet<u32>) -> Vec<StiffKey> {
    keys.retain(|it| tables.contains(&it.from) && tables.contains(&it.to) && it.from != it.to);
    let mut leads: HashMap<u32, Vec<u32>> = HashMap::new();
    for key in &keys {
        leads.entry(key.from).or_default().push(key.to);
    }
    keys.retain(|it| reaches(&leads, it.to, it.from));
    keys
}

fn reaches(leads: &HashMap<u32, Vec<u32>>, from: u32, to: u32) -> bool {
    let mut seen = HashSet::from([from]);
    let mut ahead = vec![from];
    while let Some(table) = ahead.pop() {
        if table == to {
            return true;
        }
        let next = leads.get(&table).into_iter().flatten();
        ahead.extend(next.filter(|it| seen.insert(**it)));
    }
    false
}

impl StiffKey {
    /// Lets it wait where that is asked for; its table's owner may.
    pub async fn soften(&self, session: &Session) -> Result<(), ServerError> {
        self.alter(session, "DEFERRABLE").await
    }

    /// As it was before. Nothing may wait for it any more.
    pub async fn stiffen(&self, session: &Session) -> Result<(), ServerError> {
        self.alter(session, "NOT DEFERRABLE").await
    }

    async fn alter(&self, session: &Session, how: &str) -> Result<(), ServerError> {
        let table = sql::qualified(&self.schema, &self.table);
        let what = format!("have the foreign key {self} wait");
        let name = sql::identifier(&self.name);
        let statement = format!("ALTER TABLE {table} ALTER CONSTRAINT {name} {how}");
        session.run(&what, &statement).await
    }
}

impl std::fmt::Display for StiffKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = sql::qualified(&self.schema, &self.table);
        write!(f, "{} of {table}", sql::identifier(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_for_along_a_search_path() {
        for query in [KEYS, TABLES] {
            assert_eq!(sql::unqualified(query), None, "{query}");
        }
    }

    #[test]
    fn only_keys_of_a_circle_among_the_tables_have_to_wait() {
        let key = |from: u32, to: u32| StiffKey {
            schema: "public".into(),
            table: from.to_string(),
            name: to.to_string(),
            from,
            to,
        };
        // 1 and 2 refer to each other, 3 leads there, 4 to itself; 5, 6 and 7 are a ring.
        let all = [
            (1, 2),
            (2, 1),
            (3, 1),
            (4, 4),
            (1, 4),
            (5, 6),
            (6, 7),
            (7, 5),
            (7, 1),
        ];
        let found = |tables: &[u32]| {
            let keys = all.iter().map(|(from, to)| key(*from, *to)).collect();
            let found = in_circles(keys, &tables.iter().copied().collect());
            found.iter().map(|it| (it.from, it.to)).collect::<Vec<_>>()
        };
        assert_eq!(
            found(&[1, 2, 3, 4, 5, 6, 7]),
            [(1, 2), (2, 1), (5, 6), (6, 7), (7, 5)]
        );
        assert_eq!(found(&[1, 3, 4, 5, 6]), []);
        assert_eq!(found(&[1, 2, 3]), [(1, 2), (2, 1)]);
    }
}
