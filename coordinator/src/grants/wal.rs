//! The write-ahead log: what an attempt enters, and what it is told.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use strongroom_layout::{AgentId, ObjectName, SystemId, position::TimelineId};
use strongroom_spec::{JobKind, JobSpec, RestoreSpec};
use strongroom_wire::{
    grant::RefusalReason,
    wal::{ArchivedWalRequest, ArchivedWalResponse, MAX_STORED, RecordWalRequest, StoredHistory},
};

use super::{
    claims::LOOKS_AT_ONCE,
    decide::{Scope, live_scope},
    service::{Asked, Because, GrantError, Grants, because, own_repository, view},
    throttle,
};
use crate::{
    catalog::{AttemptState, RecordError, WalPage},
    model::{Repository, RepositoryState, WalArchive},
};

impl Grants {
    /// Enters what an attempt has stored of the log into the catalog.
    pub async fn record_wal(
        &self,
        asking: AgentId,
        request: &RecordWalRequest,
    ) -> Result<(), GrantError> {
        self.keep_pace(asking, cost(request)).await?;
        let state = self.catalog().attempt_state(request.attempt).await?;
        let allowed = |scope| matches!(scope, Scope::Wal { .. });
        let asked = Asked::new(asking, request.attempt, state.as_ref());
        let repository = self
            .live(&asked, state.as_ref(), "record wal", allowed)
            .await?;
        let dataset = state.as_ref().and_then(|state| state.dataset.as_ref());
        let Some(dataset) = dataset else {
            return self
                .deny(&asked, RefusalReason::WriteForbidden, "record wal")
                .await;
        };
        self.written(&asked, repository, request).await?;
        // Whoever enters something has opened the repository, so he says.
        if !matches!(repository.state, RepositoryState::Ready { .. }) {
            let config = vec![((), ObjectName::Config)];
            if self.stored(repository, config).await?.is_empty() {
                let absent = RecordError::NotStored(ObjectName::Config);
                return Err(GrantError::Record(absent));
            }
        }
        let most = state.as_ref().map_or(0, |state| self.most_points(state));
        let catalog = self.catalog();
        let entered = catalog.record_wal(&repository.name, dataset, request, most);
        let left_out = match entered.await {
            Err(RecordError::Conflict(broken)) => {
                let why = broken.to_string();
                return self
                    .refuse_log(&asked, RefusalReason::LogConflict, why)
                    .await;
            }
            left_out => left_out?,
        };
        if left_out > 0 {
            let action = "name restore points".to_owned();
            let reason = because(RefusalReason::OverBudget);
            self.refuse(&asked, reason, action, "wal".to_owned())
                .await?;
        }
        Ok(())
    }

    /// The most restore points that the attempt's job may have entered by now.
    fn most_points(&self, state: &AttemptState) -> u64 {
        let scope = view(state).map(|view| view.scope);
        scope.map_or(0, |scope| self.budget(state, scope).objects)
    }

    /// Verifies that the store holds what is to be entered. An agent's word alone
    /// would keep a place in the log for what was never written.
    async fn written(
        &self,
        asked: &Asked,
        repository: &Repository,
        request: &RecordWalRequest,
    ) -> Result<(), GrantError> {
        let parts = request.stored.iter().map(|it| (it.object(), it.length));
        let histories = request.histories.iter();
        let histories = histories.map(|it| (it.object(), it.length));
        let said: Vec<(ObjectName, u64)> = parts.chain(histories).collect();
        if said.is_empty() {
            return Ok(());
        }
        let client = &self.store(repository)?.client;
        let looked = said.into_iter().map(|(object, length)| async move {
            let found = client.size(&repository.prefix, object).await?;
            Ok::<_, GrantError>((object, length, found))
        });
        let mut looked = stream::iter(looked).buffered(LOOKS_AT_ONCE);
        while let Some((object, length, found)) = looked.try_next().await? {
            if found == Some(length) {
                continue;
            }
            if found.is_none() {
                // A bucket that is gone for a while answers alike.
                client.probe().await?;
            }
            let because = Because {
                reason: RefusalReason::NotStored,
                why: match found {
                    None => "the store does not hold it: store it first, or again".into(),
                    Some(found) => {
                        format!("the store holds {found} bytes of it, not {length}").into()
                    }
                },
            };
            let action = "record wal".to_owned();
            let refusal = self.refuse(asked, because, action, object.path()).await?;
            return Err(GrantError::Refused(refusal));
        }
        Ok(())
    }

