//! Everything, in place of what is there.

use std::{collections::BTreeSet, io, sync::atomic::Ordering::Relaxed};

use strongroom_redis::{
    Info, RedisError,
    primary::Chunks,
    restore::{check::Dataset, durable::Keeps, watchers, whole},
};
use strongroom_spec::{PlannedAction, RestoreOutcome, WarningCode};
use tokio::sync::mpsc;

use super::{RedisRestoreError, Restore, nothing, stale_replicas};
use crate::restore::{RestoreError, stream::FileStream};

/// Pieces between the one that fetches and the one that sends.
const AHEAD: usize = 2;

/// What a thread fetches.
struct Fetched(mpsc::Receiver<Result<Vec<u8>, RestoreError>>);

impl Chunks for Fetched {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.0.recv().await.transpose().map_err(io::Error::other)
    }
}

pub(super) fn run(restore: &Restore<'_>) -> Result<RestoreOutcome, RedisRestoreError> {
    let data = restore.manifest.dataset();
    if restore.work.dry_run {
        return plan(restore, &data);
    }
    let stream = restore.dump()?;
    let length = stream.size();
    restore.monitor.enter("restoring");
    let name = &restore.work.target.connection;
    let state = restore.target.state_dir;
    let request = whole::Request {
        connection: restore.connection,
        data: &data,
        length,
        allow_replicas: restore.work.target.allow_replicas,
        attach: &|at| stale_replicas::note(state, name, at).map_err(io::Error::other),
        sent: &|bytes| {
            restore.monitor.bytes.fetch_add(bytes, Relaxed);
        },
        loaded: &|| restore.monitor.enter("waiting for the server's disk"),
        cancel: &restore.monitor.cancel,
    };
    let outcome = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel(AHEAD);
        std::thread::Builder::new()
            .name("fetch".into())
            .spawn_scoped(scope, move || fetch(stream, &sender))
            .map_err(RestoreError::Thread)?;
        let mut chunks = Fetched(receiver);
        // It ends by itself when it is cancelled, once the server is let go of.
        let outcome = restore.runtime.block_on(whole::run(&request, &mut chunks));
        Ok::<_, RedisRestoreError>(outcome)
    })?;
    if !matches!(outcome, Err(RedisError::NotDetached { .. })) {
        stale_replicas::forget(state, name);
    }
    let outcome = outcome.map_err(|error| restore.failed(error))?;
    let before = &outcome.before;
    let warn = |code, cause: Option<String>| {
        if let Some(cause) = cause {
            restore.monitor.warn(code, name.as_str(), cause);
        }
    };
    warn(WarningCode::NotKept, before.keeps.warning());
    warn(
        WarningCode::ReplicasAppeared,
        watchers::warning(&outcome.appeared),
    );
    let mut result = nothing(restore.notes(&before.info));
    result.notes.extend(watchers::note(&before.watchers));
    result.files = outcome.databases.values().map(|counts| counts.keys).sum();
    result.bytes_written = length;
    result.notes.push(format!(
        "it now holds {}{}; it is a primary again",
        whole::show(&outcome.databases),
        if outcome.verified {
            ", as the snapshot does"
        } else {
            ", which could not be compared with the snapshot"
        }
    ));
    match before.keeps {
        Keeps::AppendOnly => result
            .notes
            .push("its append-only file was written anew: a crash would not lose it".into()),
        Keeps::Snapshots => result
            .notes
            .push("its RDB was saved: a crash would not lose it".into()),
        Keeps::Nothing | Keeps::Unknown { .. } => {}
    }
    let later = watchers::later(&before.watchers, &outcome.appeared);
    result.notes.extend(later);
    Ok(result)
}

fn fetch(mut stream: FileStream, sender: &mpsc::Sender<Result<Vec<u8>, RestoreError>>) {
    loop {
        let piece = match stream.next_piece() {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error),
        };
        let ended = piece.is_err();
        // Nobody takes it any more: whoever does not, says why.
        if sender.blocking_send(piece).is_err() || ended {
            return;
        }
    }
}

/// What would be done, or why it cannot be.
fn plan(restore: &Restore<'_>, data: &Dataset) -> Result<RestoreOutcome, RedisRestoreError> {
    let prepare = whole::prepare(restore.connection, data, restore.work.target.allow_replicas);
    let (_client, prepared) = restore
        .until_cancelled(prepare)?
        .map_err(|error| restore.failed(error))?;
    let info = &prepared.info;
    let mut result = nothing(restore.notes(info));
    result.notes.extend(watchers::note(&prepared.watchers));
    result.notes.extend(prepared.keeps.warning());
    result.plan = actions(info, data);
    result.plan_count = result.plan.len() as u64;
    let all = data.databases.iter().flatten();
    result.files = all.map(|(_, counts)| counts.keys).sum();
    result.notes.push(
        "everything that it holds now, functions included, gives way to what the snapshot holds; \
         keys whose time has come since then vanish at once"
            .into(),
    );
    Ok(result)
}

fn actions(info: &Info, data: &Dataset) -> Vec<PlannedAction> {
    let Some(then) = &data.databases else {
        return Vec::new();
    };
    let numbers: BTreeSet<u64> = info.databases.keys().chain(then.keys()).copied().collect();
    let action = |number: u64| {
        let keys = |counts: Option<&strongroom_redis::rdb::Counts>| counts.map_or(0, |it| it.keys);
        let (now, then) = (keys(info.databases.get(&number)), keys(then.get(&number)));
        PlannedAction {
            path: format!("database {number}: {now} keys become {then}").into(),
            action: match (now, then) {
                (0, _) => "create",
                (_, 0) => "empty",
                _ => "replace",
            }
            .into(),
            bytes: 0,
        }
    };
    let actions = numbers.into_iter().map(action);
    actions.take(strongroom_spec::MAX_WARNINGS).collect()
}
