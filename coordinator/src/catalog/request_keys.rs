//! Idempotency keys: which request came with each, and how it was answered.

use jiff::{SignedDuration, Timestamp};
use sqlx::any::AnyRow;

use super::{
    Catalog, CatalogError,
    row::{Columns, micros},
};
use crate::model::{KeptAnswer, KeptBody, KeyState, KeyedRequest};

/// A key is known for so long.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

impl Catalog {
    /// What is known of a request; when that is nothing, it is under way from now
    /// on. Of two that come at once one is told so.
    pub async fn begin_request(&self, request: &KeyedRequest) -> Result<KeyState, CatalogError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT * FROM request_keys WHERE sender = $1 AND key = $2")
            .bind(request.sender.to_string())
            .bind(request.key.clone())
            .fetch_optional(&mut *transaction)
            .await?;
        let oldest = self.oldest_key();
        if let Some(row) = row {
            let (begun_at, hash, state) = read(&row)?;
            if begun_at >= oldest {
                return Ok(if hash == request.hash {
                    state
                } else {
                    KeyState::Reused
                });
            }
        }
        sqlx::query("DELETE FROM request_keys WHERE sender = $1 AND key = $2")
            .bind(request.sender.to_string())
            .bind(request.key.clone())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO request_keys (sender, key, request, begun_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(request.sender.to_string())
        .bind(request.key.clone())
        .bind(request.hash.clone())
        .bind(micros(self.now()))
        .execute(&mut *transaction)
        .await?;
        // Nobody waits for this.
        transaction.commit().await?;
        Ok(KeyState::New)
    }

    /// Keeps the answer of a request that has succeeded.
    pub async fn answer_request(
        &self,
        request: &KeyedRequest,
        answer: &KeptAnswer,
    ) -> Result<(), CatalogError> {
        let body = match &answer.body {
            KeptBody::Json(body) => Some(body.clone()),
            KeptBody::TooLong => Some(String::new()),
            KeptBody::Secret => None,
        };
        self.note_answer(request, answer.status, answer.location.clone(), body)
            .await
    }

    /// Notes that a request broke in the middle, with this status (5xx): nobody
    /// knows whether it has happened.
    pub async fn doubt_request(
        &self,
        request: &KeyedRequest,
        status: u16,
    ) -> Result<(), CatalogError> {
        self.note_answer(request, status, None, None).await
    }

    async fn note_answer(
        &self,
        request: &KeyedRequest,
        status: u16,
        location: Option<String>,
        body: Option<String>,
    ) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE request_keys SET status = $3, location = $4, body = $5
             WHERE sender = $1 AND key = $2",
        )
        .bind(request.sender.to_string())
        .bind(request.key.clone())
        .bind(i64::from(status))
        .bind(location)
        .bind(body)
        .execute(self.writers())
        .await?;
        Ok(())
    }

    /// Forgets a request that did nothing: it may be sent again.
    pub async fn release_request(&self, request: &KeyedRequest) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM request_keys WHERE sender = $1 AND key = $2 AND status IS NULL")
            .bind(request.sender.to_string())
            .bind(request.key.clone())
            .execute(self.writers())
            .await?;
        Ok(())
    }

    /// Forgets the keys whose time is over.
    pub async fn forget_request_keys(&self) -> Result<(), CatalogError> {
        let oldest = micros(self.oldest_key());
        // Mostly there are none: no need to wait for other writers.
        let some = sqlx::query("SELECT key FROM request_keys WHERE begun_at < $1 LIMIT 1")
            .bind(oldest)
            .fetch_optional(self.pool())
            .await?;
        if some.is_some() {
            sqlx::query("DELETE FROM request_keys WHERE begun_at < $1")
                .bind(oldest)
                .execute(self.writers())
                .await?;
        }
        Ok(())
    }

    fn oldest_key(&self) -> Timestamp {
        let now = self.now();
        now.saturating_sub(KEPT).unwrap_or(now)
    }
}

fn read(row: &AnyRow) -> Result<(Timestamp, String, KeyState), CatalogError> {
    let row = Columns::new("request_keys", row);
    let begun_at = row.time("begun_at")?;
    let state = match row.opt_number::<u16>("status")? {
        None => KeyState::UnderWay(begun_at),
        Some(500..) => KeyState::Unknown(begun_at),
        Some(status) => KeyState::Answered(KeptAnswer {
            status,
            location: row.opt_text("location")?,
            body: match row.opt_text("body")? {
                Some(body) if body.is_empty() => KeptBody::TooLong,
                Some(body) => KeptBody::Json(body),
                None => KeptBody::Secret,
            },
        }),
    };
    Ok((begun_at, row.text("request")?, state))
}
