//! What a request for a restore means: pure.

use strongroom_layout::ObjectId;
use strongroom_wire::job::{
    DumpContent, Overwrite as WireOverwrite, PostgresLogical, PostgresSource, Recovery,
    RedisSource, Relocation, RestoreClusterWork, RestorePostgresWork, RestoreRedisWork,
    RestoreWork, Source, Sparse as WireSparse, Work,
};

use crate::http::{
    dto::{
        ClusterTarget, Overwrite, PostgresTarget, RedisTarget, RestorePoint, RestoreRequest,
        Sparse, VerifyRows,
    },
    problem::{Code, Problem},
};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) struct Planned {
    /// The restore.
    pub(super) work: Work,
    /// What is to be backed up before.
    pub(super) safety: Option<Source>,
}

/// Refuses requests that say too little, too much, or do not confirm.
pub(super) fn check(request: &RestoreRequest) -> Result<(), Problem> {
    let destinations = [
        request.target.is_some(),
        request.postgres.is_some(),
        request.cluster.is_some(),
        request.redis.is_some(),
    ];
    if destinations.into_iter().filter(|given| *given).count() != 1 {
        return Err(invalid("a restore goes to exactly one place").hint(
            "name a directory (`target`, --target), a PostgreSQL server (`postgres`, --postgres), \
             a cluster's directory (`cluster`, --cluster) or a Redis server (`redis`, --redis)",
        ));
    }
    if request.snapshot.is_empty() == request.dataset.is_none() {
        return Err(
            invalid("a restore takes either a snapshot or a dataset").hint(
                "name a snapshot by its id, or a policy or policy@agent (`dataset`, --dataset)",
            ),
        );
    }
    let rolls = request.target.is_some() || request.cluster.is_some();
    let named = request.dataset.is_some() || request.cluster.is_some();
    if (request.until.is_some() && !named) || (request.timeline.is_some() && !(rolls && named)) {
        return Err(
            invalid("a point in time is one of a dataset or of a cluster").hint(
                "name the dataset (`dataset`, --dataset), or restore the snapshot as a cluster \
             (`cluster`, --cluster)",
            ),
        );
    }
    if request.timeline == Some(0) {
        return Err(invalid("there is no timeline 0").hint("timelines count from 1"));
    }
    let of_directories = !request.paths.is_empty()
        || !request.overwrite.is_default()
        || request.numeric_ids
        || request.sparse != Sparse::Auto;
    if request.target.is_none() && of_directories {
        return Err(invalid(
            "paths, overwriting, numbers of owners and holes are matters of directories only",
        )
        .hint(
            "leave `paths` (--path), `overwrite` (--overwrite), `numeric_ids` (--numeric-ids) \
             and `sparse` (--sparse) out",
        ));
    }
    let directory = request
        .cluster
        .as_ref()
        .map(|cluster| &cluster.directory)
        .or(request.target.as_ref());
    if let Some(directory) = directory.filter(|it| !it.starts_with('/')) {
        return Err(
            invalid(format!("the target {directory:?} is not an absolute path"))
                .hint("name a directory on the agent's host, beginning with /"),
        );
    }
    if request
        .cluster
        .as_ref()
        .is_some_and(|it| it.keep_settings && !it.start)
    {
        return Err(
            invalid("only of a server that is started can settings be kept").hint(
                "start it (`start`, --start), or leave `keep_settings` (--keep-settings) out",
            ),
        );
    }
    check_names(request)?;
    match (&request.postgres, &request.redis) {
        (Some(postgres), _) => check_postgres(postgres, request.dry_run),
        (_, Some(redis)) => check_redis(redis, request.dry_run),
        _ => Ok(()),
    }
}

/// Refuses names that nothing has.
fn check_names(request: &RestoreRequest) -> Result<(), Problem> {
    let moved = request.cluster.as_ref().map(|it| &it.tablespaces[..]);
    for it in moved.unwrap_or_default() {
        named("from", &it.from)?;
        named("to", &it.to)?;
    }
    match &request.until {
        Some(RestorePoint::Name(name)) => named("name", name),
        _ => Ok(()),
    }
}

