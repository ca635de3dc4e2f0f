//! S3 services for unit tests, over real sockets.
//!
//! - [`service`] verifies signatures and hashes as S3 does, and keeps objects in
//!   memory.
//! - [`scripted`] answers whatever a test wants, byte for byte.

pub mod scripted;
pub mod service;
