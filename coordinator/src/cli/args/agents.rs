//! `strongroom agents …`

use clap::{Args, Subcommand};

use super::SureArgs;
use crate::policy::Span;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Make a one-time token with which one agent may enrol.
    Invite(InviteArgs),
    /// Every agent that is not revoked.
    List {
        /// Those that are revoked, too.
        #[arg(long)]
        all: bool,
    },
    /// One agent.
    Show {
        /// Name or id.
        agent: String,
    },
    /// Serve a contested agent again, once the other holder of its identity is
    /// gone. If its key may have been stolen, revoke it instead and invite the
    /// host anew.
    Trust {
        /// Name or id.
        agent: String,
        /// The one certificate that is good, as `agents show` has it; needed
        /// when the holders show different ones.
        #[arg(long, value_name = "HEX")]
        serial: Option<String>,
    },
    /// Shut an agent out, now and for good: its session ends, its certificate
    /// is refused.
    Revoke {
        /// Name or id.
        agent: String,
        #[command(flatten)]
        sure: SureArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// The agent's name; default: its hostname.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label that policies select by; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How long the token may be used.
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub(crate) ttl: Span,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, such as role=db".into()),
    }
}
