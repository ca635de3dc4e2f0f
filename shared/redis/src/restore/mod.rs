//! Bringing data back into a server that runs.
//!
//! [`whole`] replaces everything: the server becomes a replica of ours for a
//! moment. [`keys`] writes single keys, and leaves all others alone.

mod behind;
pub mod check;
pub mod durable;
pub mod keys;
pub mod watchers;
pub mod whole;
