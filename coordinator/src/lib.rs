//! The coordinator: policies, schedules, the catalog, grants and the audit
//! log, and the operators' command line.
//!
//! It never links `strongroom-repository`: it handles ciphertext only, and a
//! test over `cargo metadata` keeps it so.

// What is printed goes through `strongroom_runtime::printable`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod catalog;
pub mod cli;
pub mod config;
pub mod dev;
pub mod dispatch;
pub mod door;
pub mod embedded;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grants;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod losses;
pub mod model;
pub mod policy;
pub mod profile;
pub mod program;
pub mod recovery;
pub mod restores;
pub mod schedule;
pub mod serve;
pub mod sessions;
pub mod stores;
#[cfg(test)]
mod testing;
pub mod transfers;
