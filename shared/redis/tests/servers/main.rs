//! Against real servers: `redis-server` must be on PATH, `tests/run` installs
//! it.

mod backup;
mod kept;
mod refusals;
mod restore;
mod watched;

use std::{collections::VecDeque, io, sync::atomic::AtomicU64};

use strongroom_redis::{
    Client, Connection, RedisError,
    primary::Chunks,
    rdb::{self, Verified},
    replica::FullSync,
    restore::{
        check::Dataset,
        whole::{Outcome, Request},
    },
};
use strongroom_tests::redis::Server;
use tokio_util::sync::CancellationToken;

/// An RDB in memory.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(rdb: &[u8]) -> Self {
        Self(rdb.chunks(100_000).map(<[u8]>::to_vec).collect())
    }
}

impl Chunks for Pieces {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.pop_front())
    }
}

fn connection(server: &Server) -> Connection {
    to(&server.url())
}

fn to(url: &str) -> Connection {
    Connection::new(url.parse().expect("a URL"))
}

/// Backs up.
async fn back_up(connection: &Connection) -> Result<Vec<u8>, RedisError> {
    let mut client = Client::connect(connection).await?;
    let info = strongroom_redis::replica::check(&mut client).await?;
    let mut sync = FullSync::begin(client, &info).await?;
    let mut rdb = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match sync.read(&mut buffer).await? {
            0 => return Ok(rdb),
            length => rdb.extend_from_slice(&buffer[..length]),
        }
    }
}

/// What an RDB says, which must be whole.
fn verified(rdb: &[u8]) -> Verified {
    let verified = rdb::verify(rdb).expect("the RDB is whole");
    assert!(verified.unread.is_none(), "{:?}", verified.unread);
    assert_eq!(verified.summary.checksum, rdb::Checksum::Verified);
    verified
}

fn dataset(rdb: &[u8]) -> Dataset {
    let summary = verified(rdb).summary;
    Dataset {
        version: summary.version,
        flavour: summary.flavour,
        databases: Some(summary.databases),
        used_memory: 0,
        modules: Vec::new(),
        has_module_data: false,
    }
}

/// Restores everything.
async fn restore(connection: &Connection, rdb: &[u8]) -> Result<u64, RedisError> {
    let sent = AtomicU64::new(0);
    let count = |bytes| {
        sent.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    };
    assert!(run(connection, rdb, false, &count).await?.verified);
    Ok(sent.into_inner())
}

async fn try_restore(
    connection: &Connection,
    rdb: &[u8],
    allow_replicas: bool,
) -> Result<Outcome, RedisError> {
    run(connection, rdb, allow_replicas, &|_| {}).await
}

async fn run(
    connection: &Connection,
    rdb: &[u8],
    allow_replicas: bool,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Outcome, RedisError> {
    let request = Request {
        connection,
        data: &dataset(rdb),
        length: rdb.len() as u64,
        allow_replicas,
        attach: &|_| Ok(()),
        sent,
        loaded: &|| {},
        cancel: &CancellationToken::new(),
    };
    strongroom_redis::restore::whole::run(&request, &mut Pieces::of(rdb)).await
}
