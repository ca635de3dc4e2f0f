//! Tests of the calendar.

use jiff::{SignedDuration, Timestamp, civil::date, tz::TimeZone};
use proptest::prelude::*;

use super::next_due;
use crate::policy::{Cron, Preset, Schedule};

fn cron(cron: &str, timezone: &str, jitter: Option<&str>) -> Schedule {
    Schedule::Cron(Cron {
        cron: cron.into(),
        timezone: timezone.into(),
        jitter: jitter.map(|it| it.parse().unwrap()),
    })
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The moments of a schedule after `start`, as they are run on time.
fn moments(schedule: &Schedule, start: &str, count: usize) -> Vec<String> {
    let mut last = time(start);
    (0..count)
        .map(|_| {
            let due = next_due(schedule, last, last, "d").unwrap();
            last = due.nominal;
            last.to_string()
        })
        .collect()
}

#[test]
fn a_time_zone_shifts_the_hour_with_the_season() {
    let berlin = cron("0 2 * * *", "Europe/Berlin", None);
    assert_eq!(
        moments(&berlin, "2026-03-27T12:00:00Z", 3),
        [
            "2026-03-28T01:00:00Z",
            // 02:00 does not exist on the 29th; 03:00 summer time does.
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:00:00Z",
        ]
    );
}

#[test]
fn a_time_that_is_skipped_in_spring_still_runs() {
    let berlin = cron("30 2 * * *", "Europe/Berlin", None);
    assert_eq!(
        moments(&berlin, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_time_that_comes_twice_in_autumn_runs_once() {
    let berlin = cron("30 2 * * *", "Europe/Berlin", None);
    assert_eq!(
        moments(&berlin, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // Asked from between the two, it does not run a second time.
    let due = next_due(
        &berlin,
        time("2026-10-25T01:10:00Z"),
        time("2026-10-25T01:10:00Z"),
        "d",
    );
    assert_eq!(due.unwrap().nominal, time("2026-10-26T01:30:00Z"));
}

#[test]
fn every_hour_is_every_hour_when_the_clock_changes() {
    let hourly = cron("0 * * * *", "Europe/Berlin", None);
    for start in ["2026-10-24T22:00:00Z", "2026-03-28T22:00:00Z"] {
        let mut at = time(start);
        for moment in moments(&hourly, start, 6) {
            at += SignedDuration::from_hours(1);
            assert_eq!(time(&moment), at);
        }
    }
}

#[test]
fn a_clock_that_is_put_back_by_half_an_hour_does_not_stop_the_schedule() {
    // On Lord Howe Island 02:00 becomes 01:30 at 15:00 UTC.
    let start = "2027-04-03T12:30:00Z";
    assert_eq!(
        moments(&cron("0 */6 * * *", "Australia/Lord_Howe", None), start, 2),
        ["2027-04-03T13:00:00Z", "2027-04-03T19:30:00Z"]
    );
    assert_eq!(
        moments(&cron("30 * * * *", "Australia/Lord_Howe", None), start, 4),
        [
            "2027-04-03T13:30:00Z",
            "2027-04-03T14:30:00Z",
            // The moment in which the clock is put back, and shows 01:30.
            "2027-04-03T15:00:00Z",
            "2027-04-03T16:00:00Z",
        ]
    );
}

#[test]
fn presets_mean_what_they_say() {
    let start = "2026-02-25T12:34:56Z";
    for (preset, next) in [
        (Preset::Hourly, "2026-02-25T13:00:00Z"),
        (Preset::Daily, "2026-02-26T00:00:00Z"),
        (Preset::Weekly, "2026-03-01T00:00:00Z"),
        (Preset::Monthly, "2026-03-01T00:00:00Z"),
    ] {
        assert_eq!(moments(&Schedule::Preset(preset), start, 1), [next]);
    }
    assert_eq!(
        time("2026-03-01T00:00:00Z")
            .to_zoned(TimeZone::UTC)
            .weekday(),
        jiff::civil::Weekday::Sunday
    );
}

#[test]
fn only_the_newest_missed_run_is_caught_up() {
    let nightly = cron("0 2 * * *", "UTC", None);
    let last = time("2026-01-01T02:00:00Z");
    let now = time("2026-01-05T09:00:00Z");
    let due = next_due(&nightly, last, now, "d").unwrap();
    assert_eq!(due.nominal, time("2026-01-05T02:00:00Z"));
    assert!(due.at <= now);
    let next = next_due(&nightly, due.nominal, now, "d").unwrap();
    assert_eq!(next.nominal, time("2026-01-06T02:00:00Z"));
}

#[test]
fn a_schedule_without_moments_is_never_due() {
    let never = cron("0 0 30 2 *", "UTC", None);
    let now = time("2026-01-01T00:00:00Z");
    assert_eq!(next_due(&never, now, now, "d"), None);
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let crons = prop::sample::select(vec![
        "* * * * *",
        "*/7 * * * *",
        "0 * * * *",
        "30 2 * * *",
        "0 2,3 * * 1-5",
        "15 1 1 * *",
        "59 23 31 12 *",
        "0 */6 * * *",
    ]);
    let jitters = prop::sample::select(vec![None, Some("1s"), Some("10m"), Some("2h")]);
    (crons, zones(), jitters).prop_map(|(expression, zone, jitter)| cron(expression, zone, jitter))
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ])
}

/// Seconds in the years 2000 to 2040.
fn seconds() -> impl Strategy<Value = i64> {
    946_684_800i64..2_208_988_800
}

proptest! {
    #[test]
    fn a_run_is_later_than_the_last_and_jitter_stays_in_its_bounds(
        schedule in schedules(), last in seconds(), ahead in 0i64..100_000_000, name in "[a-z]{1,8}",
    ) {
        let last = Timestamp::from_second(last).unwrap();
        let now = last + SignedDuration::from_secs(ahead);
        let due = next_due(&schedule, last, now, &name).unwrap();
        prop_assert!(due.nominal > last);
        let Schedule::Cron(cron) = &schedule else { unreachable!() };
        let bound = cron.jitter.map_or(0, crate::policy::Span::seconds);
        let jitter = due.at.duration_since(due.nominal);
        prop_assert!(!jitter.is_negative());
        prop_assert!(jitter < SignedDuration::from_secs(i64::from(bound.max(1))));
    }

    #[test]
    fn elapsed_time_is_searched_as_by_looking_at_every_minute(
        (expression, minutes, hours) in prop::sample::select(vec![
            ("*/7 * * * *", 7, 1),
            ("0 * * * *", 60, 1),
            ("*/30 */2 * * *", 30, 2),
            ("0 */6 * * *", 60, 6),
        ]),
        zone in zones(),
        // Around a transition, which is where it is difficult.
        before in 0i64..100_000, year in 2000i16..2040, autumn: bool,
    ) {
        let time_zone = TimeZone::get(zone).unwrap();
        let month = if autumn { 8 } else { 2 };
        let middle = time_zone.to_timestamp(date(year, month, 15).at(0, 0, 0, 0)).unwrap();
        let transition = time_zone.following(middle).next().map_or(middle, |it| it.timestamp());
        let last = transition - SignedDuration::from_secs(before);
        let first_minute = last.as_second().div_euclid(60) + 1;
        let expected = (first_minute..first_minute + 24 * 60)
            .map(|minute| Timestamp::from_second(minute * 60).unwrap())
            .find(|moment| {
                let wall = time_zone.to_datetime(*moment);
                i64::from(wall.minute()) % minutes == 0 && i64::from(wall.hour()) % hours == 0
            });
        let due = next_due(&cron(expression, zone, None), last, last, "d");
        prop_assert_eq!(due.map(|due| due.nominal), expected);
    }

    #[test]
    fn after_any_downtime_exactly_one_run_is_due(
        schedule in schedules(), last in seconds(), ahead in 0i64..100_000_000,
    ) {
        let last = Timestamp::from_second(last).unwrap();
        let now = last + SignedDuration::from_secs(ahead);
        let first = next_due(&schedule, last, now, "d").unwrap();
        if first.at <= now {
            let second = next_due(&schedule, first.nominal, now, "d").unwrap();
            prop_assert!(second.at > now, "{:?} is due behind {:?}", second, first);
        }
    }

    #[test]
    fn no_run_is_skipped_when_asked_often(schedule in schedules(), start in seconds()) {
        // The next moment, found in one step or by looking every so often,
        // is the same one.
        let last = Timestamp::from_second(start).unwrap();
        let due = next_due(&schedule, last, last, "d").unwrap();
        let halfway = last + SignedDuration::from_secs(due.at.duration_since(last).as_secs() / 2);
        let again = next_due(&schedule, last, halfway, "d").unwrap();
        if due.at > halfway {
            prop_assert_eq!(due, again);
        }
        let on_time = next_due(&schedule, last, due.at, "d").unwrap();
        prop_assert_eq!(on_time, due);
    }
}
