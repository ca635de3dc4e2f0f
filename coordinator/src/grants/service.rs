//! Asks the catalog, decides, records, signs.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};
use strongroom_spec::JobKind;

use jiff::Timestamp;
use parking_lot::Mutex;
use strongroom_layout::{AgentId, AttemptRef, Directory, JobId, ObjectId, ObjectKind, ObjectName};
use strongroom_wire::grant::{
    Action, ListObjectsRequest, ListObjectsResponse, PublishRequest, Refusal, RefusalReason,
    RequestToSign, SignAnswer, SignRequest,
};
use uuid::Uuid;

use super::{
    budget,
    claims::Known,
    decide::{self, Scope, decide, decide_publish, live_scope, must_be_new},
    refusals::{Refusals, Refused},
    throttle::{self, Pace},
};
use crate::{
    catalog::{AttemptState, Catalog, CatalogError, Publication, PublishError, RecordError},
    door::Origin,
    model::Repository,
    stores::{NotSigned, Store, StoreError, Stores, sign::SignError},
};

/// Attempts whose lease ran out that are remembered: far more than are at work.
const MAX_RAN_OUT: usize = 10_000;
/// Requests in one batch.
const MAX_BATCH: usize = 1024;
/// Objects in one page of a listing, give or take one of the store's own: some
/// ten requests to the store, well within the time that agents wait.
const PAGE: usize = 10_000;

/// Signs what agents may do, and refuses the rest.
#[derive(Debug)]
pub struct Grants {
    catalog: Catalog,
    stores: Stores,
    refusals: Refusals,
    pub(super) pace: Pace<AgentId>,
    /// Of starts of sessions, by where they come from: whoever begins one after the
    /// other elsewhere must not keep the agent out.
    pub(super) starts: Pace<(AgentId, Origin)>,
    /// Of what is said in each session: another one under the same identity must not
    /// keep this one from being heard.
    pub(super) said: Pace<Uuid>,
    /// Attempts that were refused something because their lease had run out. Whoever
    /// then gives up has lost his lease, and no right: while the catalog cannot be
    /// written, nobody renews leases, and nobody notes that they are lost.
    pub(super) ran_out: Mutex<HashSet<AttemptRef>>,
    /// What the history of jobs at work explains, bytes.
    pub(super) explained: Mutex<HashMap<JobId, u64>>,
}

/// Why there is no answer. For [`Grants::sign`] and [`Grants::publish`] a
/// refusal is an answer.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Not allowed.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// More than fits a batch.
    #[error("{0} requests in one batch: send at most {MAX_BATCH}")]
    BatchTooLarge(usize),
    /// More than one agent may ask for.
    #[error("this agent asks faster than it may: ask again later")]
    TooFast,
    /// The configuration lost a store.
    #[error("store {store:?} of repository {repository:?} is not configured: add it again")]
    NoStore {
        /// Which.
        store: String,
        /// Whose.
        repository: String,
    },
    /// What an agent says of its log cannot be entered.
    #[error("cannot enter a part of the log: {0}")]
    Record(RecordError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<RecordError> for GrantError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Catalog(error) => Self::Catalog(error),
            other => Self::Record(other),
        }
    }
}

/// What is asked, apart from the object.
pub(super) struct Asked {
    pub(super) agent: AgentId,
    attempt: AttemptRef,
    /// Only of the agent's own attempt.
    trace_id: Option<String>,
}

impl Grants {
    /// Grants for what `catalog` knows, in `stores`.
    pub fn new(catalog: Catalog, stores: Stores) -> Self {
        Self {
            catalog,
            stores,
            refusals: Refusals::default(),
            pace: Pace::default(),
            starts: Pace::default(),
            said: Pace::default(),
            ran_out: Mutex::default(),
            explained: Mutex::default(),
        }
    }

