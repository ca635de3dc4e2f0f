//! `strongroom restore`

use super::{Context, jobs};
use crate::{
    cli::{
        args::RestoreArgs,
        error::{CliError, Exit},
    },
    http::dto::{ClusterTarget, Job, PostgresTarget, RedisTarget, RestoreRequest},
};

pub(super) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    // A dry run is its answer.
    let wait = args.wait || args.dry_run;
    let job: Job = client.post_keyed(&["restores"], &request(args)).await?;
    if wait {
        let mut all = Vec::new();
        if let Some(first) = &job.after {
            all.push(client.get(&["jobs", first], &[]).await?);
        }
        all.push(job);
        return jobs::wait(context, &client, all).await;
    }
    context.renderer.show(&job, jobs::started)?;
    Ok(Exit::Done)
}

fn request(args: RestoreArgs) -> RestoreRequest {
    let safety_backup = !args.safety.no_safety_backup;
    let confirm = args.safety.confirm;
    let (postgres, redis, cluster) = (args.postgres, args.redis, args.cluster);
    let postgres = postgres.postgres.map(|connection| PostgresTarget {
        connection,
        // clap asks for one of the two.
        database: postgres.database.unwrap_or_default(),
        all_databases: postgres.all_databases,
        to: postgres.to,
        replace: postgres.replace,
        confirm: confirm.clone(),
        schemas: postgres.schemas,
        tables: postgres.tables,
        roles: postgres.roles,
        jobs: postgres.jobs,
        safety_backup,
        keep_incomplete: postgres.keep_incomplete,
        verify: postgres.verify,
    });
    let redis = redis.redis.map(|connection| RedisTarget {
        connection,
        keys: redis.keys,
        allow_replicas: redis.allow_replicas,
        confirm,
        safety_backup,
    });
    let recovery = args.recovery;
    let as_cluster = cluster.cluster
        || cluster.start
        || !cluster.tablespaces.is_empty()
        || recovery.is_of_cluster();
    let timeline = recovery.timeline;
    let (target, cluster) = match args.directory.target {
        Some(directory) if as_cluster => {
            let cluster = ClusterTarget {
                directory,
                tablespaces: cluster.tablespaces,
                start: cluster.start,
                keep_settings: cluster.keep_settings,
            };
            (None, Some(cluster))
        }
        target => (target, None),
    };
    RestoreRequest {
        snapshot: args.snapshot.unwrap_or_default(),
        dataset: args.dataset,
        until: recovery.until(),
        timeline,
        agent: args.agent,
        target,
        paths: args.directory.paths,
        overwrite: args.directory.overwrite,
        numeric_ids: args.directory.numeric_ids,
        sparse: args.directory.sparse,
        postgres,
        cluster,
        redis,
        dry_run: args.dry_run,
    }
}
