//! The request for a restore, as an operator makes it.

use serde::{Deserialize, Serialize};

use crate::{Invalid, RecoveryTarget, Target, TargetKind, target::Replaced};

/// Restores a snapshot, or a dataset at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Id or unique prefix; empty with `dataset`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub snapshot: String,
    /// Instead of a snapshot: a policy, or `policy@agent`. Of a PostgreSQL
    /// cluster the base backup that fits is taken, and its log replayed as far
    /// as `until` says; of anything else the newest snapshot, or the newest
    /// at `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Where to end; default: as late as can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<RecoveryTarget>,
    /// Of a cluster: the timeline to follow; default: the newest that the
    /// archived log leads onto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Name or id of the agent that writes.
    pub agent: String,
    /// Where to. Of a dataset that is a PostgreSQL cluster a directory, if no paths
    /// are named, means a cluster in it.
    pub target: Target,
    /// The name of what gives way, once more: the database that is replaced; of a Redis
    /// server or all databases the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// What gives way is backed up first.
    #[serde(default = "yes")]
    pub safety_backup: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

fn yes() -> bool {
    true
}

impl RestoreRequest {
    /// Of a snapshot as it is, for an agent.
    pub fn new(snapshot: impl Into<String>, agent: impl Into<String>, target: Target) -> Self {
        Self {
            snapshot: snapshot.into(),
            dataset: None,
            until: None,
            timeline: None,
            agent: agent.into(),
            target,
            confirm: None,
            safety_backup: true,
            dry_run: false,
        }
    }

    /// What gives way, unless nothing is really done.
    pub fn replaced(&self) -> Option<Replaced> {
        self.target.replaced().filter(|_| !self.dry_run)
    }

