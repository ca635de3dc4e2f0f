//! Rows on their way into a table, and out of one.

use std::pin::Pin;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::CopyInSink;

use super::{Session, error::ServerError};

/// A `COPY … FROM stdin` that takes rows. Dropped before
/// [`finish`](RowsIn::finish), nothing of it stays.
pub struct RowsIn {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    what: String,
}

impl std::fmt::Debug for RowsIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowsIn").finish_non_exhaustive()
    }
}

impl Session {
    /// Begins a `COPY … FROM stdin`; `what` completes "cannot …".
    pub async fn rows_in(&self, what: &str, statement: &str) -> Result<RowsIn, ServerError> {
        let sink = self
            .copy_in(statement)
            .await
            .map_err(|error| ServerError::query(what, &error))?;
        Ok(RowsIn {
            sink: Box::pin(sink),
            what: what.to_owned(),
        })
    }

    /// Passes what a `COPY … TO stdout` gives on to `take`, cut anywhere; `what`
    /// completes "cannot …".
    pub async fn rows_out(
        &self,
        what: &str,
        statement: &str,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), ServerError> {
        let failed = |error| ServerError::query(what, &error);
        let mut rows = std::pin::pin!(self.copy_out(statement).await.map_err(failed)?);
        while let Some(bytes) = rows.try_next().await.map_err(failed)? {
            take(&bytes);
        }
        Ok(())
    }
}

impl RowsIn {
    /// More bytes, cut anywhere.
    pub async fn send(&mut self, rows: Bytes) -> Result<(), ServerError> {
        self.sink
            .send(rows)
            .await
            .map_err(|error| ServerError::query(&self.what, &error))
    }

    /// There are no more; gives the number of rows.
    pub async fn finish(mut self) -> Result<u64, ServerError> {
        self.sink
            .as_mut()
            .finish()
            .await
            .map_err(|error| ServerError::query(&self.what, &error))
    }
}
