//! Replacing everything that a server holds.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    behind::Restored,
    check::{self, Dataset},
    durable::{self, Keeps},
    watchers::{self, Watchers},
};
use crate::{
    Client, Connection, Info, RedisError, Refusal, Role,
    primary::{Chunks, Follower, Primary, new_history},
    rdb::Counts,
    replica::is_ok,
    rights::{self, Try},
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
    /// Also where replicas follow it, or a Sentinel watches it.
    pub allow_replicas: bool,
    /// Told where the server will look for its primary, before it is told so
    /// itself: whoever finds it there later may detach it.
    pub attach: &'a (dyn Fn(SocketAddr) -> io::Result<()> + Sync),
    /// Told of every piece that was sent, in bytes.
    pub sent: &'a (dyn Fn(u64) + Sync),
    /// Told that everything is loaded, and is being written to the server's
    /// disk.
    pub loaded: &'a (dyn Fn() + Sync),
    /// Ends it.
    pub cancel: &'a CancellationToken,
}

/// What a server holds afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was found before.
    pub before: Prepared,
    /// Keys that were loaded, by database.
    pub databases: BTreeMap<u64, Counts>,
    /// Whether these were compared with the dataset's.
    pub verified: bool,
    /// Replicas and Sentinels that came meanwhile.
    pub appeared: Watchers,
}

/// A server that can take a dataset, before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What it says of itself.
    pub info: Info,
    /// How it keeps what it holds.
    pub keeps: Keeps,
    /// Who watches it.
    pub watchers: Watchers,
}

/// Connects, and says what the server holds and why it could not take the
/// dataset, before anything is changed. Replicas and Sentinels are a reason
/// unless `allow_replicas`.
pub async fn prepare(
    connection: &Connection,
    data: &Dataset,
    allow_replicas: bool,
) -> Result<(Client, Prepared), RedisError> {
    let mut client = Client::connect(connection).await?;
    rights(&mut client, data, allow_replicas).await?;
    let info = Info::ask(&mut client).await?;
    check::for_whole(&info, data).map_err(|problem| client.unfit(problem))?;
    has_database(&mut client, data.highest_database()).await?;
    let watchers = match watchers::look(&mut client, &info).await {
        Err(RedisError::Rights { .. }) if allow_replicas => Watchers {
            replicas: info.replicas.clone(),
            sentinels: 0,
        },
        looked => looked?,
    };
    if let Some(problem) = watchers::refusal(&watchers).filter(|_| !allow_replicas) {
        return Err(client.unfit(problem));
    }
    let keeps = durable::look(&mut client, &info).await?;
    let prepared = Prepared {
        info,
        keeps,
        watchers,
    };
    Ok((client, prepared))
}

