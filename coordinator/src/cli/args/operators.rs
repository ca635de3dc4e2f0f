//! `strongroom operators …` and `strongroom audit`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{SureArgs, moment::moment};
use crate::policy::Span;

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorsCommand {
    /// Make a token for somebody, or for a program.
    Create {
        /// As the audit log will name it.
        name: String,
        /// Write the new operator's profile to this file (mode 0600).
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// After how long the token ends: `90d`. Default: never.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Span>,
    },
    /// Make a new token in the place of an operator's present one, which is
    /// refused from now on.
    Renew {
        /// The operator's name.
        name: String,
        /// Write the new profile to this file (mode 0600).
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// After how long the new token ends: `90d`. Default: never.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Span>,
    },
    /// Make a token when every other is lost: on the coordinator's host, by who may
    /// write its data directory, running or not. Audited. Root does it as the owner of
    /// that directory, who must be able to read the configuration.
    Reset {
        /// The coordinator's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The operator's name; its present token, if it has one, is refused from
        /// now on.
        #[arg(default_value = "admin")]
        name: String,
        /// Write the profile to this file (mode 0600), as the owner of the data
        /// directory. Default: operator.toml in the data directory.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// The coordinator's URL for the profile. Default: the address of this host
        /// that the configuration says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Every operator.
    List,
    /// Refuse an operator's token from now on.
    Revoke {
        /// The operator's name.
        name: String,
        #[command(flatten)]
        sure: SureArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// How many entries.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
    /// Only actions that begin with this: `policy`, `grant.refuse`.
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Only of this actor: operator:NAME, agent:NAME or coordinator.
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Only of this object: a name or id.
    #[arg(long)]
    pub(crate) object: Option<String>,
    /// Only from this moment on: RFC 3339, or a date and time of this host's time
    /// zone.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Only before this moment.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// Only entries older than this id.
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
}
