//! The moment that a dump shows: an exported snapshot, held open.
//!
//! `pg_dump` is given the snapshot and takes its locks then; this session takes
//! none. What `TRUNCATE` and some forms of `ALTER TABLE` do in between does not
//! heed snapshots: the dump would find such a table empty. So once `pg_dump` has
//! its locks, the files of the tables are compared with those of the snapshot:
//! where one was exchanged, the dump is begun anew.

use std::{collections::HashMap, time::Duration};

use super::{arguments::LOCK_TIMEOUT, list::Listed};
use crate::{
    connection::{Connection, ServerError, Session},
    name::Text,
    sql,
};

/// Locks that are named.
const NAMED: usize = 5;

/// An exported snapshot; it ends with this.
#[derive(Debug)]
pub struct Held {
    pub(super) session: Session,
    /// For `pg_dump --snapshot`.
    pub snapshot: String,
}

impl Held {
    /// Exports a snapshot of `database`.
    pub async fn take(connection: &Connection, database: &str) -> Result<Self, ServerError> {
        let session = Session::open(connection, Some(database)).await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let lock = Duration::from_millis(LOCK_TIMEOUT.into());
        session.begin_unhurried(begin, lock).await?;
        let snapshot = export(&session).await?;
        Ok(Self { session, snapshot })
    }

    /// Tables whose rows lie in other files now than in the snapshot: emptied or
    /// rewritten since.
    pub async fn exchanged(&self, files: &[TableFile]) -> Result<Vec<String>, ServerError> {
        let what = "look whether tables were emptied meanwhile";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let of: HashMap<u32, &TableFile> = files.iter().map(|it| (it.table, it)).collect();
        let tables: Vec<u32> = files.iter().map(|it| it.table).collect();
        // What the function gives is of now, whatever the transaction sees.
        let rows = self
            .session
            .query(
                "SELECT x.id, pg_catalog.pg_relation_filenode(x.id) \
                 FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS x (id)",
                &[&tables],
            )
            .await
            .map_err(error)?;
        let mut exchanged = Vec::new();
        for row in rows {
            let table: u32 = row.try_get(0).map_err(error)?;
            let file: Option<u32> = row.try_get(1).map_err(error)?;
            if let Some(known) = of.get(&table)
                && Some(known.file) != file
            {
                exchanged.push(known.name.clone());
            }
        }
        Ok(exchanged)
    }

    /// Who holds locks that let nobody read, for people; empty where nobody
    /// does any more.
    pub async fn lockers(&self) -> Result<Vec<String>, ServerError> {
        let what = "look who holds locks";
        let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let rows = self
            .session
            .query(
                "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, l.pid \
                 FROM pg_catalog.pg_locks l \
                 JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation \
                 JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                 WHERE l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' AND l.granted \
                 AND l.pid IS NOT NULL AND c.relkind OPERATOR(pg_catalog.=) \
                 ANY (ARRAY['r', 'p', 'm']::pg_catalog.\"char\"[]) \
                 AND l.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database \
                 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
                 ORDER BY l.pid, 1, 2",
                &[],
            )
            .await
            .map_err(error)?;
        let mut lockers = Vec::new();
        for row in rows.iter().take(NAMED) {
            let Text(schema) = row.try_get(0).map_err(error)?;
            let Text(name) = row.try_get(1).map_err(error)?;
            let pid: i32 = row.try_get(2).map_err(error)?;
            let table = sql::qualified(&schema, &name);
            lockers.push(format!("{table} is locked by the server's process {pid}"));
        }
        Ok(lockers)
    }

    /// Lets the snapshot go.
    pub async fn release(self) {
        self.session.close().await;
    }
}

/// A table that has rows, and the file that they lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Its object id.
    pub table: u32,
    /// `relfilenode` of the snapshot.
    pub file: u32,
    /// For people.
    pub name: String,
}

impl TableFile {
    pub(super) fn of(listed: &Listed) -> Self {
        Self {
            table: listed.oid,
            file: listed.file,
            name: sql::qualified(&listed.schema, &listed.name),
        }
    }
}

async fn export(session: &Session) -> Result<String, ServerError> {
    let what = "export a snapshot";
    let row = session
        .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])
        .await
        .map_err(|error| ServerError::query(what, &error))?;
    row.try_get(0)
        .map_err(|error| ServerError::query(what, &error))
}
