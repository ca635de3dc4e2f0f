//! The presence: writes into the catalog which sessions there are here, that this
//! process lives, and how far attempts are, so that other coordinators can show it.
//!
//! Nothing is written for a heartbeat. A task compares what the [`Registry`] knows with
//! what it last wrote, and writes all that is different in one transaction: sessions a
//! second after one has begun or ended, progress every few seconds, and a sign of life
//! of the whole process, which is one for all its sessions, twice a minute.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use strongroom_layout::{AgentId, AttemptRef};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Registry;
use crate::{
    catalog::{Catalog, CatalogError, PresenceChange},
    model::{NotedProgress, Session},
};

/// Sessions that begin and end together are written together.
const STEP: Duration = Duration::from_secs(1);
/// How often progress is written, at most.
const PROGRESS: Duration = Duration::from_secs(5);
/// How often this process gives a sign of life.
const BEAT: Duration = Duration::from_secs(30);
/// Another coordinator that has given no sign of life for so long is gone, by this process's
/// own reckoning: neither clocks that differ nor a catalog that was away count.
const GONE: Duration = Duration::from_mins(5);
/// Sessions of one transaction: others wait for it.
const AT_ONCE: usize = 500;
/// So often programs are told in an hour that an agent has come or gone. An agent may come
/// and go as it likes, and must not fill the catalog.
const TOLD: u32 = 60;
const TOLD_STEP: SignedDuration = SignedDuration::from_hours(1);

/// What was written.
#[derive(Debug, Default)]
struct Presence {
    sessions: HashMap<AgentId, Session>,
    told: HashMap<AgentId, Told>,
    progress: HashMap<AttemptRef, NotedProgress>,
    /// When progress was last written.
    noted: Option<Instant>,
    /// When this process last gave a sign of life.
    beaten: Option<Instant>,
    /// The last signs of life of the others, and since when they are the last.
    others: HashMap<Uuid, (Timestamp, Instant)>,
}

/// What programs were told of an agent.
#[derive(Debug, Clone, Copy)]
struct Told {
    here: bool,
    /// Since when `count` counts.
    since: Timestamp,
    count: u32,
}

/// Keeps the catalog up to date until `cancel`; `directory` is the id of the data
/// directory.
pub async fn keep_presence(
    catalog: Catalog,
    registry: Registry,
    directory: Uuid,
    cancel: CancellationToken,
) {
    let mut presence = Presence::default();
    let mut changes = registry.changes();
    while !cancel.is_cancelled() {
        // What changes from now on is written in the next round.
        changes.mark_unchanged();
        if let Err(error) = presence.round(&catalog, &registry, directory).await {
            tracing::warn!(
                %error,
                "other coordinators are not told of the sessions and the progress here"
            );
        }
        let waited = async {
            tokio::select! {
                _ = changes.changed() => sleep(STEP).await,
                () = sleep(PROGRESS) => {}
            }
        };
        cancel.run_until_cancelled(waited).await;
    }
}

impl Presence {
    /// Writes what has changed, and when it is due a sign of life.
    async fn round(
        &mut self,
        catalog: &Catalog,
        registry: &Registry,
        directory: Uuid,
    ) -> Result<(), CatalogError> {
        if self.beaten.is_none_or(|at| at.elapsed() >= BEAT) {
            self.beat(catalog, directory).await?;
        }
        // Of one moment: whoever comes and goes meanwhile waits for the next round.
        let live = registry.sessions();
        loop {
            let now = catalog.clock().now();
            let heard = |agent| registry.last_heard(agent).unwrap_or(now);
            let change = self.change(live.clone(), heard, now);
            if change == PresenceChange::default() {
                break;
            }
            catalog.write_presence(&change).await?;
            self.wrote(change, now);
        }
        if self.noted.is_none_or(|at| at.elapsed() >= PROGRESS) {
            self.write_progress(catalog, registry.all_progress())
                .await?;
            self.noted = Some(Instant::now());
        }
        Ok(())
    }

    async fn beat(&mut self, catalog: &Catalog, directory: Uuid) -> Result<(), CatalogError> {
        let gone = self.silent(catalog.other_coordinators().await?, Instant::now());
        let lives = catalog.coordinator_lives(directory, &gone).await?;
        self.beaten = Some(Instant::now());
        if !lives.known {
            // Programs were told that all of them had gone with it.
            self.told.clear();
        }
        self.known(lives.sessions);
        Ok(())
    }

