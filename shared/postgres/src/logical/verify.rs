//! Compares a restored database with what its manifest says.

use std::{collections::HashMap, time::Duration};

use super::{
    count::{large_objects, rows_of},
    hold::list_all,
    manifest::Relation,
};
use crate::{
    connection::{Connection, ServerError, Session},
    sql,
};

/// What was compared, and what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tables whose rows were counted.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Differences of rows, for people.
    pub lost: Vec<String>,
    /// What has no rows of its own and is not there, or is something else.
    pub missing: Vec<Relation>,
}

/// Looks for each relation that `expected` does not leave out, and counts the
/// rows of those that have a count. `blobs`: large objects there must be.
pub async fn verify<'a>(
    connection: &Connection,
    database: &str,
    expected: impl Iterator<Item = &'a Relation>,
    blobs: Option<u64>,
) -> Result<Verified, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    session.unhurried(Duration::from_mins(1)).await?;
    let found: HashMap<_, _> = list_all(&session)
        .await?
        .into_iter()
        .map(|it| ((it.schema, it.name), it.kind))
        .collect();
    let mut verified = Verified::default();
    for relation in expected.filter(|relation| !relation.left_out) {
        let table = sql::qualified(&relation.schema, &relation.name);
        let key = (relation.schema.clone(), relation.name.clone());
        let Some(wanted) = relation.rows else {
            if found.get(&key) != Some(&relation.kind) {
                verified.missing.push(relation.clone());
            }
            continue;
        };
        let lost = match found.get(&key) {
            None => Some(format!("{table} is missing")),
            Some(kind) if *kind != relation.kind => Some(format!(
                "{table} is a {kind:?} and was a {:?}",
                relation.kind
            )),
            Some(_) => {
                let rows = rows_of(&session, &table).await?;
                verified.tables += 1;
                verified.rows += rows;
                (rows != wanted).then(|| format!("{table} has {rows} rows and had {wanted}"))
            }
        };
        verified.lost.extend(lost);
    }
    if let Some(wanted) = blobs {
        let found = large_objects(&session).await?;
        if found != wanted {
            let difference = format!("there are {found} large objects and were {wanted}");
            verified.lost.push(difference);
        }
    }
    session.close().await;
    Ok(verified)
}

/// Those of `wanted` that the database has already, as `schema.name`.
pub async fn present<'a>(
    connection: &Connection,
    database: &str,
    wanted: impl Iterator<Item = &'a Relation>,
) -> Result<Vec<String>, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    let found: HashMap<_, _> = list_all(&session)
        .await?
        .into_iter()
        .map(|it| ((it.schema, it.name), it.kind))
        .collect();
    session.close().await;
    Ok(wanted
        .filter(|it| found.contains_key(&(it.schema.clone(), it.name.clone())))
        .map(|it| sql::qualified(&it.schema, &it.name))
        .collect())
}

/// Schemas of users that a database has.
pub async fn schemas(connection: &Connection, database: &str) -> Result<Vec<String>, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    let found = super::count::schemas(&session).await?;
    session.close().await;
    Ok(found)
}