    /// Answers each request of a batch, in order. PUTs are in the catalog
    /// before their grant is handed out.
    pub async fn sign(
        &self,
        asking: AgentId,
        request: SignRequest,
    ) -> Result<Vec<SignAnswer>, GrantError> {
        if request.requests.len() > MAX_BATCH {
            return Err(GrantError::BatchTooLarge(request.requests.len()));
        }
        let cost = |wanted: &RequestToSign| match wanted.action {
            Action::Put { .. } => throttle::PUT,
            Action::Get { .. } | Action::Head | Action::Delete => 1,
        };
        let cost = request.requests.iter().map(cost).sum();
        self.keep_pace(asking, cost).await?;
        let state = self.catalog.attempt_state(request.attempt).await?;
        let asked = Asked::new(asking, request.attempt, state.as_ref());
        let own = own_repository(state.as_ref(), asking);
        let known = match (own, &state) {
            (Some(repository), Some(state)) => {
                self.known(repository, state, &request.requests).await?
            }
            _ => Known::default(),
        };
        let kind_of = |wanted: &RequestToSign| known.kinds.get(&wanted.object.path()).copied();
        let now = self.now();
        let attempt = own.and(state.as_ref()).and_then(view);
        let mut decisions: Vec<_> = request
            .requests
            .iter()
            .map(|wanted| decide(attempt.as_ref(), asking, wanted, kind_of(wanted), now))
            .collect();
        for index in known.grown(&request.requests) {
            if let Some(decision @ Ok(())) = decisions.get_mut(index) {
                *decision = Err(RefusalReason::WriteForbidden);
            }
        }
        if let (Some(repository), Some(attempt)) = (own, &attempt) {
            self.allow_headers(repository, attempt.scope, &request.requests, &mut decisions)
                .await?;
        }
        let signing = match own {
            Some(repository) if decisions.iter().any(Result::is_ok) => {
                Some(self.store(repository)?.signing().await)
            }
            _ => None,
        };
        if let (Some(repository), Some(Ok(_))) = (own, &signing) {
            let to_look_for: Vec<_> = (0..)
                .zip(&request.requests)
                .zip(&decisions)
                .filter(|((_, wanted), decision)| {
                    decision.is_ok() && must_be_new(wanted, kind_of(wanted))
                })
                .map(|((index, wanted), _)| (index, wanted.object))
                .collect();
            let there = self.stored(repository, to_look_for).await?;
            for index in there.into_iter().chain(known.claimed(&request.requests)) {
                if let Some(decision @ Ok(())) = decisions.get_mut(index) {
                    *decision = Err(RefusalReason::AlreadyThere);
                }
            }
            let puts = granted_puts(&request.requests, &decisions);
            let is_new = |object: &ObjectName| !known.kinds.contains_key(&object.path());
            let new = puts.iter().filter(|(object, _)| is_new(object));
            let new = budget::sum(new.map(|(_, length)| *length));
            if let (false, Some(state), Some(attempt)) = (puts.is_empty(), &state, &attempt)
                && !self
                    .spend(state, attempt.scope, repository, &puts, new)
                    .await?
            {
                for (wanted, decision) in request.requests.iter().zip(&mut decisions) {
                    if decision.is_ok() && matches!(wanted.action, Action::Put { .. }) {
                        *decision = Err(RefusalReason::OverBudget);
                    }
                }
            }
        }
        let mut answers = Vec::with_capacity(decisions.len());
        for (wanted, decision) in request.requests.iter().zip(decisions) {
            let refused = match (decision, own, &signing) {
                (Ok(()), Some(repository), Some(Ok(signing))) => {
                    let grant =
                        signing.grant(&repository.prefix, &wanted.object, &wanted.action, now)?;
                    answers.push(SignAnswer::Grant(grant));
                    continue;
                }
                (Ok(()), _, Some(Err(error))) => because_of(error),
                // Without a repository nothing was allowed.
                (decision, ..) => because(decision.err().unwrap_or(RefusalReason::UnknownAttempt)),
            };
            let action = format!("{} {}", verb(&wanted.action), wanted.object.kind());
            let object = wanted.object.path();
            let refusal = self.refuse(&asked, refused, action, object).await?;
            answers.push(SignAnswer::Refusal(refusal));
        }
        Ok(answers)
    }

