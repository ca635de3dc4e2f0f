//! What answers at the connections of `agent.toml`, for the operators' eyes.
//!
//! A task looks when the agent starts and every [`PERIOD`] from then on; the
//! session sends what was found when it begins and whenever there is news.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use strongroom_runtime::clock::SharedClock;
use strongroom_wire::session::{Connection, Server};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{AgentConfig, LiveConfig},
    restore::redis::detach_all,
    sources::{postgres, redis},
};

/// Between two looks.
const PERIOD: Duration = Duration::from_mins(5);
/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Servers asked at once.
const AT_ONCE: usize = 4;

/// What was found last; nothing before the first look.
pub type Found = watch::Receiver<Option<Arc<Vec<Connection>>>>;

/// Looks until `stop` is cancelled, and at once when the configuration changes.
pub async fn keep(
    mut live: LiveConfig,
    clock: SharedClock,
    found: watch::Sender<Option<Arc<Vec<Connection>>>>,
    stop: CancellationToken,
) {
    loop {
        let config = live.borrow_and_update().clone();
        // Of restores that were cut off; nearly always there are none.
        tokio::select! {
            () = detach_all(&config) => {}
            () = stop.cancelled() => return,
        }
        tokio::select! {
            connections = look(&config, &clock) => {
                found.send_replace(Some(Arc::new(connections)));
            }
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            Ok(()) = live.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Every connection, by kind and name.
async fn look(config: &AgentConfig, clock: &SharedClock) -> Vec<Connection> {
    let mut looks: Vec<BoxFuture<'_, Connection>> = Vec::new();
    for (name, connection) in &config.postgres {
        let server = postgres::inventory(connection);
        looks.push(report("postgres", name, connection.allow_restore, clock, server).boxed());
    }
    for (name, connection) in &config.redis {
        let server = redis::inventory(connection);
        looks.push(report("redis", name, connection.allow_restore, clock, server).boxed());
    }
    stream::iter(looks).buffered(AT_ONCE).collect().await
}

async fn report(
    kind: &str,
    name: &str,
    restore: bool,
    clock: &SharedClock,
    server: impl Future<Output = Result<Server, String>>,
) -> Connection {
    let state = tokio::time::timeout(PATIENCE, server)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "it did not answer within {} seconds",
                PATIENCE.as_secs()
            ))
        });
    Connection {
        kind: kind.into(),
        name: name.into(),
        restore,
        checked_at: clock.now(),
        state,
    }
}
