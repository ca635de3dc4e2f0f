//! Restores of repositories that restic wrote, and of hand-made ones.
//!
//! `restic` must be on the path, and the tests run as root: they restore
//! owners and devices.

mod allowed;
mod damage;
mod hostile;
mod listing;
mod modes;
mod owners;
mod resume;
mod selection;
mod stream;
mod support;
mod whole;

pub(crate) use support::Hook;
