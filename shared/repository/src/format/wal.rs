//! Parts of a cluster's write-ahead log: the envelope of every other object
//! around a header and zstd.
//!
//! ```text
//! envelope( 1 ‖ kind ‖ 0 0 ‖ timeline ‖ system id ‖ first byte ‖ byte behind the last ‖ zstd )
//!           u8  u8          u32        u64         u64          u64
//! ```
//!
//! Numbers are little-endian; kind 0 is a part of the log, kind 1 a timeline's
//! history file, whose positions are 0. The header says again what the name
//! says: whoever can write into the bucket could rename an object, but not
//! change what it was sealed as.

use std::{fmt, io::Cursor};

use strongroom_layout::{SystemId, WalName, WalPart, position::Lsn, position::TimelineId};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{compress_bound, get_frame_content_size},
};

use super::{
    FormatError,
    blob_codec::decompress_exactly,
    crypto::{ENVELOPE_OVERHEAD, IV_LENGTH, MasterKey},
    sha256::sha256,
};

const WHAT: &str = "part of the write-ahead log";
const VERSION: u8 = 1;
const HEADER_LENGTH: usize = 32;

/// The longest part, bytes: readers take no more memory than that.
pub const LONGEST_PART: u64 = 64 << 20;
/// The longest history file, bytes.
pub const LONGEST_HISTORY: u64 = 1 << 20;

/// Seals and opens parts of the log; holds zstd contexts, so keep one per
/// thread.
pub struct WalCodec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl fmt::Debug for WalCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalCodec(…)")
    }
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPlace {
    /// Whose log.
    pub system: SystemId,
    /// Which history.
    pub timeline: TimelineId,
    /// Which part of it.
    pub part: WalPart,
}

impl WalPlace {
    /// Of an object.
    pub fn of(name: &WalName) -> Self {
        Self {
            system: name.system,
            timeline: name.timeline,
            part: name.part,
        }
    }

    fn header(&self) -> [u8; HEADER_LENGTH] {
        let (kind, start, end) = match self.part {
            WalPart::Range { start, end } => (0, start, end),
            WalPart::History => (1, Lsn(0), Lsn(0)),
        };
        let mut header = [0; HEADER_LENGTH];
        header[0] = VERSION;
        header[1] = kind;
        header[4..8].copy_from_slice(&self.timeline.0.to_le_bytes());
        header[8..16].copy_from_slice(&self.system.0.to_le_bytes());
        header[16..24].copy_from_slice(&start.0.to_le_bytes());
        header[24..].copy_from_slice(&end.0.to_le_bytes());
        header
    }
}

impl WalCodec {
    /// Takes the memory of both directions.
    pub fn new() -> Result<Self, FormatError> {
        Ok(Self {
            compressor: Compressor::new(1).map_err(zstd_error("compress"))?,
            decompressor: Decompressor::new().map_err(zstd_error("decompress"))?,
        })
    }

    /// The stored form of a part, and its name. `plaintext` is as long as the
    /// part; zstd's `level` is 1 to 22, or negative to be faster still.
    pub fn seal(
        &mut self,
        key: &MasterKey,
        place: WalPlace,
        level: i32,
        plaintext: &[u8],
    ) -> Result<(WalName, Vec<u8>), FormatError> {
        check_length(place.part, plaintext.len() as u64)?;
        let start = IV_LENGTH + HEADER_LENGTH;
        let bound = compress_bound(plaintext.len());
        let mut out = Vec::with_capacity(HEADER_LENGTH + bound + ENVELOPE_OVERHEAD);
        out.extend_from_slice(&[0; IV_LENGTH]);
        out.extend_from_slice(&place.header());
        let mut behind = Cursor::new(&mut out);
        behind.set_position(start as u64);
        self.compressor
            .set_compression_level(level)
            .and_then(|()| self.compressor.compress_to_buffer(plaintext, &mut behind))
            .map_err(zstd_error("compress"))?;
        key.seal_tail(&mut out, 0)?;
        // What is compressed to a tenth need not hold the memory of the whole.
        out.shrink_to_fit();
        let name = WalName {
            system: place.system,
            timeline: place.timeline,
            part: place.part,
            id: sha256(&out),
        };
        Ok((name, out))
    }

