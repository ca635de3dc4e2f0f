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
    /// Change an agent's labels; policies go by the new ones at once. Without
    /// changes, show them.
    Label {
        /// Name or id.
        agent: String,
        /// KEY=VALUE sets a label, KEY- takes it away; those not named stay.
        #[arg(value_name = "CHANGE", value_parser = parse_change)]
        changes: Vec<LabelChange>,
        /// A policy that archives a log may let go of the agent: what the server
        /// keeps for that is dropped.
        #[arg(long)]
        yes: bool,
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

/// A change of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelChange {
    /// `KEY=VALUE`
    Set(String, String),
    /// `KEY-`
    Remove(String),
}

fn parse_change(text: &str) -> Result<LabelChange, String> {
    if let Ok((key, value)) = parse_label(text) {
        return Ok(LabelChange::Set(key, value));
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => Ok(LabelChange::Remove(key.into())),
        _ => Err("a change is KEY=VALUE, such as role=db, or KEY- to take a label away".into()),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, such as role=db".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_labels_set_and_take_away() {
        let set = |key: &str, value: &str| Ok(LabelChange::Set(key.into(), value.into()));
        assert_eq!(parse_change("role=db"), set("role", "db"));
        assert_eq!(parse_change("role=a-"), set("role", "a-"));
        assert_eq!(parse_change("role="), set("role", ""));
        assert_eq!(
            parse_change("role-"),
            Ok(LabelChange::Remove("role".into()))
        );
        for bad in ["", "-", "role", "=db", "=-"] {
            assert!(parse_change(bad).is_err(), "{bad:?}");
        }
    }
}
