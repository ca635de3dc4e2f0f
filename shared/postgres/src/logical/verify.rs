//! Compares a restored database with what its manifest says.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use super::{
    count::{self, large_objects, make_comparable, rows_of, sum_of},
    list::{Listed, list_all},
    manifest::{Extension, Relation},
};
use crate::{
    connection::{Connection, ServerError, Session},
    sql,
};

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Verify<'a> {
    /// Of the database that was dumped, as the server calls it.
    pub encoding: &'a str,
    /// That it had.
    pub extensions: &'a [Extension],
    /// Large objects there must be.
    pub large_objects: Option<u64>,
    /// Read every row and compare checksums; otherwise rows are counted.
    pub content: bool,
    /// Tables that are read at the same time.
    pub jobs: usize,
}

/// What was compared, and what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tables whose rows were counted.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Those of the tables whose rows were compared by their checksum.
    pub summed: u64,
    /// Differences of rows, for people.
    pub lost: Vec<String>,
    /// What has no rows of its own and is not there, or is something else.
    pub missing: Vec<Relation>,
}

/// Looks for each relation that `expected` does not leave out, and reads the
/// rows of those that had some.
pub async fn verify<'a>(
    connection: &Connection,
    database: &str,
    verify: Verify<'_>,
    expected: impl Iterator<Item = &'a Relation>,
) -> Result<Verified, ServerError> {
    let session = open(connection, database).await?;
    let mut verified = Verified::default();
    let tables = survey(&session, verify, expected, &mut verified).await?;
    let work = Mutex::new(tables.into_iter());
    let mut sessions = vec![session];
    let jobs = verify.jobs.min(work_left(&work));
    while sessions.len() < jobs {
        match open(connection, database).await {
            Ok(session) => sessions.push(session),
            // There are others who need connections.
            Err(_) => break,
        }
    }
    let readers = sessions
        .iter()
        .map(|session| read(session, &work, verify.encoding));
    let read = futures::future::try_join_all(readers).await?;
    for part in read {
        verified.add(part);
    }
    for session in sessions {
        session.close().await;
    }
    Ok(verified)
}

/// The same, in a transaction that may still be rolled back.
pub async fn verify_within<'a>(
    session: &Session,
    verify: Verify<'_>,
    expected: impl Iterator<Item = &'a Relation>,
) -> Result<Verified, ServerError> {
    make_comparable(session, "SET LOCAL").await?;
    let mut verified = Verified::default();
    let tables = survey(session, verify, expected, &mut verified).await?;
    let work = Mutex::new(tables.into_iter());
    verified.add(read(session, &work, verify.encoding).await?);
    Ok(verified)
}

/// Rows of those tables of `expected` that had some, by schema and name.
pub async fn rows<'a>(
    session: &Session,
    expected: impl Iterator<Item = &'a Relation>,
) -> Result<HashMap<(String, String), u64>, ServerError> {
    let mut all = HashMap::new();
    for relation in expected.filter(|it| it.rows.is_some() && !it.left_out) {
        let table = sql::qualified(&relation.schema, &relation.name);
        let rows = rows_of(session, &table).await?;
        all.insert((relation.schema.clone(), relation.name.clone()), rows);
    }
    Ok(all)
}

/// Looks what there is; gives the tables whose rows are to be read.
async fn survey<'a>(
    session: &Session,
    verify: Verify<'_>,
    expected: impl Iterator<Item = &'a Relation>,
    verified: &mut Verified,
) -> Result<Vec<Table<'a>>, ServerError> {
    let found = list(session).await?;
    let odd = other_versions(session, verify.extensions).await?;
    let mut tables = Vec::new();
    for relation in expected.filter(|relation| !relation.left_out) {
        let table = sql::qualified(&relation.schema, &relation.name);
        let key = (relation.schema.clone(), relation.name.clone());
        let there = found.get(&key);
        let Some(rows) = relation.rows else {
            if there.map(|it| it.kind) != Some(relation.kind) {
                verified.missing.push(relation.clone());
            }
            continue;
        };
        match there {
            None => verified.lost.push(format!("{table} is missing")),
            Some(it) if it.kind != relation.kind => verified.lost.push(format!(
                "{table} is a {:?} and was a {:?}",
                it.kind, relation.kind
            )),
            Some(it) => tables.push(Table {
                relation,
                table,
                rows,
                comparable: verify.content && !odd.contains(&it.oid),
            }),
        }
    }
    if let Some(wanted) = verify.large_objects {
        let found = large_objects(session).await?;
        if found != wanted {
            let lost = format!("there are {found} large objects and were {wanted}");
            verified.lost.push(lost);
        }
    }
    Ok(tables)
}

