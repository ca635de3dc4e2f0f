//! The write-ahead log: archived, and what can be recovered from it.

mod archive;
mod conflict;
mod hostile_owner;
mod limit;
mod moments;
mod push;
mod recovery;
mod refusals;
mod secrets;
mod streaming;
mod survives;
mod tablespaces;
mod twice;
