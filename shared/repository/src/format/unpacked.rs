//! The plaintext of files that are not packs: index, snapshots, locks.
//!
//! Byte `0x02` and zstd(JSON); or, as restic before 0.14 wrote it, the JSON
//! itself, which starts with `{` or `[`.
//!
//! Source: restic `doc/design.rst`, "Unpacked Data Format".

use std::io::Read;

use super::FormatError;

/// Marks zstd.
const VERSION: u8 = 2;

/// zstd's level: these files are small, and written rarely.
const LEVEL: i32 = 3;

/// The most that a file may unpack to, in bytes; restic writes an index at
/// some 8 MiB. Several are unpacked at once.
const MOST: u64 = 64 << 20;

/// From JSON to the plaintext of an envelope. `what` names the kind of file
/// in errors.
pub fn encode(what: &'static str, json: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut out = vec![VERSION];
    let compressed = zstd::bulk::compress(json, LEVEL).map_err(|source| FormatError::Zstd {
        operation: "compress",
        what,
        source,
    })?;
    out.extend_from_slice(&compressed);
    Ok(out)
}

/// From the plaintext of an envelope to JSON.
pub fn decode(what: &'static str, plaintext: Vec<u8>) -> Result<Vec<u8>, FormatError> {
    match plaintext.first() {
        Some(b'{' | b'[') => Ok(plaintext),
        Some(&VERSION) => decompress(what, &plaintext[1..]),
        Some(byte) => Err(FormatError::invalid(
            what,
            format!("it begins with byte {byte}, which stands for no known form"),
        )),
        None => Err(FormatError::invalid(what, "it is empty")),
    }
}

fn decompress(what: &'static str, compressed: &[u8]) -> Result<Vec<u8>, FormatError> {
    let zstd_error = |source| FormatError::Zstd {
        operation: "decompress",
        what,
        source,
    };
    let mut json = Vec::new();
    zstd::stream::read::Decoder::with_buffer(compressed)
        .map_err(zstd_error)?
        .take(MOST + 1)
        .read_to_end(&mut json)
        .map_err(zstd_error)?;
    if json.len() as u64 > MOST {
        return Err(FormatError::invalid(
            what,
            format!("it unpacks to more than {} MiB", MOST >> 20),
        ));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn raw_json_is_taken_as_it_is() {
        for json in ["{}", "[]"] {
            assert_eq!(decode("index", json.into()).unwrap(), json.as_bytes());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for plaintext in [&b""[..], b"\x01{}", b"\x02", b"\x02{}", b"\x03", b" {}"] {
            decode("index", plaintext.to_vec()).unwrap_err();
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut bomb = vec![VERSION];
        zstd::stream::copy_encode(std::io::repeat(0).take(MOST + 1), &mut bomb, 1).unwrap();
        assert!(matches!(
            decode("index", bomb),
            Err(FormatError::Invalid { .. })
        ));
    }

    proptest! {
        #[test]
        fn round_trips(json: Vec<u8>) {
            let encoded = encode("index", &json).unwrap();
            prop_assert_eq!(decode("index", encoded).unwrap(), json);
        }

        #[test]
        fn truncation_is_refused(json: Vec<u8>, cut: prop::sample::Index) {
            let encoded = encode("index", &json).unwrap();
            let cut = cut.index(encoded.len());
            prop_assert!(decode("index", encoded[..cut].to_vec()).is_err());
        }
    }
}
