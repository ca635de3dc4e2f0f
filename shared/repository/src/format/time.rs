//! Times as Go writes them: RFC 3339 with nanoseconds, any offset.
//!
//! For `#[serde(with = "time")]`. Go's range, the years 0 to 9999, is not
//! quite [`Timestamp`]'s; times outside of either are moved to its edge.

use jiff::{Timestamp, civil::date, fmt::temporal::DateTimePrinter, tz::Offset};
use serde::{Deserializer, Serializer, de};

static PRINTER: DateTimePrinter = DateTimePrinter::new();

/// Appends `2006-01-02T15:04:05.999999999Z`, trailing zeros trimmed.
pub(super) fn write(time: Timestamp, out: &mut Vec<u8>) {
    let time = if time < earliest() { earliest() } else { time };
    PRINTER
        .print_timestamp(&time, &mut *out)
        .expect("a Vec takes every write");
}

/// Any RFC 3339 time.
pub(super) fn parse(text: &str) -> Result<Timestamp, jiff::Error> {
    // The last hours of the year 9999 do not fit a `Timestamp`.
    text.parse().or_else(|error| {
        if text.starts_with("9999-12-3") {
            Ok(Timestamp::MAX)
        } else {
            Err(error)
        }
    })
}

fn earliest() -> Timestamp {
    Offset::UTC
        .to_timestamp(date(0, 1, 1).at(0, 0, 0, 0))
        .expect("the year 0 fits")
}

pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::with_capacity(30);
    write(*time, &mut text);
    serializer.serialize_str(&String::from_utf8_lossy(&text))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Timestamp, D::Error> {
    deserializer.deserialize_str(TimeVisitor)
}

struct TimeVisitor;

impl de::Visitor<'_> for TimeVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(time: Timestamp) -> String {
        let mut out = Vec::new();
        write(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn is_written_as_go_does() {
        for text in [
            "2026-11-21T02:47:53.93195992Z",
            "2026-11-21T02:47:53Z",
            "1969-12-31T23:59:59.5Z",
            "0001-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(written(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn offsets_are_understood() {
        let time = parse("2022-08-01T12:00:00.1+02:00").unwrap();
        assert_eq!(written(time), "2022-08-01T10:00:00.1Z");
    }

    #[test]
    fn times_beyond_the_edges_are_moved_to_them() {
        assert_eq!(written(Timestamp::MIN), "0000-01-01T00:00:00Z");
        assert_eq!(parse("9999-12-31T23:59:59Z").unwrap(), Timestamp::MAX);
        assert!(parse("yesterday").is_err());
    }

    proptest! {
        #[test]
        fn round_trips(second in -62_167_219_200_i64..253_402_207_200, nanosecond in 0..1_000_000_000) {
            let time = Timestamp::new(second, nanosecond).unwrap();
            prop_assert_eq!(parse(&written(time)).unwrap(), time);
        }
    }
}
