//! What Strongroom speaks with Redis: the protocol, replication from both
//! sides, and the RDB format.
//!
//! A backup is a full synchronisation with us as a replica ([`replica`]); what
//! comes is read along ([`rdb`]). A restore of everything is one with us as a
//! primary, one of single keys writes them with `RESTORE` ([`restore`]).
//! We need both ends of replication, which client libraries do not have, and
//! little else: so the protocol is our own.

mod address;
mod client;
mod connection;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod glob;
mod info;
pub mod primary;
pub mod rdb;
pub mod replica;
mod resp;
pub mod restore;
mod rights;
mod tls;

pub use address::{Address, ParseAddressError};
pub use client::Client;
pub use connection::{Connection, Password, Timeouts, Tls};
pub use error::{RedisError, Refusal};
pub use info::{Info, Persistence, Product, Role, SocketName};
pub use resp::Reply;