    /// Which others have given no sign of life for long.
    fn silent(&mut self, others: Vec<(Uuid, Timestamp)>, now: Instant) -> Vec<(Uuid, Timestamp)> {
        let mut before = std::mem::take(&mut self.others);
        let mut gone = Vec::new();
        for (instance, heard_at) in others {
            let last = before.remove(&instance).filter(|last| last.0 == heard_at);
            let since = last.map_or(now, |last| last.1);
            if now.duration_since(since) >= GONE {
                gone.push((instance, heard_at));
            }
            self.others.insert(instance, (heard_at, since));
        }
        gone
    }

    /// What the catalog knows of sessions here: those that are not there are entered
    /// again, and those that are and should not be end.
    fn known(&mut self, there: Vec<Session>) {
        let there: HashMap<AgentId, Session> = there.into_iter().map(|it| (it.agent, it)).collect();
        self.sessions
            .retain(|agent, own| there.get(agent).is_some_and(|it| it.id == own.id));
        for (agent, session) in there {
            self.sessions.entry(agent).or_insert(session);
        }
    }

    /// What is to be written next: `live` are the sessions there are now.
    fn change(
        &self,
        live: Vec<Session>,
        heard: impl Fn(AgentId) -> Timestamp,
        now: Timestamp,
    ) -> PresenceChange {
        let here: HashSet<AgentId> = live.iter().map(|session| session.agent).collect();
        let gone = self
            .sessions
            .values()
            .filter(|it| !here.contains(&it.agent));
        let ended = gone.map(|it| (it.clone(), heard(it.agent)));
        let mut change = PresenceChange {
            ended: ended.take(AT_ONCE).collect(),
            ..PresenceChange::default()
        };
        let room = AT_ONCE - change.ended.len();
        let is_new = |session: &Session| self.sessions.get(&session.agent) != Some(session);
        change.begun = live.into_iter().filter(is_new).take(room).collect();
        let agents = change.begun.iter().map(|it| (it.agent, true));
        let agents = agents.chain(change.ended.iter().map(|it| (it.0.agent, false)));
        let agents = agents.chain(self.to_be_told(&change));
        change.told = agents.filter(|it| self.tells(*it, now)).collect();
        change
    }

    /// Agents that came or went when programs had been told too often, as it is now.
    fn to_be_told(&self, change: &PresenceChange) -> Vec<(AgentId, bool)> {
        let begun = change.begun.iter().map(|it| it.agent);
        let ended = change.ended.iter().map(|it| it.0.agent);
        let changing: HashSet<AgentId> = begun.chain(ended).collect();
        let all = self.told.iter().map(|(agent, told)| {
            let here = self.sessions.contains_key(agent);
            (*agent, here, told.here != here && !changing.contains(agent))
        });
        let untold = all.filter(|it| it.2).take(AT_ONCE);
        untold.map(|(agent, here, _)| (agent, here)).collect()
    }

    /// Whether programs are told that an agent is here, or not any more.
    fn tells(&self, (agent, here): (AgentId, bool), now: Timestamp) -> bool {
        self.told.get(&agent).is_none_or(|told| {
            told.here != here && (told.count < TOLD || now.duration_since(told.since) >= TOLD_STEP)
        })
    }

    fn wrote(&mut self, change: PresenceChange, now: Timestamp) {
        for (session, _) in change.ended {
            self.sessions.remove(&session.agent);
        }
        for session in change.begun {
            self.sessions.insert(session.agent, session);
        }
        for (agent, here) in change.told {
            let told = self.told.get(&agent).copied();
            let told = told.filter(|it| now.duration_since(it.since) < TOLD_STEP);
            let next = Told {
                here,
                since: told.map_or(now, |it| it.since),
                count: told.map_or(0, |it| it.count) + 1,
            };
            self.told.insert(agent, next);
        }
    }

