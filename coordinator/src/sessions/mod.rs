//! gRPC: sessions with live agents.
//!
//! - `port`: the agents' port; TLS, and who the peer is,
//! - `gateway`: the service `AgentGateway`: authenticates and delegates,
//! - `session`: one session: hello, heartbeats, reports,
//! - [`Registry`]: who is live, and how far they are,
//! - `status`: errors as gRPC statuses, in one place.

mod gateway;
mod port;
mod registry;
mod root_span;
mod session;
mod status;

pub use gateway::{Gateway, SessionConfig};
pub use port::{AgentPort, PortError};
pub use registry::{NotLive, Registry};
pub use root_span::record_root_span;

#[cfg(test)]
mod tests;
