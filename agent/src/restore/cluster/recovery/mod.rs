//! Rolling a restored cluster forward: to a moment, a position, a transaction,
//! a named point, or the end of the archived log.
//!
//! 1. [`plan`] decides, before anything is written, which log is needed
//!    ([`chain`]: which bytes lie where; [`reach`]: how far; [`seek`]: what
//!    only the log itself tells) and which files the server gets
//!    ([`segments`]). All of it is read then for what it would do outside of the
//!    data directory ([`scan`]), and what lies in two places is compared
//!    ([`overlap`]).
//! 2. [`settings`] tells the server where to stop and where its log comes
//!    from.
//! 3. [`fetch`] brings the files into [`directory`], in the log's order.
//! 4. A server that we start replays them while they come: its
//!    `restore_command` runs [`serve`], which waits. Otherwise all of them are
//!    there before the restore ends, and `cp` serves them: whoever starts the
//!    server needs nothing of ours.
//! 5. [`watch`] waits until it has, and [`ended`] says where.
//!
//! A restore that was interrupted is run again and goes on: as long as files
//! are restored with those, later with the log that is missing, and with a
//! server that was started already, where that stopped.

mod chain;
pub(super) mod directory;
mod ended;
mod error;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod index;
mod notes;
mod overlap;
mod parts;
mod plan;
mod prepare;
mod reach;
mod replay;
mod scan;
mod seek;
mod segments;
pub mod serve;
mod server_log;
mod settings;
mod watch;

pub use error::RecoveryError;
pub use index::LogIndex;
pub use prepare::LogSource;

pub(super) use directory::Choice;
pub(super) use prepare::{Inputs, RollForward};
pub(super) use replay::Forwarding;
