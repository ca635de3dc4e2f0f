//! `strongroom snapshots …`

use jiff::Timestamp;

use strongroom_spec::Entry;

use super::{Context, transfers};
use crate::{
    cli::{
        args::{LsArgs, SnapshotsCommand, SnapshotsListArgs},
        client::{MAX_PAGE, page_limit},
        error::{CliError, Exit},
        render::{Table, fields, format, job, recovery},
    },
    http::dto::{Listing, Snapshot, Snapshots},
};

/// The largest page of entries that the API gives.
const MAX_ENTRIES: u32 = 10_000;

pub(super) async fn run(context: &Context, command: SnapshotsCommand) -> Result<Exit, CliError> {
    let client = context.client()?;
    let now = context.renderer.now;
    match command {
        SnapshotsCommand::List(args) => {
            let snapshots: Snapshots = client.get(&["snapshots"], &filters(args)).await?;
            context
                .renderer
                .show(&snapshots, |snapshots| list(snapshots, now))?;
        }
        SnapshotsCommand::Show { snapshot } => {
            let snapshot: Snapshot = client.get(&["snapshots", &snapshot], &[]).await?;
            context
                .renderer
                .show(&snapshot, |snapshot| one(snapshot, now))?;
        }
        SnapshotsCommand::Ls(args) => {
            let path = ["snapshots", &args.snapshot.clone(), "entries"];
            let listing: Listing = client.get(&path, &page(args)).await?;
            context.renderer.show(&listing, entries)?;
        }
        SnapshotsCommand::Download(args) => return transfers::download(context, args).await,
        SnapshotsCommand::Upload(args) => return transfers::upload(context, args).await,
        SnapshotsCommand::Pin { snapshot } => {
            let snapshot: Snapshot = client.post(&["snapshots", &snapshot, "pin"], &()).await?;
            context.renderer.show(&snapshot, |snapshot| {
                format!("{} is pinned.", format::short(&snapshot.id))
            })?;
        }
        SnapshotsCommand::Unpin { snapshot } => {
            let snapshot: Snapshot = client.delete(&["snapshots", &snapshot, "pin"]).await?;
            context.renderer.show(&snapshot, |snapshot| {
                format!("{} is not pinned.", format::short(&snapshot.id))
            })?;
        }
    }
    Ok(Exit::Done)
}

fn filters(args: SnapshotsListArgs) -> Vec<(&'static str, String)> {
    let mut query = vec![page_limit(args.limit, MAX_PAGE)];
    query.extend(args.agent.map(|agent| ("agent", agent)));
    query.extend(args.policy.map(|policy| ("policy", policy)));
    query.extend(args.before.map(|before| ("before", before)));
    query
}

fn page(args: LsArgs) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("path", args.path),
        ("recursive", args.recursive.to_string()),
        page_limit(args.limit, MAX_ENTRIES),
    ];
    query.extend(args.after.map(|after| ("after", after)));
    query.extend(args.agent.map(|agent| ("agent", agent)));
    query
}

pub(super) fn list(snapshots: &Snapshots, now: Timestamp) -> String {
    let mut table = Table::new(
        "no snapshots",
        &[
            "id", "dataset", "taken", ">files", ">size", ">stored", "notes",
        ],
    );
    for snapshot in &snapshots.snapshots {
        table.row(&[
            format::short(&snapshot.id).to_owned(),
            snapshot.dataset.clone(),
            format::relative(snapshot.time, now),
            format::count(snapshot.files),
            format::bytes(snapshot.bytes_total),
            format::bytes(snapshot.bytes_stored),
            notes(snapshot),
        ]);
    }
    table.render_page(
        "strongroom snapshots list",
        snapshots.next_before.as_deref(),
    ) + &recovery::lines(&snapshots.recovery, now)
}

fn notes(snapshot: &Snapshot) -> String {
    let mut notes = Vec::new();
    if snapshot.lost_at.is_some() {
        notes.push("LOST from its store".into());
    }
    if snapshot.partial {
        notes.push("partial".to_owned());
    }
    if snapshot.pinned {
        notes.push("pinned".to_owned());
    }
    if snapshot.warning_count > 0 {
        notes.push(format::plural(snapshot.warning_count, "warning"));
    }
    notes.join(", ")
}

pub(super) fn one(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut shown = fields([
        ("id", snapshot.id.clone()),
        ("dataset", snapshot.dataset.clone()),
        ("repository", snapshot.repository.clone()),
        (
            "taken",
            format::moment_and_distance(Some(snapshot.time), now),
        ),
        ("files", format::count(snapshot.files)),
        ("directories", format::count(snapshot.directories)),
        ("size", format::bytes(snapshot.bytes_total)),
        ("stored", format::bytes(snapshot.bytes_stored)),
        ("warnings", format::count(snapshot.warning_count)),
        (
            "whole",
            if snapshot.partial {
                "no: it lacks something that was asked for; its job's warnings say what"
            } else {
                "yes"
            }
            .into(),
        ),
        ("pinned", if snapshot.pinned { "yes" } else { "no" }.into()),
        ("job", snapshot.job.clone().unwrap_or_else(format::dash)),
    ]);
    let warnings = job::warnings(&snapshot.warnings, snapshot.warning_count);
    if !warnings.is_empty() {
        shown = format!("{}\n\n{warnings}", shown.trim_end());
    }
    shown
}

pub(super) fn entries(listing: &Listing) -> String {
    let mut table = Table::new(
        "nothing in there",
        &["mode", ">uid", ">gid", ">size", "modified", "path"],
    );
    for entry in &listing.entries {
        let modified = entry.modified.parse::<Timestamp>();
        table.row(&[
            format::mode(&entry.kind, entry.mode),
            entry.uid.to_string(),
            entry.gid.to_string(),
            match entry.kind.as_str() {
                "file" => format::bytes(entry.size),
                _ => format::dash(),
            },
            modified.map_or_else(|_| entry.modified.clone(), format::moment),
            path(entry),
        ]);
    }
    let text = table.render();
    match &listing.next_after {
        Some(next) => format!(
            "{text}\nthere is more: {} continues, --limit N shows more at once",
            after(next)
        ),
        None if listing.truncated => format!("{text}\nthere is more: --limit N shows it"),
        None => text,
    }
}

/// To be pasted into a shell, whoever gave the file its name.
fn after(path: &str) -> String {
    if format::printable(path) == path {
        format!("--after {}", format::quoted(path))
    } else {
        "--after with next_after of --output json".into()
    }
}

fn path(entry: &Entry) -> String {
    match &entry.link_target {
        Some(target) => format!("{} -> {}", entry.path.text(), target.text()),
        None => entry.path.text().into_owned(),
    }
}
