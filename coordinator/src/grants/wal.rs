//! The write-ahead log: what an attempt enters, and what it is told.

use strongroom_layout::AgentId;
use strongroom_wire::{
    grant::RefusalReason,
    wal::{ArchivedWalRequest, ArchivedWalResponse, RecordWalRequest},
};

use super::{
    decide::{Scope, live_scope},
    pace,
    service::{Asked, GrantError, Grants, because, own_repository, view},
};
use crate::{
    catalog::{AttemptState, WalPage},
    model::{Repository, WalArchive},
};

impl Grants {
    /// Enters what an attempt has stored of the log into the catalog.
    pub async fn record_wal(
        &self,
        asking: AgentId,
        request: &RecordWalRequest,
    ) -> Result<(), GrantError> {
        let cost = pace::CALL + request.stored.len() as u64;
        self.keep_pace(asking, cost).await?;
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
        Ok(self
            .catalog()
            .record_wal(&repository.name, dataset, request)
            .await?)
    }

    /// Says what the catalog knows of a cluster's log in the attempt's
    /// repository.
    pub async fn archived_wal(
        &self,
        asking: AgentId,
        request: &ArchivedWalRequest,
    ) -> Result<ArchivedWalResponse, GrantError> {
        self.keep_pace(asking, pace::CALL).await?;
        let state = self.catalog().attempt_state(request.attempt).await?;
        let allowed = |scope| matches!(scope, Scope::Wal { .. } | Scope::Read { .. });
        let asked = Asked::new(asking, request.attempt, state.as_ref());
        let repository = self
            .live(&asked, state.as_ref(), "list wal", allowed)
            .await?;
        let archive = WalArchive {
            repository: repository.name.clone(),
            system: request.system,
        };
        let catalog = self.catalog();
        let page = match request.parts {
            Some(range) => catalog.wal_parts(&archive, range).await?,
            None => WalPage {
                parts: Vec::new(),
                more: false,
            },
        };
        let stretches = catalog.wal_stretches(&archive).await?;
        let tail = stretches.iter().max_by_key(|it| (it.timeline, it.end));
        Ok(ArchivedWalResponse {
            stored: page.parts,
            more: page.more,
            histories: catalog.wal_histories(&archive).await?,
            tail: tail.map(|it| (it.timeline, it.end)),
        })
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
