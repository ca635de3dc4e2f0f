//! Trees: directory listings, as JSON byte for byte like restic's, so that
//! the same directory gives the same blob whoever wrote it.
//!
//! `{"nodes":[…]}\n`, no unknown fields, fixed field order, zero values
//! omitted except name, type, times, uid, gid and content.
//!
//! Source: restic `internal/restic/node.go` and `tree.go`, 0.14.0;
//! `linktarget_raw` as restic 0.16 has it.
//!
//! One thing is ours. restic has no word for holes, so a file whose zeros were no
//! holes has `"device":1`: that field is of devices only, so restic reads and
//! writes it and asks nobody else for it (decision 0049).

mod decode;
mod encode;
mod file_mode;
#[cfg(test)]
pub(crate) mod tests;

pub use encode::TreeEncoder;

use super::{FormatError, node::Tree};

/// What a file's field `device` says when its zeros were no holes.
const ALLOCATED: u64 = 1;

impl Tree {
    /// JSON. Refuses impossible names and any order but strictly ascending.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut encoder = TreeEncoder::new();
        for node in &self.nodes {
            encoder.push(node)?;
        }
        Ok(encoder.finish())
    }

    /// From JSON. Refuses names that could lead out of the directory, and
    /// names that stand twice. Like restic, tolerates unknown fields and any
    /// order (the nodes come back sorted), and leaves out sockets, which hold
    /// nothing.
    pub fn decode(json: &[u8]) -> Result<Self, FormatError> {
        decode::decode(json)
    }
}

/// What is wrong with a name, if anything is.
fn name_problem(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("an empty name"),
        b"." | b".." => Some("a name that stands for another directory"),
        _ if name.contains(&b'/') => Some("a slash in the name"),
        _ if name.contains(&0) => Some("a zero byte in the name"),
        _ => None,
    }
}

/// A name for people.
fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}
