//! The session with the coordinator: one stream, held for as long as the
//! agent runs and begun again whenever it is lost.
//!
//! Attempts do not notice: they run in the [`Runner`], ask through the
//! [`Link`], and report to the outbox.

mod conversation;
mod renewal;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use strongroom_runtime::{
    backoff::{Backoff, random_unit},
    clock::SharedClock,
    pki::PkiError,
};
use strongroom_transfer::PublicKey;
use strongroom_wire::session::Consent;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    config::Address,
    enrol::Identity,
    inventory::Found,
    link::LinkOwner,
    outbox::Outbox,
    runner::{Runner, Stop},
    transport,
};
use conversation::{Conversation, Outcome};

/// Tries again after up to this long at first …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … and after up to this long in the end.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Everything a session needs.
pub struct Session {
    /// The coordinator's port for agents.
    pub coordinator: Address,
    /// Where a renewed identity goes.
    pub state_dir: PathBuf,
    /// Who this agent is.
    pub identity: Identity,
    /// What `agent.toml` allows, for the operators' eyes; a change is said in a new
    /// session.
    pub consent: watch::Receiver<Consent>,
    /// To which uploads are sealed.
    pub transfer_key: PublicKey,
    /// This host's own name.
    pub hostname: String,
    /// Made at each start of the process.
    pub boot_id: Uuid,
    /// Runs what is offered.
    pub runner: Runner,
    /// What is to be reported.
    pub outbox: Outbox,
    /// What answers at this host's connections.
    pub found: Found,
    /// Where others find the channel.
    pub link: LinkOwner,
    /// For the certificate's life.
    pub clock: SharedClock,
}

/// The session ended for good, and not because anybody asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Revoked, or not known.
    #[error(
        "the coordinator at {coordinator} dismissed this agent: {reason}; if that was a \
         mistake, invite the host again and run `strongroom-agent enroll --force`"
    )]
    Dismissed {
        /// Who.
        coordinator: Address,
        /// As the coordinator put it.
        reason: String,
    },
    /// Away for too long.
    #[error(
        "this agent's certificate ended on {not_after} (the clock says {now}): check the clock; \
         if it is right, invite the host again and run `strongroom-agent enroll --force`"
    )]
    Expired {
        /// When it ended.
        not_after: Timestamp,
        /// The host's clock.
        now: Timestamp,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl Session {
    /// Holds the session until `stop` is cancelled (then running attempts are
    /// ended and reported) or the coordinator wants no more of this agent.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SessionError> {
        let result = self.hold(&stop).await;
        self.link.set(None);
        self.runner.stop_all(match &result {
            Ok(()) => &Stop::Shutdown,
            Err(_) => &Stop::Dismissed,
        });
        self.runner.idle().await;
        result
    }

    async fn hold(&mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (not_before, not_after) = self.identity.validity()?;
        let mut renew_at = renewal::due(not_before, not_after, random_unit());
        while !stop.is_cancelled() {
            match self.one(renew_at, stop).await? {
                Outcome::Stopped => return Ok(()),
                Outcome::Renewed => {
                    info!("certificate renewed");
                    backoff.reset();
                    // Certificates are backdated: what counts is from now on.
                    let (_, not_after) = self.identity.validity()?;
                    renew_at = renewal::due(self.clock.now(), not_after, random_unit());
                }
                Outcome::Changed => info!("saying anew what agent.toml allows"),
                Outcome::Dismissed { reason } => {
                    return Err(SessionError::Dismissed {
                        coordinator: self.coordinator.clone(),
                        reason,
                    });
                }
                Outcome::Lost { reason, healthy } => {
                    if healthy {
                        backoff.reset();
                    }
                    let wait = backoff.next_random();
                    warn!(coordinator = %self.coordinator, reason, ?wait, "no session");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Connects and talks until the stream ends.
    async fn one(
        &mut self,
        renew_at: Timestamp,
        stop: &CancellationToken,
    ) -> Result<Outcome, SessionError> {
        let (_, not_after) = self.identity.validity()?;
        let now = self.clock.now();
        if now >= not_after {
            return Err(SessionError::Expired { not_after, now });
        }
        let tls = self.identity.tls()?;
        let connected = tokio::select! {
            connected = transport::connect(&self.coordinator, tls) => connected,
            () = stop.cancelled() => return Ok(Outcome::Stopped),
        };
        let channel = match connected {
            Ok(channel) => channel,
            Err(error) => {
                return Ok(Outcome::Lost {
                    reason: error.to_string(),
                    healthy: false,
                });
            }
        };
        self.link.set(Some(channel.clone()));
        let outcome = Conversation::hold(self, channel, renew_at, stop).await;
        if matches!(outcome, Outcome::Lost { .. }) {
            self.link.set(None);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
