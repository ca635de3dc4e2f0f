//! The `[limits]` table: how much of the host jobs may take.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};
use strongroom_runtime::units::{ByteRate, ByteSize};
use strongroom_spec::ResourceLimits;

/// The `[limits]` table. Rates are shared by all jobs that run at once; threads
/// and memory are those of each job. A policy may be stricter, not laxer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// To stores.
    #[serde(deserialize_with = "rate")]
    pub upload: Option<ByteRate>,
    /// From stores.
    #[serde(deserialize_with = "rate")]
    pub download: Option<ByteRate>,
    /// From sources.
    #[serde(deserialize_with = "rate")]
    pub read: Option<ByteRate>,
    /// Worker threads of a job; absent: one per core.
    #[serde(deserialize_with = "threads")]
    pub threads: Option<NonZeroU32>,
    /// Memory of a job; absent: as the engine sees fit.
    #[serde(deserialize_with = "memory")]
    pub memory: Option<ByteSize>,
    /// Niceness, -20 (first) to 19 (last); absent: 10.
    #[serde(deserialize_with = "nice")]
    pub nice: Option<i32>,
    /// Priority at the disks.
    pub ionice: IoNice,
}

impl Limits {
    /// Backups are patient: whatever else runs on the host goes first.
    pub const DEFAULT_NICE: i32 = 10;

    /// Without what concerns the whole process.
    pub fn resources(&self) -> ResourceLimits {
        let rate = |rate: Option<ByteRate>| rate.map(ByteRate::bytes_per_second);
        ResourceLimits {
            upload: rate(self.upload),
            download: rate(self.download),
            read: rate(self.read),
            threads: self.threads,
            memory: self.memory.and_then(|size| NonZeroU64::new(size.0)),
        }
    }
}

/// How the kernel's I/O scheduler treats the agent (`ionice(1)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoNice {
    /// As whoever starts the agent has it.
    Inherited,
    /// A share of the disk: 0 (first) to 7 (last).
    BestEffort(u8),
    /// The disk only while nobody else wants it.
    Idle,
}

impl Default for IoNice {
    fn default() -> Self {
        Self::BestEffort(7)
    }
}

impl fmt::Display for IoNice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherited => f.write_str("none"),
            Self::BestEffort(level) => write!(f, "best-effort:{level}"),
            Self::Idle => f.write_str("idle"),
        }
    }
}

impl FromStr for IoNice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = |level: &str| level.parse().ok().filter(|level| *level <= 7);
        match text {
            "none" => Some(Self::Inherited),
            "idle" => Some(Self::Idle),
            other => other
                .strip_prefix("best-effort:")
                .and_then(level)
                .map(Self::BestEffort),
        }
        .ok_or_else(|| {
            format!(
                "{text:?} is no I/O priority: write \"idle\", \"best-effort:0\" (first) to \
                 \"best-effort:7\" (last), or \"none\" to leave it alone"
            )
        })
    }
}

impl<'de> Deserialize<'de> for IoNice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A rate that is worth its while, as text.
pub fn parse_rate(text: &str) -> Result<ByteRate, String> {
    text.parse()
        .and_then(ByteRate::checked)
        .map_err(|error| error.to_string())
}

/// A memory budget that holds what must be held, as text.
pub fn parse_memory(text: &str) -> Result<ByteSize, String> {
    enough(
        text.parse::<ByteSize>()
            .map_err(|error| error.to_string())?,
    )
}

/// A number of threads, as text.
pub fn parse_threads(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .ok()
        .and_then(at_least_one)
        .ok_or_else(|| format!("{text:?} threads do no work: give a number, at least 1"))
}

fn at_least_one(threads: i64) -> Option<NonZeroU32> {
    u32::try_from(threads).ok().and_then(NonZeroU32::new)
}

fn enough(size: ByteSize) -> Result<ByteSize, String> {
    let least = ByteSize(ResourceLimits::LEAST_MEMORY);
    if size < least {
        return Err(format!(
            "\"{size}\" is less than one thread and the smallest packs take: give at least \
             \"{least}\""
        ));
    }
    Ok(size)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteRate>, D::Error> {
    ByteRate::deserialize(deserializer)?
        .checked()
        .map(Some)
        .map_err(de::Error::custom)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    enough(ByteSize::deserialize(deserializer)?)
        .map(Some)
        .map_err(de::Error::custom)
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    at_least_one(number).map(Some).ok_or_else(|| {
        de::Error::custom(format!(
            "{number} threads do no work: give at least 1, or leave it out for one per core"
        ))
    })
}

fn nice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    let nice = i32::deserialize(deserializer)?;
    if (-20..=19).contains(&nice) {
        return Ok(Some(nice));
    }
    Err(de::Error::custom("nice must be between -20 and 19"))
}

#[cfg(test)]
mod tests {
    use strongroom_repository::write::plan::MemoryPlan;

    use super::*;

    #[test]
    fn the_least_memory_is_what_the_engine_says() {
        let least = MemoryPlan::minimum(1) as u64;
        assert_eq!(ResourceLimits::LEAST_MEMORY, least);
    }

    #[test]
    fn io_priorities_as_ionice_has_them() {
        for (text, wanted) in [
            ("none", IoNice::Inherited),
            ("idle", IoNice::Idle),
            ("best-effort:0", IoNice::BestEffort(0)),
            ("best-effort:7", IoNice::BestEffort(7)),
        ] {
            assert_eq!(text.parse(), Ok(wanted));
            assert_eq!(wanted.to_string(), text);
        }
        for bad in [
            "",
            "realtime:0",
            "best-effort",
            "best-effort:8",
            "best-effort:-1",
            "3",
        ] {
            let error = bad.parse::<IoNice>().unwrap_err();
            assert!(error.contains("best-effort:7"), "{error}");
        }
    }

    #[test]
    fn flags_say_what_works() {
        assert_eq!(parse_threads("3").unwrap().get(), 3);
        assert_eq!(parse_memory("22MiB").unwrap().0, 22 << 20);
        assert_eq!(parse_rate("1KiB/s").unwrap(), ByteRate::LEAST);
        for (error, wanted) in [
            (parse_threads("0").unwrap_err(), "at least 1"),
            (parse_threads("many").unwrap_err(), "\"many\""),
            (parse_memory("21MiB").unwrap_err(), "at least \"22MiB\""),
            (parse_memory("much").unwrap_err(), "\"much\""),
            (parse_rate("0B/s").unwrap_err(), "at least \"1KiB/s\""),
            (parse_rate("fast").unwrap_err(), "\"fast\""),
        ] {
            assert!(error.contains(wanted), "{error}");
        }
    }
}
