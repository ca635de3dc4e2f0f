//! Redis and Valkey servers: one RDB, and a manifest that says what it is.
//!
//! The agent asks for a full synchronisation as a replica does and takes the
//! RDB as it comes; nothing touches the disk of either, but where the server
//! prefers to write the RDB itself first (`repl-diskless-sync no`). A second
//! thread reads along (`tee`): checksum and counts are known before the
//! snapshot exists, and an RDB that is damaged never becomes one.

mod error;
mod inventory;
mod manifest;
mod tee;
mod tree;

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use strongroom_redis::{
    Client, Info, RedisError,
    rdb::{Checksum, Verified},
    replica::{self, FullSync},
};
use strongroom_repository::{
    format::blob::BlobId,
    write::{Content, Halted, Writer},
};
use strongroom_runtime::clock::SharedClock;
use strongroom_spec::WarningCode;
use tokio::runtime::Handle;

pub use error::RedisSourceError;
pub use inventory::inventory;
pub use manifest::{FORMAT, MANIFEST, MAX_MANIFEST, Manifest, RdbFile};

use self::tee::ReadAlong;
use super::{
    throttle::{Pace, Paced},
    virtual_files::{save_stream, until_halted},
};
use crate::{config::RedisConnection, monitor::Monitor};

/// The RDB's path in the snapshot: what a server looks for in its `dir`, unless
/// `dbfilename` says otherwise.
pub const DUMP: &str = "/dump.rdb";

/// Which server to back up.
#[derive(Debug, Clone)]
pub struct RedisSource {
    /// Its name in `agent.toml`.
    pub name: String,
    /// What stands there.
    pub connection: RedisConnection,
}

/// What a backup needs besides its source.
pub struct RedisOptions<'a> {
    /// Which server.
    pub source: &'a RedisSource,
    /// Told what happens.
    pub monitor: &'a Monitor,
    /// How fast the server is read.
    pub pace: &'a Pace,
    /// For the manifest's times.
    pub clock: &'a SharedClock,
}

/// Saves a server's data; gives the root tree and the bytes in it. Blocks: call
/// it from a thread that is none of `runtime`'s.
pub fn save(
    writer: &Writer,
    runtime: &Handle,
    options: &RedisOptions<'_>,
) -> Result<(BlobId, u64), RedisSourceError> {
    let RedisOptions {
        source,
        monitor,
        pace,
        clock,
    } = options;
    let name = &source.name;
    let failed = |source| RedisSourceError::server(name, source);
    monitor.enter("connecting");
    let connection =
        source
            .connection
            .resolve()
            .map_err(|source| RedisSourceError::Connection {
                connection: name.clone(),
                source,
            })?;
    let begin = async {
        let mut client = Client::connect(&connection).await?;
        let info = replica::check(&mut client).await?;
        Ok((info, client))
    };
    let (info, client) = until_halted(writer, runtime, begin)?.map_err(failed)?;
    let started = clock.now();
    // As long as the server needs to write an RDB, if it does that first.
    monitor.enter("waiting for the server's data");
    let begin = FullSync::begin(client, &info);
    let sync = until_halted(writer, runtime, begin)?.map_err(failed)?;
    if let Some(length) = sync.length() {
        monitor.total_bytes.store(length, Relaxed);
    }
    monitor.enter("backing up");
    let history = (sync.replication_id.clone(), sync.offset);
    let (content, verified) =
        receive(writer, runtime, sync, pace, monitor).map_err(|error| error.of_connection(name))?;
    warn(monitor, &verified);
    let manifest = Manifest {
        format: FORMAT,
        product: info.product,
        server_version: info.version.clone(),
        role: info.role.as_str().into(),
        replication_id: history.0,
        replication_offset: history.1,
        rdb: RdbFile::of(&verified.summary),
        databases: verified
            .unread
            .is_none()
            .then(|| verified.summary.databases.clone()),
        functions: verified
            .unread
            .is_none()
            .then_some(verified.summary.functions),
        used_memory: used_memory(&info, &verified),
        modules: info.modules,
        module_types: verified.summary.modules.clone(),
        started,
        finished: clock.now(),
    };
    let manifest = manifest.encode();
    let mut from = manifest.as_slice();
    let said = save_stream(writer, &mut from, monitor)?
        .map_err(|source| RedisSourceError::Manifest { source })?;
    let bytes = content.size + said.size;
    let files = [(DUMP, content), (MANIFEST, said)];
    let root = tree::save(writer, files, started)?;
    monitor.files.fetch_add(2, Relaxed);
    Ok((root, bytes))
}

