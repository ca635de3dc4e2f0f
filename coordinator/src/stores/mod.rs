//! The coordinator's own access to stores.
//!
//! Agents never come here: they send requests that [`crate::grants`] signed.
//! The coordinator itself lists, deletes locks, and keeps the sealed
//! repository passwords beside the data they open.

mod client;
mod config;
mod error;
mod registry;

pub use client::StoreClient;
pub use config::{StoreConfig, StoreCredentials};
pub use error::{StoreError, StoreProblem};
pub use registry::{NewStoreError, Store, Stores};