/// Without these nothing can be restored; all that a restore would like to have
/// is named with them.
async fn rights(
    client: &mut Client,
    data: &Dataset,
    allow_replicas: bool,
) -> Result<(), RedisError> {
    let highest = data.highest_database().unwrap_or(0).to_string();
    let mut tries = vec![
        Try::new(&[b"INFO", b"server"], "info"),
        // No such port: it says so, and follows nobody.
        Try::new(&[b"REPLICAOF", b"strongroom", b"none"], "replicaof"),
    ];
    let select: &[&[u8]] = &[b"SELECT", highest.as_bytes()];
    if highest != "0" {
        tries.push(Try::new(select, "select"));
    }
    let mut missing = rights::missing(client, &tries).await?;
    if missing.is_empty() {
        return Ok(());
    }
    if !allow_replicas {
        missing.extend(rights::missing(client, &[watchers::RIGHT]).await?);
    }
    if let Ok(more) = rights::missing(client, &durable::RIGHTS).await {
        missing.extend(more);
    }
    Err(rights::lacking(client, &missing, &[]))
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
/// afterwards, or the error is [`RedisError::NotDetached`] or
/// [`RedisError::TakenOver`]. A server that had not begun to load keeps what it
/// had. Success: what the server keeps on disk is there, too.
pub async fn run(request: &Request<'_>, chunks: &mut impl Chunks) -> Result<Outcome, RedisError> {
    let (mut client, before) =
        prepare(request.connection, request.data, request.allow_replicas).await?;
    let primary = Primary::listen(&client).await?;
    let at = primary.address();
    (request.attach)(at).map_err(RedisError::Source)?;
    let attached = attach(request, &mut client, primary, &before.info, chunks).await;
    // After an error nobody knows which answer the old connection would bring.
    let client = attached.is_ok().then_some(client);
    let client = match detach(request.connection, client, at).await {
        Ok(client) => client,
        Err(error @ RedisError::TakenOver { .. }) => return Err(error),
        Err(source) => {
            return Err(RedisError::NotDetached {
                address: request.connection.address.to_string(),
                source: Box::new(source),
                cause: attached.err().map(Box::new),
            });
        }
    };
    let (databases, verified) = attached?;
    (request.loaded)();
    let prove = async {
        let mut server = Restored::new(request.connection, client, &before.info);
        durable::settle(&mut server, &before.keeps).await?;
        watchers::look_again(&mut server, &before.watchers).await
    };
    let appeared = tokio::select! {
        biased;
        () = request.cancel.cancelled() => return Err(RedisError::Cancelled),
        appeared = prove => appeared?,
    };
    Ok(Outcome {
        before,
        databases,
        verified,
        appeared,
    })
}

/// From `REPLICAOF` to the comparison of what was loaded.
async fn attach(
    request: &Request<'_>,
    client: &mut Client,
    primary: Primary,
    before: &Info,
    chunks: &mut impl Chunks,
) -> Result<(BTreeMap<u64, Counts>, bool), RedisError> {
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
    tokio::select! {
        biased;
        () = request.cancel.cancelled() => Err(RedisError::Cancelled),
        done = work => done,
    }
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

/// Makes a server that follows `at` a primary again, on `client` or, when that
/// is broken, on a new connection. Not cancelled by anybody: it must come to an
/// end.
async fn detach(
    connection: &Connection,
    mut client: Option<Client>,
    at: SocketAddr,
) -> Result<Client, RedisError> {
    let begun = Instant::now();
    loop {
        let mut current = match client.take() {
            Some(client) => Ok(client),
            None => Client::connect(connection).await,
        };
        let error = match &mut current {
            Ok(client) => try_detach(client, at).await,
            Err(_) => Ok(()),
        };
        let error = match (current, error) {
            (Ok(client), Ok(())) => return Ok(client),
            (Ok(kept), Err(error)) => {
                client = Some(kept);
                error
            }
            (Err(error), _) => error,
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

/// Whom somebody else has told to follow another meanwhile is left so: a
/// Sentinel would do it again.
async fn try_detach(client: &mut Client, at: SocketAddr) -> Result<(), RedisError> {
    match Info::ask(client).await?.role {
        Role::Replica { host, port, .. } if !is_at(&host, port, at) => {
            return Err(watchers::taken_over(client, &host, port));
        }
        _ => {}
    }
    client.command(&[b"REPLICAOF", b"NO", b"ONE"]).await?;
    match Info::ask(client).await?.role {
        Role::Primary => Ok(()),
        Role::Replica { host, port, .. } if !is_at(&host, port, at) => {
            Err(watchers::taken_over(client, &host, port))
        }
        Role::Replica { .. } => {
            Err(client.protocol("it is still a replica after REPLICAOF NO ONE"))
        }
    }
}

fn is_at(host: &str, port: u16, at: SocketAddr) -> bool {
    host == at.ip().to_string() && port == at.port()
}

/// Detaches a server that an earlier run of the agent has left as a replica of
/// `at`; leaves any other alone. `true`: it was.
pub async fn detach_if_left(connection: &Connection, at: SocketAddr) -> Result<bool, RedisError> {
    let mut client = Client::connect(connection).await?;
    match Info::ask(&mut client).await?.role {
        Role::Replica { host, port, .. } if is_at(&host, port, at) => {
            detach(connection, Some(client), at).await.map(|_| true)
        }
        _ => Ok(false),
    }
}
