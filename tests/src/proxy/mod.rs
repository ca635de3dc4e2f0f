//! An HTTP proxy between Strongroom and an S3 service that misbehaves on
//! demand.
//!
//! One request per connection: every answer is passed on with the service's
//! `Connection: close`. The bytes of requests and answers are not touched, so
//! that signatures hold.
//!
//! [`FaultProxy::rule`] says what happens to which request; [`Gate`] holds a
//! request until the test says go, so that a test can act "in the middle of a
//! backup" without guessing times.

mod chaos;
mod connection;
mod gate;
mod throttle;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};

use crate::program::PATIENCE;

pub use chaos::Chaos;
pub use gate::Gate;
pub use throttle::Throttle;

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From 0, in order of arrival.
    pub number: usize,
    /// `GET`, `PUT`, ….
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    /// As sent, without `?`; empty when there is none.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's length in bytes, as the request announced it.
    pub length: u64,
}

impl Seen {
    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(header, _)| header == name);
        header.map(|(_, value)| value.as_str())
    }

    /// Whether this writes an object below `directory` (`data`, `index`, …).
    pub fn puts(&self, directory: &str) -> bool {
        self.method == "PUT" && self.path.contains(&format!("/{directory}/"))
    }

    /// Whether this reads an object below `directory`.
    pub fn gets(&self, directory: &str) -> bool {
        self.method == "GET" && self.path.contains(&format!("/{directory}/"))
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Wait for the gate, then pass.
    Hold(Gate),
    /// Wait, then pass.
    Delay(Duration),
    /// Pass the request's body no faster than this.
    Slow(Throttle),
    /// Swallow the request and answer with this status and S3 error code.
    Answer(u16, &'static str),
    /// Reset the connection after so many bytes of the request's body.
    ResetRequest(u64),
    /// Pass the request; reset after so many bytes of the answer's body.
    ResetAnswer(u64),
    /// Pass the request, and reset instead of answering: it was done, but the
    /// client cannot know.
    LoseAnswer,
    /// Never answer; the client must give up by itself.
    Stall,
}

type Rule = Box<dyn Fn(&Seen) -> Option<Action> + Send + Sync>;

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<(Seen, Option<Action>)>>,
    arrived: Condvar,
    rules: Mutex<Vec<Rule>>,
}

/// The proxy; it ends when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl FaultProxy {
    /// Listens on a free port and passes everything on to `service`.
    pub fn start(service: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("sockets can be set");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.expect("the runtime takes the socket");
        drop(entered);
        runtime.spawn(connection::accept(listener, service, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a store's configuration calls the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. The first rule that has an action for a request wins; a
    /// request without one passes.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Option<Action> + Send + Sync + 'static) {
        self.shared.rules.lock().push(Box::new(rule));
    }

    /// Holds the `nth` request (from 1) that `wanted` accepts, and no other.
    pub fn hold(&self, nth: usize, wanted: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Gate {
        let gate = Gate::default();
        let (held, count) = (gate.clone(), Mutex::new(0));
        self.rule(move |seen| {
            if !wanted(seen) {
                return None;
            }
            let mut count = count.lock();
            *count += 1;
            (*count == nth).then(|| Action::Hold(held.clone()))
        });
        gate
    }

    /// Holds every request that `wanted` accepts.
    pub fn hold_all(&self, wanted: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Gate {
        let gate = Gate::default();
        let held = gate.clone();
        self.rule(move |seen| wanted(seen).then(|| Action::Hold(held.clone())));
        gate
    }

    /// Lets everything pass from now on. Requests already held stay held.
    pub fn clear(&self) {
        self.shared.rules.lock().clear();
    }

    /// All requests so far, with what was done to them.
    pub fn log(&self) -> Vec<(Seen, Option<Action>)> {
        self.shared.log.lock().clone()
    }

    /// The requests so far that `wanted` accepts.
    pub fn seen(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let log = self.shared.log.lock();
        let seen = log.iter().map(|(seen, _)| seen);
        seen.filter(|seen| wanted(seen)).cloned().collect()
    }

    /// Waits until `count` requests that `wanted` accepts have come.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_for(&self, what: &str, count: usize, wanted: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.shared.log.lock();
        while log.iter().filter(|(seen, _)| wanted(seen)).count() < count {
            let late = self.shared.arrived.wait_until(&mut log, deadline);
            assert!(
                !late.timed_out(),
                "no {count} × {what} among the {} requests that came",
                log.len()
            );
        }
    }
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
