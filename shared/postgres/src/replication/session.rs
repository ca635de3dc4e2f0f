//! A connection for replication: commands and their answers.

use std::{fmt, time::Duration};

use bytes::Bytes;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::{
    backend::{DataRowBody, Message},
    frontend,
};
use tokio::time::{Instant, timeout};

use super::{
    ReplicationError,
    classify::Asked,
    error_response::Said,
    login::{LoggedIn, log_in},
    stream::Streaming,
    wire::{Received, Wire},
};
use crate::{
    connection::{Connection, ServerError},
    physical::{Lsn, TimelineId},
    version::ServerVersion,
    wal::history::LONGEST_HISTORY,
};

/// For the answer to a command.
const ANSWER: Duration = Duration::from_mins(1);
/// For a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection on which a server streams its log. It speaks one command at a
/// time; a command that is given up is read to its end before the next.
pub struct ReplicationSession {
    pub(super) wire: Wire,
    version: ServerVersion,
    pub(super) state: State,
    /// What the server last remarked: it says so before it hangs up.
    notice: Option<String>,
    /// A time of the server's clock (microseconds since 1970), and when it
    /// was read.
    pub(super) clock: Option<(i64, Instant)>,
}

/// What is going on.
pub(super) enum State {
    /// Nothing: commands can be given.
    Ready,
    /// A command was given up or refused; what it still says is passed over.
    Unsettled,
    /// See [`super::stream`].
    Streaming(Streaming),
}

/// Who the server is, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of its cluster.
    pub system_identifier: u64,
    /// On which it writes or replays now.
    pub timeline: TimelineId,
    /// Up to where it can stream now.
    pub flushed: Lsn,
}

/// A timeline's history file, to be kept with the log; see
/// [`crate::wal::History`] for what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// As in `pg_wal`: `00000002.history`.
    pub name: String,
    /// Unparsed, at most [`LONGEST_HISTORY`] bytes.
    pub content: Bytes,
}

