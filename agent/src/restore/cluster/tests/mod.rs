//! Clusters of snapshots that were tampered with, restored beside the original.
//!
//! With real servers, as root: a restored cluster is given to another user.

mod links;
mod postmaster;
mod resume;
mod site;
