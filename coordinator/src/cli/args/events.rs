//! `strongroom events`

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events behind this number; without it, the newest ones.
    #[arg(long, value_name = "N")]
    pub(crate) after: Option<u64>,
    /// How many at most; with --follow, at a time.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
    /// Go on with what changes from now on, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
}
