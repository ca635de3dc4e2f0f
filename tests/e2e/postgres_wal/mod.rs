//! The write-ahead log: archived, and what can be recovered from it.

mod archive;
mod hostile_owner;
mod limit;
mod push;
mod recovery;
mod refusals;
mod streaming;
mod survives;
mod tablespaces;
