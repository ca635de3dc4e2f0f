//! What was measured, as Markdown.

use std::fmt;

use crate::measure::Usage;

/// All measurements, in the order in which they were made first.
#[derive(Debug)]
pub(crate) struct Report {
    runs: usize,
    rows: Vec<Row>,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Row {
    case: String,
    tool: String,
    usages: Vec<Usage>,
}

/// What is no run of a program.
#[derive(Debug)]
struct Figure {
    case: String,
    tool: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Report {
    pub(crate) fn new(runs: usize) -> Self {
        Self {
            runs,
            rows: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, case: &str, tool: &str, usage: Usage) {
        eprintln!("  {case}, {tool}: {usage}");
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.case == case && row.tool == tool);
        match row {
            Some(row) => row.usages.push(usage),
            None => self.rows.push(Row {
                case: case.into(),
                tool: tool.into(),
                usages: vec![usage],
            }),
        }
    }

    /// One value of one run.
    pub(crate) fn figure(&mut self, case: &str, tool: &str, unit: &'static str, value: f64) {
        eprintln!("  {case}, {tool}: {value:.2} {unit}");
        let mut figures = self.figures.iter_mut();
        match figures.find(|figure| figure.case == case && figure.tool == tool) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                case: case.into(),
                tool: tool.into(),
                unit,
                values: vec![value],
            }),
        }
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("  {note}");
        self.notes.push(note);
    }
}

fn median(usages: &[Usage], of: impl Fn(&Usage) -> f64) -> f64 {
    sorted(usages.iter().map(of))[usages.len() / 2]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Median of {} runs. CPU and memory of Strongroom are its agent's.\n\n\
             | case | tool | wall s | CPU s | peak MiB |\n|---|---|---:|---:|---:|",
            self.runs
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {:.2} | {:.2} | {:.0} |",
                row.case,
                row.tool,
                median(&row.usages, |usage| usage.wall),
                median(&row.usages, |usage| usage.cpu),
                median(&row.usages, |usage| (usage.peak >> 20) as f64),
            )?;
        }
        if !self.figures.is_empty() {
            writeln!(
                f,
                "\n| measured | tool | median | least | most | unit |\n|---|---|---:|---:|---:|---|"
            )?;
        }
        for figure in &self.figures {
            let values = sorted(figure.values.iter().copied());
            writeln!(
                f,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {} |",
                figure.case,
                figure.tool,
                values[values.len() / 2],
                values[0],
                values[values.len() - 1],
                figure.unit,
            )?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}
