//! Uploads and downloads, and what is to be deleted of them.

use jiff::Timestamp;
use sqlx::{AnyConnection, any::AnyRow};
use strongroom_layout::{AgentId, JobId, ObjectId};
use strongroom_spec::{JobSpec, UploadSpec};
use uuid::Uuid;

use super::{
    Catalog, CatalogError,
    objects::read as read_object,
    row::{Columns, json, micros, read_all},
};
use crate::model::{Actor, Job, NewAudit, NewJob, ObjectRow, Transfer};

impl Catalog {
    /// Makes the job of a download, and the transfer of its pieces.
    pub async fn create_download(&self, new: &NewJob) -> Result<Job, CatalogError> {
        let mut transaction = self.begin().await?;
        let job = self.create_job_in(&mut transaction, new).await?.job;
        let transfer = Transfer {
            id: job.id.0,
            repository: job.repository.clone(),
            agent: job.agent,
            job: Some(job.id),
            requested_by: job.requested_by.clone(),
            created_at: self.now(),
            ended_at: None,
            upload: None,
        };
        insert_in(&mut transaction, &transfer).await?;
        self.commit(transaction).await?;
        Ok(job)
    }

    /// Begins an upload into a repository that the catalog knows. The work's
    /// transfer is set here.
    pub async fn create_upload(
        &self,
        repository: &str,
        agent: AgentId,
        work: UploadSpec,
        requested_by: Actor,
    ) -> Result<Transfer, CatalogError> {
        let id = self.new_id();
        let transfer = Transfer {
            id,
            repository: repository.to_owned(),
            agent,
            job: None,
            requested_by,
            created_at: self.now(),
            ended_at: None,
            upload: Some(UploadSpec {
                transfer: id,
                ..work
            }),
        };
        let mut transaction = self.begin().await?;
        insert_in(&mut transaction, &transfer).await?;
        let entry = NewAudit::ok(transfer.requested_by.clone(), "upload.create", &id).detail(
            serde_json::json!({
                "agent": agent, "repository": repository,
                "dataset": transfer.upload.as_ref().map(|it| &it.dataset),
            }),
        );
        self.audit_in(&mut transaction, entry).await?;
        self.commit(transaction).await?;
        Ok(transfer)
    }

    /// A transfer by id.
    pub async fn transfer(&self, id: Uuid) -> Result<Transfer, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        transfer_in(&mut connection, id).await
    }

    /// All pieces of an upload are there: makes the job that takes them.
    /// `job` is that job, but for the manifest in its work.
    pub async fn start_upload(
        &self,
        id: Uuid,
        manifest: ObjectId,
        mut job: NewJob,
    ) -> Result<Job, CatalogError> {
        let mut transaction = self.begin().await?;
        let transfer = transfer_in(&mut transaction, id).await?;
        if transfer.job.is_some() || transfer.ended_at.is_some() {
            return Err(CatalogError::Conflict {
                what: "upload",
                name: id.to_string(),
                problem: "is complete or has ended; begin another".into(),
            });
        }
        if let JobSpec::Upload(work) = &mut job.spec {
            work.manifest = manifest;
        }
        let job = self.create_job_in(&mut transaction, &job).await?.job;
        sqlx::query("UPDATE transfers SET job_id = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(job.id.to_string())
            .execute(&mut *transaction)
            .await?;
        self.commit(transaction).await?;
        Ok(job)
    }

    /// Nobody needs its pieces any more. Ended twice is ended.
    pub async fn end_transfer(&self, id: Uuid, by: &Actor) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        let ended =
            sqlx::query("UPDATE transfers SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL")
                .bind(id.to_string())
                .bind(micros(self.now()))
                .execute(&mut *transaction)
                .await?;
        if ended.rows_affected() > 0 {
            let entry = NewAudit::ok(by.clone(), "transfer.end", &id);
            self.audit_in(&mut transaction, entry).await?;
            self.commit(transaction).await?;
        }
        Ok(())
    }

    /// The pieces whose PUT was granted for a transfer; of a download those of
    /// its job's current attempt.
    pub async fn pieces(&self, transfer: Uuid) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.* FROM objects o LEFT JOIN jobs j ON j.id = o.job_id
             WHERE o.job_id = $1 AND o.kind = 'transfer' AND (j.id IS NULL OR o.attempt = j.attempt)
             ORDER BY o.path",
        )
        .bind(transfer.to_string())
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_object)
    }

    /// Pieces that nobody will fetch any more: their transfer was ended, its
    /// job came to nothing or has taken them, their attempt is over, or they
    /// have waited since before `oldest`.
    pub async fn useless_pieces(&self, oldest: Timestamp) -> Result<Vec<ObjectRow>, CatalogError> {
        let rows = sqlx::query(
            "SELECT o.* FROM objects o
             JOIN transfers t ON t.id = o.job_id
             LEFT JOIN jobs j ON j.id = t.job_id
             WHERE o.kind = 'transfer' AND (
                 t.ended_at IS NOT NULL
                 OR (j.id IS NULL AND t.created_at < $1)
                 OR j.state IN ('failed', 'cancelled')
                 OR (t.direction = 'upload' AND j.state = 'succeeded')
                 OR (t.direction = 'download'
                     AND (o.attempt < j.attempt OR j.state = 'pending'
                          OR (j.state = 'succeeded' AND j.finished_at < $1))))
             ORDER BY o.granted_at",
        )
        .bind(micros(oldest))
        .fetch_all(self.pool())
        .await?;
        read_all(&rows, read_object)
    }
}

async fn insert_in(
    connection: &mut AnyConnection,
    transfer: &Transfer,
) -> Result<(), CatalogError> {
    let direction = match transfer.upload {
        Some(_) => "upload",
        None => "download",
    };
    sqlx::query(
        "INSERT INTO transfers
             (id, direction, repository, agent_id, job_id, requested_by, created_at, work)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(transfer.id.to_string())
    .bind(direction)
    .bind(transfer.repository.clone())
    .bind(transfer.agent.to_string())
    .bind(transfer.job.map(|id| id.to_string()))
    .bind(transfer.requested_by.to_string())
    .bind(micros(transfer.created_at))
    .bind(transfer.upload.as_ref().map(json))
    .execute(connection)
    .await?;
    Ok(())
}

async fn transfer_in(connection: &mut AnyConnection, id: Uuid) -> Result<Transfer, CatalogError> {
    let row = sqlx::query("SELECT * FROM transfers WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref()
        .map(read)
        .transpose()?
        .ok_or_else(|| CatalogError::not_found("transfer", &id.to_string()))
}

fn read(row: &AnyRow) -> Result<Transfer, CatalogError> {
    let row = Columns::new("transfers", row);
    Ok(Transfer {
        id: row.parse("id")?,
        repository: row.text("repository")?,
        agent: row.parse("agent_id")?,
        job: row.opt_parse::<JobId>("job_id")?,
        requested_by: row.parse("requested_by")?,
        created_at: row.time("created_at")?,
        ended_at: row.opt_time("ended_at")?,
        upload: row.opt_json("work")?,
    })
}
