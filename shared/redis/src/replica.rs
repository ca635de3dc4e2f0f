//! Acting as a replica, for as long as a full synchronisation takes.
//!
//! Source: the replication handshake in `replication.c` of Redis 6.0 to 7.4.
//! Nothing is sent during the transfer: a primary measures a replica by what
//! it takes off the socket (`repl_last_partial_write`), and one that asked for
//! the RDB alone (`rdb-only`, since 7.0) costs it no replication buffer.
//!
//! What a primary is told of us it tells others in `INFO`, and Sentinels take
//! every replica that stands there for one that they may promote one day. We
//! name a port that no server can have: `createSentinelAddr` in `sentinel.c`
//! refuses it, and so does whoever else reads the list with care.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{Client, Info, Product, RedisError, Reply, resp, rights};

/// Length of the mark behind an RDB that is sent as it is made.
const MARK: usize = 40;
/// Read at a time.
const BUFFER: usize = 128 << 10;
/// The first number that is no port.
const NO_PORT: &[u8] = b"65536";

/// A transfer at work. Ends being a replica when dropped.
#[derive(Debug)]
pub struct FullSync {
    client: Client,
    framing: Framing,
    received: u64,
    /// The id of the history that the RDB belongs to.
    pub replication_id: String,
    /// The place in it.
    pub offset: i64,
}

/// How the end is told.
#[derive(Debug)]
enum Framing {
    /// The primary made the RDB on its disk and knows its length.
    Length { total: u64, left: u64 },
    /// It sends the RDB as it makes it, and a mark behind it.
    Mark(Marked),
}

/// Bytes in front of a mark.
struct Marked {
    mark: [u8; MARK],
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The mark was seen; `end` is in front of it.
    done: bool,
}

impl std::fmt::Debug for Marked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marked")
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl FullSync {
    /// Asks a server that says `info` of itself for a full synchronisation and
    /// waits until the RDB begins, which may be as long as the primary needs to
    /// write it.
    pub async fn begin(mut client: Client, info: &Info) -> Result<Self, RedisError> {
        client.command(&[b"PING"]).await?;
        client
            .command(&[b"REPLCONF", b"listening-port", NO_PORT])
            .await?;
        client
            .command(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
            .await?;
        // Unknown to servers before 7.0.
        client
            .try_command(&[b"REPLCONF", b"rdb-only", b"1"])
            .await?;
        // Valkey writes an RDB that the replica's version knows, and one
        // without a version gets that of Valkey 8, which has no fields that
        // expire: their keys would break the transfer off.
        if info.product == Product::Valkey {
            let version = info.version.as_bytes();
            client
                .try_command(&[b"REPLCONF", b"version", version])
                .await?;
        }
        let mut bytes = Vec::new();
        resp::encode(&[b"PSYNC", b"?", b"-1"], &mut bytes);
        client.send("PSYNC", &bytes).await?;
        let answer = line(&mut client).await?;
        let (replication_id, offset) = match answer.split_at_checked(1) {
            Some(("+", text)) => full_resync(text)
                .ok_or_else(|| client.protocol("PSYNC is not answered by FULLRESYNC"))?,
            Some(("-", message)) => return Err(client.refused("PSYNC", message)),
            _ => return Err(client.protocol("PSYNC is not answered")),
        };
        let header = line(&mut client).await?;
        let framing = match header.split_at_checked(1) {
            Some(("$", length)) => Framing::parse(length)
                .ok_or_else(|| client.protocol("the RDB has neither a length nor a mark"))?,
            Some(("-", message)) => return Err(client.refused("PSYNC", message)),
            _ => return Err(client.protocol("no RDB follows on FULLRESYNC")),
        };
        Ok(Self {
            client,
            framing,
            received: 0,
            replication_id,
            offset,
        })
    }

    /// The RDB's length, when the primary knows it.
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length { total, .. } => Some(total),
            Framing::Mark(_) => None,
        }
    }

    /// Reads on; 0: the RDB is whole. Takes no more off the socket than fits
    /// into `out`, or into a buffer of 128 KiB: a caller that is slow slows the
    /// primary down, not our memory up.
    pub async fn read(&mut self, out: &mut [u8]) -> Result<usize, RedisError> {
        if out.is_empty() {
            return Ok(0);
        }
        let silence = self.client.silence;
        let stream = &mut self.client.stream;
        let read = match &mut self.framing {
            Framing::Length { left: 0, .. } => return Ok(0),
            Framing::Length { left, .. } => {
                let most = usize::try_from(*left).map_or(out.len(), |left| left.min(out.len()));
                let read = some(stream, silence, &mut out[..most]).await;
                if let Ok(length) = &read {
                    *left -= *length as u64;
                }
                read
            }
            Framing::Mark(marked) => marked.read(stream, silence, out).await,
        };
        match read {
            Ok(length) => {
                self.received += length as u64;
                Ok(length)
            }
            Err(Failed::Silent) => Err(self.client.timed_out("the next part of its data", silence)),
            Err(Failed::Closed) => Err(RedisError::Cut {
                address: self.client.address().to_owned(),
                bytes: self.received,
            }),
        }
    }
}

