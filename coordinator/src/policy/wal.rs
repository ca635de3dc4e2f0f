//! What a policy says of a cluster's write-ahead log.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strongroom_runtime::units::ByteSize;
use strongroom_spec::{PostgresSource, Source, WalMethod, WalSpec};

use super::{Policy, Span};
use crate::model::{Agent, DatasetName};

/// A policy's `wal`: beside its base backups, the log is archived at all times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalPolicy {
    /// How the log comes to the agent.
    #[serde(default)]
    pub method: ArchiveMethod,
    /// Stream: what is not yet a whole part is stored at least so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush: Option<Span>,
    /// What may wait on the server for the agent or the store.
    #[serde(default = "default_limit")]
    pub limit: ByteSize,
    /// What gives way beyond the limit.
    #[serde(default)]
    pub when_full: WhenFull,
}

/// How the log comes to the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveMethod {
    /// By the replication protocol, with a slot.
    #[default]
    Stream,
    /// By the server's `archive_command`.
    Push,
}

/// What gives way when more log waits on the server than it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The log: the server goes on, and there is a gap until the next base
    /// backup.
    #[default]
    DropLog,
    /// The server: its disk fills up if nobody heeds the warning.
    KeepLog,
}

/// Unless the policy says otherwise, seconds.
const FLUSH: u32 = 5;
/// The longest that a policy may say.
const LONGEST_FLUSH: u32 = 600;
/// Two segments of any usual size.
const LEAST_LIMIT: ByteSize = ByteSize(64 << 20);

fn default_limit() -> ByteSize {
    ByteSize(16 << 30)
}

impl WalPolicy {
    /// What is wrong with it in a policy with this source: field and message.
    pub(super) fn problem(&self, source: &Source) -> Option<(&'static str, String)> {
        let physical = matches!(source, Source::Postgres(PostgresSource::Physical(_)));
        let flush = self.flush.map_or(FLUSH, Span::seconds);
        if !physical {
            let message = "belongs to a source with method = \"physical\": only a base backup can \
                           be rolled forward";
            Some(("wal", message.into()))
        } else if self.flush.is_some() && self.method == ArchiveMethod::Push {
            let message = "belongs to method = \"stream\": pushed segments are stored when they \
                           are full; see archive_timeout of the server";
            Some(("wal.flush", message.into()))
        } else if flush > LONGEST_FLUSH {
            let message = format!("is out of range: write 1s to {LONGEST_FLUSH}s");
            Some(("wal.flush", message))
        } else if self.limit < LEAST_LIMIT {
            let message = format!("is less than two segments: write at least \"{LEAST_LIMIT}\"");
            Some(("wal.limit", message))
        } else {
            None
        }
    }
}

impl Policy {
    /// What archives the log of this policy's cluster on one of its agents;
    /// `None` when nothing is to.
    pub fn wal_work(&self, agent: &Agent) -> Option<WalSpec> {
        let wal = self.wal.as_ref()?;
        let Source::Postgres(PostgresSource::Physical(physical)) = &self.source else {
            return None;
        };
        let dataset = DatasetName::new(&self.name, &agent.name);
        let method = match wal.method {
            ArchiveMethod::Stream => WalMethod::Stream {
                slot: slot(&dataset, agent, &physical.connection),
                flush_seconds: wal.flush.map_or(FLUSH, Span::seconds),
            },
            ArchiveMethod::Push => WalMethod::Push,
        };
        Some(WalSpec {
            dataset: dataset.to_string(),
            connection: physical.connection.clone(),
            method,
            limit: Some(wal.limit.0),
            drop: wal.when_full == WhenFull::DropLog,
        })
    }
}

/// The replication slot's name: lower-case letters, digits and `_`, 63 at the
/// most. Whoever looks at the server sees whose it is, and agents never share
/// one, nor do two connections that lead to one server.
fn slot(dataset: &DatasetName, agent: &Agent, connection: &str) -> String {
    let readable: String = dataset
        .policy
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .take(30)
        .collect();
    let hash = Sha256::digest(format!("{dataset} {} {connection}", agent.id));
    format!("strongroom_{readable}_{}", HEXLOWER.encode(&hash[..4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(wal: &str) -> Policy {
        serde_json::from_str(&format!(
            r#"{{"name": "Orders-DB of the whole company, EU", "agents": {{"names": ["db-1"]}},
                "store": "primary",
                "source": {{"postgres": {{"connection": "orders", "method": "physical"}}}}
                {wal}}}"#
        ))
        .unwrap()
    }

    fn agent(id: u128) -> Agent {
        crate::model::agent::testing::agent("db-1", id, &[])
    }

    #[test]
    fn nothing_is_archived_unless_the_policy_says_so() {
        assert_eq!(policy("").wal_work(&agent(1)), None);
        let work = policy(r#", "wal": {}"#).wal_work(&agent(1)).unwrap();
        assert_eq!(work.connection, "orders");
        assert_eq!((work.limit, work.drop), (Some(16 << 30), true));
        let WalMethod::Stream {
            slot,
            flush_seconds: 5,
        } = work.method
        else {
            panic!("{work:?}");
        };
        assert!(slot.len() <= 63, "{slot}");
        assert!(
            slot.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{slot}"
        );
        assert!(
            slot.starts_with("strongroom_orders_db_of_the_whole"),
            "{slot}"
        );
    }

    #[test]
    fn agents_have_slots_of_their_own() {
        let slot = |id| match policy(r#", "wal": {}"#)
            .wal_work(&agent(id))
            .unwrap()
            .method
        {
            WalMethod::Stream { slot, .. } => slot,
            other => panic!("{other:?}"),
        };
        assert_eq!(slot(1), slot(1));
        assert_ne!(slot(1), slot(2));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let problem = |wal: &str| {
            let policy = policy(&format!(r#", "wal": {wal}"#));
            policy.wal.unwrap().problem(&policy.source)
        };
        assert_eq!(problem("{}"), None);
        for (wal, field) in [
            (r#"{"method": "push", "flush": "5s"}"#, "wal.flush"),
            (r#"{"flush": "11m"}"#, "wal.flush"),
            (r#"{"limit": "16MiB"}"#, "wal.limit"),
        ] {
            assert_eq!(problem(wal).map(|(field, _)| field), Some(field), "{wal}");
        }
        let files = serde_json::from_str(r#"{"files": {"paths": ["/srv"]}}"#).unwrap();
        let wal: WalPolicy = serde_json::from_str("{}").unwrap();
        let (field, message) = wal.problem(&files).unwrap();
        assert_eq!(field, "wal");
        assert!(message.contains("physical"), "{message}");
    }
}
