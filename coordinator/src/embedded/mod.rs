//! An S3 endpoint over a local directory.
//!
//! `strongroom dev` and small installs need no S3 service. Agents use this
//! one exactly as any other, so that there is one data path. An object
//! `bucket/prefix/data/ab/…` is the file at that path: repositories on disk
//! are plain restic repositories.
//!
//! What the library verifies (s3s 0.14.1): the signature, in constant time;
//! the request's date within 15 minutes; the SHA-256 of a body whose hash is
//! signed; the signature of each chunk of a body that comes in signed chunks.
//! What it does not, `guard` does: it takes no request but those with a header
//! signature over host, date, content hash and every other `x-amz-` header.
//! And `integrity`: that a body in chunks is whole, and its checksums.
//!
//! - `guard`: which requests are looked at at all,
//! - `integrity`: what a request says of its body beside a signed hash,
//! - `key`: names that cannot leave the directory,
//! - `tree`: files, atomically and durably,
//! - `list`: what is there, page by page,
//! - `service`: the S3 operations,
//! - `uploads`: which of them are unfinished, and how many may be,
//! - `bounds`: how many connections, how large, how slow,
//! - `server`: connections.

mod bounds;
mod credentials;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod integrity;
mod key;
mod list;
mod server;
mod service;
mod tree;
mod uploads;

pub use bounds::Bounds;
pub use credentials::{CredentialsError, load_or_create as load_or_create_credentials};
pub use server::{EmbeddedConfig, EmbeddedError, EmbeddedStore};

#[cfg(test)]
mod tests;