    /// Verifies that `sealed` is what `name` says, and gives its plaintext.
    pub fn open(
        &mut self,
        key: &MasterKey,
        name: &WalName,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, FormatError> {
        let got = sha256(&sealed);
        if got != name.id {
            return Err(FormatError::WrongHash {
                expected: name.id,
                got,
            });
        }
        let plaintext = key.open(&mut sealed)?;
        let (header, compressed) = plaintext
            .split_first_chunk::<HEADER_LENGTH>()
            .ok_or_else(|| FormatError::invalid(WHAT, "it has no header"))?;
        if header[0] != VERSION {
            let version = header[0];
            return Err(FormatError::invalid(
                WHAT,
                format!("its form is {version}, this version of Strongroom reads {VERSION}"),
            ));
        }
        if *header != WalPlace::of(name).header() {
            return Err(FormatError::invalid(
                WHAT,
                "it was sealed as another part than its name says",
            ));
        }
        let length = match name.part {
            WalPart::Range { start, end } => end.0.saturating_sub(start.0),
            WalPart::History => stated_length(compressed)?,
        };
        check_length(name.part, length)?;
        let mut out = Vec::new();
        // Checked to be far below 4 GiB.
        let length = length as u32;
        decompress_exactly(&mut self.decompressor, WHAT, compressed, length, &mut out)?;
        Ok(out)
    }
}

fn check_length(part: WalPart, length: u64) -> Result<(), FormatError> {
    let (expected, most) = match part {
        WalPart::Range { start, end } => (end.0.saturating_sub(start.0), LONGEST_PART),
        WalPart::History => (length, LONGEST_HISTORY),
    };
    if length != expected || length == 0 || length > most {
        let problem = format!("{length} bytes where {expected} belong and {most} are the most");
        return Err(FormatError::invalid(WHAT, problem));
    }
    Ok(())
}

fn stated_length(compressed: &[u8]) -> Result<u64, FormatError> {
    get_frame_content_size(compressed)
        .ok()
        .flatten()
        .ok_or_else(|| FormatError::invalid(WHAT, "it does not say how long it is"))
}

fn zstd_error(operation: &'static str) -> impl FnOnce(std::io::Error) -> FormatError {
    move |source| FormatError::Zstd {
        operation,
        what: WHAT,
        source,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_layout::ObjectId;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[7; 64])
    }

    fn codec() -> WalCodec {
        WalCodec::new().unwrap()
    }

    fn place(start: u64, length: u64) -> WalPlace {
        WalPlace {
            system: SystemId(7_412_345_678_901_234_567),
            timeline: TimelineId(2),
            part: WalPart::Range {
                start: Lsn(start),
                end: Lsn(start + length),
            },
        }
    }

    fn named(place: WalPlace, id: ObjectId) -> WalName {
        WalName {
            system: place.system,
            timeline: place.timeline,
            part: place.part,
            id,
        }
    }

    proptest! {
        #[test]
        fn parts_come_back(
            start in 0..u64::MAX / 2,
            level in -7..4,
            bytes in prop::collection::vec(any::<u8>(), 1..5000),
        ) {
            let mut codec = codec();
            let (name, sealed) = codec.seal(&key(), place(start, bytes.len() as u64), level, &bytes).unwrap();
            prop_assert_eq!(name.id, sha256(&sealed));
            prop_assert_eq!(codec.open(&key(), &name, sealed).unwrap(), bytes);
        }

        #[test]
        fn whatever_is_sealed_by_somebody_else_is_refused(bytes: Vec<u8>, part in 1..200u64) {
            let name = named(place(0, part), sha256(&bytes));
            prop_assert!(codec().open(&key(), &name, bytes).is_err());
        }
    }

    #[test]
    fn history_files_come_back() {
        let history = WalPlace {
            part: WalPart::History,
            ..place(0, 1)
        };
        let text = b"1\t0/3000000\tno recovery target specified\n";
        let (name, sealed) = codec().seal(&key(), history, 1, text).unwrap();
        assert_eq!(codec().open(&key(), &name, sealed).unwrap(), text);
    }

    #[test]
    fn a_part_cannot_take_another_s_place() {
        let (name, sealed) = codec().seal(&key(), place(100, 3), 1, b"log").unwrap();
        for other in [
            place(101, 3),
            place(100, 4),
            WalPlace {
                timeline: TimelineId(3),
                ..place(100, 3)
            },
            WalPlace {
                system: SystemId(8),
                ..place(100, 3)
            },
            WalPlace {
                part: WalPart::History,
                ..place(100, 3)
            },
        ] {
            let renamed = named(other, name.id);
            let error = codec().open(&key(), &renamed, sealed.clone()).unwrap_err();
            assert!(error.to_string().contains("another part"), "{error}");
        }
        let stranger = MasterKey::from_bytes(&[8; 64]);
        let error = codec().open(&stranger, &name, sealed.clone()).unwrap_err();
        assert!(matches!(error, FormatError::WrongMac), "{error}");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            let error = codec().open(&key(), &name, damaged).unwrap_err();
            assert!(matches!(error, FormatError::WrongHash { .. }), "{error}");
        }
    }

    #[test]
    fn lengths_are_what_the_place_says() {
        for (place, bytes) in [
            (place(0, 3), &b"four"[..]),
            (
                WalPlace {
                    part: WalPart::History,
                    ..place(0, 1)
                },
                b"",
            ),
            (
                WalPlace {
                    part: WalPart::History,
                    ..place(0, 1)
                },
                &vec![0; LONGEST_HISTORY as usize + 1],
            ),
        ] {
            codec().seal(&key(), place, 1, bytes).unwrap_err();
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_its_place() {
        // Sealed with the right key, as only a hostile agent could.
        let place = place(0, 10);
        let mut out = vec![0; IV_LENGTH];
        out.extend(place.header());
        out.extend(zstd::bulk::compress(&vec![0; 10 << 20], 1).unwrap());
        key().seal_tail(&mut out, 0).unwrap();
        let name = named(place, sha256(&out));
        let error = codec().open(&key(), &name, out).unwrap_err();
        assert!(error.to_string().contains("10485760"), "{error}");
    }
}
