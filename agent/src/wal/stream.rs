//! Follows a server by the replication protocol.
//!
//! The log is read from where the archive ends, cut, and stored; the server is
//! told that it may forget what is entered, and nothing else: what is not
//! archived waits in its slot, whatever becomes of the agent, the store or the
//! coordinator. A server that is away is waited for. At the end of a timeline
//! the next one is followed, from the start of the segment in which it begins.
//!
//! Here connections are made and remade; what goes on while one holds is in
//! [`follow`](super::follow).

use std::time::{Duration, Instant};

use strongroom_layout::{
    SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_postgres::{
    connection::{Connection, Session},
    replication::{Event, ReplicationError, ReplicationSession, ServerFacts},
    rights::Purpose,
    wal::{History, Layout},
};
use strongroom_runtime::{backoff::Backoff, units::ByteSize};
use strongroom_spec::{Leg, WalOutcome, WarningCode};
use strongroom_wire::wal::{WalBehind, WalPosition};
use tracing::{info, warn};

use super::{
    WalError,
    archive::{Archive, Histories, Progress, histories_of},
    resume::{Archived, Tails, places, segment_start},
    server::{Held, Room, WalServer, watch},
    watermark::Heard,
};
use crate::{grants::WalRecord, monitor::Monitor};

/// A server that is away is tried again so often.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A job goes on for so long; the coordinator then makes the next one.
const LONG_ENOUGH: Duration = Duration::from_hours(24);

/// What is followed, and how.
pub(super) struct Stream<'a> {
    pub(super) server: &'a WalServer,
    pub(super) slot: &'a str,
    pub(super) flush: Duration,
    pub(super) room: Room,
    /// Units that may be under way at once.
    pub(super) at_once: usize,
    pub(super) monitor: &'a Monitor,
    pub(super) archive: Archive<Option<Archived>>,
    /// What the archive has.
    pub(super) known: Option<Known>,
    /// What this job entered last.
    pub(super) entered: Option<Archived>,
    pub(super) held: Held,
    pub(super) heard: Heard,
    /// How far the log is known is to be said.
    pub(super) tell: bool,
    /// And what is wrong.
    pub(super) problem: Option<String>,
    /// Log was given up: where the archive ended, it does not go on, because
    /// the slot would hold back again what was given up.
    pub(super) given_up: bool,
    /// That nothing bounds the slot was said.
    pub(super) warned: bool,
}

/// What the archive has of a cluster.
pub(super) struct Known {
    pub(super) system: SystemId,
    /// Where it ends.
    pub(super) tails: Tails,
    /// How far the server's own timelines are archived, once those are known.
    pub(super) own: Option<Archived>,
    pub(super) histories: Histories,
}

/// A stream that has begun.
pub(super) struct Begun {
    pub(super) session: ReplicationSession,
    pub(super) layout: Layout,
    pub(super) timeline: TimelineId,
    /// Where a segment begins.
    pub(super) from: Lsn,
    /// What came first.
    pub(super) first: Option<Event>,
}

