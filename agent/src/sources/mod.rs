//! What can be backed up.
//!
//! To add a source: make its folder, give it a function that saves what it
//! has through a [`strongroom_repository::write::Writer`] and returns the id
//! of a root tree, and add its arm in [`crate::backup`].

pub mod command;
pub mod files;
pub mod postgres;
pub mod redis;
pub mod throttle;
pub mod virtual_files;
