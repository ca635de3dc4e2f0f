//! What passes between an operator and an agent without anybody in between
//! reading it: a download or an upload, cut into sealed pieces that lie as
//! objects in a store.
//!
//! - [`key`]: the reader's key pair (X25519),
//! - [`piece`]: how one piece is sealed,
//! - [`Sealer`] cuts no data itself: it seals what it is given, piece by
//!   piece, and ends with the *manifest*, a piece that lists all others,
//! - [`Opener`] starts from the manifest and opens the pieces in its order.
//!
//! Who fetches and stores is not this crate's matter: it does no I/O. Objects
//! are named by the SHA-256 of their bytes, as everywhere in a repository.
//!
//! What a reader can rely on: the pieces were sealed by one writer for this
//! reader, all of them are there, in order, and none is from another transfer.
//! What it cannot know is who the writer was; that is told by who could store
//! the objects.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod key;
mod manifest;
mod open;
pub mod piece;
mod seal;
#[cfg(test)]
mod tests;

pub use key::{PublicKey, SecretKey};
pub use manifest::MAX_PIECES;
pub use open::{OpenError, Opener};
pub use piece::{MAX_OBJECT, MAX_PLAIN};
pub use seal::{SealError, Sealed, Sealer};

/// The most that one transfer can hold, bytes: somewhat below 2 TiB.
pub const MAX_BYTES: u64 = MAX_PIECES as u64 * MAX_PLAIN as u64;
