//! `offline snapshots` and `offline ls`

use std::{ops::ControlFlow, process::ExitCode};

use clap::Args;
use comfy_table::{Table, presets};
use strongroom_runtime::printable::Line;
use strongroom_spec::{Entry, ListSpec};

use super::{Common, Output, Session, limits::StoreLimits, locator::Place, output, progress};
use crate::restore;

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    common: Common,
    /// The snapshot: `latest`, its id, or the first digits of it
    snapshot: String,
    /// The directory or file inside the snapshot
    #[arg(default_value = "/")]
    path: String,
    /// Only this directory, not what is below it
    #[arg(long)]
    flat: bool,
}

pub(super) async fn snapshots(common: &Common, session: &Session) -> anyhow::Result<ExitCode> {
    let repository = Place::new(common, session, StoreLimits::default())?
        .open()
        .await?;
    let snapshots = repository.snapshots().await?;
    if common.output == Output::Json {
        let shown: Vec<_> = snapshots
            .iter()
            .map(|(id, snapshot)| {
                serde_json::json!({
                    "id": id,
                    "time": snapshot.time,
                    "hostname": snapshot.hostname,
                    "paths": snapshot.paths,
                    "tags": snapshot.tags,
                    "parent": snapshot.parent,
                    "tree": snapshot.tree,
                    "program_version": snapshot.program_version,
                })
            })
            .collect();
        output::json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "TIME", "HOST", "TAGS", "PATHS"]);
    for (id, snapshot) in &snapshots {
        table.add_row([
            id.short(),
            format!("{:.0}", snapshot.time),
            Line(&snapshot.hostname).to_string(),
            Line(snapshot.tags.join(",")).to_string(),
            Line(snapshot.paths.join(" ")).to_string(),
        ]);
    }
    output::table(&table)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn ls(args: LsArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let output = args.common.output;
    let repository = Place::new(&args.common, session, StoreLimits::default())?
        .open()
        .await?;
    let (snapshot, _) = repository.find_snapshot(&args.snapshot).await?;
    let work = ListSpec {
        snapshot,
        path: args.path,
        recursive: !args.flat,
        limit: u32::MAX,
        after: None,
    };
    let listed = progress::watch(session, Output::Json, move |runtime, monitor| {
        let (snapshot, reader) =
            restore::read_snapshot(repository, &runtime, work.snapshot, &monitor)?;
        let mut printer = Printer::new(output);
        let print = |entry| printer.print(&entry);
        restore::list_with(&reader, &runtime, &snapshot, &work, &monitor, print)?;
        printer.finish()
    });
    listed.await??;
    Ok(ExitCode::SUCCESS)
}

/// Prints entries as they come: there may be millions.
struct Printer {
    output: Output,
    first: bool,
    result: anyhow::Result<()>,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self {
            output,
            first: true,
            result: Ok(()),
        }
    }

    fn print(&mut self, entry: &Entry) -> ControlFlow<()> {
        let opening = if self.first { "[" } else { "," };
        self.first = false;
        self.result = match self.output {
            Output::Text => output::line(&text(entry)),
            Output::Json => output::part_of_json(&format!("{opening}{}", json(entry))),
        };
        if self.result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        self.result?;
        match (self.output, self.first) {
            (Output::Text, _) => Ok(()),
            (Output::Json, true) => output::line("[]"),
            (Output::Json, false) => output::line("]"),
        }
    }
}

fn json(entry: &Entry) -> serde_json::Value {
    serde_json::json!({
        "path": output::path(&entry.path),
        "type": entry.kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "modified": entry.modified,
        "link_target": entry.link_target.as_deref().map(output::path),
    })
}

fn text(entry: &Entry) -> String {
    let target = entry.link_target.as_deref();
    let arrow = target.map_or_else(String::new, |it| format!(" -> {}", output::path(it)));
    format!(
        "{:<8}{:04o} {:>6} {:>6} {:>12} {:<30} {}{arrow}",
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.modified,
        output::path(&entry.path),
    )
}
