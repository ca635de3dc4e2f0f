//! Objects of PostgreSQL's write-ahead log.
//!
//! They lie in `wal/` beside the repository's own directories; `restic` knows
//! no such directory and leaves it alone. An object holds a part of the log of
//! one cluster and timeline, and its name says which: whoever has nothing but
//! the bucket knows from a listing what can be recovered. Like all names it
//! carries the SHA-256 of the stored bytes, so that a grant holds for them.
//!
//! ```text
//! wal/<system id, 16 hex>/<timeline, 8 hex>/<first byte, 16 hex>-<byte behind the last, 16 hex>-<SHA-256>
//! wal/<system id, 16 hex>/<timeline, 8 hex>/history-<SHA-256>
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    ObjectId, ParseObjectError,
    position::{Lsn, TimelineId},
};

/// What `initdb` gave a cluster; its standbys and copies have the same. Shown
/// in decimal digits, as PostgreSQL shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemId {
    type Err = ParseObjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| ParseObjectError {
            text: text.chars().take(64).collect(),
            expected: "a system identifier (decimal digits)",
        })
    }
}

impl Serialize for SystemId {
    // Beyond what JSON's readers count.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SystemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An object of the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WalName {
    /// Whose log.
    pub system: SystemId,
    /// Which history of that cluster.
    pub timeline: TimelineId,
    /// Which part of it.
    pub part: WalPart,
    /// SHA-256 of the stored bytes.
    pub id: ObjectId,
}

/// What an object of the write-ahead log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WalPart {
    /// The timeline's history file: where it left which other.
    History,
    /// Bytes of the log, at least one.
    Range {
        /// The first.
        start: Lsn,
        /// Behind the last.
        end: Lsn,
    },
}

/// Where they lie, below the repository.
const TOP: &str = "wal";
const HISTORY: &str = "history";

impl WalName {
    /// The path below the repository's prefix.
    pub fn path(&self) -> String {
        let (system, timeline, id) = (self.system.0, self.timeline.0, self.id);
        match self.part {
            WalPart::History => format!("{TOP}/{system:016x}/{timeline:08x}/{HISTORY}-{id}"),
            WalPart::Range { start, end } => format!(
                "{TOP}/{system:016x}/{timeline:08x}/{:016x}-{:016x}-{id}",
                start.0, end.0
            ),
        }
    }
}

impl FromStr for WalName {
    type Err = ParseObjectError;

    /// Reads what [`WalName::path`] writes, and nothing else.
    fn from_str(path: &str) -> Result<Self, Self::Err> {
        parse(path)
            .filter(|name| name.path() == path)
            .ok_or_else(|| ParseObjectError {
                text: path.chars().take(200).collect(),
                expected: "the path of an object of the write-ahead log",
            })
    }
}

fn parse(path: &str) -> Option<WalName> {
    let rest = path.strip_prefix(TOP)?.strip_prefix('/')?;
    let (system, rest) = rest.split_once('/')?;
    let (timeline, name) = rest.split_once('/')?;
    let (place, id) = name.rsplit_once('-')?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let part = if place == HISTORY {
        WalPart::History
    } else {
        let (start, end) = place.split_once('-')?;
        let (start, end) = (Lsn(number(start)?), Lsn(number(end)?));
        (start < end).then_some(WalPart::Range { start, end })?
    };
    Some(WalName {
        system: SystemId(number(system)?),
        timeline: TimelineId(u32::from_str_radix(timeline, 16).ok()?),
        part,
        id: id.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = WalPart> {
        prop_oneof![
            Just(WalPart::History),
            (any::<u64>(), any::<u64>())
                .prop_filter("ascending", |(start, end)| start < end)
                .prop_map(|(start, end)| WalPart::Range {
                    start: Lsn(start),
                    end: Lsn(end)
                }),
        ]
    }

    proptest! {
        #[test]
        fn names_round_trip(system: u64, timeline: u32, part in part(), id: [u8; 32]) {
            let name = WalName {
                system: SystemId(system),
                timeline: TimelineId(timeline),
                part,
                id: ObjectId(id),
            };
            prop_assert_eq!(name.path().parse(), Ok(name));
            let system = name.system.to_string();
            prop_assert_eq!(system.parse(), Ok(name.system));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<WalName>();
        }
    }

    #[test]
    fn paths_sort_by_position() {
        let name = |start: u64| WalName {
            system: SystemId(7_412_345_678_901_234_567),
            timeline: TimelineId(1),
            part: WalPart::Range {
                start: Lsn(start),
                end: Lsn(start + 1),
            },
            id: ObjectId([0xab; 32]),
        };
        let hash = "ab".repeat(32);
        assert_eq!(
            name(0x16_B374_D848).path(),
            format!("wal/66ddf11f674f4b87/00000001/00000016b374d848-00000016b374d849-{hash}")
        );
        assert!(name(9).path() < name(16).path());
    }

    #[test]
    fn other_paths_are_refused() {
        let hash = "ab".repeat(32);
        for path in [
            String::new(),
            "wal".into(),
            format!("wal/0000000000000007/00000001/history-{}", &hash[2..]),
            format!("wal/7/00000001/history-{hash}"),
            format!("wal/0000000000000007/1/history-{hash}"),
            format!("wal/0000000000000007/00000001/0000000000000002-0000000000000002-{hash}"),
            format!("wal/0000000000000007/00000001/+000000000000002-0000000000000003-{hash}"),
            format!("wal/0000000000000007/00000001/0000000000000002-{hash}"),
            format!("wal/000000000000000F/00000001/history-{hash}"),
            format!("data/0000000000000007/00000001/history-{hash}"),
            format!("wal/0000000000000007/../history-{hash}"),
        ] {
            assert!(path.parse::<WalName>().is_err(), "{path}");
        }
        for text in ["", "-1", "+1", "18446744073709551616", "0x7"] {
            assert!(text.parse::<SystemId>().is_err(), "{text}");
        }
    }
}