    /// Writes how far attempts are that have said something new.
    async fn write_progress(
        &mut self,
        catalog: &Catalog,
        all: Vec<NotedProgress>,
    ) -> Result<(), CatalogError> {
        let is_new = |it: &&NotedProgress| {
            let before = self.progress.get(&it.progress.attempt);
            before.map(|it| &it.progress) != Some(&it.progress)
        };
        let new: Vec<_> = all.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            catalog.write_progress(&new).await?;
        }
        let all = all.into_iter().map(|it| (it.progress.attempt, it));
        self.progress = all.collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u128) -> AgentId {
        AgentId(Uuid::from_u128(number))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn session(of: u128, number: u128) -> Session {
        Session {
            agent: agent(of),
            id: Uuid::from_u128(number),
            boot: Uuid::nil(),
            since: at(0),
        }
    }

    /// A round, as it would be written.
    fn round(presence: &mut Presence, live: &[Session], now: i64) -> PresenceChange {
        let change = presence.change(live.to_vec(), |_| at(now - 1), at(now));
        presence.wrote(change.clone(), at(now));
        change
    }

    #[test]
    fn what_has_changed_is_written_once() {
        let mut presence = Presence::default();
        let (one, two) = (session(1, 1), session(2, 2));
        let live = [one.clone(), two.clone()];
        let change = round(&mut presence, &live, 10);
        assert_eq!(change.begun, live);
        assert_eq!(change.told, [(agent(1), true), (agent(2), true)]);
        let nothing = PresenceChange::default();
        assert_eq!(round(&mut presence, &live, 11), nothing);

        // Another session of an agent that was there is no news to programs.
        let again = session(1, 3);
        let change = round(&mut presence, std::slice::from_ref(&again), 12);
        assert_eq!(change.begun, std::slice::from_ref(&again));
        assert_eq!(change.ended, [(two, at(11))]);
        assert_eq!(change.told, [(agent(2), false)]);
        assert_eq!(round(&mut presence, &[again], 13), nothing);
    }

    #[test]
    fn many_sessions_are_written_bit_by_bit() {
        let mut presence = Presence::default();
        let number = AT_ONCE as u128 + 1;
        let live: Vec<_> = (0..number).map(|it| session(it, it)).collect();
        assert_eq!(round(&mut presence, &live, 1).begun.len(), AT_ONCE);
        assert_eq!(round(&mut presence, &live, 1).begun.len(), 1);
        assert_eq!(round(&mut presence, &[], 2).ended.len(), AT_ONCE);
        assert_eq!(round(&mut presence, &[], 2).ended.len(), 1);
    }

    #[test]
    fn of_an_agent_that_comes_and_goes_programs_are_told_so_often_and_what_is_true_at_last() {
        let mut presence = Presence::default();
        let only = [session(1, 1)];
        let mut told = 0;
        for second in 0..100 {
            let live = if second % 2 == 0 { &only[..] } else { &[] };
            told += round(&mut presence, live, second).told.len();
        }
        assert_eq!(told, TOLD as usize);
        // The last they heard is that it is gone, and so it is.
        let nothing = PresenceChange::default();
        assert_eq!(round(&mut presence, &[], 100), nothing);
        assert_eq!(round(&mut presence, &only, 101).told, []);
        assert_eq!(round(&mut presence, &only, 102), nothing);
        let later = round(&mut presence, &only, 3600);
        assert_eq!(later.told, [(agent(1), true)]);
        assert_eq!(round(&mut presence, &only, 3601), nothing);
    }

    #[test]
    fn what_the_catalog_has_and_is_not_so_is_mended() {
        let mut presence = Presence::default();
        let (one, two, three) = (session(1, 1), session(2, 2), session(3, 3));
        let live = [one.clone(), two.clone()];
        round(&mut presence, &live, 10);
        // Of one agent another coordinator has a session; of another nobody has one any
        // more, and the catalog did not hear.
        presence.known(vec![two.clone(), three.clone()]);
        let change = round(&mut presence, &live, 11);
        assert_eq!(change.begun, [one]);
        assert_eq!(change.ended, [(three, at(10))]);
        assert_eq!(round(&mut presence, &live, 12), PresenceChange::default());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_by_ones_own_reckoning_is_gone() {
        let mut presence = Presence::default();
        let (still, lively) = (Uuid::from_u128(1), Uuid::from_u128(2));
        // Their clocks may be of yesterday.
        let heard = |second| vec![(still, at(5)), (lively, at(second))];
        assert_eq!(presence.silent(heard(1), Instant::now()), []);
        tokio::time::advance(GONE / 2).await;
        assert_eq!(presence.silent(heard(2), Instant::now()), []);
        tokio::time::advance(GONE / 2).await;
        assert_eq!(presence.silent(heard(3), Instant::now()), [(still, at(5))]);
        assert_eq!(presence.silent(vec![(lively, at(3))], Instant::now()), []);
    }
}
