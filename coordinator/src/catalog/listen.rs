//! The listener: hears of what other processes have written to the same Postgres, so
//! that whoever waits for [`Changes`](super::Changes) here is woken by them as well.
//! With SQLite there are no others.
//!
//! A notification may be lost with its connection. So everybody is woken once there is
//! another connection, and whoever waits looks again from time to time besides.

use std::{error::Error, time::Duration};

use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Catalog, backend::Backend};

/// Where a commit is told of; the payload is who has committed.
pub(super) const CHANNEL: &str = "strongroom_changes";
/// A connection on which nothing came for so long is asked whether it is one.
const QUIET: Duration = Duration::from_secs(30);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before another connection is tried.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a connection is not listened on any longer.
type Lost = Box<dyn Error + Send + Sync>;

impl Catalog {
    /// Listens until `cancel`; a connection that breaks is made again.
    pub async fn listen(self, cancel: CancellationToken) {
        let Backend::Postgres { server, .. } = &self.0.backend else {
            return;
        };
        let listening = async {
            loop {
                if let Err(error) = self.hear(server).await {
                    tracing::warn!(
                        error,
                        "not told of what other coordinators write: looked for now and then"
                    );
                }
                sleep(AGAIN).await;
            }
        };
        cancel.run_until_cancelled(listening).await;
    }

    /// Listens on one connection, or on those that are made in its place.
    async fn hear(&self, server: &PgConnectOptions) -> Result<(), Lost> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(server.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        tracing::debug!("listening for what other coordinators write");
        // They may have written before.
        self.wake();
        let own = self.0.instance.to_string();
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(heard) => match heard? {
                    Some(notification) if notification.payload() == own => {}
                    Some(_) => self.wake(),
                    // It was broken, and is made again.
                    None => {
                        self.wake();
                        sleep(AGAIN).await;
                    }
                },
                Err(_) => {
                    timeout(PATIENCE, listener.execute("SELECT 1")).await??;
                }
            }
        }
    }

    fn wake(&self) {
        self.0.changes.send_replace(());
    }
}