    /// Signs the PUT of a backup's snapshot file; it is in the catalog,
    /// unconfirmed, before.
    pub async fn publish(
        &self,
        asking: AgentId,
        request: PublishRequest,
    ) -> Result<SignAnswer, GrantError> {
        self.keep_pace(asking, throttle::CALL).await?;
        let state = self.catalog.attempt_state(request.attempt).await?;
        let asked = Asked::new(asking, request.attempt, state.as_ref());
        let own = own_repository(state.as_ref(), asking);
        let now = self.now();
        let attempt = own.and(state.as_ref()).and_then(view);
        let object = ObjectName::snapshot(request.snapshot);
        let decision =
            decide_publish(attempt.as_ref(), asking, request.length, now).and_then(|()| {
                if request.result.snapshot == request.snapshot {
                    own.ok_or(RefusalReason::UnknownAttempt)
                } else {
                    Err(RefusalReason::HashMismatch)
                }
            });
        let repository = match decision {
            Ok(repository) => repository,
            Err(reason) => {
                return self.refuse_publish(&asked, because(reason), object).await;
            }
        };
        let signing = match self.store(repository)?.signing().await {
            Ok(signing) => signing,
            Err(error) => {
                return self
                    .refuse_publish(&asked, because_of(&error), object)
                    .await;
            }
        };
        if self
            .is_there_already(repository, request.attempt, object)
            .await?
        {
            let reason = because(RefusalReason::AlreadyThere);
            return self.refuse_publish(&asked, reason, object).await;
        }
        let publication = Publication {
            attempt: request.attempt,
            length: request.length,
            result: request.result,
            time: Timestamp::from_microsecond(request.snapshot_time_us).unwrap_or(now),
        };
        match self.catalog.publish(&publication).await {
            Ok(()) => {}
            Err(PublishError::Refused(reason)) => {
                return self.refuse_publish(&asked, because(reason), object).await;
            }
            Err(PublishError::Catalog(error)) => return Err(error.into()),
        }
        let action = Action::Put {
            length: request.length,
            sha256: request.snapshot,
        };
        let grant = signing.grant(&repository.prefix, &object, &action, now)?;
        Ok(SignAnswer::Grant(grant))
    }

    /// Lists a directory of the attempt's repository.
    pub async fn list(
        &self,
        asking: AgentId,
        request: &ListObjectsRequest,
    ) -> Result<ListObjectsResponse, GrantError> {
        self.keep_pace(asking, throttle::CALL).await?;
        let ListObjectsRequest {
            attempt,
            directory,
            after,
        } = *request;
        let state = self.catalog.attempt_state(attempt).await?;
        let asked = Asked::new(asking, attempt, state.as_ref());
        let own = own_repository(state.as_ref(), asking);
        let scope = live_scope(
            own.and(state.as_ref()).and_then(view).as_ref(),
            asking,
            self.now(),
        );
        match (scope, own) {
            (Ok(scope), Some(repository)) => {
                if directory == Directory::Locks {
                    return self.locks_that_count(repository).await;
                }
                self.page(repository, attempt, scope, directory, after, PAGE)
                    .await
            }
            (scope, _) => {
                let reason = scope.err().unwrap_or(RefusalReason::UnknownAttempt);
                let action = format!("list {directory}");
                let object = directory.to_string();
                let refusal = self.refuse(&asked, because(reason), action, object).await?;
                Err(GrantError::Refused(refusal))
            }
        }
    }

