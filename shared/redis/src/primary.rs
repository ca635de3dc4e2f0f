//! Acting as a primary, for one server and one full synchronisation.
//!
//! Source: `replication.c` of Redis 6.0 to 7.4. Whoever connects first is not
//! believed: what we hold is a whole dataset. A server that is told to follow
//! us offers to go on from its own history, whose id only those know whom it
//! answers `INFO`; nobody else is served.

use std::{
    fmt::Write as _,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{Client, RedisError, resp};

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// For each step of a handshake with whoever connected.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest word of a command of a replica's; a password may be one.
const LONGEST_WORD: u64 = 64 << 10;
/// Most words.
const MOST_WORDS: u64 = 64;

/// Pieces of an RDB, in order.
pub trait Chunks: Send {
    /// The next one; `None`: that was all.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Vec<u8>>>> + Send;
}

/// A port that waits for one replica.
#[derive(Debug)]
pub struct Primary {
    listener: TcpListener,
    address: SocketAddr,
    /// Where the replica comes from.
    peer: IpAddr,
    /// How errors name it.
    name: String,
    silence: Duration,
}

/// A replica that has loaded everything; follows us until this is dropped.
#[derive(Debug)]
pub struct Follower {
    _stream: BufReader<TcpStream>,
}

impl Primary {
    /// Listens on a free port of the address from which `client` reaches the
    /// server: there the server can reach us.
    pub async fn listen(client: &Client) -> Result<Self, RedisError> {
        let (own, peer) = client.ends();
        let bind = async {
            let listener = TcpListener::bind((own, 0)).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(|source: io::Error| {
            client.unfit(format!(
                "cannot be served: no port can be opened on {own}: {source}"
            ))
        })?;
        Ok(Self {
            listener,
            address,
            peer,
            name: client.address().to_owned(),
            silence: client.silence,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the server whose own history is `history`, sends it an RDB of
    /// `length` bytes as of a new history `id`, and waits until it has loaded
    /// it. `sent` is told of every piece.
    pub async fn serve(
        self,
        history: &str,
        id: &str,
        length: u64,
        chunks: &mut impl Chunks,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Follower, RedisError> {
        // Fetched before anybody waits for it: once the length is said, a
        // replica gives up after `repl-timeout` without a byte.
        let mut next = chunks.next().await.map_err(RedisError::Source)?;
        let mut stream = timeout(self.silence, self.replica(history))
            .await
            .map_err(|_| self.absent())??;
        let header = format!("+FULLRESYNC {id} 0\r\n${length}\r\n");
        self.write(&mut stream, header.as_bytes(), 0, length)
            .await?;
        let mut done = 0;
        while let Some(chunk) = next {
            if done + chunk.len() as u64 > length {
                return Err(RedisError::Source(resp::malformed(
                    "more bytes than the snapshot says that there are",
                )));
            }
            self.write(&mut stream, &chunk, done, length).await?;
            done += chunk.len() as u64;
            sent(chunk.len() as u64);
            next = chunks.next().await.map_err(RedisError::Source)?;
        }
        if done < length {
            return Err(RedisError::Source(io::ErrorKind::UnexpectedEof.into()));
        }
        self.loaded(&mut stream, length).await?;
        Ok(Follower { _stream: stream })
    }

    fn absent(&self) -> RedisError {
        RedisError::Unfit {
            address: self.name.clone(),
            problem: format!(
                "did not connect to {} within {} s to fetch the data: can it reach this host \
                 there? A firewall may be in between, or address translation",
                self.address,
                self.silence.as_secs()
            ),
        }
    }

    /// The connection of the one that is to be served, up to its PSYNC.
    async fn replica(&self, history: &str) -> Result<BufReader<TcpStream>, RedisError> {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else {
                // Out of descriptors, or gone again already.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if from.ip().to_canonical() != self.peer {
                tracing::warn!(%from, "a stranger connected and was sent away");
                continue;
            }
            let mut stream = BufReader::new(stream);
            match handshake(&mut stream, history).await {
                Ok(Shaken::Replica) => return Ok(stream),
                Ok(Shaken::Encrypted) => {
                    return Err(RedisError::Unfit {
                        address: self.name.clone(),
                        problem: "wants TLS of its primary (`tls-replication yes`), which the \
                                  agent cannot offer: for the time of the restore run CONFIG SET \
                                  tls-replication no there, or restore its dump.rdb as a file"
                            .into(),
                    });
                }
                Ok(Shaken::Stranger) => {
                    tracing::warn!(%from, "somebody asked for the data who does not know the server's history");
                }
                Err(error) => tracing::warn!(%from, %error, "a replica's handshake failed"),
            }
        }
    }

    async fn write(
        &self,
        stream: &mut BufReader<TcpStream>,
        bytes: &[u8],
        done: u64,
        length: u64,
    ) -> Result<(), RedisError> {
        match timeout(self.silence, stream.get_mut().write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(RedisError::NotTaken {
                address: self.name.clone(),
                sent: done,
                length,
            }),
            Err(_) => Err(RedisError::Timeout {
                address: self.name.clone(),
                doing: "by taking its new data".into(),
                after: self.silence,
            }),
        }
    }

    /// Waits for the first acknowledgement. While it loads, a replica sends
    /// signs of life.
    async fn loaded(
        &self,
        stream: &mut BufReader<TcpStream>,
        length: u64,
    ) -> Result<(), RedisError> {
        loop {
            match timeout(self.silence, command(stream)).await {
                Ok(Ok(words)) => {
                    let is = |at: usize, wanted: &str| {
                        words.get(at).is_some_and(|word: &Vec<u8>| {
                            word.eq_ignore_ascii_case(wanted.as_bytes())
                        })
                    };
                    if is(0, "REPLCONF") && is(1, "ACK") {
                        return Ok(());
                    }
                }
                Ok(Err(_)) => {
                    return Err(RedisError::NotTaken {
                        address: self.name.clone(),
                        sent: length,
                        length,
                    });
                }
                Err(_) => {
                    return Err(RedisError::Timeout {
                        address: self.name.clone(),
                        doing: "by loading its new data".into(),
                        after: self.silence,
                    });
                }
            }
        }
    }
}

/// Who is at the other end.
#[derive(Debug, PartialEq, Eq)]
enum Shaken {
    Replica,
    /// It does not know what it should.
    Stranger,
    /// It begins with TLS.
    Encrypted,
}

/// Answers a replica's questions up to its PSYNC. Passwords are not looked at:
/// what counts is the history.
async fn handshake(stream: &mut BufReader<TcpStream>, history: &str) -> io::Result<Shaken> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let first = timeout(HANDSHAKE, stream.fill_buf())
        .await
        .map_err(|_| late())??;
    if first.first() == Some(&TLS_HANDSHAKE) {
        return Ok(Shaken::Encrypted);
    }
    loop {
        let words = timeout(HANDSHAKE, command(stream))
            .await
            .map_err(|_| late())??;
        let Some(name) = words.first() else { continue };
        let answer: &[u8] = match name.to_ascii_uppercase().as_slice() {
            b"PING" => b"+PONG\r\n",
            b"AUTH" | b"REPLCONF" => b"+OK\r\n",
            b"PSYNC" => {
                let known = !history.is_empty()
                    && words
                        .get(1)
                        .is_some_and(|offered| offered == history.as_bytes());
                return Ok(if known {
                    Shaken::Replica
                } else {
                    Shaken::Stranger
                });
            }
            _ => b"-ERR only a replica is served here\r\n",
        };
        timeout(HANDSHAKE, stream.get_mut().write_all(answer))
            .await
            .map_err(|_| late())??;
    }
}

/// A command; empty for a sign of life.
pub(crate) async fn command<R: AsyncBufRead + Unpin>(stream: &mut R) -> io::Result<Vec<Vec<u8>>> {
    let line = resp::line(stream).await?;
    let Some((kind, count)) = line.split_first() else {
        return Ok(Vec::new());
    };
    if *kind != b'*' {
        return Err(resp::malformed("no command"));
    }
    let count = resp::cap(resp::number(count)?, MOST_WORDS)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let line = resp::line(stream).await?;
        let length = line
            .strip_prefix(b"$")
            .ok_or_else(|| resp::malformed("no word"))?;
        words.push(resp::bulk(stream, resp::number(length)?, LONGEST_WORD).await?);
    }
    Ok(words)
}

/// An id for a history, as servers make them: 40 hexadecimal digits.
pub fn new_history() -> io::Result<String> {
    let mut random = [0_u8; 20];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut id = String::with_capacity(40);
    for byte in random {
        // Cannot fail on a String.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const HISTORY: &str = "0123456789012345678901234567890123456789";

    /// What comes until the other side closes.
    async fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out).await;
        out
    }

    struct Pieces(Vec<Vec<u8>>);

    impl Chunks for Pieces {
        async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
            Ok((!self.0.is_empty()).then(|| self.0.remove(0)))
        }
    }

    async fn primary() -> Primary {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Primary {
            address: listener.local_addr().unwrap(),
            listener,
            peer: "127.0.0.1".parse().unwrap(),
            name: "redis://target".into(),
            silence: Duration::from_mins(1),
        }
    }

    fn encoded(commands: &[&[&str]]) -> Vec<u8> {
        let mut out = Vec::new();
        for command in commands {
            let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
            resp::encode(&words, &mut out);
        }
        out
    }

    /// Serves `pieces` to a replica that is played by `play`.
    async fn against<F: Future<Output = Vec<u8>>>(
        pieces: &[&str],
        length: u64,
        play: impl FnOnce(SocketAddr) -> F,
    ) -> (Result<Follower, RedisError>, Vec<u8>) {
        let primary = primary().await;
        let address = primary.address();
        let mut chunks = Pieces(
            pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect(),
        );
        let id = "f".repeat(40);
        let serve = primary.serve(HISTORY, &id, length, &mut chunks, &|_| {});
        let (served, played) = tokio::join!(serve, play(address));
        (served, played)
    }

    const GREETING: &[&[&str]] = &[
        &["PING"],
        &["AUTH", "someone", "secret"],
        &["REPLCONF", "listening-port", "6379"],
        &["REPLCONF", "capa", "eof", "capa", "psync2"],
    ];

    #[tokio::test]
    async fn a_replica_is_served_once_it_names_its_history() {
        let (served, answers) = against(&["REDIS", "0011"], 9, async |address| {
            // Somebody else comes first, who does not know the history.
            let mut stranger = TcpStream::connect(address).await.unwrap();
            let hello = encoded(&[&["PING"], &["PSYNC", "?", "-1"]]);
            stranger.write_all(&hello).await.unwrap();
            assert_eq!(rest(&mut stranger).await, b"+PONG\r\n");
            let mut replica = TcpStream::connect(address).await.unwrap();
            replica.write_all(&encoded(GREETING)).await.unwrap();
            let psync = encoded(&[&["PSYNC", HISTORY, "1"]]);
            replica.write_all(&psync).await.unwrap();
            let expected = format!(
                "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+FULLRESYNC {} 0\r\n$9\r\nREDIS0011",
                "f".repeat(40)
            );
            let mut answers = vec![0; expected.len()];
            replica.read_exact(&mut answers).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&answers), expected);
            // Signs of life, then the acknowledgement.
            replica.write_all(b"\n\n").await.unwrap();
            let ack = encoded(&[&["REPLCONF", "ACK", "0"]]);
            replica.write_all(&ack).await.unwrap();
            answers
        })
        .await;
        served.unwrap();
        assert!(answers.ends_with(b"REDIS0011"));
    }

    #[tokio::test]
    async fn a_replica_that_gives_up_is_told_of() {
        let (served, _) = against(&["REDIS0011"], 9, async |address| {
            let mut replica = TcpStream::connect(address).await.unwrap();
            let psync = encoded(&[&["PSYNC", HISTORY, "1"]]);
            replica.write_all(&psync).await.unwrap();
            let mut some = [0; 60];
            replica.read_exact(&mut some).await.unwrap();
            Vec::new()
        })
        .await;
        let error = served.unwrap_err().to_string();
        assert!(error.contains("its log says why"), "{error}");
    }

    #[tokio::test]
    async fn a_replica_with_tls_is_told_what_to_do() {
        let (served, _) = against(&["REDIS0011"], 9, async |address| {
            let mut replica = TcpStream::connect(address).await.unwrap();
            replica.write_all(&[TLS_HANDSHAKE, 3, 1, 0]).await.unwrap();
            rest(&mut replica).await
        })
        .await;
        let error = served.unwrap_err().to_string();
        assert!(error.contains("tls-replication no"), "{error}");
    }

    #[tokio::test]
    async fn a_source_that_is_too_short_or_too_long_is_an_error() {
        for pieces in [&["REDIS"][..], &["REDIS0011", "X"]] {
            let (served, _) = against(pieces, 9, async |address| {
                let mut replica = TcpStream::connect(address).await.unwrap();
                let psync = encoded(&[&["PSYNC", HISTORY, "1"]]);
                replica.write_all(&psync).await.unwrap();
                rest(&mut replica).await
            })
            .await;
            assert!(matches!(served, Err(RedisError::Source(_))), "{served:?}");
        }
    }

    #[test]
    fn histories_are_new_each_time() {
        let (one, other) = (new_history().unwrap(), new_history().unwrap());
        assert_eq!(one.len(), 40);
        assert_ne!(one, other);
    }
}
