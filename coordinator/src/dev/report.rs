//! What people read.

use std::fmt::Write as _;

use strongroom_runtime::units;

use super::{data_dir::Place, prove::Proof, verdict::Verdict};
use crate::{
    cli::render::{fields, format},
    serve::Addresses,
};

/// Differences of a kind that are printed.
const SHOWN: usize = 50;

/// Said before anything happens.
pub(super) fn opening(place: &Place, addresses: &Addresses) -> String {
    format!(
        "strongroom dev backs up {} and keeps everything in {}\n\
         coordinator: agents on {}, operators on https://{}\n\n",
        place.source.display(),
        place.data.display(),
        addresses.agents,
        addresses.api
    )
}

/// Said when it stays up.
pub(super) fn staying() -> String {
    "\nIt stays up and backs up every hour. Ctrl-C ends it.\n".into()
}

/// The whole report.
pub(super) fn proof(place: &Place, proof: &Proof) -> String {
    let figures = &proof.figures;
    let mut rows = vec![
        ("snapshot", figures.snapshot.to_string()),
        (
            "files",
            format!(
                "{} in {} ({} unchanged), {}",
                format::count(figures.files),
                format::counted(figures.directories, "directory", "directories"),
                format::count(figures.files_unmodified),
                format::bytes(figures.bytes_total)
            ),
        ),
        ("read", format::bytes(figures.bytes_read)),
        ("stored", stored(proof)),
        ("speed", speed(proof)),
    ];
    rows.extend(proof.backup.peak_resident_bytes.map(|bytes| {
        (
            "agent's memory",
            format!("{} at most", format::bytes(bytes)),
        )
    }));
    rows.extend(proof.backup.trace_id.clone().map(|id| ("trace", id)));
    let directory = format::quoted(&place.data.to_string_lossy());
    let mut text = fields(rows);
    text.push_str(&comparison(&proof.verdict));
    let _ = write!(
        text,
        "\nWith plain restic:\n  (set -a; . {directory}/restic.env; restic check --read-data)\n\
         With the command line:\n  strongroom --profile {directory}/operator.toml status\n"
    );
    text
}

fn stored(proof: &Proof) -> String {
    let figures = &proof.figures;
    let size = format::bytes(figures.bytes_stored);
    if figures.bytes_stored == 0 || figures.bytes_new == 0 {
        return format!("{size} new");
    }
    let ratio = figures.bytes_new as f64 / figures.bytes_stored as f64;
    format!(
        "{size} new, from {} (ratio {ratio:.2})",
        format::bytes(figures.bytes_new)
    )
}

fn speed(proof: &Proof) -> String {
    let took = proof.took();
    let seconds = took.as_secs_f64();
    if seconds == 0.0 {
        return format!("done in {}", units::duration(took));
    }
    let rate = proof.figures.bytes_total as f64 / seconds / f64::from(1 << 20);
    format!("{rate:.1} MiB/s, {}", units::duration(took))
}

/// Whether it is identical, and what is not.
fn comparison(verdict: &Verdict) -> String {
    let compared = format!(
        "{} and {}",
        format::counted(verdict.entries, "entry", "entries"),
        format::bytes(verdict.bytes)
    );
    let mut text = if verdict.is_identical() {
        format!("\nRestored and compared: identical, {compared}.\n")
    } else if verdict.is_wrong() {
        format!("\nRestored and compared ({compared}): NOT identical.\n")
    } else {
        format!("\nRestored and compared ({compared}): identical but for what follows.\n")
    };
    list(&mut text, "differs", &verdict.wrong);
    if verdict.unlisted > 0 {
        let _ = writeln!(
            text,
            "differs: {} more that are not listed",
            format::count(verdict.unlisted)
        );
    }
    list(&mut text, "changed during the run", &verdict.changed);
    list(&mut text, "could not be backed up", &verdict.warned);
    text
}

fn list(text: &mut String, heading: &str, lines: &[String]) {
    for line in lines.iter().take(SHOWN) {
        let _ = writeln!(text, "{heading}: {}", format::printable(line));
    }
    let hidden = lines.len().saturating_sub(SHOWN) as u64;
    if hidden > 0 {
        let _ = writeln!(text, "{heading}: {} more", format::count(hidden));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_named_as_such() {
        let mut verdict = Verdict {
            entries: 3,
            bytes: 2048,
            ..Verdict::default()
        };
        assert_eq!(
            comparison(&verdict),
            "\nRestored and compared: identical, 3 entries and 2.00 KiB.\n"
        );
        verdict.changed.push("/a: content differs".into());
        assert_eq!(
            comparison(&verdict),
            "\nRestored and compared (3 entries and 2.00 KiB): identical but for what follows.\n\
             changed during the run: /a: content differs\n"
        );
        verdict.wrong = vec!["/b: mode differs".into(); SHOWN + 2];
        verdict.unlisted = 4;
        let text = comparison(&verdict);
        assert!(text.contains("NOT identical"), "{text}");
        assert!(text.contains("differs: 2 more\n"), "{text}");
        assert!(
            text.contains("differs: 4 more that are not listed"),
            "{text}"
        );
    }
}