/// The RDB says what its server used when it began to write it; of one that
/// says nothing we take what the server said a moment before.
fn used_memory(info: &Info, verified: &Verified) -> u64 {
    let said = verified.summary.aux.get("used-mem");
    said.and_then(|text| text.parse().ok())
        .unwrap_or(info.used_memory)
}

/// What the snapshot's reader should know, although it is a good one.
fn warn(monitor: &Monitor, verified: &Verified) {
    if let Some(error) = &verified.unread {
        monitor.warn(
            WarningCode::KeysNotCounted,
            DUMP,
            format!(
                "the keys could not be counted: {error}. The file is kept as the server sent it; \
                 it can be restored as a whole, but not by key"
            ),
        );
    }
    if verified.summary.checksum != Checksum::Verified {
        monitor.warn(
            WarningCode::NoChecksum,
            DUMP,
            "the server wrote no checksum (rdbchecksum no): damage on the way from its memory \
             would not have been noticed; CONFIG SET does not change that, its configuration does",
        );
    }
}

/// Saves what comes, and verifies it on the way.
fn receive(
    writer: &Writer,
    runtime: &Handle,
    mut sync: FullSync,
    pace: &Pace,
    monitor: &Monitor,
) -> Result<(Content, Verified), Receive> {
    let broke: Mutex<Option<RedisError>> = Mutex::new(None);
    let halted = writer.halted();
    let mut incoming = |out: &mut [u8]| {
        let read = runtime.block_on(async {
            tokio::select! {
                biased;
                () = halted.cancelled() => Err(RedisError::Cancelled),
                read = sync.read(out) => read,
            }
        });
        read.map_err(|error| {
            *broke.lock() = Some(error);
            io::Error::other("the transfer broke")
        })
    };
    let (saved, verified) = ReadAlong::run(&mut incoming, |input| {
        let mut paced = Paced { pace, inner: input };
        save_stream(writer, &mut paced, monitor)
    })
    .map_err(Receive::Thread)?;
    // What broke the transfer explains what the other two say.
    if let Some(error) = broke.into_inner() {
        return Err(if halted.is_cancelled() {
            Receive::Halted
        } else {
            Receive::Server(error)
        });
    }
    let saved = saved.map_err(|Halted| Receive::Halted)?;
    let verified = verified.map_err(Receive::Damaged)?;
    Ok((saved.map_err(Receive::Thread)?, verified))
}

/// Why nothing was received.
enum Receive {
    Server(RedisError),
    Damaged(strongroom_redis::rdb::RdbError),
    Thread(io::Error),
    Halted,
}

impl Receive {
    fn of_connection(self, name: &str) -> RedisSourceError {
        match self {
            Self::Server(error) => RedisSourceError::server(name, error),
            Self::Damaged(source) => RedisSourceError::Damaged {
                connection: name.into(),
                source,
            },
            Self::Thread(source) => RedisSourceError::Thread { source },
            Self::Halted => RedisSourceError::Halted(Halted),
        }
    }
}

/// For blocking code: a shared clock in milliseconds since 1970 UTC.
pub(crate) fn milliseconds(clock: &SharedClock) -> impl Fn() -> i64 + Send + use<> {
    let clock = Arc::clone(clock);
    move || clock.now().as_millisecond()
}
