//! A connection to a server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{
    Address, Connection, RedisError, Refusal,
    resp::{self, Reply},
    tls,
};

/// Read at a time: large, as RDBs pass through.
const BUFFER: usize = 128 << 10;
/// Of a server's words, in characters.
const LONGEST_MESSAGE: usize = 400;

/// What connections are made of.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// An authenticated connection.
pub struct Client {
    pub(crate) stream: BufReader<Box<dyn Duplex>>,
    address: String,
    user: String,
    /// Our own address as the server can reach it, and the server's.
    ends: (IpAddr, IpAddr),
    answer: Duration,
    pub(crate) silence: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.address).finish()
    }
}

impl Client {
    /// Connects and authenticates.
    pub async fn connect(connection: &Connection) -> Result<Self, RedisError> {
        let limit = connection.timeouts.connect;
        // A port without TLS waits for the end of what it takes for a command.
        let doing = match connection.address {
            Address::Tcp { tls: true, .. } => "a TLS handshake (is that its `tls-port`?)",
            _ => "a new connection",
        };
        let address = connection.address.to_string();
        let (stream, ends) =
            timeout(limit, dial(connection))
                .await
                .map_err(|_| RedisError::Timeout {
                    address: address.clone(),
                    doing: doing.into(),
                    after: limit,
                })??;
        let mut client = Self {
            stream: BufReader::with_capacity(BUFFER, stream),
            address,
            user: connection.user().to_owned(),
            ends,
            answer: connection.timeouts.answer,
            silence: connection.timeouts.silence,
        };
        client.authenticate(connection).await?;
        // For the server's CLIENT LIST; whoever may not say it goes unnamed.
        client
            .try_command(&[b"CLIENT", b"SETNAME", b"strongroom"])
            .await?;
        Ok(client)
    }

    async fn authenticate(&mut self, connection: &Connection) -> Result<(), RedisError> {
        let Some(password) = &connection.password else {
            return Ok(());
        };
        let answer = match &connection.username {
            Some(user) => {
                self.command(&[b"AUTH", user.as_bytes(), password.bytes()])
                    .await
            }
            None => self.command(&[b"AUTH", password.bytes()]).await,
        };
        answer.map(drop)
    }

