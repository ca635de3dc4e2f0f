//! A server behind its restore, for as long as somebody waits for it: it must
//! stay the primary that it was made, in the same run of its program.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::watchers;
use crate::{Client, Connection, Info, RedisError, Role};

/// How long a server that is out of reach is tried.
const UNREACHABLE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// A server that holds what was restored.
pub(super) struct Restored<'a> {
    connection: &'a Connection,
    client: Client,
    /// Nothing more is asked on `client`: another answer may be on its way.
    broken: bool,
    before: &'a Info,
}

impl<'a> Restored<'a> {
    /// `client` leads to it; `before` is what it said before anything was
    /// restored.
    pub(super) fn new(connection: &'a Connection, client: Client, before: &'a Info) -> Self {
        Self {
            connection,
            client,
            broken: false,
            before,
        }
    }

    /// What it said before anything was restored.
    pub(super) fn before(&self) -> &'a Info {
        self.before
    }

    /// To ask it more.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What it says of itself. An error: it follows another, or was started
    /// again and holds what its disk held. Whoever makes a server follow
    /// another breaks its connections as well: a broken one is made anew
    /// before anything is said.
    pub(super) async fn ask(&mut self) -> Result<Info, RedisError> {
        let asked = if self.broken {
            None
        } else {
            let asked = Info::ask(&mut self.client).await;
            self.unless_broken(asked)?
        };
        let info = match asked {
            Some(info) => info,
            None => self.ask_anew().await?,
        };
        if let Role::Replica { host, port, .. } = &info.role {
            return Err(watchers::taken_over(&self.client, host, *port));
        }
        if info.run_id != self.before.run_id {
            return Err(self.client.unfit(
                "was restarted before what was restored was known to stay: it may hold old data; \
                 look at what it holds, or restore again",
            ));
        }
        Ok(info)
    }

    async fn ask_anew(&mut self) -> Result<Info, RedisError> {
        let begun = Instant::now();
        loop {
            let error = match Client::connect(self.connection).await {
                Ok(client) => {
                    self.client = client;
                    self.broken = false;
                    match Info::ask(&mut self.client).await {
                        Ok(info) => return Ok(info),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !error.is_retryable() || begun.elapsed() > UNREACHABLE {
                return Err(RedisError::Unproven {
                    address: self.client.address().to_owned(),
                    source: Box::new(error),
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// What came of a question; `None`: the connection broke, and what became of
    /// it shows in what [`ask`](Self::ask) gives.
    pub(super) fn unless_broken<T>(
        &mut self,
        answer: Result<T, RedisError>,
    ) -> Result<Option<T>, RedisError> {
        match answer {
            Err(error) if is_of_connection(&error) => {
                self.broken = true;
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }
}

fn is_of_connection(error: &RedisError) -> bool {
    matches!(error, RedisError::Lost { .. } | RedisError::Timeout { .. })
}
