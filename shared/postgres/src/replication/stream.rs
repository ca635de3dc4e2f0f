//! The log as it is written.

use std::time::Duration;

use bytes::Bytes;
use postgres_protocol::message::{backend::Message, frontend};
use tokio::time::{Instant, timeout_at};

use super::{
    ReplicationError, ReplicationSession,
    classify::Asked,
    session::{State, columns, strange, text, within},
    update::{Confirmed, Update, write_status},
    wire::Received,
};
use crate::{
    physical::{Lsn, TimelineId},
    sql,
};

const DOING: &str = "stream the write-ahead log";

/// A server that is silent for so long is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(30);
/// And has so long to give one.
const PATIENCE: Duration = Duration::from_secs(30);

/// What comes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of the log, which follows the one before without a hole. It
    /// may end anywhere in a record.
    Data {
        /// Its first byte.
        start: Lsn,
        /// Up to where the server has the log now.
        end_of_wal: Lsn,
        /// By the server's clock: microseconds since 1970.
        sent_at: i64,
        /// Never empty, at most 64 MiB; servers send up to 128 KiB.
        bytes: Bytes,
    },
    /// A sign of life.
    Keepalive {
        /// Up to where the server has the log now.
        end_of_wal: Lsn,
        /// By the server's clock: microseconds since 1970.
        sent_at: i64,
        /// It will hang up unless it hears from us: [`ReplicationSession::confirm`].
        reply_wanted: bool,
    },
    /// The timeline's end; the session can stream again.
    Ended {
        /// The timeline that follows, and its first byte. That may be before
        /// what was received last: a standby passes on parts of records whose
        /// rest never came. `None`: the server does not say.
        next: Option<(TimelineId, Lsn)>,
    },
}

/// A stream that is under way.
#[derive(Debug)]
pub(super) struct Streaming {
    timeline: TimelineId,
    from: Lsn,
    slot: Option<String>,
    /// The next byte.
    position: Lsn,
    confirmed: Confirmed,
    /// The server has sent all.
    ended: bool,
    /// What it then says of the timeline that follows.
    next: Option<(TimelineId, Lsn)>,
    /// When the server was last heard.
    heard: Instant,
    /// It was asked for a sign of life then.
    pinged: Option<Instant>,
}

impl Streaming {
    /// Data may still come.
    pub(super) fn is_open(&self) -> bool {
        !self.ended
    }

    /// When to do something about the server's silence.
    fn deadline(&self) -> Instant {
        self.pinged
            .map_or(self.heard + SILENCE, |pinged| pinged + PATIENCE)
    }
}

impl ReplicationSession {
    /// Has the server send the log of `timeline` from `from` on, and, if it
    /// has a slot, keep what is not confirmed. At the very end of a timeline
    /// that others follow the first event is [`Event::Ended`]. That the server
    /// does not have that part of the log, it mostly says with the first event.
    pub async fn stream(
        &mut self,
        slot: Option<&str>,
        timeline: TimelineId,
        from: Lsn,
    ) -> Result<(), ReplicationError> {
        let named = slot.map(|slot| format!("SLOT {} ", sql::identifier(slot)));
        let command = format!(
            "START_REPLICATION {}PHYSICAL {from} TIMELINE {timeline}",
            named.unwrap_or_default()
        );
        let asked = Asked {
            doing: DOING,
            slot,
            from: Some((timeline, from)),
        };
        let ended = within(DOING, async {
            self.begin(DOING, &command).await?;
            match self.message(&asked).await? {
                Received::CopyBoth => Ok(false),
                Received::Message(Message::RowDescription(_)) => Ok(true),
                _ => Err(strange(DOING, "it sends neither data nor a row")),
            }
        });
        self.state = State::Streaming(Streaming {
            ended: ended.await?,
            next: None,
            timeline,
            from,
            slot: slot.map(ToOwned::to_owned),
            position: from,
            confirmed: Confirmed::default(),
            heard: Instant::now(),
            pinged: None,
        });
        Ok(())
    }

    /// What comes next. Cancel-safe: what is given up comes the next time.
    ///
    /// A server that says nothing for half a minute is asked for a sign of
    /// life, and given up half a minute later.
    pub async fn next(&mut self) -> Result<Event, ReplicationError> {
        loop {
            let received = self.receive_alive().await?;
            let State::Streaming(streaming) = &mut self.state else {
                return Err(ReplicationError::Idle);
            };
            let open = streaming.is_open();
            match received {
                Received::Data(message) if open => {
                    let update = Update::read(message);
                    let update = update.ok_or_else(|| strange(DOING, "a message of no kind"))?;
                    if let Some(event) = self.event(update)? {
                        return Ok(event);
                    }
                }
                Received::Message(Message::CopyDone) if open => {
                    streaming.ended = true;
                    frontend::copy_done(self.wire.outgoing());
                }
                // Without a word on the next timeline: it stops.
                Received::Message(Message::CommandComplete(_)) if open => {
                    self.state = State::Unsettled;
                    let cause = "it is being stopped".into();
                    return Err(ReplicationError::Terminated { cause });
                }
                Received::Message(Message::DataRow(row)) if !open => {
                    let row = columns(&row).unwrap_or_default();
                    let next = || {
                        let timeline = TimelineId(text(&row, 0)?.parse().ok()?);
                        Some((timeline, text(&row, 1)?.parse().ok()?))
                    };
                    let next = next().ok_or_else(|| strange(DOING, "no timeline follows"))?;
                    streaming.next = Some(next);
                }
                Received::Message(Message::ReadyForQuery(_)) if !open => {
                    let next = streaming.next;
                    self.state = State::Ready;
                    return Ok(Event::Ended { next });
                }
                Received::Message(Message::CommandComplete(_) | Message::RowDescription(_))
                    if !open => {}
                _ => return Err(strange(DOING, "a message out of place")),
            }
        }
    }

