//! Amounts of bytes and rates as people write them: `256MiB`, `50MiB/s`; how long
//! something takes, as they read it.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes, written as `256MiB` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is not an amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a whole number and KiB, MiB or GiB, such as \"256MiB\"")]
pub struct ParseSizeError(String);

/// Bytes per second, at least 1, written as `50MiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(NonZeroU64);

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRateError {
    /// Nothing would pass, or too little to be of use.
    #[error("{0:?} is too slow: write at least \"{least}\", or leave the limit out", least = ByteRate::LEAST)]
    TooSlow(String),
    /// It is something else.
    #[error(
        "{0:?} is not a rate: write a whole number with KiB/s, MiB/s, GiB/s, kB/s, MB/s or GB/s, \
         for example \"50MiB/s\""
    )]
    Invalid(String),
}

/// Largest first.
const BINARY: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Largest first; binary before decimal so that the exact form is shown.
const ALL: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    BINARY[0],
    BINARY[1],
    BINARY[2],
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// A whole number and one of `units`; `None` for anything else.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text.get(..end)?.parse().ok()?;
    let unit = text.get(end..)?.trim();
    let (_, bytes) = units.iter().find(|(known, _)| *known == unit)?;
    number.checked_mul(*bytes)
}

/// The number with the largest of `units` that shows it exactly.
fn shown(bytes: u64, units: &[(&'static str, u64)]) -> (u64, &'static str) {
    units
        .iter()
        .find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size))
        .map_or((bytes, "B"), |(unit, size)| (bytes / size, *unit))
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let plain = [("", 1), ("B", 1)];
        parse(text, &plain)
            .or_else(|| parse(text, &BINARY))
            .map(Self)
            .ok_or_else(|| ParseSizeError(text.into()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = shown(self.0, &BINARY);
        write!(f, "{number}{unit}")
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256MiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let unexpected = de::Unexpected::Signed(bytes);
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl ByteRate {
    /// From bytes per second; `None` for 0 and for more than the catalog's
    /// columns hold.
    pub fn from_bytes_per_second(bytes: u64) -> Option<Self> {
        NonZeroU64::new(bytes)
            .filter(|bytes| i64::try_from(bytes.get()).is_ok())
            .map(Self)
    }

    /// The slowest limit that works: any slower, and stores take a connection
    /// for dead between two pieces of 4 KiB.
    pub const LEAST: Self = Self(NonZeroU64::new(1 << 10).expect("it is not 0"));

    /// Refuses what is slower than [`Self::LEAST`]. Not part of reading a rate,
    /// so that what was once stored can always be read.
    pub fn checked(self) -> Result<Self, ParseRateError> {
        if self < Self::LEAST {
            return Err(ParseRateError::TooSlow(self.to_string()));
        }
        Ok(self)
    }

    /// In bytes per second.
    pub fn bytes_per_second(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = shown(self.0.get(), &ALL);
        write!(f, "{number}{unit}/s")
    }
}

impl FromStr for ByteRate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, ParseRateError> {
        match text.strip_suffix("/s").and_then(|size| parse(size, &ALL)) {
            Some(0) => Err(ParseRateError::TooSlow(text.into())),
            bytes => bytes
                .and_then(Self::from_bytes_per_second)
                .ok_or_else(|| ParseRateError::Invalid(text.into())),
        }
    }
}

impl Serialize for ByteRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The one unit that matters: `0.4 s`, `59 s`, `3 min`, `2 h`, `5 d`.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 if duration.is_zero() => "0 s".into(),
        0..10 if duration.subsec_millis() > 0 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17 B", 17),
            ("3KiB", 3 << 10),
            ("256 MiB", 256 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "1MB", "-1", "1.5GiB", "99999999999GiB", "ä"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_as_people_write_them() {
        for (text, bytes) in [
            ("50MiB/s", 50 << 20),
            ("800kB/s", 800_000),
            ("1 GB/s", 1_000_000_000),
        ] {
            let rate: ByteRate = text.parse().unwrap();
            assert_eq!(rate.bytes_per_second().get(), bytes);
        }
        for bad in [
            "",
            "50",
            "50MiB",
            "0B/s",
            "MiB/s",
            "-1MB/s",
            "99999999TiB/s",
            "1mb/s",
        ] {
            assert!(bad.parse::<ByteRate>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_size_may_be_a_number_in_a_file() {
        let read = |text| serde_json::from_str::<ByteSize>(text);
        assert_eq!(read("17").unwrap(), ByteSize(17));
        assert_eq!(read("\"1KiB\"").unwrap(), ByteSize(1024));
        assert!(read("-1").is_err());
        assert!(read("true").is_err());
    }

    #[test]
    fn a_rate_that_is_too_slow_is_told_what_works() {
        let zero = "0MB/s".parse::<ByteRate>().unwrap_err().to_string();
        assert!(
            zero.contains("\"0MB/s\"") && zero.contains("at least \"1KiB/s\""),
            "{zero}"
        );
        let slow: ByteRate = "1023B/s".parse().unwrap();
        let slow = slow.checked().unwrap_err().to_string();
        assert!(
            slow.contains("\"1023B/s\"") && slow.contains("at least \"1KiB/s\""),
            "{slow}"
        );
        ByteRate::LEAST.checked().unwrap();
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(size: u64, rate in 1..=i64::MAX as u64) {
            let size = ByteSize(size);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
            let rate = ByteRate::from_bytes_per_second(rate).unwrap();
            prop_assert_eq!(rate.to_string().parse::<ByteRate>().unwrap(), rate);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<ByteRate>();
        }
    }
}
