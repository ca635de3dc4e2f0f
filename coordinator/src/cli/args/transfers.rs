//! `strongroom snapshots download` and `upload`

use std::path::PathBuf;

use clap::Args;

use strongroom_spec::UploadFormat;

pub(crate) const DOWNLOAD_EXAMPLES: &str = "\
Examples:
  strongroom snapshots download 4f3a1c2b /databases/orders.dump
  strongroom snapshots download 4f3a1c2b /etc -o etc.tar
  strongroom snapshots download 4f3a1c2b -o - | tar -t
";

pub(crate) const UPLOAD_EXAMPLES: &str = "\
Examples:
  strongroom snapshots upload orders.dump --agent db-1 --store primary --name orders
  strongroom snapshots upload old.sql.gz --agent db-1 --store primary --name old --database shop
";

#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// Id or unique prefix.
    pub(crate) snapshot: String,
    /// A file, or a directory, which becomes a tar.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Where to write it; `-` for standard output, which must be no terminal. By
    /// default the last name of PATH, here, with .tar behind a directory's.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output_file: Option<PathBuf>,
    /// Replace the file if it is there; write to a terminal.
    #[arg(long)]
    pub(crate) force: bool,
    /// The agent that reads it, when the snapshot's own is gone: name or id.
    #[arg(long)]
    pub(crate) agent: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// What to upload.
    pub(crate) file: PathBuf,
    /// The agent that takes it: name or id.
    #[arg(long)]
    pub(crate) agent: String,
    /// The store of the agent's repository.
    #[arg(long)]
    pub(crate) store: String,
    /// The dataset becomes upload-NAME@AGENT.
    #[arg(long)]
    pub(crate) name: String,
    /// The database that a dump is of; by default the name.
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// What it is; by default what its first bytes and its name say.
    #[arg(long, value_enum)]
    pub(crate) format: Option<UploadFormat>,
}