    /// Tells the server what we have: `written` was received, and `flushed`
    /// is safe. A slot keeps the log from `flushed` on.
    ///
    /// To be called whenever either has moved, when a keepalive asks for it,
    /// and several times within the server's `wal_sender_timeout` (60 s unless
    /// set) in any case. A server that is stopped waits until `flushed` is all
    /// it has: do not let it wait for long.
    ///
    /// The only error is [`ReplicationError::Idle`]. That the connection broke
    /// is for [`ReplicationSession::next`] to say, behind whatever the server
    /// said before. Cancel-safe.
    ///
    /// Nothing is ever reported as applied, as by `pg_receivewal`: we replay
    /// nothing, and nobody should wait for us with `synchronous_commit =
    /// remote_apply`.
    pub async fn confirm(&mut self, written: Lsn, flushed: Lsn) -> Result<(), ReplicationError> {
        let State::Streaming(streaming) = &mut self.state else {
            return Err(ReplicationError::Idle);
        };
        streaming.confirmed = Confirmed { written, flushed };
        // The server wants to hear no more.
        if !streaming.is_open() {
            return Ok(());
        }
        self.put_status(false);
        self.wire.flush().await;
        Ok(())
    }

    /// The same, and asks the server to say where it is: the answer is a
    /// [`Event::Keepalive`]. What the server has flushed before it sent the
    /// event before that, the answer comes behind.
    pub async fn probe(&mut self, written: Lsn, flushed: Lsn) -> Result<(), ReplicationError> {
        self.confirm(written, flushed).await?;
        if matches!(&self.state, State::Streaming(streaming) if streaming.is_open()) {
            self.put_status(true);
            self.wire.flush().await;
        }
        Ok(())
    }

    /// Ends the stream; what is still on its way is passed over. The session
    /// can stream again.
    pub async fn stop(&mut self) -> Result<(), ReplicationError> {
        within("end the stream", self.settle("end the stream")).await
    }

    fn event(&mut self, update: Update) -> Result<Option<Event>, ReplicationError> {
        let State::Streaming(streaming) = &mut self.state else {
            return Err(ReplicationError::Idle);
        };
        let (event, sent_at) = match update {
            Update::Data {
                start,
                end_of_wal,
                sent_at,
                bytes,
            } => {
                if start != streaming.position {
                    return Err(ReplicationError::Hole {
                        wanted: streaming.position,
                        found: start,
                    });
                }
                let end = start.0.checked_add(bytes.len() as u64);
                let end = end.ok_or_else(|| strange(DOING, "it goes on beyond all positions"))?;
                streaming.position = Lsn(end);
                let event = (!bytes.is_empty()).then_some(Event::Data {
                    start,
                    end_of_wal,
                    sent_at,
                    bytes,
                });
                (event, sent_at)
            }
            Update::Keepalive {
                end_of_wal,
                sent_at,
                reply_wanted,
            } => {
                let event = Event::Keepalive {
                    end_of_wal,
                    sent_at,
                    reply_wanted,
                };
                (Some(event), sent_at)
            }
        };
        self.clock = Some((sent_at, Instant::now()));
        Ok(event)
    }

    /// The next message of a stream; asks for a sign of life if there is none.
    async fn receive_alive(&mut self) -> Result<Received, ReplicationError> {
        loop {
            let State::Streaming(streaming) = &self.state else {
                return Err(ReplicationError::Idle);
            };
            let slot = streaming.slot.clone();
            let asked = Asked {
                doing: DOING,
                slot: slot.as_deref(),
                from: Some((streaming.timeline, streaming.from)),
            };
            let (deadline, pinged) = (streaming.deadline(), streaming.pinged.is_some());
            match timeout_at(deadline, self.message(&asked)).await {
                Ok(received) => {
                    if let State::Streaming(streaming) = &mut self.state {
                        (streaming.heard, streaming.pinged) = (Instant::now(), None);
                    }
                    return received;
                }
                Err(_) if pinged => {
                    let silence = (SILENCE + PATIENCE).as_secs();
                    return Err(ReplicationError::Broken {
                        doing: DOING,
                        cause: format!("no sign of life in {silence} seconds"),
                    });
                }
                Err(_) => self.put_status(true),
            }
        }
    }

    /// Has a status sent with what is received next.
    fn put_status(&mut self, ping: bool) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let now = Instant::now();
        if ping {
            streaming.pinged = Some(now);
        }
        // By the server's own clock, so that its views make sense.
        let at = self.clock.map_or(0, |(read, when)| {
            let since = now.saturating_duration_since(when).as_micros();
            read.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
        });
        write_status(streaming.confirmed, at, ping, self.wire.outgoing());
    }
}
