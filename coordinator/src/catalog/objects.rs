//! Objects whose PUT was granted.

use std::{collections::HashSet, fmt::Write as _};

use jiff::Timestamp;
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use strongroom_layout::{AttemptRef, ObjectId, ObjectKind, ObjectName};

use super::{
    Catalog, CatalogError,
    row::{Columns, int, micros, read_all},
};
use crate::model::ObjectRow;

/// Rows per statement: 8 values each, far below both databases' limits.
pub(super) const ROWS_PER_STATEMENT: usize = 64;

impl Catalog {
    /// Notes objects (with their length) whose PUT is granted to an attempt.
    /// What is there already keeps its kind and its attempt: the first kind named
    /// for a pack is the one that counts. Wakes nobody.
    pub async fn record_objects(
        &self,
        repository: &str,
        attempt: AttemptRef,
        objects: &[(ObjectName, u64)],
    ) -> Result<(), CatalogError> {
        let mut transaction = self.0.backend.begin_appending().await?;
        record_in(&mut transaction, repository, attempt, objects, self.now()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Those of the named objects that the catalog knows. Whether an object in
    /// `data/` holds data or trees is not asked but answered: compare kinds.
    pub async fn known_objects(
        &self,
        repository: &str,
        names: &[ObjectName],
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let mut found = Vec::new();
        for chunk in names.chunks(ROWS_PER_STATEMENT) {
            let places: Vec<_> = (2..2 + chunk.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT * FROM objects WHERE repository = $1 AND path IN ({})",
                places.join(", ")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(repository);
            for name in chunk {
                query = query.bind(name.path());
            }
            found.extend(read_all(&query.fetch_all(self.pool()).await?, read)?);
        }
        Ok(found)
    }

    /// The objects of one kind that an attempt was the first to write.
    pub async fn objects_of_attempt(
        &self,
        attempt: AttemptRef,
        kind: ObjectKind,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM objects WHERE job_id = $1 AND attempt = $2 AND kind = $3 ORDER BY path",
        )
        .bind(attempt.job.to_string())
        .bind(i64::from(attempt.attempt))
        .bind(kind.as_str())
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    /// Locks whose attempt has ended, or that were granted before `stale` and so
    /// are refreshed or given up: to be deleted in the store and then
    /// [forgotten](Self::forget_objects).
    pub async fn abandoned_locks(&self, stale: Timestamp) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.* FROM objects o JOIN jobs j ON j.id = o.job_id
             WHERE o.kind = 'lock'
               AND (o.attempt < j.attempt OR o.granted_at < $1
                    OR j.state IN ('pending', 'succeeded', 'failed', 'cancelled'))
             ORDER BY o.granted_at",
        )
        .bind(micros(stale))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    /// The locks in a repository that attempts wrote, released or not.
    pub async fn locks_of(&self, repository: &str) -> Result<HashSet<ObjectId>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM objects WHERE repository = $1 AND kind = 'lock'")
            .bind(repository)
            .fetch_all(self.pool())
            .await?;
        let locks = read_all(&rows, read)?;
        Ok(locks.iter().filter_map(|lock| lock.name.id()).collect())
    }

    /// Forgets objects that were deleted in the store.
    pub async fn forget_objects(
        &self,
        repository: &str,
        names: &[ObjectName],
    ) -> Result<(), CatalogError> {
        let mut transaction = self.0.backend.begin_appending().await?;
        for name in names {
            sqlx::query("DELETE FROM objects WHERE repository = $1 AND path = $2")
                .bind(repository)
                .bind(name.path())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Notes objects whose PUT is granted, as [`Catalog::record_objects`] does.
pub(super) async fn record_in(
    connection: &mut AnyConnection,
    repository: &str,
    attempt: AttemptRef,
    objects: &[(ObjectName, u64)],
    now: Timestamp,
) -> Result<(), CatalogError> {
    // In one order, so that two of these never wait for each other.
    let mut objects = objects.to_vec();
    objects.sort_unstable();
    // No statement may name a row twice.
    let mut named = HashSet::new();
    objects.retain(|(name, _)| named.insert(name.path()));
    for chunk in objects.chunks(ROWS_PER_STATEMENT) {
        let mut sql = String::from(
            "INSERT INTO objects
                 (repository, path, kind, id, length, job_id, attempt, granted_at) VALUES ",
        );
        for row in 0..chunk.len() {
            let comma = if row == 0 { "" } else { ", " };
            let n = 4 + row * 4;
            // Writing to a String cannot fail.
            let _ = write!(
                sql,
                "{comma}($1, ${}, ${}, ${}, ${}, $2, $3, $4)",
                n + 1,
                n + 2,
                n + 3,
                n + 4
            );
        }
        sql.push_str(
            " ON CONFLICT (repository, path) DO UPDATE SET granted_at = excluded.granted_at
              WHERE objects.job_id = excluded.job_id AND objects.attempt = excluded.attempt",
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(repository)
            .bind(attempt.job.to_string())
            .bind(i64::from(attempt.attempt))
            .bind(micros(now));
        for (name, length) in chunk {
            query = query
                .bind(name.path())
                .bind(name.kind().as_str())
                .bind(name.id().map(|id| id.to_string()))
                .bind(int(*length));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) fn read(row: &AnyRow) -> Result<ObjectRow, CatalogError> {
    let row = Columns::new("objects", row);
    let kind = row.text("kind")?;
    let kind = ObjectKind::ALL
        .into_iter()
        .find(|it| it.as_str() == kind)
        .ok_or_else(|| row.corrupt("kind", format!("is {kind:?}")))?;
    let name = match (kind, row.opt_parse("id")?) {
        (ObjectKind::Wal, _) => ObjectName::Wal(row.parse("path")?),
        (_, None) => ObjectName::Config,
        (kind, Some(id)) => ObjectName::Hashed(kind, id),
    };
    Ok(ObjectRow {
        repository: row.text("repository")?,
        name,
        length: row.number("length")?,
        attempt: AttemptRef {
            job: row.parse("job_id")?,
            attempt: row.number("attempt")?,
        },
        granted_at: row.time("granted_at")?,
    })
}
