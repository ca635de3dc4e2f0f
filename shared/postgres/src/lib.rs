//! What Strongroom speaks with PostgreSQL, versions 13 and newer.

pub mod connection;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inventory;
pub mod logical;
pub mod name;
pub mod physical;
pub mod programs;
pub mod replication;
pub mod rights;
pub mod server_words;
pub mod sql;
pub mod version;
pub mod wal;
