//! The generated types and services of `strongroom/v1/agent.proto`.
//!
//! The generated code is committed so that a build needs neither `protoc` nor
//! a code generator. After a change to the `.proto` file run
//! `STRONGROOM_REGENERATE=1 cargo test -p strongroom-proto`; without the
//! variable the same test fails when the two differ.
//!
//! Generated types stop at `strongroom-wire`: nothing else handles them.

/// What encodes and decodes messages, in the version that they are made for.
pub use prost;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
#[path = "gen/strongroom.v1.rs"]
pub mod v1;
