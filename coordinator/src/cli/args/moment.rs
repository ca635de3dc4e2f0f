//! A moment that somebody writes: with an offset, or in a time zone, where an
//! hour of autumn comes twice and one of spring never.

use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    fmt::temporal::{Pieces, PiecesOffset},
    tz::{AmbiguousOffset, Offset, TimeZone},
};

const HINT: &str =
    "write it like 2026-11-20T12:03:07Z, or '2026-11-20 12:03:07' for this host's time zone";

/// RFC 3339; or a date and time of the zone that stands behind it in brackets,
/// or of this host's. What means two moments there, or none, is refused with
/// the moments that may be meant.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    in_zone(text, TimeZone::system())
}

fn in_zone(text: &str, system: TimeZone) -> Result<Timestamp, String> {
    let pieces = Pieces::parse(text).map_err(|_| HINT.to_owned())?;
    let wall = pieces
        .date()
        .to_datetime(pieces.time().unwrap_or(Time::midnight()));
    let zone = pieces
        .to_time_zone()
        .map_err(|_| format!("its time zone is not known; {HINT}"))?;
    let at = |offset: Offset| offset.to_timestamp(wall).map_err(|_| HINT.to_owned());
    match (pieces.offset(), zone) {
        (Some(PiecesOffset::Zulu), _) => at(Offset::UTC),
        (Some(PiecesOffset::Numeric(offset)), None) => at(offset.offset()),
        (Some(PiecesOffset::Numeric(offset)), Some(zone)) => {
            let (said, moment) = (offset.offset(), at(offset.offset())?);
            if zone.to_offset(moment) == said {
                return Ok(moment);
            }
            Err(format!(
                "the offset {said} is not one of its time zone then: leave one of the two out"
            ))
        }
        (Some(_), _) => Err(HINT.into()),
        (None, zone) => on_the_wall(wall, &zone.unwrap_or(system)),
    }
}

/// What a clock on the wall says.
fn on_the_wall(wall: DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let name = zone.iana_name().unwrap_or("this host's time zone");
    let show = |moment: Result<Timestamp, jiff::Error>| {
        let moment = moment.map_err(|_| HINT.to_owned())?;
        Ok::<_, String>(format!(
            "{}",
            moment.display_with_offset(zone.to_offset(moment))
        ))
    };
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => {
            offset.to_timestamp(wall).map_err(|_| HINT.into())
        }
        AmbiguousOffset::Fold { before, after } => Err(format!(
            "{wall} comes twice in {name}, as the clock is put back: write {} or {}",
            show(before.to_timestamp(wall))?,
            show(after.to_timestamp(wall))?
        )),
        // Read with the offset behind the gap it lies before it, and the other
        // way round.
        AmbiguousOffset::Gap { before, after } => Err(format!(
            "{wall} never comes in {name}, as the clock is put forward: write {} or {}",
            show(after.to_timestamp(wall))?,
            show(before.to_timestamp(wall))?
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(text: &str) -> Result<Timestamp, String> {
        in_zone(text, TimeZone::get("Europe/Berlin").unwrap())
    }

    #[test]
    fn moments_are_read_with_and_without_a_zone() {
        let at: Timestamp = "2026-11-20T12:03:07Z".parse().unwrap();
        for text in [
            "2026-11-20T12:03:07Z",
            "2026-11-20T13:03:07+01:00",
            "2026-11-20 13:03:07",
            "2026-11-20T13:03:07[Europe/Berlin]",
            "2026-11-20T07:03:07[America/New_York]",
            "2026-11-20T13:03:07+01:00[Europe/Berlin]",
            "2026-11-20T12:03:07Z[Europe/Berlin]",
        ] {
            assert_eq!(berlin(text), Ok(at), "{text}");
        }
        assert_eq!(
            berlin("2026-11-20"),
            Ok("2026-11-19T23:00:00Z".parse().unwrap())
        );
        let local = TimeZone::system().to_datetime(at);
        assert_eq!(moment(&local.to_string().replace('T', " ")), Ok(at));
        for text in [
            "yesterday",
            "12:03",
            "2026-13-01 00:00:00",
            "",
            "2026-10-25 02:30:00 CET",
            "1793000000",
            "2026-11-20T12:03:07[Mars/Olympus]",
        ] {
            assert!(berlin(text).unwrap_err().contains("2026-11-20"), "{text}");
        }
    }

    #[test]
    fn an_hour_that_comes_twice_or_never_is_refused_with_both_moments() {
        let (summer, winter) = ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00");
        for text in ["2026-10-25 02:30:00", "2026-10-25T02:30:00[Europe/Berlin]"] {
            let refused = berlin(text).unwrap_err();
            let said = format!(
                "comes twice in Europe/Berlin, as the clock is put back: write {summer} or {winter}"
            );
            assert!(refused.contains(&said), "{refused}");
        }
        // What is advised is taken, and they are an hour apart.
        let hour = berlin(winter).unwrap().as_second() - berlin(summer).unwrap().as_second();
        assert_eq!(hour, 3600);
        assert_eq!(
            berlin("2026-10-25T02:30:00+01:00[Europe/Berlin]"),
            berlin(winter)
        );
        for text in ["2026-03-29 02:30:00", "2026-03-29T02:30:00[Europe/Berlin]"] {
            let refused = berlin(text).unwrap_err();
            let said = "never comes in Europe/Berlin, as the clock is put forward: write \
                        2026-03-29T01:30:00+01:00 or 2026-03-29T03:30:00+02:00";
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn an_offset_that_its_zone_does_not_have_is_refused() {
        let refused = berlin("2026-10-25T02:30:00+05:00[Europe/Berlin]").unwrap_err();
        assert!(refused.contains("+05"), "{refused}");
    }
}