enum Failed {
    Silent,
    Closed,
}

async fn some<R: AsyncRead + Unpin>(
    stream: &mut R,
    silence: Duration,
    out: &mut [u8],
) -> Result<usize, Failed> {
    match timeout(silence, stream.read(out)).await {
        Ok(Ok(0) | Err(_)) => Err(Failed::Closed),
        Ok(Ok(length)) => Ok(length),
        Err(_) => Err(Failed::Silent),
    }
}

/// The next line that says something.
async fn line(client: &mut Client) -> Result<String, RedisError> {
    let silence = client.silence;
    loop {
        match timeout(silence, resp::line(&mut client.stream)).await {
            // A sign of life.
            Ok(Ok(line)) if line.is_empty() => {}
            Ok(Ok(line)) => return Ok(String::from_utf8_lossy(&line).into_owned()),
            Ok(Err(source)) => return Err(client.failed("PSYNC", source)),
            Err(_) => return Err(client.timed_out("PSYNC", silence)),
        }
    }
}

/// `FULLRESYNC <id> <offset>`
pub(crate) fn full_resync(text: &str) -> Option<(String, i64)> {
    let mut words = text.split(' ');
    let id = (words.next()? == "FULLRESYNC").then(|| words.next())??;
    let offset = words.next()?.parse().ok()?;
    let plausible = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plausible.then(|| (id.to_owned(), offset))
}

impl Framing {
    /// What stands behind the `$`.
    fn parse(text: &str) -> Option<Self> {
        if let Some(mark) = text.strip_prefix("EOF:") {
            return Some(Self::Mark(Marked {
                mark: mark.as_bytes().try_into().ok()?,
                buffer: vec![0; BUFFER].into_boxed_slice(),
                start: 0,
                end: 0,
                done: false,
            }));
        }
        let total = text.parse().ok()?;
        Some(Self::Length { total, left: total })
    }
}

impl Marked {
    /// The last bytes are held back until it is known that they are not the
    /// mark. Nothing follows it: a primary waits for a sign of ours.
    async fn read<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
        silence: Duration,
        out: &mut [u8],
    ) -> Result<usize, Failed> {
        loop {
            let there = self.end - self.start;
            let ready = if self.done {
                there
            } else {
                there.saturating_sub(MARK)
            };
            if ready > 0 {
                let length = ready.min(out.len());
                out[..length].copy_from_slice(&self.buffer[self.start..self.start + length]);
                self.start += length;
                return Ok(length);
            }
            if self.done {
                return Ok(0);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, there);
            self.end += some(stream, silence, &mut self.buffer[there..]).await?;
            if self.buffer[..self.end].ends_with(&self.mark) {
                self.end -= MARK;
                self.done = true;
            }
        }
    }
}