    /// The server, as errors name it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Our own address as the server can reach it, and the server's.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        self.ends
    }

    /// Runs a command; an error that the server answers is an error.
    pub async fn command(&mut self, command: &[&[u8]]) -> Result<Reply, RedisError> {
        let name = name(command);
        let mut bytes = Zeroizing::new(Vec::new());
        resp::encode(command, &mut bytes);
        self.send(&name, &bytes).await?;
        match self.receive(&name).await? {
            Reply::Error(message) => Err(self.refused(&name, &message)),
            reply => Ok(reply),
        }
    }

    /// Runs a command that a server may refuse; `None`: it did.
    pub(crate) async fn try_command(
        &mut self,
        command: &[&[u8]],
    ) -> Result<Option<Reply>, RedisError> {
        match self.command(command).await {
            Ok(reply) => Ok(Some(reply)),
            Err(RedisError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The user that we came as.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Sends what [`resp::encode`] made.
    pub(crate) async fn send(&mut self, doing: &str, bytes: &[u8]) -> Result<(), RedisError> {
        let limit = self.answer;
        let stream = self.stream.get_mut();
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match timeout(limit, write).await {
            Ok(written) => written.map_err(|source| self.failed(doing, source)),
            Err(_) => Err(self.timed_out(doing, limit)),
        }
    }

    /// Receives an answer, be it an error of the server's.
    pub(crate) async fn receive(&mut self, doing: &str) -> Result<Reply, RedisError> {
        let limit = self.answer;
        match timeout(limit, resp::reply(&mut self.stream)).await {
            Ok(reply) => reply.map_err(|source| self.failed(doing, source)),
            Err(_) => Err(self.timed_out(doing, limit)),
        }
    }

    pub(crate) fn timed_out(&self, doing: &str, after: Duration) -> RedisError {
        RedisError::Timeout {
            address: self.address.clone(),
            doing: doing.into(),
            after,
        }
    }

    pub(crate) fn failed(&self, doing: &str, source: io::Error) -> RedisError {
        let address = self.address.clone();
        let inner = source.get_ref();
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
            return RedisError::Tls {
                address,
                problem: format!(
                    "TLS ended ({source}); the server may ask for a certificate of ours \
                     (`tls-auth-clients`): name one in `tls.certificate_file` and \
                     `tls.key_file` of this connection in agent.toml"
                ),
            };
        }
        match source.kind() {
            io::ErrorKind::InvalidData => RedisError::Protocol {
                address,
                problem: source.to_string(),
            },
            io::ErrorKind::UnexpectedEof => RedisError::Lost {
                address,
                doing: doing.into(),
                source: io::Error::new(source.kind(), "the server closed it"),
            },
            _ => RedisError::Lost {
                address,
                doing: doing.into(),
                source,
            },
        }
    }

    pub(crate) fn refused(&self, command: &str, message: &str) -> RedisError {
        RedisError::Refused {
            address: self.address.clone(),
            command: command.into(),
            user: self.user.clone(),
            reason: Refusal::of(message),
            message: shorten(message),
        }
    }

    pub(crate) fn protocol(&self, problem: impl Into<String>) -> RedisError {
        RedisError::Protocol {
            address: self.address.clone(),
            problem: problem.into(),
        }
    }

    pub(crate) fn unfit(&self, problem: impl Into<String>) -> RedisError {
        RedisError::Unfit {
            address: self.address.clone(),
            problem: problem.into(),
        }
    }
}

/// A command's name for messages: its first word, of those that have
/// subcommands the second as well. Never its arguments.
fn name(command: &[&[u8]]) -> String {
    let word = |at: usize| command.get(at).map(|word| String::from_utf8_lossy(word));
    match (word(0), word(1)) {
        (Some(first), Some(second)) if ["CLIENT", "CONFIG", "PUBSUB"].contains(&&*first) => {
            format!("{first}|{second}")
        }
        (Some(first), _) => first.into_owned(),
        (None, _) => String::new(),
    }
}

/// A server's words, without what would spoil a log, and without what they
/// quote: that may be a key, a value or a password.
pub(crate) fn shorten(message: &str) -> String {
    without_quotes(message)
        .chars()
        .take(LONGEST_MESSAGE)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// Servers quote arguments in three ways, and those of a command that they do
/// not know up to the end. An apostrophe is no quote.
fn without_quotes(message: &str) -> String {
    let end = message
        .find(", with args beginning with")
        .unwrap_or(message.len());
    let mut text = String::new();
    let mut letters = message[..end].chars();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        text.push(letter);
        if "'`\"".contains(letter) && !before.is_alphanumeric() {
            text.push('…');
            // Without an end, all the rest is in it.
            text.extend(letters.by_ref().find(|it| *it == letter));
        }
        before = letter;
    }
    text
}

type Dialled = (Box<dyn Duplex>, (IpAddr, IpAddr));

async fn dial(connection: &Connection) -> Result<Dialled, RedisError> {
    let address = connection.address.to_string();
    let unreachable = |source| RedisError::Connect {
        address: address.clone(),
        source,
    };
    let (host, port, encrypted) = match &connection.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            return Ok((Box::new(stream), (local, local)));
        }
        Address::Tcp { host, port, tls } => (host.as_str(), *port, *tls),
    };
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let ends = (
        stream
            .local_addr()
            .map_err(unreachable)?
            .ip()
            .to_canonical(),
        stream.peer_addr().map_err(unreachable)?.ip().to_canonical(),
    );
    if !encrypted {
        return Ok((Box::new(stream), ends));
    }
    let failed = |problem| RedisError::Tls {
        address: address.clone(),
        problem,
    };
    let config = tls::config(&connection.tls).map_err(failed)?;
    let name = tls::server_name(&connection.tls, host).map_err(failed)?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| {
            failed(format!(
                "no TLS ({error}); check that this is the server's `tls-port`, and `tls` of this \
                 connection in agent.toml: whom to trust (`ca_file`) and which name the \
                 server's certificate has (`server_name`)"
            ))
        })?;
    Ok((Box::new(stream), ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_quote_is_not_shown() {
        for (said, shown) in [
            (
                "ERR unknown command 'RESTORE', with args beginning with: 'card' '4111' ",
                "ERR unknown command '…'",
            ),
            (
                "ERR unknown command `RESTORE`, with args beginning with: `4111`",
                "ERR unknown command `…`",
            ),
            ("ERR value \"4111", "ERR value \"…"),
            (
                "NOMASTERLINK Can't SYNC while not connected",
                "NOMASTERLINK Can't SYNC while not connected",
            ),
            (
                "WRONGPASS invalid username-password pair",
                "WRONGPASS invalid username-password pair",
            ),
        ] {
            assert_eq!(shorten(said), shown);
        }
    }
}