    /// Says what the catalog knows of a cluster's log in the attempt's
    /// repository.
    pub async fn archived_wal(
        &self,
        asking: AgentId,
        request: &ArchivedWalRequest,
    ) -> Result<ArchivedWalResponse, GrantError> {
        self.keep_pace(asking, throttle::CALL).await?;
        let state = self.catalog().attempt_state(request.attempt).await?;
        let allowed = |scope| matches!(scope, Scope::Wal { .. } | Scope::Read { .. });
        let asked = Asked::new(asking, request.attempt, state.as_ref());
        let repository = self
            .live(&asked, state.as_ref(), "list wal", allowed)
            .await?;
        let catalog = self.catalog();
        let mut way = Vec::new();
        let archive = if let Some(state) = state.as_ref().filter(|it| it.kind == JobKind::Wal) {
            self.line_of(&asked, repository, state, request.system)
                .await?
        } else {
            // What the job was made for, whatever is asked: an agent that knows
            // nothing of lines asks for the first.
            let job = catalog.job(request.attempt.job).await?;
            let (system, line) = match &job.spec {
                JobSpec::Restore(RestoreSpec {
                    recovery: Some(recovery),
                    ..
                }) => {
                    way.extend(recovery.legs.iter().map(|leg| leg.timeline));
                    (recovery.system, recovery.line)
                }
                _ => (request.system, request.line),
            };
            WalArchive {
                repository: repository.name.clone(),
                system,
                line,
            }
        };
        let page = match request.parts {
            Some(range) => {
                let dataset = state.as_ref().and_then(|it| it.dataset.as_ref());
                catalog.wal_parts(&archive, dataset, range).await?
            }
            None => WalPage {
                parts: Vec::new(),
                more: false,
            },
        };
        // Who restores is told where to go.
        let archives = state.as_ref().filter(|it| it.kind == JobKind::Wal);
        let tails = match archives.and_then(|it| it.dataset.as_ref()) {
            Some(dataset) => catalog.wal_tails(&archive, dataset).await?,
            None => BTreeMap::new(),
        };
        Ok(ArchivedWalResponse {
            stored: page.parts,
            more: page.more,
            histories: told(catalog.wal_histories(&archive).await?, &way),
            tails,
        })
    }

    /// The line of log that an attempt may go on with; audited when there is none.
    async fn line_of(
        &self,
        asked: &Asked,
        repository: &Repository,
        state: &AttemptState,
        system: SystemId,
    ) -> Result<WalArchive, GrantError> {
        let catalog = self.catalog();
        let name = &repository.name;
        let Some(dataset) = &state.dataset else {
            return self
                .deny(asked, RefusalReason::WriteForbidden, "list wal")
                .await;
        };
        let bases = catalog.clusters_with_bases(name, dataset).await?;
        if !bases.is_empty() && !bases.contains(&system) {
            let before: Vec<_> = bases.iter().map(ToString::to_string).collect();
            let why = format!(
                "the connection leads to cluster {system} now, but the base backups of \
                 {dataset} are of cluster {}: nothing of its log is archived until there is a \
                 base backup of it. Run the policy if the cluster was made anew, or set the \
                 connection right",
                before.join(", ")
            );
            return self
                .refuse_log(asked, RefusalReason::OtherCluster, why)
                .await;
        }
        let line = catalog.wal_line(name, system, dataset).await?;
        match line.broken {
            None => Ok(line.archive),
            Some(broken) => {
                self.refuse_log(asked, RefusalReason::LogConflict, broken.to_string())
                    .await
            }
        }
    }

    async fn refuse_log<T>(
        &self,
        asked: &Asked,
        reason: RefusalReason,
        why: String,
    ) -> Result<T, GrantError> {
        let because = Because {
            reason,
            why: why.into(),
        };
        let action = "go on with a log".to_owned();
        let refusal = self.refuse(asked, because, action, "wal".into()).await?;
        Err(GrantError::Refused(refusal))
    }

    /// The repository of an attempt that may do this now.
    async fn live<'s>(
        &self,
        asked: &Asked,
        state: Option<&'s AttemptState>,
        action: &str,
        allowed: impl Fn(Scope) -> bool,
    ) -> Result<&'s Repository, GrantError> {
        let own = own_repository(state, asked.agent);
        let attempt = own.and(state).and_then(view);
        let reason = match (live_scope(attempt.as_ref(), asked.agent, self.now()), own) {
            (Ok(scope), Some(repository)) if allowed(scope) => return Ok(repository),
            (Ok(_), Some(_)) => RefusalReason::WriteForbidden,
            (scope, _) => scope.err().unwrap_or(RefusalReason::UnknownAttempt),
        };
        self.deny(asked, reason, action).await
    }

    async fn deny<T>(
        &self,
        asked: &Asked,
        reason: RefusalReason,
        action: &str,
    ) -> Result<T, GrantError> {
        let object = "wal".to_owned();
        let refusal = self
            .refuse(asked, because(reason), action.to_owned(), object)
            .await?;
        Err(GrantError::Refused(refusal))
    }
}

