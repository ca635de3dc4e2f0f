//! Files and directories.
//!
//! The tree starts at `/`: the directories on the way to the paths that the
//! source names stand in it with their own metadata and nothing else in them.
//! Symlinks are never followed, but for those on the way to a named path.
//!
//! - [`globs`]: what is left out,
//! - `roots`: the named paths as a tree of names,
//! - `walk`: the items of the crew: open a directory, take care of some of
//!   its entries,
//! - `frame`: a directory whose entries are being saved; joined in order, so
//!   that trees are made from the bottom up,
//! - `open`: opening and listing a directory,
//! - `file`, `reader`: one regular file,
//! - `metadata`, [`owners`], `xattrs`, `caches`: what is known of an entry,
//! - `pseudo`: file systems that hold no data,
//! - [`estimate`]: how much there is, counted beside the backup.

mod caches;
pub mod estimate;
pub(super) mod file;
mod frame;
pub mod globs;
pub(super) mod metadata;
mod open;
pub mod owners;
mod pseudo;
mod reader;
mod roots;
mod settled;
mod stamps;
mod walk;
mod xattrs;

pub use roots::InvalidPath;
pub use walk::{Counts, FilesError, FilesOptions, Moment, Probe, save};
