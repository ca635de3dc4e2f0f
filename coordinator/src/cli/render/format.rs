//! Sizes, times and names for people.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
pub(crate) use strongroom_runtime::printable::line as printable;
use strongroom_runtime::units;

/// Bytes with a binary unit and three digits: `512 B`, `1.50 MiB`, `12.3 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A count with thin groups: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 file`, `2 files`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    counted(number, one, &format!("{one}s"))
}

/// A count with one of two nouns.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// How long ago, or how soon: `12 s ago`, `3 min ago`, `in 2 h`, `5 d ago`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second());
    let distance = units::duration(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        0 => "now".into(),
        1.. => format!("{distance} ago"),
        _ => format!("in {distance}"),
    }
}

/// Date and time where the reader is, with the offset: `2026-11-21 03:04:05 +01:00`.
pub(crate) fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// A moment and its distance from now; `-` for none.
pub(crate) fn moment_and_distance(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(dash, |time| {
        format!("{} ({})", moment(time), relative(time, now))
    })
}

/// The distance from now; `-` for none.
pub(crate) fn distance(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(dash, |time| relative(time, now))
}

/// What stands for nothing.
pub(crate) fn dash() -> String {
    "-".into()
}

/// The last eight characters of a job's id, which begins with its time: jobs
/// of one minute share their beginnings. The API takes endings too.
pub(crate) fn short_job(id: &str) -> &str {
    id.len()
        .checked_sub(8)
        .and_then(|start| id.get(start..))
        .unwrap_or(id)
}

/// The first eight characters of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// As one word of a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Unix permissions as `ls -l` shows them, with the type's letter.
pub(crate) fn mode(kind: &str, mode: u32) -> String {
    let letter = match kind {
        "dir" => 'd',
        "symlink" => 'l',
        "dev" => 'b',
        "chardev" => 'c',
        "fifo" => 'p',
        "socket" => 's',
        _ => '-',
    };
    let mut text = String::with_capacity(10);
    text.push(letter);
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        for (value, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1_023_488, "0.98 MiB"),
            (150 << 20, "150 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(plural(1, "file"), "1 file");
        assert_eq!(plural(1_234, "file"), "1,234 files");
    }

    #[test]
    fn distances_point_both_ways() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (time, text) in [
            ("2026-11-21T12:00:00Z", "now"),
            ("2026-11-21T11:59:48Z", "12 s ago"),
            ("2026-11-21T11:57:00Z", "3 min ago"),
            ("2026-11-21T14:00:00Z", "in 2 h"),
            ("2026-11-16T12:00:00Z", "5 d ago"),
        ] {
            assert_eq!(relative(time.parse().unwrap(), now), text);
        }
    }

    #[test]
    fn modes_look_like_ls() {
        assert_eq!(mode("file", 0o644), "-rw-r--r--");
        assert_eq!(mode("dir", 0o1777), "drwxrwxrwt");
        assert_eq!(mode("file", 0o4755), "-rwsr-xr-x");
        assert_eq!(mode("file", 0o2640), "-rw-r-S---");
    }
}
