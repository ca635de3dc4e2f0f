//! The coordinator's own access to stores.
//!
//! Agents never come here: they send requests that [`sign`] signed, where
//! `grants` allowed it.
//! The coordinator itself lists, deletes locks, and keeps the sealed
//! repository passwords beside the data they open. Nothing is signed for a
//! store that does not hold to what a signature covers: see [`check`].

pub mod check;
mod client;
mod config;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod registry;
pub mod sign;
mod watch;

pub(crate) use check::keeper::keep;
pub use check::{Finding, NotSigned, Report, Risk, Standing, Verdict};
pub use client::StoreClient;
pub use config::{StoreConfig, StoreCredentials};
pub use error::{StoreError, StoreProblem};
pub use registry::{NewStoreError, Signing, Store, Stores};
pub use watch::Outage;
pub(crate) use watch::watch;
