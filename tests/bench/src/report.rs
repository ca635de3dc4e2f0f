//! Medians, and how Strongroom stands against each peer, as Markdown tables.

use std::fmt;

use crate::{data::Input, measure::Usage};

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    runs: usize,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// Of input: its name and size.
    kind: &'static str,
    bytes: u64,
    step: &'static str,
    tool: String,
    /// Measured against each other: local or S3.
    s3: bool,
    usages: Vec<Usage>,
    /// Bytes of the repository.
    stored: Vec<u64>,
}

/// The name under which our own figures stand.
const OURS: &str = "strongroom";

const MIB: f64 = (1_u64 << 20) as f64;
const GIB: f64 = (1_u64 << 30) as f64;

impl Report {
    pub(crate) fn new(runs: usize) -> Self {
        Self {
            runs,
            rows: Vec::new(),
        }
    }

    /// Adds one measurement.
    pub(crate) fn add(
        &mut self,
        input: &Input,
        tool: &str,
        step: &'static str,
        usage: Usage,
        stored: Option<u64>,
    ) {
        let known = self.rows.iter_mut().find(|row| {
            row.kind == input.name
                && row.bytes == input.bytes
                && row.step == step
                && row.tool == tool
        });
        match known {
            Some(row) => {
                row.usages.push(usage);
                row.stored.extend(stored);
            }
            None => self.rows.push(Row {
                kind: input.name,
                bytes: input.bytes,
                step,
                tool: tool.to_owned(),
                s3: tool.ends_with("(S3)"),
                usages: vec![usage],
                stored: stored.into_iter().collect(),
            }),
        }
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Median of {} runs.\n\n\
             | input | step | tool | wall s | CPU s | CPU s/GiB | peak MiB | repository MiB |\n\
             |---|---|---|---:|---:|---:|---:|---:|",
            self.runs
        )?;
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.kind, row.bytes, row.s3, row.step));
        for row in rows {
            let stored = row.stored().map(|bytes| format!("{:.1}", bytes / MIB));
            writeln!(
                f,
                "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.0} | {} |",
                row.input(),
                row.step,
                row.tool,
                row.wall(),
                row.cpu(),
                row.cpu() / (row.bytes as f64 / GIB),
                row.peak() / MIB,
                stored.unwrap_or_default(),
            )?;
        }
        Ok(())
    }

    /// Ours against each of the others in the same comparison.
    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nStrongroom against each; above 1 it is faster, or takes less.\n\n\
             | input | step | against | × faster | × less CPU | × less memory | repository |\n\
             |---|---|---|---:|---:|---:|---:|"
        )?;
        for ours in self.rows.iter().filter(|row| row.is_ours()) {
            for theirs in self.rows.iter().filter(|row| row.is_peer_of(ours)) {
                let stored = ours.stored().zip(theirs.stored());
                let stored =
                    stored.map(|(ours, theirs)| format!("{:+.1} %", (ours / theirs - 1.0) * 100.0));
                writeln!(
                    f,
                    "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {} |",
                    ours.input(),
                    ours.step,
                    theirs.tool,
                    theirs.wall() / ours.wall(),
                    theirs.cpu() / ours.cpu(),
                    theirs.peak() / ours.peak(),
                    stored.unwrap_or_default(),
                )?;
            }
        }
        Ok(())
    }

    /// Our peak memory where the same kind of input was measured in two sizes.
    fn growth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.is_ours())
            .flat_map(|small| {
                let larger = self.rows.iter().filter(|row| {
                    row.tool == small.tool
                        && row.kind == small.kind
                        && row.step == small.step
                        && row.bytes > small.bytes
                });
                larger.map(move |large| (small, large))
            })
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\nPeak memory of Strongroom as the input grows.\n\n\
             | step | input | peak MiB | input | peak MiB | change |\n|---|---|---:|---|---:|---:|"
        )?;
        for (small, large) in pairs {
            writeln!(
                f,
                "| {} | {} | {:.0} | {} | {:.0} | {:+.1} % |",
                small.step,
                small.input(),
                small.peak() / MIB,
                large.input(),
                large.peak() / MIB,
                (large.peak() / small.peak() - 1.0) * 100.0,
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures(f)?;
        self.ratios(f)?;
        self.growth(f)
    }
}

impl Row {
    fn is_ours(&self) -> bool {
        self.tool.starts_with(OURS)
    }

    fn is_peer_of(&self, ours: &Self) -> bool {
        !self.is_ours()
            && self.kind == ours.kind
            && self.bytes == ours.bytes
            && self.step == ours.step
            && self.s3 == ours.s3
    }

    fn input(&self) -> String {
        format!("{} {}", mib(self.bytes), self.kind)
    }

    /// Seconds.
    fn wall(&self) -> f64 {
        median(self.usages.iter().map(|usage| usage.wall))
    }

    /// Seconds.
    fn cpu(&self) -> f64 {
        median(self.usages.iter().map(|usage| usage.cpu))
    }

    /// Bytes.
    fn peak(&self) -> f64 {
        median(self.usages.iter().map(|usage| usage.peak as f64))
    }

    /// Bytes; `None` where it does not change.
    fn stored(&self) -> Option<f64> {
        let known = !self.stored.is_empty();
        known.then(|| median(self.stored.iter().map(|bytes| *bytes as f64)))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// For people.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
