//! gRPC: sessions with live agents.
//!
//! - `port`: the agents' port: HTTP/2 behind a [`Door`](crate::door::Door),
//! - `guard`: refuses before a body is read,
//! - `bodies`: how much is read, and for how long,
//! - `gateway`: the service `AgentGateway`: converts and delegates,
//! - `session`: one session: hello, heartbeats, reports,
//! - `clocks`: how far agents' clocks are from the coordinator's: pure,
//! - `contend`: two sessions of one agent: a lost one, or a copied identity,
//! - `reports`: their successes, until the store has borne them out,
//! - [`Registry`]: who is live, and how far they are,
//! - `presence`: what other coordinators are to see of that, written into the catalog,
//! - `status`: errors as gRPC statuses, in one place.

mod bodies;
mod clocks;
mod contend;
mod gateway;
mod guard;
mod port;
mod presence;
mod registry;
mod reports;
mod root_span;
mod session;
mod status;

pub use clocks::{Skew, TOLERATED};
pub(crate) use gateway::CHALLENGE;
pub use gateway::{Gateway, SessionConfig};
pub use port::{AgentPort, PortError};
pub use presence::keep_presence;
pub use registry::{NotLive, Registry};
pub use root_span::record_root_span;

#[cfg(test)]
mod tests;
