//! Cron expressions and time zones, as policies name them.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{Timestamp, tz::TimeZone};

/// Reads an expression of five fields.
pub(crate) fn parse_cron(expression: &str) -> Result<Crontab, cronexpr::Error> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    cronexpr::parse_crontab_with(expression, options)
}

/// Whether a cron expression of five fields can be read and has a moment at
/// all: one like 31 February would be a backup that is never made.
pub(crate) fn check_cron(expression: &str) -> Result<(), String> {
    let fields = expression.split_whitespace().count();
    if fields != 5 {
        return Err(format!(
            "the cron expression {expression:?} has {fields} fields instead of five: write minute, \
             hour, day of month, month, day of week, for example \"0 2 * * *\"; the time zone has \
             its own key"
        ));
    }
    let crontab = parse_cron(expression).map_err(|error| {
        let error = error.to_string();
        let cause = error.lines().last().unwrap_or_default();
        let cause = cause.trim_start_matches([' ', '^']).trim();
        format!(
            "{expression:?} is not a cron expression ({cause}): write minute, hour, day of month, \
             month, day of week, for example \"0 2 * * *\""
        )
    })?;
    // From the beginning of a leap year, so that the answer is the same on
    // every day and 29 February is found.
    let leap_year = TimeZone::UTC
        .to_timestamp(jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0))
        .unwrap_or(Timestamp::UNIX_EPOCH);
    if crontab.find_next(MakeTimestamp(leap_year)).is_err() {
        return Err(format!(
            "the cron expression {expression:?} never runs: no month that it names has a day that \
             it names; write a day that exists, like \"0 2 28 2 *\", or \"0 2 L * *\" for the last \
             of each month"
        ));
    }
    Ok(())
}

/// Whether a time zone is known.
pub(crate) fn check_time_zone(name: &str) -> Result<(), String> {
    TimeZone::get(name).map(drop).map_err(|_| {
        format!("{name:?} is not a time zone: take a name like \"Europe/Berlin\" or \"UTC\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cron_expression_that_never_runs_is_refused() {
        for never in ["0 3 31 2 *", "0 3 30 2 *", "0 3 31 4,6,9,11 *"] {
            let error = check_cron(never).unwrap_err();
            assert!(
                error.contains(never) && error.contains("never runs"),
                "{error}"
            );
        }
        // A leap day, a day of either kind, and the last of a month do come.
        for some in ["0 3 29 2 *", "0 3 30 2 1", "0 2 28 2 *", "0 2 L * *"] {
            assert_eq!(check_cron(some), Ok(()));
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for bad in [
            "",
            "* * *",
            "0 2 * * * Europe/Berlin",
            "61 2 * * *",
            "a b c d e",
        ] {
            let error = check_cron(bad).unwrap_err();
            assert!(error.contains("0 2 * * *"), "{error}");
        }
        assert_eq!(check_cron("*/15 1-5 1,15 * MON-FRI"), Ok(()));
        assert!(check_time_zone("Europe/Berlin").is_ok());
        let error = check_time_zone("Europe/Nowhere").unwrap_err();
        assert!(error.contains("Europe/Nowhere"), "{error}");
    }
}
