//! When a policy's datasets are due, as it is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::Span;

/// `"daily"`, or `{ cron = "0 2 * * *", timezone = "Europe/Berlin", jitter = "10m" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Schedule {
    /// A word.
    Preset(Preset),
    /// Cron.
    Cron(Cron),
}

/// Schedules with a name, in UTC, each dataset at its own fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Within ten minutes of every full hour.
    Hourly,
    /// Within the hour after midnight.
    Daily,
    /// Within three hours of the beginning of Sunday.
    Weekly,
    /// Within three hours of the beginning of the first.
    Monthly,
}

impl Preset {
    /// The same as cron, and the seconds over which datasets are spread.
    pub fn as_cron(self) -> (&'static str, u32) {
        match self {
            Self::Hourly => ("0 * * * *", 600),
            Self::Daily => ("0 0 * * *", 3600),
            Self::Weekly => ("0 0 * * 0", 3 * 3600),
            Self::Monthly => ("0 0 1 * *", 3 * 3600),
        }
    }
}

/// A cron expression in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cron {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[serde(deserialize_with = "cron_expression")]
    pub cron: String,
    /// IANA name.
    #[serde(default = "utc", deserialize_with = "time_zone")]
    pub timezone: String,
    /// Datasets are spread over this time behind each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
}

fn utc() -> String {
    "UTC".into()
}

fn cron_expression<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    super::cron::check_cron(&text).map_err(de::Error::custom)?;
    Ok(text)
}

fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    super::cron::check_time_zone(&text).map_err(de::Error::custom)?;
    Ok(text)
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

struct ScheduleVisitor;

impl<'de> Visitor<'de> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"hourly\", \"daily\", \"weekly\", \"monthly\" or \
             { cron = \"0 2 * * *\", timezone = \"Europe/Berlin\", jitter = \"10m\" }",
        )
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Schedule, E> {
        match word {
            "hourly" => Ok(Schedule::Preset(Preset::Hourly)),
            "daily" => Ok(Schedule::Preset(Preset::Daily)),
            "weekly" => Ok(Schedule::Preset(Preset::Weekly)),
            "monthly" => Ok(Schedule::Preset(Preset::Monthly)),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
        Cron::deserialize(MapAccessDeserializer::new(map)).map(Schedule::Cron)
    }
}