    /// Deletes locks that the attempt wrote. It may have ended: that only
    /// makes it more urgent.
    pub async fn release_locks(
        &self,
        asking: AgentId,
        attempt: AttemptRef,
        ids: &[ObjectId],
    ) -> Result<(), GrantError> {
        self.keep_pace(asking, throttle::CALL + ids.len() as u64)
            .await?;
        let state = self.catalog.attempt_state(attempt).await?;
        let asked = Asked::new(asking, attempt, state.as_ref());
        let Some(repository) = own_repository(state.as_ref(), asking) else {
            return self
                .refuse_release(&asked, RefusalReason::UnknownAttempt)
                .await;
        };
        let written = self
            .catalog
            .objects_of_attempt(attempt, ObjectKind::Lock)
            .await?;
        let is_written = |id: &ObjectId| written.iter().any(|row| row.name.id() == Some(*id));
        let (own, others): (Vec<_>, Vec<_>) = ids.iter().copied().partition(is_written);
        let store = self.store(repository)?;
        for id in &own {
            store.client.delete_lock(&repository.prefix, *id).await?;
        }
        // Whoever holds its grant can write a lock once more. So it stays known
        // as this attempt's until the sweeper has removed it for good.
        if others.is_empty() {
            Ok(())
        } else {
            self.refuse_release(&asked, RefusalReason::DeleteForbidden)
                .await
        }
    }

    /// Writes what the audit log still owes; to be called now and then.
    pub async fn flush_refusals(&self) -> Result<(), CatalogError> {
        for entry in self.refusals.due(self.now()) {
            self.catalog.audit(entry).await?;
        }
        Ok(())
    }

    pub(super) fn store(&self, repository: &Repository) -> Result<&Store, GrantError> {
        self.stores
            .get(&repository.store)
            .ok_or_else(|| GrantError::NoStore {
                store: repository.store.clone(),
                repository: repository.name.clone(),
            })
    }

    async fn refuse_publish(
        &self,
        asked: &Asked,
        because: Because,
        snapshot: ObjectName,
    ) -> Result<SignAnswer, GrantError> {
        let action = "publish snapshot".to_owned();
        let refusal = self.refuse(asked, because, action, snapshot.path()).await?;
        Ok(SignAnswer::Refusal(refusal))
    }

    async fn refuse_release(&self, asked: &Asked, reason: RefusalReason) -> Result<(), GrantError> {
        let action = "release locks".to_owned();
        let refusal = self
            .refuse(asked, because(reason), action, "locks".into())
            .await?;
        Err(GrantError::Refused(refusal))
    }

    /// Audits a refusal and puts it into words.
    pub(super) async fn refuse(
        &self,
        asked: &Asked,
        because: Because,
        action: String,
        object: String,
    ) -> Result<Refusal, CatalogError> {
        let Because { reason, why } = because;
        if reason == RefusalReason::LeaseExpired {
            let mut ran_out = self.ran_out.lock();
            if ran_out.len() >= MAX_RAN_OUT {
                ran_out.clear();
            }
            ran_out.insert(asked.attempt);
        }
        let message = format!("{action} ({object}): {why}");
        tracing::warn!(agent = %asked.agent, attempt = %asked.attempt, %message, "refused");
        let refused = Refused {
            agent: asked.agent,
            attempt: asked.attempt,
            action,
            object,
            reason,
            trace_id: asked.trace_id.clone(),
        };
        if let Some(entry) = self.refusals.note(refused, self.now()) {
            self.catalog.audit(entry).await?;
        }
        Ok(Refusal { reason, message })
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) fn now(&self) -> Timestamp {
        self.catalog.clock().now()
    }
}

impl Asked {
    pub(super) fn new(agent: AgentId, attempt: AttemptRef, state: Option<&AttemptState>) -> Self {
        Self {
            agent,
            attempt,
            trace_id: state
                .filter(|state| state.agent == agent)
                .map(|state| state.trace_id.clone()),
        }
    }
}

