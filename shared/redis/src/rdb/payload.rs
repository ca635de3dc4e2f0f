//! What `DUMP` gives and `RESTORE` takes.
//!
//! Source: `createDumpPayload` and `verifyDumpPayload` in Redis' `cluster.c`.

use super::{reader::Value, sum};

/// The payload of a value as it stands in an RDB: its type, its bytes, the
/// RDB's version, and the checksum of all that.
pub fn payload(value: &Value, version: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.bytes.len() + 11);
    out.push(value.kind);
    out.extend_from_slice(&value.bytes);
    // RDB headers have four digits at most: see `Reader::new`.
    out.extend_from_slice(&(version as u16).to_le_bytes());
    let sum = sum::of(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SET k 10; DUMP k` on Redis 7.0, as the documentation of DUMP shows it
    /// for a version of its own.
    #[test]
    fn a_small_number_as_redis_dumps_it() {
        let value = Value {
            kind: 0,
            bytes: vec![0xc0, 10],
        };
        let expected = b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
        assert_eq!(payload(&value, 10), expected);
    }
}
