//! `strongroom snapshots …`

use clap::{Args, Subcommand};

use super::transfers::{DOWNLOAD_EXAMPLES, DownloadArgs, UPLOAD_EXAMPLES, UploadArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsCommand {
    /// Snapshots, newest first.
    List(SnapshotsListArgs),
    /// One snapshot.
    Show {
        /// Id or unique prefix.
        snapshot: String,
    },
    /// What is in a snapshot; an agent reads it, for the coordinator cannot.
    Ls(LsArgs),
    /// Fetch a file or a directory (as a tar) of a snapshot: an agent seals it
    /// to this command, and nobody in between can read it.
    #[command(after_help = DOWNLOAD_EXAMPLES)]
    Download(DownloadArgs),
    /// Make a snapshot of a file, such as a foreign dump: it is sealed to an
    /// agent, and nobody in between can read it.
    #[command(after_help = UPLOAD_EXAMPLES)]
    Upload(UploadArgs),
    /// Keep a snapshot whatever retention says.
    Pin {
        /// Id or unique prefix.
        snapshot: String,
    },
    /// Leave a snapshot to retention again.
    Unpin {
        /// Id or unique prefix.
        snapshot: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotsListArgs {
    /// Only of this agent: name or id.
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only of this policy.
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Only snapshots taken before this time, or where the last page ended.
    #[arg(long, value_name = "TIME")]
    pub(crate) before: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Id or unique prefix.
    pub(crate) snapshot: String,
    /// Directory inside the snapshot.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Everything below it.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// How many entries at most.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub(crate) limit: u32,
    /// Continue behind this path.
    #[arg(long, value_name = "PATH")]
    pub(crate) after: Option<String>,
    /// The agent that reads it, when the snapshot's own is gone: name or id.
    #[arg(long)]
    pub(crate) agent: Option<String>,
}
