//! The presence: which agents have a session, here or with another coordinator, and how
//! far attempts are. What this process does not know itself, the catalog does, as it was
//! a few seconds ago.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use jiff::Timestamp;
use strongroom_layout::{AgentId, AttemptRef};
use strongroom_wire::session::Progress;

use super::state::{ApiState, Live};
use crate::{
    catalog::CatalogError,
    jobs::LiveAgent,
    model::{Agent, Job, NotedProgress, SessionElsewhere},
};

/// Which agents have a session.
pub struct Presence<'a> {
    here: &'a dyn Live,
    elsewhere: HashMap<AgentId, SessionElsewhere>,
}

impl fmt::Debug for Presence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("elsewhere", &self.elsewhere)
            .finish_non_exhaustive()
    }
}

impl ApiState {
    /// Which agents have a session now.
    pub async fn presence(&self) -> Result<Presence<'_>, CatalogError> {
        let elsewhere = self.catalog.sessions_elsewhere().await?.into_iter();
        Ok(Presence {
            here: &*self.live,
            elsewhere: elsewhere.map(|it| (it.session.agent, it)).collect(),
        })
    }

    /// How far the attempts of these jobs are, of those that are at work.
    pub async fn progress_of(
        &self,
        jobs: &[Job],
    ) -> Result<HashMap<AttemptRef, Progress>, CatalogError> {
        let mut newest: HashMap<AttemptRef, NotedProgress> = HashMap::new();
        let mut to_look_up = Vec::new();
        for job in jobs.iter().filter(|job| job.state.lease().is_some()) {
            let Some(attempt) = job.attempt_ref() else {
                continue;
            };
            let known = self.live.progress(attempt);
            if known.is_none() || !self.live.is_connected(job.agent) {
                to_look_up.push(attempt);
            }
            newest.extend(known.map(|known| (attempt, known)));
        }
        for (attempt, noted) in self.catalog.noted_progress(&to_look_up).await? {
            let is_newer = newest.get(&attempt).is_none_or(|known| known.at < noted.at);
            if is_newer && to_look_up.contains(&attempt) {
                newest.insert(attempt, noted);
            }
        }
        let newest = newest.into_iter();
        Ok(newest
            .map(|(attempt, noted)| (attempt, noted.progress))
            .collect())
    }
}

impl Presence<'_> {
    /// Whether an agent has a session.
    pub fn is_connected(&self, agent: AgentId) -> bool {
        self.here.is_connected(agent) || self.elsewhere.contains_key(&agent)
    }

    /// An agent's last sign of life.
    pub fn last_seen(&self, agent: &Agent) -> Option<Timestamp> {
        let elsewhere = self.elsewhere.get(&agent.id).map(|it| it.heard_at);
        let here = self.here.last_heard(agent.id);
        [agent.last_seen, here, elsewhere]
            .into_iter()
            .flatten()
            .max()
    }

    /// Every agent with a session that stays.
    pub fn live(&self) -> Vec<LiveAgent> {
        let mut live = self.here.live();
        let here: HashSet<AgentId> = live.iter().map(|it| it.agent).collect();
        let elsewhere = self.elsewhere.values().map(|it| &it.session);
        let elsewhere = elsewhere.filter(|it| !here.contains(&it.agent));
        live.extend(elsewhere.map(|it| LiveAgent {
            agent: it.agent,
            boot_id: it.boot,
        }));
        live
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;
    use crate::{http::testing::TestApi, model::Session};

    fn progress(attempt: AttemptRef, files: u64) -> Progress {
        Progress {
            attempt,
            stage: "reading".into(),
            files,
            bytes: 0,
            total_files: None,
            total_bytes: None,
            bytes_stored: 0,
            warnings: 0,
        }
    }

    #[tokio::test]
    async fn an_agent_may_have_its_session_elsewhere() {
        let api = TestApi::new().await;
        let here = api.agent("web-1").await;
        let there = api.agent("web-2").await;
        let away = api.agent("web-3").await;
        api.live.connect(here.id);
        let heard_at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(7);
        let session = |of: &Agent| SessionElsewhere {
            session: Session {
                agent: of.id,
                id: Uuid::from_u128(1),
                boot: Uuid::from_u128(2),
                since: Timestamp::UNIX_EPOCH,
            },
            instance: Uuid::from_u128(3),
            heard_at,
        };
        let presence = Presence {
            here: &*api.live,
            elsewhere: [&here, &there].map(|it| (it.id, session(it))).into(),
        };
        let connected = [&here, &there, &away].map(|it| presence.is_connected(it.id));
        assert_eq!(connected, [true, true, false]);
        assert_eq!(presence.last_seen(&there), Some(heard_at));
        assert_eq!(presence.last_seen(&away), None);
        let live: HashMap<_, _> = presence
            .live()
            .into_iter()
            .map(|it| (it.agent, it.boot_id))
            .collect();
        let expected = [(here.id, Uuid::nil()), (there.id, Uuid::from_u128(2))];
        assert_eq!(live, expected.into(), "the session here comes first");
    }

    #[tokio::test]
    async fn progress_is_known_here_or_was_noted_elsewhere() {
        let api = TestApi::new().await;
        let agent = api.agent("web-1").await;
        api.web_policy().await;
        let attempt = api.running_backup(&agent).await;
        let path = format!("/jobs/{}", attempt.job);
        let noted = |second, files| NotedProgress {
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
            progress: progress(attempt, files),
        };
        let files = async || {
            let (one, all) = (api.get(&path).await, api.get("/jobs").await);
            assert_eq!(one["progress"], all["jobs"][0]["progress"]);
            one["progress"]["files"].as_u64()
        };
        assert_eq!(files().await, None);
        api.catalog.write_progress(&[noted(1, 10)]).await.unwrap();
        assert_eq!(files().await, Some(10));
        // What was heard here and is older does not count, as long as the agent is not here.
        api.live.report(progress(attempt, 9));
        assert_eq!(files().await, Some(10));
        api.live.connect(agent.id);
        assert_eq!(files().await, Some(9));
    }
}
