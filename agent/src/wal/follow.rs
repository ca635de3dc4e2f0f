//! What goes on while the log of one timeline comes.

use std::time::{Duration, Instant};

use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_postgres::{replication::Event, wal::InvalidWal};
use strongroom_wire::wal::UNIT;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::{
    WalError,
    cut::{Cut, Cutter},
    resume::Archived,
    stream::{Begun, Stream},
    summary::{Reader, time},
};

/// How often the server is asked where it is, at least: it hangs up on those
/// from whom it does not hear for `wal_sender_timeout`.
const ASK: Duration = Duration::from_secs(5);
/// How often the coordinator is told that there is nothing new.
const TELL: Duration = Duration::from_secs(10);

/// The log of a timeline, on its way from the server to the archive.
struct Flow {
    timeline: TimelineId,
    cutter: Cutter,
    reader: Reader,
    /// The log could not be read; said once.
    unread: Option<InvalidWal>,
    /// Where the server said last that its log ends.
    end_of_wal: Option<Lsn>,
}

impl Stream<'_> {
    /// Follows to the timeline's end, and gives the one that comes next;
    /// `None`: it is time for another job.
    pub(super) async fn follow(
        &mut self,
        begun: &mut Begun,
        over: Instant,
    ) -> Result<Option<(TimelineId, Lsn)>, WalError> {
        self.monitor.enter("streaming");
        self.problem = None;
        let unit = UNIT.min(begun.layout.segment_size.bytes());
        let known = self.known.as_ref();
        let tail = known.and_then(|known| known.tails.of(begun.timeline));
        let tail = tail.filter(|end| *end > begun.from);
        let digester = self.archive.vault().digester();
        let mut flow = Flow {
            timeline: begun.timeline,
            cutter: Cutter::new(unit, begun.from, digester, tail),
            reader: Reader::new(begun.layout, begun.timeline, begun.from),
            unread: None,
            end_of_wal: None,
        };
        let (mut ask, mut flush) = (ticks(ASK.min(self.flush)), ticks(self.flush));
        let mut tell = ticks(TELL);
        let mut over = std::pin::pin!(tokio::time::sleep_until(over.into()));
        if let Some(first) = begun.first.take()
            && let Some(next) = self.take(begun, &mut flow, first).await?
        {
            return self.finish(&mut flow, next).await;
        }
        loop {
            let room = self.archive.under_way() < self.at_once;
            tokio::select! {
                event = begun.session.next(), if room => {
                    let event = event.map_err(self.server.replication())?;
                    if let Some(next) = self.take(begun, &mut flow, event).await? {
                        return self.finish(&mut flow, next).await;
                    }
                }
                progress = self.archive.advance() => {
                    self.proceed(&progress?);
                    self.confirm(begun, &flow, false).await?;
                }
                _ = flush.tick() => self.flush(&mut flow),
                _ = ask.tick() => self.confirm(begun, &flow, true).await?,
                _ = tell.tick() => {
                    let problem = self.lag(&flow);
                    self.tell(problem);
                }
                () = &mut over => {
                    self.flush(&mut flow);
                    self.drain().await?;
                    return Ok(None);
                }
            }
        }
    }

    /// Takes what the server sent; `Some` at the timeline's end.
    async fn take(
        &mut self,
        begun: &mut Begun,
        flow: &mut Flow,
        event: Event,
    ) -> Result<Option<Option<(TimelineId, Lsn)>>, WalError> {
        match event {
            Event::Data {
                end_of_wal,
                sent_at,
                bytes,
                ..
            } => {
                let sent_at = time(sent_at);
                self.heard.say(end_of_wal, sent_at);
                flow.end_of_wal = Some(end_of_wal);
                let come = flow.cutter.end().0 + bytes.len() as u64;
                self.archive.hurry = end_of_wal.0.saturating_sub(come) > UNIT;
                let read = flow.reader.read(&bytes, sent_at);
                if let (Err(error), None) = (read, &flow.unread) {
                    warn!(%error, "a part of the log cannot be read; it is archived all the same");
                    flow.unread = Some(error);
                }
                for unit in flow.cutter.push(&bytes) {
                    self.archive_part(flow, unit);
                    flow.reader.forget_before(flow.cutter.unit_start());
                }
                self.monitor
                    .bytes
                    .fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
                Ok(None)
            }
            Event::Keepalive {
                end_of_wal,
                sent_at,
                reply_wanted,
            } => {
                self.heard.say(end_of_wal, time(sent_at));
                flow.end_of_wal = Some(end_of_wal);
                if reply_wanted {
                    // It may be waiting for us in order to stop.
                    self.flush(flow);
                    self.confirm(begun, flow, false).await?;
                }
                Ok(None)
            }
            Event::Ended { next } => Ok(Some(next)),
        }
    }

    /// That the server does not have what is archived of its timeline: a standby
    /// that will come there, or one that never will. Nothing is archived meanwhile,
    /// which somebody should know.
    fn lag(&self, flow: &Flow) -> Option<String> {
        let known = self.known.as_ref()?;
        let archived = known.tails.of(flow.timeline)?;
        flow.end_of_wal.filter(|end| *end < archived)?;
        let timeline = flow.timeline;
        Some(format!(
            "the log of timeline {timeline} is archived up to {archived}, and the server, a \
             standby, does not have all of that: nothing more is archived until it does. See that it follows its \
             primary, and that the connection leads to the server that was archived before; if \
             there is no such log any more, promote it"
        ))
    }

    /// Everything of a timeline is archived before the next one begins.
    async fn finish(
        &mut self,
        flow: &mut Flow,
        next: Option<(TimelineId, Lsn)>,
    ) -> Result<Option<(TimelineId, Lsn)>, WalError> {
        self.flush(flow);
        self.drain().await?;
        match next {
            Some(next) => Ok(Some(next)),
            // Which comes next, it will say when it is asked again.
            None => Err(self.server.replication()(
                strongroom_postgres::replication::ReplicationError::Terminated {
                    cause: "the timeline has ended".into(),
                },
            )),
        }
    }

    async fn drain(&mut self) -> Result<(), WalError> {
        while !self.archive.is_idle() {
            let progress = self.archive.advance().await?;
            self.proceed(&progress);
        }
        Ok(())
    }

    /// Stores what is in no part yet.
    fn flush(&mut self, flow: &mut Flow) {
        if let Some(piece) = flow.cutter.piece() {
            self.archive_part(flow, piece);
        }
    }

    fn archive_part(&mut self, flow: &Flow, cut: Cut) {
        let Some(known) = &self.known else {
            return;
        };
        let (start, end) = (cut.start, cut.end());
        let summary = flow.reader.summary(start, end);
        let place = Archived {
            timeline: flow.timeline,
            end,
        };
        self.archive
            .store(known.system, flow.timeline, cut, summary, Some(place));
    }

    /// Tells the server what it may forget, and asks it where it is.
    async fn confirm(&mut self, begun: &mut Begun, flow: &Flow, ask: bool) -> Result<(), WalError> {
        // 0: nothing yet. What this server gave and the coordinator entered, and so
        // compared: what others archived of the timeline may be another story.
        let written = flow.cutter.end();
        let flushed = self
            .entered
            .filter(|place| place.timeline == flow.timeline && place.end <= written)
            .map_or(Lsn(0), |place| place.end);
        let told = if ask {
            begun.session.probe(written, flushed).await
        } else {
            begun.session.confirm(written, flushed).await
        };
        told.map_err(self.server.replication())
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}