/// All that a backup runs.
const COMMANDS: &[&str] = &["ping", "info", "replconf", "psync"];

/// Whether a server is one of which a backup can be taken now.
pub async fn check(client: &mut Client) -> Result<Info, RedisError> {
    // PSYNC cannot be tried without being done: when anything else is missing
    // it is named with the rest, and alone it names itself.
    rights::require(
        client,
        &[
            rights::Try::new(&[b"PING"], "ping"),
            rights::Try::new(&[b"INFO", b"server"], "info"),
            rights::Try::new(&[b"REPLCONF", b"listening-port", NO_PORT], "replconf"),
        ],
        COMMANDS,
    )
    .await?;
    let info = Info::ask(client).await?;
    if info.loading {
        return Err(client
            .unfit("is reading its own data (loading): it cannot be backed up before it is done"));
    }
    if let crate::Role::Replica {
        host,
        port,
        linked: false,
    } = &info.role
    {
        return Err(client.unfit(format!(
            "is a replica that has lost its primary {host}:{port} (master_link_status is down), \
             and serves no replicas of its own: back up the primary, or bring the link up"
        )));
    }
    Ok(info)
}

/// Whether an answer is `+OK`.
pub(crate) fn is_ok(reply: &Reply) -> bool {
    matches!(reply, Reply::Simple(text) if text == "OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[test]
    fn answers_to_psync() {
        let id = "8de1787ba490483314a4d30f1c628bc5025eb761";
        let answer = format!("FULLRESYNC {id} 2443808505");
        assert_eq!(full_resync(&answer), Some((id.into(), 2_443_808_505)));
        for text in [
            "CONTINUE",
            "FULLRESYNC",
            "FULLRESYNC x",
            "FULLRESYNC x y",
            "FULLRESYNC \n 1",
        ] {
            assert_eq!(full_resync(text), None, "{text}");
        }
    }

    /// However the bytes are cut into packets.
    #[tokio::test]
    async fn a_mark_is_found_at_any_place() {
        let mark = [b'm'; MARK];
        for size in [0, 1, 39, 40, 41, 1000] {
            let data: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let sent = [data.clone(), mark.to_vec()].concat();
            for cut in 1..=sent.len() {
                let text = String::from_utf8(mark.to_vec()).unwrap();
                let Some(Framing::Mark(mut marked)) = Framing::parse(&format!("EOF:{text}")) else {
                    panic!("a mark");
                };
                let mut stream = tokio_test_stream(&sent, cut);
                let mut found = Vec::new();
                let mut out = [0; 7];
                loop {
                    match marked.read(&mut stream, PATIENCE, &mut out).await {
                        Ok(0) => break,
                        Ok(length) => found.extend_from_slice(&out[..length]),
                        Err(Failed::Silent | Failed::Closed) => {
                            panic!("the mark at {size} was missed, cut at {cut}")
                        }
                    }
                }
                assert_eq!(found, data);
            }
        }
    }

    /// Two packets.
    fn tokio_test_stream(bytes: &[u8], cut: usize) -> impl AsyncRead + Unpin + use<'_> {
        bytes[..cut].chain(&bytes[cut..])
    }

    #[tokio::test]
    async fn an_end_without_a_mark_is_a_cut() {
        let Some(Framing::Mark(mut marked)) = Framing::parse(&format!("EOF:{}", "m".repeat(MARK)))
        else {
            panic!("a mark");
        };
        let mut stream = &b"REDIS0011"[..];
        let mut out = [0; 100];
        assert!(matches!(
            marked.read(&mut stream, PATIENCE, &mut out).await,
            Err(Failed::Closed)
        ));
        assert!(Framing::parse("EOF:short").is_none());
        assert!(Framing::parse("-1").is_none());
    }
}
