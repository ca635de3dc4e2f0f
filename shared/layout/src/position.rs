//! Places in PostgreSQL's write-ahead log.
//!
//! Source: `access/xlog_internal.h` and `access/xlogdefs.h`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte of the write-ahead log, counted from the cluster's birth; the
/// database's `pg_lsn`, written `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// A text that is no position, timeline or segment name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct InvalidPosition {
    /// As given.
    pub text: String,
    /// What it should be.
    pub what: &'static str,
}

impl InvalidPosition {
    fn new(text: &str, what: &'static str) -> Self {
        // What comes from outside may be long.
        let text = text.chars().take(64).collect();
        Self { text, what }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let valid = (1..=8).contains(&digits.len()) && is_hex(digits);
            valid.then(|| u64::from_str_radix(digits, 16).ok())?
        };
        let parsed = text
            .split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)));
        parsed.ok_or_else(|| InvalidPosition::new(text, "position in the write-ahead log"))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A history of the cluster; a promotion begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(pub u32);

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TimelineId {
    /// The name of its history file.
    pub fn history_file(self) -> String {
        format!("{:08X}.history", self.0)
    }

    /// The timeline whose history a file of this name tells.
    pub fn of_history_file(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".history")?;
        let valid = digits.len() == 8 && is_upper_hex(digits);
        valid.then(|| u32::from_str_radix(digits, 16).ok().map(Self))?
    }
}

/// `wal_segment_size` in bytes: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// `None`: not a size that segments have.
    pub fn new(bytes: u32) -> Option<Self> {
        let valid = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        valid.then_some(Self(bytes))
    }

    /// Bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// The number of the segment that holds a byte.
    pub fn segment_of(self, lsn: Lsn) -> u64 {
        lsn.0 / self.bytes()
    }

    /// The number of the segment that holds the byte before `end`: the last
    /// that is needed to replay up to `end`.
    pub fn segment_before(self, end: Lsn) -> u64 {
        end.0.saturating_sub(1) / self.bytes()
    }

    /// Segments per "log file", the middle part of a segment's name.
    fn per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl TryFrom<u32> for SegmentSize {
    type Error = InvalidPosition;

    fn try_from(bytes: u32) -> Result<Self, Self::Error> {
        let invalid = || InvalidPosition::new(&bytes.to_string(), "size of a WAL segment");
        Self::new(bytes).ok_or_else(invalid)
    }
}

impl From<SegmentSize> for u32 {
    fn from(size: SegmentSize) -> Self {
        size.0
    }
}

/// A segment of the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its history.
    pub timeline: TimelineId,
    /// Counted from the cluster's birth.
    pub number: u64,
}

impl SegmentName {
    /// The file's name, 24 digits.
    pub fn file_name(self, size: SegmentSize) -> String {
        let (log, segment) = (self.number / size.per_log(), self.number % size.per_log());
        format!("{:08X}{log:08X}{segment:08X}", self.timeline.0)
    }

    /// The segment that a file of this name is; `None` for names of other
    /// files, and for numbers that segments of that size do not have.
    pub fn parse(name: &str, size: SegmentSize) -> Option<Self> {
        if name.len() != 24 || !is_upper_hex(name) {
            return None;
        }
        let part = |range| u32::from_str_radix(name.get(range)?, 16).ok();
        let (timeline, log, segment) = (part(0..8)?, part(8..16)?, part(16..24)?);
        let valid = timeline > 0 && u64::from(segment) < size.per_log();
        valid.then(|| Self {
            timeline: TimelineId(timeline),
            number: u64::from(log) * size.per_log() + u64::from(segment),
        })
    }

    /// Its first byte.
    pub fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.number.saturating_mul(size.bytes()))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_upper_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(count: u32) -> SegmentSize {
        SegmentSize::new(count << 20).unwrap()
    }

    #[test]
    fn positions_are_written_as_the_server_writes_them() {
        for (number, text) in [
            (0, "0/0"),
            (0x16_B374_D848, "16/B374D848"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Lsn(number)));
        }
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/+1",
            "0/123456789",
            "g/0",
            "0/0/0",
        ] {
            text.parse::<Lsn>().unwrap_err();
        }
    }

    #[test]
    fn segments_are_named_as_pg_walfile_name_names_them() {
        // SELECT pg_walfile_name('1/23456789') and so on.
        for (lsn, size, name) in [
            ("0/2000028", mib(16), "000000010000000000000002"),
            ("1/23456789", mib(16), "000000010000000100000023"),
            ("1/23456789", mib(1), "000000010000000100000234"),
            ("1/C3456789", mib(1024), "000000010000000100000003"),
        ] {
            let lsn: Lsn = lsn.parse().unwrap();
            let segment = SegmentName {
                timeline: TimelineId(1),
                number: size.segment_of(lsn),
            };
            assert_eq!(segment.file_name(size), name);
            assert_eq!(SegmentName::parse(name, size), Some(segment));
            assert!(segment.start(size) <= lsn);
        }
    }

    #[test]
    fn a_position_on_a_boundary_ends_the_segment_before() {
        let size = mib(16);
        assert_eq!(size.segment_before(Lsn(16 << 20)), 0);
        assert_eq!(size.segment_before(Lsn((16 << 20) + 1)), 1);
        assert_eq!(size.segment_of(Lsn(16 << 20)), 1);
    }

    #[test]
    fn other_files_of_pg_wal_are_no_segments() {
        for name in [
            "",
            "archive_status",
            "00000002.history",
            "00000001000000000000000g",
            "00000001000000000000000a",
            "000000010000000000000100",
            "000000000000000000000001",
            "000000010000000000000002.partial",
            "000000010000000000000002.00000028.backup",
        ] {
            assert_eq!(SegmentName::parse(name, mib(16)), None, "{name}");
        }
        assert_eq!(
            TimelineId::of_history_file("0000001F.history"),
            Some(TimelineId(31))
        );
        assert_eq!(TimelineId(31).history_file(), "0000001F.history");
        assert_eq!(TimelineId::of_history_file("1F.history"), None);
    }

    #[test]
    fn sizes_are_those_that_initdb_takes() {
        for bytes in [0, 1, 3 << 20, 1 << 19, 1 << 31] {
            assert_eq!(SegmentSize::new(bytes), None);
        }
    }
}
