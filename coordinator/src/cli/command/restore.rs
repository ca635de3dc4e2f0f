//! `strongroom restore`

use strongroom_spec::{ClusterTarget, DirectoryTarget, RedisTarget, RestoreRequest, Target};

use super::{Context, jobs};
use crate::{
    cli::{
        args::RestoreArgs,
        error::{CliError, Exit},
    },
    http::dto::Job,
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
    let recovery = args.recovery;
    let (directory, cluster, redis) = (args.directory, args.cluster, args.redis);
    let as_cluster = cluster.cluster
        || cluster.start
        || !cluster.tablespaces.is_empty()
        || recovery.is_of_cluster();
    // clap asks for exactly one of the three.
    let target = if let Some(connection) = redis.redis {
        Target::Redis(RedisTarget {
            connection,
            keys: redis.keys,
            allow_replicas: redis.allow_replicas,
        })
    } else if let Some(target) = args.postgres.target() {
        Target::Postgres(target)
    } else if as_cluster {
        Target::Cluster(ClusterTarget {
            directory: directory.target.unwrap_or_default(),
            tablespaces: cluster.tablespaces,
            start: cluster.start,
            keep_settings: cluster.keep_settings,
        })
    } else {
        Target::Directory(DirectoryTarget {
            directory: directory.target.unwrap_or_default(),
            paths: directory.paths,
            overwrite: directory.overwrite.unwrap_or_default(),
            numeric_ids: directory.numeric_ids,
            sparse: directory.sparse.unwrap_or_default(),
        })
    };
    RestoreRequest {
        dataset: args.dataset,
        timeline: recovery.timeline,
        until: recovery.until(),
        confirm: args.safety.confirm,
        safety_backup: !args.safety.no_safety_backup,
        dry_run: args.dry_run,
        ..RestoreRequest::new(args.snapshot.unwrap_or_default(), args.agent, target)
    }
}
