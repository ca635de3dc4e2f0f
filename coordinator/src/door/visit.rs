//! One connection, as those see it who answer its requests.

use std::{fmt, future::pending, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::places::{Full, Origin, Place, Places};

/// A connection's place at a port. Cheap to clone; the place is free when the
/// last clone is gone.
#[derive(Clone)]
pub struct Visit(Arc<Inner>);

struct Inner {
    places: Arc<Places>,
    place: Mutex<Place>,
    address: SocketAddr,
    since: Instant,
    leave: CancellationToken,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    known: bool,
    /// Requests so far.
    requests: u32,
    /// Of those, how many are being answered.
    busy: u32,
    /// When `busy` last changed.
    changed: Instant,
    /// By when what is being answered has to be through.
    until: Option<Instant>,
}

/// Why a visit is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Over {
    /// Told to leave.
    #[error("it had to leave: its place was needed, or it asked too much")]
    Dismissed,
    /// Too long without saying who it is.
    #[error("it did not say in time who it is")]
    Stranger,
    /// Too long without a request.
    #[error("it was idle")]
    Idle,
    /// Too long over one request.
    #[error("its request or the answer took too long to pass")]
    Slow,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("address", &self.0.address)
            .field("place", &*self.0.place.lock())
            .finish_non_exhaustive()
    }
}

impl Visit {
    pub(super) fn begin(places: &Arc<Places>, address: SocketAddr) -> Self {
        let leave = CancellationToken::new();
        let now = Instant::now();
        let place = places.enter(Origin::of(address.ip()), leave.clone());
        Self(Arc::new(Inner {
            places: Arc::clone(places),
            place: Mutex::new(place),
            address,
            since: now,
            leave,
            state: watch::Sender::new(State {
                known: false,
                requests: 0,
                busy: 0,
                changed: now,
                until: None,
            }),
        }))
    }

    /// From where.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How long the connection has been open.
    pub fn age(&self) -> Duration {
        self.0.since.elapsed()
    }

    /// The caller has proved who it is. `false`: it may not stay, there are
    /// too many connections; the log says which.
    pub fn recognise(&self, caller: &str) -> bool {
        let recognised = self.0.places.recognise(&mut self.0.place.lock(), caller);
        match recognised {
            Ok(()) => {
                self.0
                    .state
                    .send_if_modified(|state| !std::mem::replace(&mut state.known, true));
                true
            }
            Err(full) => {
                self.refuse(&full);
                false
            }
        }
    }

    fn refuse(&self, full: &Full) {
        tracing::warn!(address = %self.0.address, reason = %full, "no place for a connection");
        self.0.leave.cancel();
    }

    /// Ends the connection.
    pub fn dismiss(&self) {
        self.0.leave.cancel();
    }

    /// A request has come; it is being answered until the guard is dropped. A
    /// stranger that asks too much has to leave.
    pub fn request(&self) -> Answering {
        let most = self.0.places.limits().stranger_requests;
        let mut too_many = false;
        self.0.state.send_modify(|state| {
            state.requests = state.requests.saturating_add(1);
            state.busy += 1;
            state.changed = Instant::now();
            state.until = None;
            too_many = !state.known && state.requests > most;
        });
        if too_many {
            self.dismiss();
        }
        Answering(self.clone())
    }

    /// Sets when the request that is being answered has to be through, its
    /// body and its answer; for connections that carry one at a time.
    pub fn answer_by(&self, until: Instant) {
        self.0.state.send_modify(|state| state.until = Some(until));
    }

    /// Waits until the connection has to end.
    pub(super) async fn over(&self) -> Over {
        let limits = *self.0.places.limits();
        let mut states = self.0.state.subscribe();
        loop {
            let state = *states.borrow_and_update();
            let (end, why) = match state {
                State { known: false, .. } => {
                    (Some(self.0.since + limits.stranger_life), Over::Stranger)
                }
                State {
                    busy: 0, changed, ..
                } => (Some(changed + limits.idle), Over::Idle),
                State { until, .. } => (until, Over::Slow),
            };
            let too_long = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.0.leave.cancelled() => return Over::Dismissed,
                () = too_long => return why,
                // The sender lives as long as `self`.
                _ = states.changed() => {}
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.places.leave(self.place.get_mut());
    }
}

/// While this lives, a request is being answered.
#[derive(Debug)]
pub struct Answering(Visit);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.state.send_modify(|state| {
            state.busy -= 1;
            state.changed = Instant::now();
        });
    }
}
