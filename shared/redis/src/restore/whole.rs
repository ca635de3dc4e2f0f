//! Replacing everything that a server holds.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::check::{self, Dataset};
use crate::{
    Client, Connection, Info, RedisError, Refusal, Role,
    primary::{Chunks, Follower, Primary, new_history},
    rdb::Counts,
    replica::is_ok,
};

/// How long a server that loads is waited for before it is left alone. It
/// takes no `REPLICAOF NO ONE` before it has loaded.
const PATIENCE: Duration = Duration::from_hours(1);
/// How long a server that cannot be reached is tried.
const UNREACHABLE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What to restore, and whom to tell.
pub struct Request<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// What its data will be.
    pub data: &'a Dataset,
    /// Length of the RDB in bytes.
    pub length: u64,
    /// Told where the server will look for its primary, before it is told so
    /// itself: whoever finds it there later may detach it.
    pub attach: &'a (dyn Fn(SocketAddr) -> io::Result<()> + Sync),
    /// Told of every piece that was sent, in bytes.
    pub sent: &'a (dyn Fn(u64) + Sync),
    /// Ends it.
    pub cancel: &'a CancellationToken,
}

/// What a server holds afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it held before.
    pub before: Info,
    /// Keys that were loaded, by database.
    pub databases: BTreeMap<u64, Counts>,
    /// Whether these were compared with the dataset's.
    pub verified: bool,
}

/// Connects, and says what the server holds and why it could not take the
/// dataset, before anything is changed.
pub async fn prepare(
    connection: &Connection,
    data: &Dataset,
) -> Result<(Client, Info), RedisError> {
    let mut client = Client::connect(connection).await?;
    let info = Info::ask(&mut client).await?;
    check::for_whole(&info, data).map_err(|problem| client.unfit(problem))?;
    has_database(&mut client, data.highest_database()).await?;
    Ok((client, info))
}

/// A server that is sent a database that it does not have exits.
pub(super) async fn has_database(
    client: &mut Client,
    highest: Option<u64>,
) -> Result<(), RedisError> {
    let Some(highest) = highest.filter(|number| *number > 0) else {
        return Ok(());
    };
    let number = highest.to_string();
    match client.command(&[b"SELECT", number.as_bytes()]).await {
        Err(RedisError::Refused {
            reason: Refusal::Other,
            ..
        }) => Err(client.unfit(format!(
            "has no database {highest}, which the backup has keys in: raise `databases` in its \
             configuration and restart it"
        ))),
        answer => answer.map(drop),
    }
}

/// Replaces everything. However it ends, the server is a primary again
/// afterwards, or the error is [`RedisError::NotDetached`]. A server that had
/// not begun to load keeps what it had.
pub async fn run(request: &Request<'_>, chunks: &mut impl Chunks) -> Result<Outcome, RedisError> {
    let (mut client, before) = prepare(request.connection, request.data).await?;
    let primary = Primary::listen(&client).await?;
    (request.attach)(primary.address()).map_err(RedisError::Source)?;
    let attached = attach(request, &mut client, primary, &before, chunks).await;
    // After an error nobody knows which answer the old connection would bring.
    let client = attached.is_ok().then_some(client);
    match detach(request.connection, client).await {
        Ok(()) => attached,
        Err(source) => Err(RedisError::NotDetached {
            address: request.connection.address.to_string(),
            source: Box::new(source),
            cause: attached.err().map(Box::new),
        }),
    }
}

/// From `REPLICAOF` to the comparison of what was loaded.
async fn attach(
    request: &Request<'_>,
    client: &mut Client,
    primary: Primary,
    before: &Info,
    chunks: &mut impl Chunks,
) -> Result<Outcome, RedisError> {
    let work = async {
        let id = new_history().map_err(RedisError::Source)?;
        let (ip, port) = (primary.address().ip(), primary.address().port());
        let (ip, port) = (ip.to_string(), port.to_string());
        let answer = client
            .command(&[b"REPLICAOF", ip.as_bytes(), port.as_bytes()])
            .await?;
        if !is_ok(&answer) {
            return Err(client.protocol("REPLICAOF is not answered by OK"));
        }
        let history = &before.replication_id;
        let follower = primary
            .serve(history, &id, request.length, chunks, request.sent)
            .await?;
        compare(request, client, follower).await
    };
    let (databases, verified) = tokio::select! {
        biased;
        () = request.cancel.cancelled() => return Err(RedisError::Cancelled),
        done = work => done?,
    };
    Ok(Outcome {
        before: before.clone(),
        databases,
        verified,
    })
}

/// A replica leaves keys alone whose time has come: as long as it follows us,
/// the counts are those of the RDB, whatever has expired since.
async fn compare(
    request: &Request<'_>,
    client: &mut Client,
    _follower: Follower,
) -> Result<(BTreeMap<u64, Counts>, bool), RedisError> {
    let found = Info::ask(client).await?.databases;
    match &request.data.databases {
        Some(expected) if *expected != found => Err(client.unfit(format!(
            "does not hold what the backup has: it loaded {}, the backup has {}",
            show(&found),
            show(expected)
        ))),
        expected => Ok((found, expected.is_some())),
    }
}

/// `3 keys in database 0, …`
pub fn show(databases: &BTreeMap<u64, Counts>) -> String {
    if databases.is_empty() {
        return "no keys".into();
    }
    let shown: Vec<String> = databases
        .iter()
        .take(20)
        .map(|(number, counts)| {
            format!(
                "{} keys in database {number} ({} expiring)",
                counts.keys, counts.expiring
            )
        })
        .collect();
    shown.join(", ")
}

/// Makes a server a primary again, on `client` or, when that is broken, on a
/// new connection. Not cancelled by anybody: it must come to an end.
async fn detach(connection: &Connection, mut client: Option<Client>) -> Result<(), RedisError> {
    let begun = Instant::now();
    loop {
        let error = match try_detach(connection, &mut client).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let patience = if error.is_refusal(Refusal::Loading) {
            PATIENCE
        } else if error.is_retryable() {
            client = None;
            UNREACHABLE
        } else {
            return Err(error);
        };
        if begun.elapsed() > patience {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

async fn try_detach(connection: &Connection, kept: &mut Option<Client>) -> Result<(), RedisError> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(Client::connect(connection).await?),
    };
    client.command(&[b"REPLICAOF", b"NO", b"ONE"]).await?;
    match Info::ask(client).await?.role {
        Role::Primary => Ok(()),
        Role::Replica { .. } => {
            Err(client.protocol("it is still a replica after REPLICAOF NO ONE"))
        }
    }
}

/// Detaches a server that an earlier run of the agent has left as a replica of
/// `at`; leaves any other alone. `true`: it was.
pub async fn detach_if_left(connection: &Connection, at: SocketAddr) -> Result<bool, RedisError> {
    let mut client = Client::connect(connection).await?;
    let (ip, port) = (at.ip().to_string(), at.port());
    match Info::ask(&mut client).await?.role {
        Role::Replica {
            host, port: own, ..
        } if host == ip && own == port => detach(connection, Some(client)).await.map(|()| true),
        _ => Ok(false),
    }
}
