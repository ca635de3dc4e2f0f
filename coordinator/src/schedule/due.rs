//! The next run of a dataset: pure.
//!
//! Daylight saving follows the rule of Vixie cron. A schedule with a fixed
//! hour keeps to the wall clock: a time that is skipped in spring runs when
//! the gap ends, and one that comes twice in autumn runs once. A schedule
//! whose hours are `*` keeps to elapsed time: it runs in both of the doubled
//! hours.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::policy::{Schedule, cron::parse_cron};

/// A run that is to come, or that should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The moment in the schedule. Passed as `last` next time, so that each
    /// is run once.
    pub nominal: Timestamp,
    /// The nominal moment and the dataset's jitter: when to make the job.
    pub at: Timestamp,
}

/// The next run after the nominal moment `last`, for the dataset whose name
/// is `dataset`.
///
/// When runs were missed, only the newest of them is returned: after a
/// downtime there is exactly one run to catch up, due at once. `None` when
/// the schedule has no moment left, like 30 February.
pub fn next_due(
    schedule: &Schedule,
    last: Timestamp,
    now: Timestamp,
    dataset: &str,
) -> Option<Due> {
    let calendar = Calendar::new(schedule)?;
    let jitter = jitter(calendar.spread_seconds, dataset);
    let due = |nominal: Timestamp| Due {
        nominal,
        at: nominal.saturating_add(jitter).unwrap_or(Timestamp::MAX),
    };
    let first = due(calendar.next(last)?);
    if first.at > now {
        return Some(first);
    }
    Some(due(newest_until(
        &calendar,
        first.nominal,
        now.saturating_sub(jitter).unwrap_or(Timestamp::MIN),
    )))
}

/// The newest moment that is not later than `until`, where `first` is one.
/// Halves the time in between, so that years of minutes cost nothing.
fn newest_until(calendar: &Calendar, first: Timestamp, until: Timestamp) -> Timestamp {
    // A moment follows `low` in time and none follows `high`; moments are
    // whole minutes, so that a second in between is close enough.
    let (mut newest, mut low, mut high) = (first, first.as_second(), until.as_second());
    while high > low {
        let middle = low + (high - low) / 2;
        let found = Timestamp::from_second(middle)
            .ok()
            .and_then(|start| calendar.next(start))
            .filter(|found| *found <= until);
        match found {
            Some(found) => {
                newest = found;
                low = found.as_second();
            }
            None => high = middle,
        }
    }
    newest
}

/// The same for a dataset every time, evenly spread over datasets.
fn jitter(spread_seconds: u32, dataset: &str) -> SignedDuration {
    let digest: [u8; 32] = Sha256::digest(dataset.as_bytes()).into();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    let milliseconds = u64::from(spread_seconds) * 1000;
    SignedDuration::from_millis((u64::from_be_bytes(head) % milliseconds.max(1)) as i64)
}

struct Calendar {
    /// Knows no zone: it is asked with the wall clock as if that were UTC.
    /// Its own arithmetic with zones does not end where the clock is put back
    /// by half an hour, as on Lord Howe Island.
    crontab: Crontab,
    zone: TimeZone,
    /// Keeps to elapsed time instead of the wall clock.
    elapsed: bool,
    spread_seconds: u32,
}

impl Calendar {
    fn new(schedule: &Schedule) -> Option<Self> {
        let (expression, zone, spread_seconds) = match schedule {
            Schedule::Preset(preset) => {
                let (expression, spread) = preset.as_cron();
                (expression, "UTC", spread)
            }
            Schedule::Cron(cron) => (
                cron.cron.as_str(),
                cron.timezone.as_str(),
                cron.jitter.map_or(0, crate::policy::Span::seconds),
            ),
        };
        let elapsed = expression
            .split_whitespace()
            .nth(1)
            .is_some_and(|hours| hours.starts_with('*'));
        // Both were checked when the policy was read; a time zone may since
        // have left the host's database.
        Some(Self {
            crontab: parse_cron(expression).ok()?,
            zone: TimeZone::get(zone).ok()?,
            elapsed,
            spread_seconds,
        })
    }

    /// The first moment later than `after`.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.elapsed {
            self.next_elapsed(after)
        } else {
            self.next_on_the_wall(after)
        }
    }

    /// Of a schedule that keeps to the wall clock.
    fn next_on_the_wall(&self, after: Timestamp) -> Option<Timestamp> {
        // Two times of the wall clock can be one moment (at a gap), or one
        // can lie before `after` (in a doubled hour): go on behind it.
        let mut wall = self.zone.to_datetime(after);
        loop {
            wall = self.next_time(wall)?;
            let moment = self.zone.to_timestamp(wall).ok()?;
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// Of a schedule that keeps to elapsed time: the clock is one that is
    /// never put forward or back, until the zone's next transition.
    fn next_elapsed(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut after, mut offset) = (after, self.zone.to_offset(after));
        loop {
            let moment = offset
                .to_timestamp(self.next_time(offset.to_datetime(after))?)
                .ok()?;
            match self.zone.following(after).next() {
                Some(transition) if transition.timestamp() <= moment => {
                    // The moment of the transition itself is of the new clock.
                    after = transition.timestamp();
                    offset = transition.offset();
                    if self.is_time(offset.to_datetime(after)) {
                        return Some(after);
                    }
                }
                _ => return Some(moment),
            }
        }
    }

    /// The first time of the schedule that is later on the clock than `time`.
    fn next_time(&self, time: DateTime) -> Option<DateTime> {
        let as_utc = TimeZone::UTC.to_timestamp(time).ok()?;
        let next = self.crontab.find_next(MakeTimestamp(as_utc)).ok()?;
        Some(next.datetime())
    }

    /// Whether `time` is one of the schedule.
    fn is_time(&self, time: DateTime) -> bool {
        time.checked_sub(SignedDuration::from_nanos(1))
            .is_ok_and(|before| self.next_time(before) == Some(time))
    }
}

#[cfg(test)]
mod tests;
