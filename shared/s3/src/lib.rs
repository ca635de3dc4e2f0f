//! The S3 client: whoever of us speaks to an S3 service without a vendor's SDK
//! speaks through this crate.
//!
//! - [`HttpClient`] sends [`SignedRequest`]s, paces their bodies, gives up what
//!   stands still, and says what a refusal means ([`Failure`]).
//! - [`Signer`] signs any request with credentials, for whoever holds some. Who
//!   signs is not this crate's matter: agents send what the coordinator has signed.
//! - [`S3Location`] is a bucket or a part of one, and knows the URLs of its keys;
//!   [`ObjectPage`] and [`VersionPage`] are what listings of it say.
//! - [`bucket`] puts these together for whoever holds credentials of a bucket.
//!
//! No names of repositories' objects, no jobs, no tries: whether another try may do
//! better is what [`FailureKind::is_retryable`] says.

mod body;
pub mod bucket;
mod client;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listing;
pub mod location;
mod range;
mod request;
mod signer;
#[cfg(test)]
mod tests;
mod verbatim;
mod verify;
mod versions;

pub use client::{Answer, HttpClient, HttpOptions, HttpSetupError, Incoming, Request};
pub use error::{Failure, FailureKind, shown_url};
pub use listing::{ListedObject, ObjectPage};
pub use location::{Addressing, ParseLocationError, S3Location};
pub use range::ByteRange;
pub use request::{Payload, SignedRequest};
pub use signer::{BodyHash, Credentials, SignError, Signer, Unsigned};
pub use versions::{ListedVersion, VersionContent, VersionMarker, VersionPage};
