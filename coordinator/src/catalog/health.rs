//! Whether the catalog can be written.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use super::{Catalog, CatalogError, row::micros};

/// Whoever asks again within this gets the same answer: nobody writes by asking.
const FRESH: Duration = Duration::from_secs(5);
/// For the catalog to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<(Instant, Result<(), String>)>>);

impl Catalog {
    /// Whether something can be written now, or why not and where, for people.
    pub async fn health(&self) -> Result<(), String> {
        let mut last = self.0.health.0.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < FRESH
        {
            return found.clone();
        }
        let written = tokio::time::timeout(PATIENCE, self.write_something()).await;
        let found = match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        };
        let found = found.map_err(|problem| {
            format!("the catalog {} cannot be written: {problem}", self.0.shown)
        });
        let before = last.as_ref().is_none_or(|(_, before)| before.is_ok());
        match &found {
            Ok(()) if !before => tracing::info!("the catalog is written again"),
            Err(problem) if before => tracing::error!("{problem}"),
            _ => {}
        }
        *last = Some((Instant::now(), found.clone()));
        found
    }

    async fn write_something(&self) -> Result<(), CatalogError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('healthy_at', $1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(micros(self.now()).to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets what was found.
    #[cfg(test)]
    pub(super) async fn look_again(&self) {
        *self.0.health.0.lock().await = None;
    }
}