/// The repository of an attempt of the asking agent.
pub(super) fn own_repository(state: Option<&AttemptState>, asking: AgentId) -> Option<&Repository> {
    state?
        .repository
        .as_ref()
        .filter(|_| state.is_some_and(|it| it.agent == asking))
}

/// What the decision needs of what the catalog says.
pub(super) fn view(state: &AttemptState) -> Option<decide::AttemptState> {
    let scope = match (state.kind, state.snapshot) {
        (JobKind::Upload, _) => Scope::Upload {
            create: state.creates_repository,
        },
        (JobKind::Backup, _) => Scope::Backup {
            create: state.creates_repository,
            parent: state.parent,
        },
        (JobKind::Wal, _) => Scope::Wal {
            create: state.creates_repository,
        },
        (JobKind::Restore, Some(snapshot)) => Scope::Read { snapshot },
        (JobKind::List, Some(snapshot)) => Scope::List { snapshot },
        (JobKind::Download, Some(snapshot)) => Scope::Download { snapshot },
        (JobKind::Restore | JobKind::List | JobKind::Download, None) => return None,
    };
    let current = state.attempt.attempt == state.current_attempt && state.lease_expires.is_some();
    Some(decide::AttemptState {
        agent: state.agent,
        current,
        lease_until: state.lease_expires.unwrap_or(Timestamp::MIN),
        scope,
    })
}

fn granted_puts(
    requests: &[RequestToSign],
    decisions: &[Result<(), RefusalReason>],
) -> Vec<(ObjectName, u64)> {
    requests
        .iter()
        .zip(decisions)
        .filter_map(|(wanted, decision)| match (wanted.action, decision) {
            (Action::Put { length, .. }, Ok(())) => Some((wanted.object, length)),
            _ => None,
        })
        .collect()
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::Get { .. } => "get",
        Action::Head => "head",
        Action::Put { .. } => "put",
        Action::Delete => "delete",
    }
}

/// Why something is refused, and in which words.
pub(super) struct Because {
    pub(super) reason: RefusalReason,
    pub(super) why: Cow<'static, str>,
}

pub(super) fn because(reason: RefusalReason) -> Because {
    let why = explain(reason).into();
    Because { reason, why }
}

/// Allowed, but nothing is signed for the store.
fn because_of(error: &NotSigned) -> Because {
    let reason = match error {
        NotSigned::Unchecked { .. } => RefusalReason::StoreUnchecked,
        NotSigned::Unsafe { .. } => RefusalReason::StoreUnsafe,
    };
    let why = error.to_string().into();
    Because { reason, why }
}

/// Why, and what to do.
fn explain(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::UnknownAttempt => "this agent has no such attempt",
        RefusalReason::AttemptEnded => "the attempt has ended or a newer one has begun: stop it",
        RefusalReason::LeaseExpired => {
            "the attempt's lease ran out: send heartbeats in time, or wait for the next attempt"
        }
        RefusalReason::DeleteForbidden => "agents never delete; locks are released by asking",
        RefusalReason::ReadForbidden => "this job may not read this object",
        RefusalReason::WriteForbidden => "this job may not write this object",
        RefusalReason::HashMismatch => "the object's name is not the hash of the body",
        RefusalReason::TooLarge => "it is larger than any object of its kind may be",
        RefusalReason::NotPublished => "a snapshot is written through Publish",
        RefusalReason::AlreadyThere => {
            "the store holds an object of this name that this coordinator never had written"
        }
        RefusalReason::OverBudget => {
            "the job has written as much as it may: look at what it backs up, then raise \
             `limits.new_data` of its policy"
        }
        RefusalReason::StoreUnchecked => "the store could not be checked yet",
        RefusalReason::StoreUnsafe => "the store accepts forged requests",
        RefusalReason::NotStored => "the store does not hold it",
        RefusalReason::LogConflict => "the archived log holds other content at the same place",
        RefusalReason::OtherCluster => "there is no base backup of this cluster",
    }
}