fn check_postgres(target: &PostgresTarget, dry_run: bool) -> Result<(), Problem> {
    named("connection", &target.connection)?;
    if target.all_databases {
        return check_all(target, dry_run);
    }
    named("database", &target.database)?;
    let name = target.to.as_ref().unwrap_or(&target.database);
    named("as", name)?;
    if target.jobs == Some(0) {
        return Err(invalid("0 parallel jobs do no work").hint("ask for at least 1"));
    }
    if target.replace && !(target.schemas.is_empty() && target.tables.is_empty()) {
        return Err(
            invalid("single schemas or tables cannot replace a whole database")
                .hint("restore them into a database of their own (`as`, --as) and copy from there"),
        );
    }
    if target.replace && !dry_run {
        return confirmed("database", name, target.confirm.as_deref());
    }
    Ok(())
}

fn check_all(target: &PostgresTarget, dry_run: bool) -> Result<(), Problem> {
    if !target.database.is_empty() {
        return Err(invalid("either one database or all of them are restored")
            .hint("leave `database` (--database) or `all_databases` (--all-databases) out"));
    }
    if !(target.schemas.is_empty() && target.tables.is_empty()) {
        return Err(
            invalid("single schemas and tables are those of one database").hint(
                "name the database (`database`, --database), or leave `schemas` and `tables` out",
            ),
        );
    }
    if target
        .to
        .as_ref()
        .is_some_and(|it| it.matches('*').count() != 1)
    {
        return Err(invalid("all databases cannot have the same name").hint(
            "put a * where the name of each belongs, such as *_copy (`as`, --as), or leave it out",
        ));
    }
    if target.jobs == Some(0) {
        return Err(invalid("0 parallel jobs do no work").hint("ask for at least 1"));
    }
    if target.replace && !dry_run {
        return confirmed(
            "databases of",
            &target.connection,
            target.confirm.as_deref(),
        );
    }
    Ok(())
}

fn check_redis(target: &RedisTarget, dry_run: bool) -> Result<(), Problem> {
    named("connection", &target.connection)?;
    if target.allow_replicas && !target.keys.is_empty() {
        return Err(invalid("single keys reach replicas as any write does")
            .hint("leave `allow_replicas` (--allow-replicas) out"));
    }
    if dry_run {
        return Ok(());
    }
    confirmed("server", &target.connection, target.confirm.as_deref())
}

fn named(what: &str, name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(invalid(format!("`{what}` is empty")).hint("name it"));
    }
    Ok(())
}

fn confirmed(what: &str, name: &str, confirm: Option<&str>) -> Result<(), Problem> {
    if confirm == Some(name) {
        return Ok(());
    }
    let said = match confirm {
        None => "this is not confirmed".to_owned(),
        Some(other) => format!("the confirmation says {other:?}"),
    };
    Err(
        invalid(format!("the {what} {name:?} would be changed, and {said}"))
            .hint(format!("say it with `confirm` (--confirm {name:?})")),
    )
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(Code::Invalid, message)
}

/// The work of a request that has passed [`check`].
pub(super) fn plan(
    request: RestoreRequest,
    snapshot: ObjectId,
    recovery: Option<Recovery>,
) -> Planned {
    let dry_run = request.dry_run;
    if let Some(target) = request.postgres {
        postgres(target, snapshot, dry_run)
    } else if let Some(target) = request.redis {
        redis(target, snapshot, dry_run)
    } else if let Some(target) = request.cluster {
        let work = RestoreClusterWork {
            recovery,
            ..cluster(target, snapshot, dry_run)
        };
        alone(Work::RestoreCluster(work))
    } else {
        alone(Work::Restore(RestoreWork {
            snapshot,
            target: request.target.unwrap_or_default(),
            paths: request.paths,
            overwrite: match request.overwrite {
                Overwrite::Never => WireOverwrite::Never,
                Overwrite::IfChanged => WireOverwrite::IfChanged,
                Overwrite::Always => WireOverwrite::Always,
            },
            dry_run,
            numeric_ids: request.numeric_ids,
            sparse: match request.sparse {
                Sparse::Auto => WireSparse::Auto,
                Sparse::Never => WireSparse::Never,
            },
        }))
    }
}