    /// Refuses requests that say too little, too much, or do not confirm.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.snapshot.is_empty() == self.dataset.is_none() {
            return Err(
                Invalid::new("a restore takes either a snapshot or a dataset").hint(
                    "name a snapshot by its id, or a policy or policy@agent (`dataset`, --dataset)",
                ),
            );
        }
        self.check_moment()?;
        self.target.check()?;
        match self.replaced() {
            Some(replaced) => self.confirmed(&replaced),
            None => Ok(()),
        }
    }

    fn check_moment(&self) -> Result<(), Invalid> {
        let kind = self.target.kind();
        let as_cluster = kind == TargetKind::Cluster;
        let rolls = as_cluster || kind == TargetKind::Directory;
        let named = self.dataset.is_some() || as_cluster;
        if (self.until.is_some() && !named) || (self.timeline.is_some() && !(rolls && named)) {
            return Err(
                Invalid::new("a point in time is one of a dataset or of a cluster").hint(
                    "name the dataset (`dataset`, --dataset), or restore the snapshot as a \
                     cluster (`cluster`, --cluster)",
                ),
            );
        }
        if self.timeline == Some(0) {
            return Err(Invalid::new("there is no timeline 0").hint("timelines count from 1"));
        }
        match &self.until {
            Some(RecoveryTarget::RestorePoint(name)) => crate::named("restore-point", name),
            _ => Ok(()),
        }
    }

    fn confirmed(&self, replaced: &Replaced) -> Result<(), Invalid> {
        let (what, name) = (replaced.what, &replaced.name);
        let said = match &self.confirm {
            Some(confirmed) if confirmed == name => return Ok(()),
            Some(other) => format!("the confirmation says {other:?}"),
            None => "this is not confirmed".to_owned(),
        };
        Err(
            Invalid::new(format!("the {what} {name:?} would be changed, and {said}"))
                .hint(format!("say it with `confirm` (--confirm {name:?})")),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{DirectoryTarget, PostgresSource, Source};

    fn request(mut body: Value) -> RestoreRequest {
        let names = ["snapshot", "dataset"].map(|key| body.get(key).is_some());
        if names == [false, false] {
            body["snapshot"] = json!("3f9a");
        }
        body["agent"] = json!("web-1");
        serde_json::from_value(body).unwrap()
    }

    fn refusal(body: Value) -> String {
        let invalid = request(body).check().unwrap_err();
        assert!(!invalid.hint.is_empty(), "{invalid}");
        format!("{invalid}; {}", invalid.hint)
    }

    fn replaced(body: Value) -> Option<Replaced> {
        let request = request(body);
        request.check().unwrap();
        request.replaced()
    }

    fn directory() -> Value {
        json!({ "directory": { "directory": "/t" } })
    }

    fn cluster() -> Value {
        json!({ "cluster": { "directory": "/t" } })
    }

    #[test]
    fn a_restore_goes_to_exactly_one_place() {
        let parsed = |target: Value| {
            let body = json!({ "snapshot": "3f", "agent": "a", "target": target });
            serde_json::from_value::<RestoreRequest>(body).map_err(|error| error.to_string())
        };
        let redis = json!({ "connection": "c" });
        let both = json!({ "directory": { "directory": "/t" }, "redis": redis });
        assert!(parsed(both).is_err());
        assert!(parsed(json!({})).is_err());
        let paths = json!({ "redis": { "connection": "c", "paths": ["/a"] } });
        assert!(parsed(paths).unwrap_err().contains("paths"));
        let sparse = json!({ "cluster": { "directory": "/t", "sparse": "never" } });
        assert!(parsed(sparse).unwrap_err().contains("sparse"));
        let relative = json!({ "target": { "cluster": { "directory": "t" } } });
        assert!(refusal(relative).contains("not an absolute path"));
        let unstarted = json!({ "cluster": { "directory": "/t", "keep_settings": true } });
        assert!(refusal(json!({ "target": unstarted })).contains("settings be kept"));
    }

    #[test]
    fn a_restore_takes_a_snapshot_or_a_dataset() {
        let both = json!({ "snapshot": "3f", "dataset": "d", "target": directory() });
        assert!(refusal(both).contains("either"));
        let neither = json!({ "snapshot": "", "target": directory() });
        assert!(refusal(neither).contains("either"));
        let until = json!({ "target": directory(), "until": { "xid": 7 } });
        assert!(refusal(until).contains("point in time"));
        let timeline = json!({ "target": directory(), "timeline": 2 });
        assert!(refusal(timeline).contains("point in time"));
        let zero = json!({ "dataset": "d", "target": directory(), "timeline": 0 });
        assert!(refusal(zero).contains("count from 1"));
        let at = json!({ "time": "2026-11-20T12:03:07Z" });
        for good in [
            json!({ "dataset": "d", "target": directory(), "until": at }),
            json!({ "dataset": "d", "target": cluster(), "timeline": 2 }),
            json!({ "target": cluster(), "until": { "lsn": "0/3" } }),
            json!({ "target": cluster(), "until": { "restore-point": "before" } }),
        ] {
            assert_eq!(request(good).check(), Ok(()));
        }
    }

    #[test]
    fn what_replaces_is_confirmed_by_name_and_preceded_by_a_backup() {
        let replace = |confirm: Value| {
            json!({ "confirm": confirm, "target": { "postgres": {
                "connection": "c", "database": "d", "as": "e", "replace": true,
            }}})
        };
        assert!(refusal(replace(Value::Null)).contains("--confirm \"e\""));
        assert!(refusal(replace(json!("d"))).contains("says \"d\""));
        let given = replaced(replace(json!("e"))).unwrap();
        let Source::Postgres(PostgresSource::Logical(safety)) = given.safety else {
            panic!("a dump");
        };
        assert_eq!(
            (&*safety.connection, safety.databases),
            ("c", vec!["e".into()])
        );
    }

    #[test]
    fn a_dry_run_needs_no_confirmation_and_no_backup() {
        let redis = || json!({ "redis": { "connection": "c" } });
        assert!(refusal(json!({ "target": redis() })).contains("not confirmed"));
        assert_eq!(
            replaced(json!({ "target": redis(), "dry_run": true })),
            None
        );
    }

    #[test]
    fn all_databases_have_names_of_their_own() {
        let all = |more: Value| {
            let mut target = json!({ "connection": "c", "all_databases": true });
            for (key, value) in more.as_object().unwrap() {
                target[key] = value.clone();
            }
            json!({ "target": { "postgres": target } })
        };
        assert!(refusal(all(json!({ "database": "d" }))).contains("either one"));
        assert!(refusal(all(json!({ "as": "copy" }))).contains("same name"));
        assert!(refusal(all(json!({ "tables": ["t"] }))).contains("of one database"));
        let mut replacing = all(json!({ "replace": true }));
        replacing["confirm"] = json!("d");
        assert!(refusal(replacing).contains("--confirm \"c\""));
        for (more, name) in [(json!({}), "*"), (json!({ "as": "*_copy" }), "*_copy")] {
            let request = request(all(more));
            let Target::Postgres(target) = request.target else {
                panic!("databases");
            };
            assert_eq!(target.name(), name);
        }
    }

    #[test]
    fn a_new_database_replaces_nothing() {
        let new = json!({ "connection": "c", "database": "d" });
        assert_eq!(replaced(json!({ "target": { "postgres": new } })), None);
        let some = json!({ "confirm": "d", "target": { "postgres": {
            "connection": "c", "database": "d", "replace": true, "tables": ["t"],
        }}});
        assert!(refusal(some).contains("single schemas or tables"));
    }

    #[test]
    fn a_request_says_no_more_than_it_must() {
        let target = DirectoryTarget {
            directory: "/t".into(),
            ..DirectoryTarget::default()
        };
        let request = RestoreRequest::new("3f", "web-1", target.into());
        let said = json!({
            "snapshot": "3f", "agent": "web-1", "target": directory(), "safety_backup": true,
            "dry_run": false,
        });
        assert_eq!(json!(request), said);
    }
}