impl Stream<'_> {
    /// Follows for a day, or until the job is cancelled.
    pub(super) async fn run(mut self) -> Result<WalOutcome, WalError> {
        let over = Instant::now() + LONG_ENOUGH;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let before = self.entered;
            let error = match self.connected(over).await {
                Ok(()) => return Ok(self.archive.figures),
                Err(error) => error,
            };
            if self.entered != before {
                backoff.reset();
            }
            match error {
                WalError::Full { .. } => self.give_up_log(&error).await?,
                // Who has never seen the server has nothing to report but this.
                error if error.is_passing() && self.known.is_some() => {
                    self.monitor.enter("waiting for the server");
                    info!(%error, "the log does not come; trying again");
                    self.tell(Some(error.to_string()));
                    self.rest(backoff.next_random()).await?;
                }
                error => return Err(error),
            }
        }
    }

    /// Waits; what is under way goes on.
    async fn rest(&mut self, wait: Duration) -> Result<(), WalError> {
        let mut wait = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut wait => return Ok(()),
                progress = self.archive.advance() => self.proceed(&progress?),
            }
        }
    }

    /// The archive goes on: what is stored is entered as soon as may be.
    pub(super) fn proceed(&mut self, progress: &Progress<Option<Archived>>) {
        if let Progress::Entered(places) = progress
            && let Some(known) = &mut self.known
        {
            for place in places.iter().flatten() {
                known.tails.reach(*place);
                self.entered = Some(*place);
                self.given_up = false;
            }
        }
        if self.archive.may_enter() && (self.archive.waiting().next().is_some() || self.tell) {
            self.tell = false;
            let position = self.position();
            self.archive.enter(position);
        }
    }

    /// Says how far the log is known, even if there is nothing else to say.
    pub(super) fn tell(&mut self, problem: Option<String>) {
        self.problem = problem;
        self.tell = true;
        self.proceed(&Progress::Stored);
    }

    /// How far the log is known, once what is stored is entered.
    fn position(&mut self) -> Option<WalPosition> {
        let known = self.known.as_ref()?;
        // In the order in which it came: a server may be on a lower timeline now.
        let waiting = self.archive.waiting().flatten().last().copied();
        let tail = waiting.or(self.entered).or(known.own)?;
        let held = self.held.lock().as_ref().and_then(|slot| slot.held_back);
        let held = held.unwrap_or(0);
        Some(WalPosition {
            system: known.system,
            timeline: tail.timeline,
            lsn: tail.end,
            as_of: self.heard.complete_until(tail.end),
            waiting: held,
            problem: self.problem.clone().or_else(|| self.room.problem(held)),
        })
    }

    /// The server's disk is worth more than its log, says the policy.
    async fn give_up_log(&mut self, error: &WalError) -> Result<(), WalError> {
        let cause = format!(
            "{error}: the slot was made anew and the log given up, as when_full = \"drop-log\" \
             says; there is a gap, and the next base backup ends it"
        );
        warn!("{cause}");
        self.monitor.warn(WarningCode::LogGap, self.slot, cause);
        let connection = self.server.resolve().await?;
        let session = self.server.session(&connection).await?;
        self.server.drop_slot(&session, self.slot).await?;
        self.server.slot_from_now(&session, self.slot).await?;
        *self.held.lock() = None;
        self.given_up = true;
        if let Some(known) = &mut self.known {
            known.tails = Tails::default();
            known.own = None;
        }
        self.entered = None;
        Ok(())
    }

    /// One connection, for as long as it holds.
    async fn connected(&mut self, over: Instant) -> Result<(), WalError> {
        let connection = self.server.resolve().await?;
        let session = self.server.session(&connection).await?;
        let facts = self.server.facts(&session, Purpose::Stream).await?;
        self.know(&facts).await?;
        self.warn_of_unbounded(&facts, &session);
        let slot = self.server.slot(&session, self.slot).await?;
        self.room.check(self.server, slot.held_back.unwrap_or(0))?;
        let kept = slot.restart_lsn;
        *self.held.lock() = Some(slot);
        let layout = Layout {
            major: session.version().major(),
            system_identifier: facts.system_identifier,
            segment_size: facts.wal_segment_size,
            block_size: facts.wal_block_size,
        };
        session.close().await;
        self.heard.reconnected();
        let (server, slot, room, held) = (self.server, self.slot, self.room, self.held.clone());
        tokio::select! {
            done = self.follow_all(&connection, layout, (kept, facts.in_recovery), over) => done,
            error = watch(server, &connection, slot, room, &held) => Err(error),
        }
    }

    async fn follow_all(
        &mut self,
        connection: &Connection,
        layout: Layout,
        (kept, standby): (Option<Lsn>, bool),
        over: Instant,
    ) -> Result<(), WalError> {
        let mut begun = self.begin(connection, layout, kept, standby).await?;
        loop {
            let Some((timeline, switch)) = self.follow(&mut begun, over).await? else {
                return Ok(());
            };
            info!(%timeline, %switch, "the server is on another timeline now");
            self.keep_history(&mut begun.session, timeline).await?;
            let from = segment_start(layout, switch);
            begun = self.stream(begun.session, layout, timeline, from).await?;
        }
    }

    /// Which cluster it is, and what the archive has of it.
    async fn know(&mut self, facts: &ServerFacts) -> Result<(), WalError> {
        let system = SystemId(facts.system_identifier);
        match &self.known {
            Some(known) if known.system == system && !known.tails.is_empty() => return Ok(()),
            Some(known) if known.system != system => {
                return Err(WalError::OtherCluster {
                    name: self.server.name.clone(),
                    before: known.system,
                    now: system,
                });
            }
            _ => {}
        }
        let authority = self.archive.vault().authority();
        let archived = authority.archived_wal((system, 0), None);
        let archived = archived.await?;
        let histories = histories_of(&archived);
        let tails = if self.given_up {
            Tails::default()
        } else {
            Tails::new(archived.tails)
        };
        self.known = Some(Known {
            system,
            tails,
            own: None,
            histories,
        });
        Ok(())
    }

    fn warn_of_unbounded(&mut self, facts: &ServerFacts, session: &Session) {
        if facts.max_slot_wal_keep_size.is_some() || self.warned || !self.room.drop {
            return;
        }
        self.warned = true;
        let limit = self.room.limit.map_or_else(String::new, |limit| {
            format!(", for example to {}", ByteSize(limit))
        });
        let cause = format!(
            "while this agent is away, nothing bounds what the slot holds back: set \
             max_slot_wal_keep_size on the server{limit} (PostgreSQL {})",
            session.version()
        );
        self.monitor
            .warn(WarningCode::SlotUnbounded, self.slot, cause);
    }

    /// Begins at the best place that the server still has.
    async fn begin(
        &mut self,
        connection: &Connection,
        layout: Layout,
        kept: Option<Lsn>,
        standby: bool,
    ) -> Result<Begun, WalError> {
        let mut session = self.server.stream_session(connection).await?;
        // An address may have moved since, and a standby of the same cluster is
        // behind without any fault. Asked first: it may be promoted meanwhile.
        let standby = standby || {
            let read_only = session.is_read_only().await;
            read_only.map_err(self.server.replication())?
        };
        let identity = session.identify().await;
        let identity = identity.map_err(self.server.replication())?;
        let history = self.keep_history(&mut session, identity.timeline).await?;
        if !standby {
            self.compare_ends(identity.timeline, identity.flushed)
                .await?;
        }
        let kept = kept.unwrap_or(identity.flushed);
        let (tails, tail) = self.tails_on(&history);
        let mut places = places(layout, &history, &tails, kept).into_iter();
        let mut next = places.next();
        while let Some((timeline, from)) = next {
            next = places.next();
            let goes_on = next.zip(tail).is_some_and(|((timeline, from), tail)| {
                timeline == tail.timeline && from <= tail.end
            });
            match self.stream(session, layout, timeline, from).await {
                Err(WalError::Replication {
                    source: ReplicationError::Removed { .. } | ReplicationError::Timeline { .. },
                    ..
                }) if goes_on => {
                    info!(%timeline, %from, "the server no longer has what could be compared");
                    session = self.server.stream_session(connection).await?;
                }
                Err(WalError::Replication {
                    source: ReplicationError::Removed { .. } | ReplicationError::Timeline { .. },
                    ..
                }) if next.is_some() => {
                    let cause = format!(
                        "the server no longer has the log of timeline {timeline} from {from}: \
                         there is a gap, and the next base backup ends it"
                    );
                    warn!("{cause}");
                    self.monitor.warn(WarningCode::LogGap, self.slot, cause);
                    session = self.server.stream_session(connection).await?;
                }
                begun => return begun,
            }
        }
        // There always is one place.
        Err(WalError::Cancelled)
    }

    /// What is archived, and how far the server's own timelines are.
    fn tails_on(&mut self, history: &History) -> (Tails, Option<Archived>) {
        let Some(known) = &mut self.known else {
            return (Tails::default(), None);
        };
        known.own = known.tails.on(history);
        (known.tails.clone(), known.own)
    }

    /// A primary whose log ends before what is archived of it was put back to an
    /// earlier state. (A standby that was restarted catches up.) Whatever it writes
    /// from now on is another story, which must not be taken for the one that is
    /// archived: the coordinator ends that, and says what to do.
    async fn compare_ends(&mut self, timeline: TimelineId, flushed: Lsn) -> Result<(), WalError> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let tail = known.tails.of(timeline);
        let Some(archived) = tail.filter(|end| *end > flushed) else {
            return Ok(());
        };
        let behind = WalBehind {
            system: known.system,
            timeline,
            flushed,
            archived,
        };
        let record = WalRecord {
            behind: Some(behind),
            ..WalRecord::default()
        };
        self.archive.vault().authority().record_wal(record).await?;
        // What is archived has changed meanwhile.
        self.known = None;
        let cause = format!("it ends at {flushed}");
        Err(self.server.replication()(ReplicationError::Ahead {
            timeline,
            from: archived,
            cause,
        }))
    }

    /// Streams from here on. That the server does not have it, it says late.
    async fn stream(
        &mut self,
        mut session: ReplicationSession,
        layout: Layout,
        timeline: TimelineId,
        from: Lsn,
    ) -> Result<Begun, WalError> {
        let server = self.server;
        let started = session.stream(Some(self.slot), timeline, from).await;
        started.map_err(server.replication())?;
        let first = loop {
            tokio::select! {
                first = session.next() => break first.map_err(server.replication())?,
                progress = self.archive.advance() => self.proceed(&progress?),
            }
        };
        info!(%timeline, %from, "the log comes");
        Ok(Begun {
            session,
            layout,
            timeline,
            from,
            first: Some(first),
        })
    }

    /// The timeline's history; it, and those of the timelines before, are
    /// archived when they are not yet.
    async fn keep_history(
        &mut self,
        session: &mut ReplicationSession,
        timeline: TimelineId,
    ) -> Result<History, WalError> {
        let mut newest = History::first();
        let mut wanted = vec![timeline];
        while let Some(timeline) = wanted.pop() {
            if timeline == TimelineId(1) {
                continue;
            }
            let file = session.history(timeline).await;
            let file = file.map_err(self.server.replication())?;
            let history = History::parse(timeline, &file.content);
            let history = history.map_err(|source| WalError::History {
                name: self.server.name.clone(),
                timeline: timeline.0,
                source,
            })?;
            let legs = history.entries().iter().map(|entry| Leg {
                timeline: entry.timeline,
                until: Some(entry.switch),
            });
            if let Some(known) = &mut self.known
                && self
                    .archive
                    .wants_history(&mut known.histories, timeline, &file.content)
            {
                let (system, legs) = (known.system, legs.collect());
                self.archive
                    .store_history(system, timeline, file.content, legs, None);
                // Whoever restores to the timeline before may need its name.
                let before = history.entries().last().map(|entry| entry.timeline);
                wanted.extend(before);
            }
            if newest.timeline() < timeline {
                newest = history;
            }
        }
        Ok(newest)
    }
}
