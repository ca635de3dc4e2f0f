//! The agent: sits beside the data, dials out to the coordinator, and does
//! the jobs that both the coordinator asks for and `agent.toml` allows.
//!
//! It holds no storage credentials: every S3 request it sends was signed by
//! the coordinator for exactly that request (see [`grants`]). The one
//! exception is [`offline`], the engine without any coordinator, which takes
//! credentials from the environment of whoever runs it.

// What is printed goes through `strongroom_runtime::printable`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod allowed;
pub mod backup;
pub mod cli;
pub mod config;
pub mod consent;
pub mod enrol;
mod failure;
#[cfg(test)]
mod fake;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grants;
pub mod heap;
mod host;
pub mod inventory;
pub mod limits;
pub mod link;
pub mod monitor;
pub mod offline;
pub mod outbox;
pub mod priority;
mod reload;
pub mod restore;
pub mod runner;
pub mod session;
pub mod sources;
mod tasks;
pub mod transfer;
pub mod transport;
pub mod wal;
mod zeros;

/// The version of this binary, as the coordinator and the snapshots see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