fn alone(work: Work) -> Planned {
    Planned { work, safety: None }
}

/// The connection whose data a restore replaces although its safety backup was
/// refused.
pub(super) fn unguarded(request: &RestoreRequest) -> Option<&str> {
    let postgres = request.postgres.as_ref();
    let postgres = postgres.filter(|it| it.replace && !it.safety_backup);
    let redis = request.redis.as_ref().filter(|it| !it.safety_backup);
    let connection = postgres
        .map(|it| it.connection.as_str())
        .or(redis.map(|it| it.connection.as_str()));
    connection.filter(|_| !request.dry_run)
}

fn postgres(target: PostgresTarget, snapshot: ObjectId, dry_run: bool) -> Planned {
    let all = target.all_databases;
    let to = target.to.unwrap_or_else(|| {
        if all {
            "*".into()
        } else {
            target.database.clone()
        }
    });
    let safety = (target.replace && target.safety_backup && !dry_run).then(|| {
        Source::Postgres(PostgresSource::Logical(PostgresLogical {
            connection: target.connection.clone(),
            // All that are there: which of them give way, the agent will see.
            databases: if all { Vec::new() } else { vec![to.clone()] },
            exclude_databases: Vec::new(),
            schemas: Vec::new(),
            exclude_schemas: Vec::new(),
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            content: DumpContent::All,
            globals: false,
        }))
    });
    let work = Work::RestorePostgres(RestorePostgresWork {
        snapshot,
        connection: target.connection,
        database: target.database,
        to,
        replace: target.replace,
        schemas: target.schemas,
        tables: target.tables,
        globals: target.roles,
        jobs: target.jobs,
        dry_run,
        all,
        keep_incomplete: target.keep_incomplete,
        counts_only: target.verify == VerifyRows::Counts,
    });
    Planned { work, safety }
}

fn cluster(target: ClusterTarget, snapshot: ObjectId, dry_run: bool) -> RestoreClusterWork {
    let relocation = |it: crate::http::dto::Relocation| Relocation {
        from: it.from,
        to: it.to,
    };
    RestoreClusterWork {
        snapshot,
        target: target.directory,
        tablespaces: target.tablespaces.into_iter().map(relocation).collect(),
        start: target.start,
        keep_settings: target.keep_settings,
        recovery: None,
        dry_run,
    }
}

