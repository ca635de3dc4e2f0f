//! What of the host's files a job may use: places, not names.
//!
//! A path is only a name. Whoever owns a directory on the way can put a symbolic
//! link in its place between a check of the name and its use, and an agent that
//! runs as root would then read or write what nobody has allowed. So a name is
//! looked at once: it is resolved, and if it lies in an allowed directory, that
//! directory is opened and the rest of the resolved path is kept. From there on
//! everything is reached from the open directory, and through no link at all.
//!
//! - [`AllowedDirectory`]: what may be restored into,
//! - [`AllowedPaths`]: what a backup of files may read,
//! - [`OffLimits`]: the agent's own state, which nothing of this gives,
//! - `within`: from names and the allowed directories to ways,
//! - `way`: from an open directory to one below it.
//!
//! Whoever may say so is the [consent](crate::runner::consent) of `agent.toml`;
//! at the command line, whoever sits there ([`AllowedDirectory::named`]).

mod directory;
mod off_limits;
mod paths;
mod way;
mod within;

#[cfg(test)]
mod tests;

pub use directory::{AllowedDirectory, Unsteady};
pub use off_limits::OffLimits;
pub use paths::AllowedPaths;
pub use way::Way;
pub(crate) use within::{Prefixes, Problem};
