//! What jobs write, against what they may and what is usual; and how fast agents
//! ask.

use std::time::Duration;

use strongroom_layout::{AgentId, JobId, ObjectName};

use super::{GrantError, Grants, budget, decide::Scope, pace};
use crate::{
    catalog::{AttemptState, CatalogError},
    model::{Budget, Repository, Written},
};

/// Jobs whose history is remembered.
const MAX_REMEMBERED: usize = 10_000;

impl Grants {
    /// Notes what an attempt is about to write; `false`: that is more than it may,
    /// and nothing is noted.
    pub(super) async fn spend(
        &self,
        state: &AttemptState,
        scope: Scope,
        repository: &Repository,
        puts: &[(ObjectName, u64)],
        new: Written,
    ) -> Result<bool, GrantError> {
        if new.bytes > budget::MAX_CALL {
            return Ok(false);
        }
        let budget = self.budget(state, scope);
        let spent = self
            .catalog()
            .spend(&repository.name, state.attempt, puts, new, budget)
            .await?;
        let Some(total) = spent else {
            return Ok(false);
        };
        if total.bytes > budget::FLOOR && !state.alarmed {
            self.compare_with_history(state.attempt.job, total).await?;
        }
        Ok(true)
    }

    /// What the attempt's job may write by now.
    pub(super) fn budget(&self, state: &AttemptState, scope: Scope) -> Budget {
        let age = self.now().duration_since(state.created_at).as_mins();
        budget::of(scope, state.new_data, u64::try_from(age).unwrap_or(0))
    }

    /// Raises an alarm when a job has written what its dataset's history does not
    /// explain. Nothing is refused: it may well be right.
    async fn compare_with_history(&self, id: JobId, total: Written) -> Result<(), CatalogError> {
        let known = self.explained.lock().get(&id).copied();
        if known.is_some_and(|explained| total.bytes <= explained) {
            return Ok(());
        }
        let job = self.catalog().job(id).await?;
        let largest = self.catalog().largest_before(&job, budget::HISTORY).await?;
        let explained = largest.map_or(u64::MAX, budget::explained);
        self.remember(id, explained);
        if total.bytes <= explained {
            return Ok(());
        }
        let alarm = format!(
            "it has written {} MiB and goes on; four times what the largest of the last jobs of \
             this dataset wrote, and 1 GiB more, would be {} MiB. Look for new paths, for files \
             that were all changed at once (encrypted?), and at the agent's host",
            total.bytes >> 20,
            explained >> 20,
        );
        if self.catalog().raise_alarm(&job, &alarm).await? {
            tracing::warn!(job = %job.id, agent = job.agent_name, alarm, "a job is unusual");
        }
        Ok(())
    }

    fn remember(&self, job: JobId, explained: u64) {
        let mut memory = self.explained.lock();
        if memory.len() >= MAX_REMEMBERED {
            memory.clear();
        }
        memory.insert(job, explained);
    }

    /// Waits if the agent asks faster than it may, for a call beside those here
    /// that writes to the catalog.
    pub(crate) async fn keep_pace_of_call(&self, agent: AgentId) -> Result<(), GrantError> {
        self.keep_pace(agent, pace::CALL).await
    }

    /// Waits if the agent says more in its sessions than it may; a message of so
    /// many bytes. Beside what it asks, so that neither waits for the other.
    pub(crate) async fn keep_pace_of_message(
        &self,
        agent: AgentId,
        bytes: usize,
    ) -> Result<(), GrantError> {
        let cost = pace::CALL + bytes as u64 / pace::BYTES;
        let wait = self.said.take(agent, cost, tokio::time::Instant::now());
        wait_for(agent, wait).await
    }

    /// From now on the agent has asked for more than it may, for an hour.
    #[cfg(test)]
    pub(crate) fn exhaust(&self, agent: AgentId) {
        self.pace.exhaust(agent, tokio::time::Instant::now());
    }

    /// From now on the agent has said more than it may, for an hour.
    #[cfg(test)]
    pub(crate) fn exhaust_said(&self, agent: AgentId) {
        self.said.exhaust(agent, tokio::time::Instant::now());
    }

    /// Waits if the agent asks faster than it may.
    pub(super) async fn keep_pace(&self, agent: AgentId, cost: u64) -> Result<(), GrantError> {
        let wait = self.pace.take(agent, cost, tokio::time::Instant::now());
        wait_for(agent, wait).await
    }
}

async fn wait_for(agent: AgentId, wait: Result<Duration, pace::TooFast>) -> Result<(), GrantError> {
    let wait = wait.map_err(|pace::TooFast| GrantError::TooFast)?;
    if !wait.is_zero() {
        tracing::debug!(%agent, ?wait, "an agent asks too fast");
        tokio::time::sleep(wait).await;
    }
    Ok(())
}