fn redis(target: RedisTarget, snapshot: ObjectId, dry_run: bool) -> Planned {
    let safety = (target.safety_backup && !dry_run).then(|| {
        Source::Redis(RedisSource {
            connection: target.connection.clone(),
        })
    });
    let work = Work::RestoreRedis(RestoreRedisWork {
        snapshot,
        connection: target.connection,
        keys: target.keys,
        dry_run,
        allow_replicas: target.allow_replicas,
    });
    Planned { work, safety }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(mut body: serde_json::Value) -> RestoreRequest {
        let names = ["snapshot", "dataset"].map(|key| body.get(key).is_some());
        if names == [false, false] {
            body["snapshot"] = json!("3f9a");
        }
        serde_json::from_value(body).unwrap()
    }

    fn refusal(body: serde_json::Value) -> String {
        check(&request(body)).unwrap_err().to_string()
    }

    fn planned(body: serde_json::Value) -> Planned {
        let request = request(body);
        check(&request).unwrap();
        plan(request, ObjectId([1; 32]), None)
    }

    #[test]
    fn a_restore_goes_to_exactly_one_place() {
        let redis = json!({ "connection": "c", "confirm": "c" });
        assert!(refusal(json!({})).contains("exactly one place"));
        let both = json!({ "target": "/t", "redis": redis });
        assert!(refusal(both).contains("exactly one place"));
        let paths = json!({ "redis": redis, "paths": ["/a"] });
        assert!(refusal(paths).contains("directories only"));
        let sparse = json!({ "cluster": { "directory": "/t" }, "sparse": "never" });
        assert!(refusal(sparse).contains("--sparse"));
        let relative = json!({ "cluster": { "directory": "t" } });
        assert!(refusal(relative).contains("not an absolute path"));
        let unstarted = json!({ "cluster": { "directory": "/t", "keep_settings": true } });
        assert!(refusal(unstarted).contains("settings be kept"));
    }

    #[test]
    fn a_restore_takes_a_snapshot_or_a_dataset() {
        let both = json!({ "snapshot": "3f", "dataset": "d", "target": "/t" });
        assert!(refusal(both).contains("either"));
        let neither = json!({ "snapshot": "", "target": "/t" });
        assert!(refusal(neither).contains("either"));
        let until = json!({ "target": "/t", "until": { "xid": 7 } });
        assert!(refusal(until).contains("point in time"));
        let timeline = json!({ "target": "/t", "timeline": 2 });
        assert!(refusal(timeline).contains("point in time"));
        let zero = json!({ "dataset": "d", "target": "/t", "timeline": 0 });
        assert!(refusal(zero).contains("count from 1"));
        for good in [
            json!({ "dataset": "d", "target": "/t", "until": { "time": "2026-11-20T12:03:07Z" } }),
            json!({ "dataset": "d", "cluster": { "directory": "/t" }, "timeline": 2 }),
            json!({ "cluster": { "directory": "/t" }, "until": { "lsn": "0/3" } }),
        ] {
            assert!(check(&request(good)).is_ok());
        }
    }

    #[test]
    fn what_replaces_is_confirmed_by_name_and_preceded_by_a_backup() {
        let replace = |confirm| {
            json!({ "postgres": {
                "connection": "c", "database": "d", "as": "e", "replace": true, "confirm": confirm,
            }})
        };
        assert!(refusal(replace(None)).contains("--confirm \"e\""));
        assert!(refusal(replace(Some("d"))).contains("says \"d\""));
        let planned = planned(replace(Some("e")));
        let Some(Source::Postgres(PostgresSource::Logical(safety))) = planned.safety else {
            panic!("{planned:?}");
        };
        assert_eq!(
            (safety.connection.as_str(), safety.databases),
            ("c", vec!["e".into()])
        );
        let Work::RestorePostgres(work) = planned.work else {
            panic!("{:?}", planned.work);
        };
        assert_eq!((work.database.as_str(), work.to.as_str()), ("d", "e"));
    }

    #[test]
    fn a_dry_run_needs_no_confirmation_and_no_backup() {
        let redis = json!({ "redis": { "connection": "c" } });
        assert!(refusal(redis).contains("not confirmed"));
        let dry = planned(json!({ "redis": { "connection": "c" }, "dry_run": true }));
        assert_eq!(dry.safety, None);
        let refused = json!({
            "redis": { "connection": "c", "confirm": "c", "safety_backup": false },
        });
        assert_eq!(planned(refused).safety, None);
    }

    #[test]
    fn all_databases_have_names_of_their_own() {
        let all = |more: serde_json::Value| {
            let mut target = json!({ "connection": "c", "all_databases": true });
            for (key, value) in more.as_object().unwrap() {
                target[key] = value.clone();
            }
            json!({ "postgres": target })
        };
        assert!(refusal(all(json!({ "database": "d" }))).contains("either one"));
        assert!(refusal(all(json!({ "as": "copy" }))).contains("same name"));
        assert!(refusal(all(json!({ "tables": ["t"] }))).contains("of one database"));
        assert!(
            refusal(all(json!({ "replace": true, "confirm": "d" }))).contains("--confirm \"c\"")
        );
        for (more, to) in [(json!({}), "*"), (json!({ "as": "*_copy" }), "*_copy")] {
            let Work::RestorePostgres(work) = planned(all(more)).work else {
                panic!("no restore");
            };
            assert_eq!(
                (work.all, work.to.as_str(), work.counts_only),
                (true, to, false)
            );
        }
    }

    #[test]
    fn a_new_database_replaces_nothing() {
        let new = planned(json!({ "postgres": { "connection": "c", "database": "d" } }));
        assert_eq!(new.safety, None);
        let some = json!({ "postgres": {
            "connection": "c", "database": "d", "replace": true, "confirm": "d", "tables": ["t"],
        }});
        assert!(refusal(some).contains("single schemas or tables"));
    }
}