impl Verified {
    fn add(&mut self, part: Self) {
        self.tables += part.tables;
        self.rows += part.rows;
        self.summed += part.summed;
        self.lost.extend(part.lost);
    }
}

#[expect(clippy::struct_field_names, reason = "its name, quoted")]
struct Table<'a> {
    relation: &'a Relation,
    table: String,
    rows: u64,
    comparable: bool,
}

type Work<'a> = Mutex<std::vec::IntoIter<Table<'a>>>;

fn work_left(work: &Work<'_>) -> usize {
    work.lock().map_or(0, |work| work.len())
}

/// Reads tables until there are none left.
async fn read(session: &Session, work: &Work<'_>, encoding: &str) -> Result<Verified, ServerError> {
    let mut verified = Verified::default();
    loop {
        let next = work.lock().ok().and_then(|mut work| work.next());
        let Some(table) = next else {
            return Ok(verified);
        };
        match compare(session, &table, encoding, &mut verified).await {
            Ok(()) => {}
            // Of this table, such as a column that it lacks.
            Err(error @ ServerError::Query { .. }) => verified.lost.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
}

async fn compare(
    session: &Session,
    table: &Table<'_>,
    encoding: &str,
    verified: &mut Verified,
) -> Result<(), ServerError> {
    let Table {
        table: name,
        rows: wanted,
        ..
    } = table;
    let checksum = table.relation.checksum.as_ref();
    let checksum = checksum.filter(|_| table.comparable);
    let (rows, same) = match checksum {
        None => (rows_of(session, name).await?, true),
        Some(checksum) => {
            let sum = sum_of(session, name, &checksum.columns, encoding).await?;
            (sum.rows, sum.text() == checksum.sum)
        }
    };
    verified.tables += 1;
    verified.rows += rows;
    verified.summed += u64::from(checksum.is_some());
    if rows != *wanted {
        let lost = format!("{name} has {rows} rows and had {wanted}");
        verified.lost.push(lost);
    } else if !same {
        verified.lost.push(format!(
            "{name} has as many rows as it had, {rows}, but not the same: some were changed on \
             their way"
        ));
    }
    Ok(())
}

async fn open(connection: &Connection, database: &str) -> Result<Session, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    session.unhurried(Duration::from_mins(1)).await?;
    make_comparable(&session, "SET").await?;
    Ok(session)
}

async fn list(session: &Session) -> Result<HashMap<(String, String), Listed>, ServerError> {
    let listed = list_all(session).await?.into_iter();
    Ok(listed
        .map(|it| ((it.schema.clone(), it.name.clone()), it))
        .collect())
}

/// Tables with values of extensions that have another version here than where
/// the dump was made: they may write the same value otherwise.
async fn other_versions(
    session: &Session,
    manifest: &[Extension],
) -> Result<HashSet<u32>, ServerError> {
    let here = count::extensions(session).await?;
    let others = here.into_iter().filter(|it| !manifest.contains(it));
    let names: Vec<String> = others.map(|it| it.name).collect();
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    count::tables_of_extensions(session, &names).await
}

/// Those of `wanted` that the database has already, as `schema.name`.
pub async fn present<'a>(
    connection: &Connection,
    database: &str,
    wanted: impl Iterator<Item = &'a Relation>,
) -> Result<Vec<String>, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    let found = list(&session).await?;
    session.close().await;
    Ok(wanted
        .filter(|it| found.contains_key(&(it.schema.clone(), it.name.clone())))
        .map(|it| sql::qualified(&it.schema, &it.name))
        .collect())
}

/// Schemas of users that a database has.
pub async fn schemas(connection: &Connection, database: &str) -> Result<Vec<String>, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    let found = count::schemas(&session).await?;
    session.close().await;
    Ok(found)
}
