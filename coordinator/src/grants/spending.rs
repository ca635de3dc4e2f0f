//! What jobs write, against what they may and what is usual; and how fast agents
//! ask.

use std::{net::IpAddr, time::Duration};

use strongroom_layout::{AgentId, JobId, ObjectName};
use tokio::time::Instant;
use uuid::Uuid;

use super::{GrantError, Grants, budget, decide::Scope, throttle};
use crate::{
    catalog::{AttemptState, CatalogError},
    door::Origin,
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
        self.keep_pace(agent, throttle::CALL).await
    }

    /// Waits if sessions of the agent are begun from an address faster than they may.
    pub(crate) async fn keep_pace_of_start(
        &self,
        agent: AgentId,
        from: IpAddr,
    ) -> Result<(), GrantError> {
        let who = (agent, Origin::of(from));
        let wait = self.starts.take(who, throttle::START, Instant::now());
        wait_for(agent, wait).await
    }

    /// Waits if more is said in a session than may be; a message of so many bytes.
    /// Beside what the agent asks, so that neither waits for the other.
    pub(crate) async fn keep_pace_of_message(
        &self,
        agent: AgentId,
        session: Uuid,
        bytes: usize,
    ) -> Result<(), GrantError> {
        let cost = throttle::CALL + bytes as u64 / throttle::BYTES;
        let wait = self.said.take(session, cost, Instant::now());
        wait_for(agent, wait).await
    }

    /// The session has ended.
    pub(crate) fn forget_session(&self, session: Uuid) {
        self.said.forget(&session);
    }

    /// From now on the agent has asked for more than it may, for an hour.
    #[cfg(test)]
    pub(crate) fn exhaust(&self, agent: AgentId) {
        self.slow_down(agent, Duration::from_hours(1));
    }

    /// The next answer to the agent waits for so long.
    #[cfg(test)]
    pub(crate) fn slow_down(&self, agent: AgentId, wait: Duration) {
        self.pace.fill(agent, wait, Instant::now());
    }

    /// What is said next in the session waits for so long.
    #[cfg(test)]
    pub(crate) fn slow_down_session(&self, session: Uuid, wait: Duration) {
        self.said.fill(session, wait, Instant::now());
    }

    /// The next session of the agent from there waits for so long.
    #[cfg(test)]
    pub(crate) fn slow_down_starts(&self, agent: AgentId, from: IpAddr, wait: Duration) {
        let who = (agent, Origin::of(from));
        self.starts.fill(who, wait, Instant::now());
    }

    /// Waits if the agent asks faster than it may.
    pub(super) async fn keep_pace(&self, agent: AgentId, cost: u64) -> Result<(), GrantError> {
        let wait = self.pace.take(agent, cost, Instant::now());
        wait_for(agent, wait).await
    }
}

async fn wait_for(
    agent: AgentId,
    wait: Result<Duration, throttle::TooFast>,
) -> Result<(), GrantError> {
    let wait = wait.map_err(|throttle::TooFast| GrantError::TooFast)?;
    if !wait.is_zero() {
        tracing::debug!(%agent, ?wait, "an agent asks too fast");
        tokio::time::sleep(wait).await;
    }
    Ok(())
}