/// What an answer holds at most of legs of histories, but for those of the way: each
/// history has one for every timeline before it.
const MOST_LEGS: usize = 10_000;

/// Of histories, by timeline, those that are told: the way's own, and the newest. Who
/// archives an older one gives it once more; a restore keeps its number free by the
/// one that was reserved for it.
fn told(histories: Vec<StoredHistory>, way: &[TimelineId]) -> Vec<StoredHistory> {
    let mut legs = 0;
    let mut told: Vec<_> = histories
        .into_iter()
        .rev()
        .enumerate()
        .filter(|(number, history)| {
            legs += history.legs.len();
            let newest = *number < MAX_STORED && legs <= MOST_LEGS;
            newest || way.contains(&history.timeline)
        })
        .map(|(_, history)| history)
        .collect();
    told.reverse();
    told
}

/// What each part takes: it is looked for, entered, joined to what is there, and
/// takes the place of others.
const PART: u64 = 5;

/// What a call costs to enter.
fn cost(request: &RecordWalRequest) -> u64 {
    let points = request.stored.iter().map(|it| it.restore_points.len());
    let legs = request.histories.iter().map(|it| it.legs.len());
    let details: usize = points.chain(legs).sum();
    let parts = request.stored.len() + request.histories.len();
    throttle::CALL + PART * parts as u64 + details as u64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use strongroom_layout::{
        AttemptRef, JobId, ObjectId, SystemId,
        position::{Lsn, TimelineId},
    };
    use strongroom_spec::Leg;
    use strongroom_wire::wal::{RestorePoint, StoredWal};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_newest_histories_are_told_and_those_of_the_way() {
        let history = |timeline: u32, legs: usize| StoredHistory {
            system: SystemId(1),
            timeline: TimelineId(timeline),
            id: ObjectId([1; 32]),
            length: 1,
            legs: vec![
                Leg {
                    timeline: TimelineId(1),
                    until: Some(Lsn(1)),
                };
                legs
            ],
            digest: None,
        };
        let timelines = |histories: Vec<StoredHistory>, way: &[TimelineId]| -> Vec<u32> {
            let told = told(histories, way);
            told.iter().map(|it| it.timeline.0).collect()
        };
        let few = [history(2, 1), history(3, 2)];
        assert_eq!(timelines(few.to_vec(), &[]), [2, 3]);
        let long = [
            history(2, 1),
            history(3, MOST_LEGS),
            history(4, MOST_LEGS - 1),
            history(5, 1),
        ];
        assert_eq!(timelines(long.to_vec(), &[]), [4, 5]);
        assert_eq!(timelines(long.to_vec(), &[TimelineId(3)]), [3, 4, 5]);
        let many = (2..).take(MAX_STORED + 5).map(|it| history(it, 1));
        let many = timelines(many.collect(), &[TimelineId(3)]);
        assert_eq!(
            (many.len(), many[..2].to_vec()),
            (MAX_STORED + 1, vec![3, 7])
        );
    }

    #[test]
    fn whatever_is_entered_is_paid_for() {
        let point = RestorePoint {
            name: "before".into(),
            lsn: Lsn(1),
            at: Timestamp::UNIX_EPOCH,
        };
        let request = |parts, points| RecordWalRequest {
            attempt: AttemptRef {
                job: JobId(Uuid::nil()),
                attempt: 1,
            },
            stored: vec![
                StoredWal {
                    system: SystemId(1),
                    timeline: TimelineId(1),
                    start: Lsn(0),
                    end: Lsn(9),
                    id: ObjectId([1; 32]),
                    length: 9,
                    commits: None,
                    restore_points: vec![point.clone(); points],
                    digests: vec![],
                };
                parts
            ],
            histories: vec![],
            position: None,
            behind: None,
        };
        assert_eq!(cost(&request(0, 0)), throttle::CALL);
        assert_eq!(cost(&request(10, 0)), throttle::CALL + 10 * PART);
        assert_eq!(cost(&request(10, 100)), throttle::CALL + 10 * PART + 1_000);
    }
}