impl fmt::Debug for ReplicationSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationSession")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ReplicationSession {
    /// Connects to a server for replication. The role must have the attribute
    /// REPLICATION, and pg_hba.conf a line for the database `replication`.
    pub async fn open(connection: &Connection) -> Result<Self, ServerError> {
        Ok(Self::over(log_in(connection).await?))
    }

    pub(super) fn over(LoggedIn { wire, version }: LoggedIn) -> Self {
        Self {
            wire,
            version,
            state: State::Ready,
            notice: None,
            clock: None,
        }
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// Asks the server who it is.
    pub async fn identify(&mut self) -> Result<Identity, ReplicationError> {
        let doing = "identify itself";
        let row = self.ask(doing, "IDENTIFY_SYSTEM").await?;
        let identity = || {
            Some(Identity {
                system_identifier: text(&row, 0)?.parse().ok()?,
                timeline: TimelineId(text(&row, 1)?.parse().ok()?),
                flushed: text(&row, 2)?.parse().ok()?,
            })
        };
        identity().ok_or_else(|| strange(doing, "its identity is incomplete"))
    }

    /// Whether the very server of this session replays another's log, or is set to
    /// change nothing. Source: `SHOW` of the replication protocol.
    pub async fn is_read_only(&mut self) -> Result<bool, ReplicationError> {
        let doing = "say whether it is a standby";
        let row = self.ask(doing, "SHOW transaction_read_only").await?;
        let shown = text(&row, 0).ok_or_else(|| strange(doing, "it shows nothing"))?;
        Ok(shown != "off")
    }

    /// Asks for a timeline's history. The first has none.
    pub async fn history(&mut self, timeline: TimelineId) -> Result<HistoryFile, ReplicationError> {
        let doing = "show a timeline's history";
        let asked = self
            .ask(doing, &format!("TIMELINE_HISTORY {timeline}"))
            .await;
        let row = asked.map_err(|error| match error {
            ReplicationError::Refused { cause, state, .. } if state == "58P01" => {
                ReplicationError::NoHistory { timeline, cause }
            }
            other => other,
        })?;
        let name = text(&row, 0).filter(|name| *name == timeline.history_file());
        let name = name.ok_or_else(|| strange(doing, "it names another file"))?;
        let content = row.get(1).cloned().flatten();
        let content = content.ok_or_else(|| strange(doing, "the file is missing"))?;
        if content.len() > LONGEST_HISTORY {
            return Err(strange(doing, "the file is longer than any"));
        }
        Ok(HistoryFile {
            name: name.to_owned(),
            content,
        })
    }

    /// Ends the stream, if there is one, and says goodbye.
    pub async fn close(mut self) {
        frontend::terminate(self.wire.outgoing());
        // Whoever does not hear it sees that we are gone.
        let _ = timeout(GOODBYE, self.wire.flush()).await;
    }

    /// Runs a command; gives the first row of its answer.
    async fn ask(
        &mut self,
        doing: &'static str,
        command: &str,
    ) -> Result<Vec<Option<Bytes>>, ReplicationError> {
        let answer = async {
            self.begin(doing, command).await?;
            let asked = Asked {
                doing,
                ..Asked::default()
            };
            let mut row = Vec::new();
            loop {
                match self.message(&asked).await? {
                    Received::Message(Message::DataRow(body)) if row.is_empty() => {
                        row = columns(&body).ok_or_else(|| strange(doing, "a row is torn"))?;
                    }
                    Received::Message(Message::ReadyForQuery(_)) => {
                        self.state = State::Ready;
                        return Ok(row);
                    }
                    Received::Message(_) => {}
                    _ => return Err(strange(doing, "it sends data")),
                }
            }
        };
        within(doing, answer).await
    }

    /// Sends a command, when all before it is done.
    pub(super) async fn begin(
        &mut self,
        doing: &'static str,
        command: &str,
    ) -> Result<(), ReplicationError> {
        self.settle(doing).await?;
        self.state = State::Unsettled;
        let encoded = frontend::query(command, self.wire.outgoing());
        encoded.map_err(|error| strange(doing, &error.to_string()))
    }

    /// Ends whatever goes on, and reads to where commands can be given.
    pub(super) async fn settle(&mut self, doing: &'static str) -> Result<(), ReplicationError> {
        match self.state {
            State::Ready => return Ok(()),
            State::Streaming(ref streaming) => {
                if streaming.is_open() {
                    frontend::copy_done(self.wire.outgoing());
                }
                self.state = State::Unsettled;
            }
            State::Unsettled => {}
        }
        let asked = Asked {
            doing,
            ..Asked::default()
        };
        loop {
            match self.message(&asked).await {
                Ok(Received::Message(Message::ReadyForQuery(_))) => {
                    self.state = State::Ready;
                    return Ok(());
                }
                // It was given up before it began.
                Ok(Received::CopyBoth) => frontend::copy_done(self.wire.outgoing()),
                Ok(_) | Err(ReplicationError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message that is no remark; what the server refuses is an
    /// error. Cancel-safe.
    pub(super) async fn message(
        &mut self,
        asked: &Asked<'_>,
    ) -> Result<Received, ReplicationError> {
        loop {
            let received = self.wire.receive().await.map_err(|error| {
                let broken = ReplicationError::wire(asked.doing, &error);
                match (broken, self.notice.take()) {
                    (ReplicationError::Broken { .. }, Some(cause)) => {
                        ReplicationError::Terminated { cause }
                    }
                    (broken, _) => broken,
                }
            })?;
            match received {
                Received::Message(Message::NoticeResponse(body)) => {
                    self.notice = Some(Said::read(body.fields()).words());
                }
                Received::Message(Message::ErrorResponse(body)) => {
                    self.state = State::Unsettled;
                    return Err(ReplicationError::said(asked, &Said::read(body.fields())));
                }
                Received::Message(Message::ParameterStatus(_)) => {}
                received => return Ok(received),
            }
        }
    }
}

/// Gives up on an answer that does not come.
pub(super) async fn within<T>(
    doing: &'static str,
    answer: impl Future<Output = Result<T, ReplicationError>>,
) -> Result<T, ReplicationError> {
    timeout(ANSWER, answer).await.unwrap_or_else(|_| {
        let cause = format!("no answer in {} seconds", ANSWER.as_secs());
        Err(ReplicationError::Broken { doing, cause })
    })
}

pub(super) fn strange(doing: &'static str, cause: &str) -> ReplicationError {
    ReplicationError::Strange {
        doing,
        cause: cause.to_owned(),
    }
}

/// The values of a row.
pub(super) fn columns(row: &DataRowBody) -> Option<Vec<Option<Bytes>>> {
    let buffer = row.buffer_bytes();
    let inside =
        |range: &std::ops::Range<usize>| range.start <= range.end && range.end <= buffer.len();
    // One by one: how many there are is only claimed.
    let mut ranges = row.ranges();
    let mut columns = Vec::new();
    while let Some(range) = ranges.next().ok()? {
        columns.push(match range {
            None => None,
            Some(range) => Some(inside(&range).then(|| buffer.slice(range))?),
        });
    }
    Some(columns)
}

pub(super) fn text(row: &[Option<Bytes>], column: usize) -> Option<&str> {
    std::str::from_utf8(row.get(column)?.as_ref()?).ok()
}
