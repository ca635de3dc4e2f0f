//! The door of a port: whom it lets in, how many of them, and for how long.
//!
//! A caller is a *stranger* until it has proved who it is: by a certificate in
//! the handshake (agents) or by a token in a request (operators). Strangers
//! have places of their own, live briefly and give way to newer ones, so that
//! nobody who merely connects can keep those out who belong here.
//!
//! - [`Limits`]: how many, how long,
//! - `places`: who holds a place and who has to go; pure accounting,
//! - [`Visit`]: one connection as its requests see it,
//! - [`Connection`]: a stream that ends when its visit is over,
//! - [`Door`]: accepts, shakes hands, hands over,
//! - [`Attended`]: counts a connection's requests, to know when it is idle.

mod attend;
mod connection;
mod listen;
mod places;
mod visit;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    attend::{Attended, Held},
    connection::Connection,
    listen::Door,
    places::Origin,
    visit::{Answering, Visit},
};

/// How many connections a port holds, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, all together.
    pub connections: usize,
    /// Of those, strangers' at most; the rest is kept for the others.
    pub strangers: usize,
    /// Strangers' from one address.
    pub strangers_per_origin: usize,
    /// Connections of one caller that is known.
    pub per_caller: usize,
    /// Requests on a stranger's connection.
    pub stranger_requests: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// How long a stranger's connection lives.
    pub stranger_life: Duration,
    /// How long a known caller's connection lives without a request.
    pub idle: Duration,
}

impl Limits {
    /// The usual ones for a port with so many places.
    pub const fn of(connections: usize, strangers: usize) -> Self {
        Self {
            connections,
            strangers,
            strangers_per_origin: 64,
            per_caller: 32,
            stranger_requests: 64,
            handshake: Duration::from_secs(10),
            stranger_life: Duration::from_secs(30),
            idle: Duration::from_mins(5),
        }
    }
}
