//! Specifications of earlier versions, rewritten by the migration.

use serde_json::{Value, json};
use strongroom_layout::JobId;
use strongroom_spec::{
    BackupOutcome, ClusterTarget, DirectoryTarget, JobKind, JobSpec, Outcome, PostgresTarget,
    RedisTarget, Relocation, RestoreSpec, Sparse, Target, VerifyRows,
};

use super::{
    Fixture, contract,
    fixture::{operator, policy, snapshot_id},
};
use crate::{jobs::request, model::Agent};

contract!(
    restores_of_before_are_restores_to_targets,
    uploads_of_before_are_uploads,
);

/// Without its first statement: the column has its new name already.
async fn migrate(fixture: &Fixture) {
    let migration = include_str!("../../../migrations/0028_specifications.sql");
    let migration = migration.replace("ALTER TABLE jobs RENAME COLUMN work TO spec;", "");
    sqlx::raw_sql(sqlx::AssertSqlSafe(migration))
        .execute(fixture.catalog.writers())
        .await
        .unwrap();
}

/// A job whose specification is what an earlier version wrote.
async fn of_before(fixture: &Fixture, agent: &Agent, spec: &str) -> JobId {
    let new = request::backup(&policy("web"), agent, operator());
    let job = fixture.catalog.create_job(&new).await.unwrap().job.id;
    sqlx::query("UPDATE jobs SET spec = $1 WHERE id = $2")
        .bind(spec.to_owned())
        .bind(job.to_string())
        .execute(fixture.catalog.writers())
        .await
        .unwrap();
    job
}

async fn restores_of_before_are_restores_to_targets(fixture: Fixture) {
    let snapshot = snapshot_id(7);
    // What looks like a key within a text is none.
    let odd = r#"/srv/","dry_run":true,"recovery":{"all":true\\"#;
    let recovery = json!({
        "system": "7", "legs": [{ "timeline": 1, "until": null }], "end": "0/5",
        "target": "latest", "line": 2, "new_timeline": 3,
    });
    let text = |value: Value| serde_json::to_string(&value).unwrap();
    let plain = |target: Target| RestoreSpec::new(snapshot, target);
    let directory = |sparse| {
        plain(Target::Directory(DirectoryTarget {
            directory: odd.into(),
            paths: vec!["/a".into()],
            numeric_ids: true,
            sparse,
            ..DirectoryTarget::default()
        }))
    };
    let cluster = Target::Cluster(ClusterTarget {
        directory: "/data".into(),
        tablespaces: vec![Relocation {
            from: odd.into(),
            to: "/t".into(),
        }],
        start: true,
        keep_settings: false,
    });
    let database = PostgresTarget {
        connection: "orders".into(),
        database: "shop".into(),
        to: Some("copy".into()),
        tables: vec![odd.into()],
        roles: true,
        jobs: Some(2),
        verify: VerifyRows::Counts,
        ..PostgresTarget::default()
    };
    let (said, quoted) = (snapshot.to_string(), text(json!(odd)));
    let moved = format!(r#"[{{"from":{quoted},"to":"/t"}}]"#);
    let cases = [
        (
            format!(
                r#"{{"restore":{{"snapshot":"{said}","target":{quoted},"paths":["/a"],"overwrite":"never","dry_run":true,"numeric_ids":true,"sparse":"never"}}}}"#
            ),
            RestoreSpec {
                dry_run: true,
                ..directory(Sparse::Never)
            },
        ),
        (
            // Before there was a word for holes.
            format!(
                r#"{{"restore":{{"snapshot":"{said}","target":{quoted},"paths":["/a"],"overwrite":"never","dry_run":false,"numeric_ids":true}}}}"#
            ),
            directory(Sparse::Auto),
        ),
        (
            format!(
                r#"{{"restore-cluster":{{"snapshot":"{said}","target":"/data","tablespaces":{moved},"start":true,"keep_settings":false,"dry_run":true}}}}"#
            ),
            RestoreSpec {
                dry_run: true,
                ..plain(cluster.clone())
            },
        ),
        (
            format!(
                r#"{{"restore-cluster":{{"snapshot":"{said}","target":"/data","tablespaces":{moved},"start":true,"keep_settings":false,"recovery":{},"dry_run":false}}}}"#,
                text(recovery.clone())
            ),
            RestoreSpec {
                recovery: Some(serde_json::from_value(recovery).unwrap()),
                ..plain(cluster)
            },
        ),
        (
            format!(
                r#"{{"restore-postgres":{{"snapshot":"{said}","connection":"orders","database":"shop","to":"copy","replace":false,"schemas":[],"tables":[{quoted}],"globals":true,"jobs":2,"dry_run":false,"counts_only":true}}}}"#
            ),
            plain(database.into()),
        ),
        (
            format!(
                r#"{{"restore-postgres":{{"snapshot":"{said}","connection":"orders","database":"","to":"*","replace":true,"schemas":[],"tables":[],"globals":false,"jobs":null,"dry_run":false,"all":true,"keep_incomplete":true}}}}"#
            ),
            plain(Target::Postgres(PostgresTarget {
                connection: "orders".into(),
                all_databases: true,
                to: Some("*".into()),
                replace: true,
                keep_incomplete: true,
                ..PostgresTarget::default()
            })),
        ),
        (
            format!(
                r#"{{"restore-redis":{{"snapshot":"{said}","connection":"sessions","keys":[{quoted}],"dry_run":false,"allow_replicas":false}}}}"#
            ),
            plain(Target::Redis(RedisTarget {
                connection: "sessions".into(),
                keys: vec![odd.into()],
                allow_replicas: false,
            })),
        ),
    ];
    let agent = fixture.agent("web-1").await;
    let mut made = Vec::new();
    for (before, now) in cases {
        made.push((of_before(&fixture, &agent, &before).await, now));
    }
    migrate(&fixture).await;
    for (job, now) in made {
        let job = fixture.catalog.job(job).await.unwrap();
        assert_eq!(job.spec, JobSpec::Restore(now));
    }
}

async fn uploads_of_before_are_uploads(fixture: Fixture) {
    let upload = json!({ "upload": {
        "dataset": "upload-a@web-1", "transfer": "00000000-0000-0000-0000-000000000007",
        "manifest": snapshot_id(1), "tags": [], "file_name": "a", "format": "file",
        "database": "",
    }});
    let agent = fixture.agent("web-1").await;
    let job = of_before(&fixture, &agent, &upload.to_string()).await;
    let backup = of_before(&fixture, &agent, r#"{"backup":{}}"#).await;
    let outcome = BackupOutcome::of(snapshot_id(2));
    for id in [job, backup] {
        sqlx::query(
            "INSERT INTO job_reports (job_id, result, warnings, duration_ms)
             VALUES ($1, $2, '[]', 1)",
        )
        .bind(id.to_string())
        .bind(json!({ "backup": outcome }).to_string())
        .execute(fixture.catalog.writers())
        .await
        .unwrap();
    }
    migrate(&fixture).await;
    let detail = fixture.catalog.job_detail(job).await.unwrap();
    assert_eq!(detail.job.kind, JobKind::Upload);
    assert_eq!(detail.result, Some(Outcome::Upload(outcome.clone())));
    let kept: String = sqlx::query_scalar("SELECT result FROM job_reports WHERE job_id = $1")
        .bind(backup.to_string())
        .fetch_one(fixture.catalog.writers())
        .await
        .unwrap();
    assert_eq!(kept, json!({ "backup": outcome }).to_string());
}
