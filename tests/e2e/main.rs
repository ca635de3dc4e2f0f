//! End-to-end tests: the real programs over loopback, a file per subject.
//!
//! Run them with `tests/run e2e`, which builds the programs and brings a
//! PostgreSQL. `strongroom_tests` holds what they share.

mod again;
mod api;
mod architecture;
mod backup;
mod believed;
mod cache;
mod command_source;
mod consent;
mod crash;
mod damage;
mod dev;
mod disk_full;
mod folders;
mod foreign;
mod hostile;
mod identity;
mod index_claims;
mod jobs;
mod leaks;
mod limits;
mod misconfiguration;
mod mounts;
mod operating;
mod policies;
mod postgres;
mod postgres_logical;
mod postgres_physical;
mod postgres_wal;
mod redis;
mod requests;
mod resources;
mod restore;
mod resume;
mod schedule;
mod snapshots;
mod store_errors;
mod store_faults;
mod stores;
mod swaps;
mod telemetry;
mod terminal;
mod transfers;
mod vanished;
mod warnings;
mod world;
