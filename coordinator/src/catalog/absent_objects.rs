//! Objects that an attempt was granted to write, and that were not there when it ended.
//!
//! Whoever stole an agent could have any number of names noted that way, all of which
//! would be losses for ever (decision 0053).

use strongroom_layout::{AttemptRef, ObjectName};

use super::{
    Catalog, CatalogError,
    objects::read,
    row::{micros, read_all},
};
use crate::model::{Actor, NewAudit, ObjectRow, Outcome};

/// Objects that an entry of the audit log names.
const AUDITED: usize = 20;

impl Catalog {
    /// Notes that the store does not hold these objects, which an attempt was granted.
    /// Audited, and an alarm of its job: they may have been lost meanwhile.
    pub async fn mark_absent(
        &self,
        repository: &str,
        attempt: AttemptRef,
        absent: &[ObjectName],
    ) -> Result<(), CatalogError> {
        let Some(first) = absent.first() else {
            return Ok(());
        };
        let mut transaction = self.begin().await?;
        for object in absent {
            sqlx::query(
                "UPDATE objects SET absent_at = $5
                 WHERE repository = $1 AND path = $2 AND job_id = $3 AND attempt = $4",
            )
            .bind(repository)
            .bind(object.path())
            .bind(attempt.job.to_string())
            .bind(i64::from(attempt.attempt))
            .bind(micros(self.now()))
            .execute(&mut *transaction)
            .await?;
        }
        let alarm = format!(
            "{} objects that it was granted to write are not in the store ({first} is the first): \
             its agent did not write them, or the store lost them at once; see that the snapshot \
             can be read with `strongroom-agent offline check`",
            absent.len()
        );
        sqlx::query("UPDATE jobs SET alarm = $2 WHERE id = $1 AND alarm IS NULL")
            .bind(attempt.job.to_string())
            .bind(alarm)
            .execute(&mut *transaction)
            .await?;
        let paths: Vec<_> = absent.iter().take(AUDITED).map(ObjectName::path).collect();
        let entry = NewAudit::ok(
            Actor::Coordinator,
            "repository.unwritten-objects",
            &repository,
        )
        .outcome(Outcome::Failed)
        .detail(serde_json::json!({
            "job": attempt.job, "attempt": attempt.attempt,
            "count": absent.len(), "paths": paths,
        }));
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await
    }

    /// Those of a repository, by path, no more than `limit`.
    pub async fn absent_objects(
        &self,
        repository: &str,
        limit: u32,
    ) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT * FROM objects WHERE repository = $1 AND absent_at IS NOT NULL
             ORDER BY path LIMIT $2",
        )
        .bind(repository)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read)
    }

    /// They are there after all.
    pub async fn mark_present(
        &self,
        repository: &str,
        objects: &[ObjectName],
    ) -> Result<(), CatalogError> {
        let mut transaction = self.0.backend.begin_appending().await?;
        for object in objects {
            sqlx::query("UPDATE objects SET absent_at = NULL WHERE repository = $1 AND path = $2")
                .bind(repository)
                .bind(object.path())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
