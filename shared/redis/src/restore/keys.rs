//! Bringing single keys back, beside those that are there.
//!
//! The RDB is read once. What matches goes to the server as `RESTORE`, in the
//! server's own format, and its answers are read while the next keys are
//! looked for. No more is in memory than a few batches.

use std::{collections::BTreeMap, io::Read};

use tokio::sync::mpsc;

use super::{
    check::{self, Dataset},
    whole::has_database,
};
use crate::{
    Client, Connection, Info, RedisError, Refusal, Reply,
    client::shorten,
    glob::Pattern,
    rdb::{self, RdbError, Reader, Summary},
    resp,
    rights::{self, Try},
};

/// A batch is sent when it has this many bytes, or keys.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_KEYS: usize = 512;
/// Batches between reader and writer.
pub const AHEAD: usize = 2;
/// The largest value that is restored: what a server takes as one argument
/// (`proto-max-bulk-len`) by default.
const LARGEST: usize = 512 << 20;
/// Failures that are named.
const NAMED: usize = 20;

/// Keys on their way.
#[derive(Debug, Default)]
pub struct Batch {
    /// Encoded commands.
    bytes: Vec<u8>,
    /// What each is, for its answer.
    commands: Vec<Sent>,
}

#[derive(Debug)]
enum Sent {
    Select,
    Restore(Vec<u8>),
}

/// What was met in an RDB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys that match and have not expired, by database.
    pub matching: BTreeMap<u64, u64>,
    /// Keys that match, but have expired since.
    pub expired: u64,
    /// Keys that match, but are too large to be restored; the first few.
    pub too_large: Vec<(Vec<u8>, u64)>,
}

impl Found {
    /// Keys in all databases.
    pub fn total(&self) -> u64 {
        self.matching.values().sum()
    }
}

/// What a server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Keys that it took.
    pub restored: u64,
    /// Keys that it did not take.
    pub failed: u64,
    /// The first of them, and why.
    pub failures: Vec<(Vec<u8>, String)>,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The RDB.
    #[error(transparent)]
    Rdb(#[from] RdbError),
    /// Nobody takes the keys any more; whoever does not, says why.
    #[error("nobody takes the keys any more")]
    Stopped,
}

/// Reads an RDB and sends what matches any of `patterns`; without `batches`
/// it only counts. Blocks. `now` gives milliseconds since 1970 UTC.
pub fn scan(
    rdb: impl Read,
    patterns: &[Pattern],
    now: &dyn Fn() -> i64,
    batches: Option<&mpsc::Sender<Batch>>,
) -> Result<(Found, Summary), ScanError> {
    let mut reader = Reader::new(rdb)?;
    let version = reader.version();
    let mut found = Found::default();
    let mut batch = Batch::default();
    let mut database = None;
    while reader.advance()? {
        let key = reader.key();
        if !patterns.iter().any(|pattern| pattern.matches(&key.name)) {
            continue;
        }
        if key.expires.is_some_and(|at| at <= now()) {
            found.expired += 1;
            continue;
        }
        *found.matching.entry(key.database).or_default() += 1;
        let Some(batches) = batches else { continue };
        let key = key.clone();
        let value = match reader.value(LARGEST)? {
            Ok(value) => value,
            Err(length) => {
                if found.too_large.len() < NAMED {
                    found.too_large.push((key.name, length));
                }
                continue;
            }
        };
        if database != Some(key.database) {
            database = Some(key.database);
            batch.select(key.database);
        }
        batch.restore(key, &rdb::payload(&value, version));
        if batch.is_full() {
            send(batches, &mut batch)?;
        }
    }
    if let Some(batches) = batches {
        send(batches, &mut batch)?;
    }
    Ok((found, reader.summary().clone()))
}

fn send(batches: &mpsc::Sender<Batch>, batch: &mut Batch) -> Result<(), ScanError> {
    batches
        .blocking_send(std::mem::take(batch))
        .map_err(|_| ScanError::Stopped)
}

impl Batch {
    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.commands.len() >= BATCH_KEYS
    }

    fn select(&mut self, database: u64) {
        resp::encode(
            &[b"SELECT", database.to_string().as_bytes()],
            &mut self.bytes,
        );
        self.commands.push(Sent::Select);
    }

    fn restore(&mut self, key: rdb::Key, payload: &[u8]) {
        // Never 0 for what expires: that would mean that it does not.
        let expires = key.expires.map_or(0, |at| at.max(1)).to_string();
        let idle = key.idle.map(|idle| idle.to_string());
        let frequency = key.frequency.map(|frequency| frequency.to_string());
        let mut command: Vec<&[u8]> = vec![
            b"RESTORE",
            &key.name,
            expires.as_bytes(),
            payload,
            b"REPLACE",
            b"ABSTTL",
        ];
        if let Some(idle) = &idle {
            command.extend([b"IDLETIME", idle.as_bytes()]);
        } else if let Some(frequency) = &frequency {
            command.extend([b"FREQ", frequency.as_bytes()]);
        }
        resp::encode(&command, &mut self.bytes);
        self.commands.push(Sent::Restore(key.name));
    }
}

/// Connects, and says why the server could not take keys of the dataset,
/// before anything is changed.
pub async fn prepare(
    connection: &Connection,
    data: &Dataset,
) -> Result<(Client, Info), RedisError> {
    let mut client = Client::connect(connection).await?;
    rights::require(
        &mut client,
        &[
            Try::new(&[b"INFO", b"server"], "info"),
            Try::new(&[b"SELECT", b"0"], "select"),
            // No such time to live: it says so, and makes nothing.
            Try::new(&[b"RESTORE", b"strongroom", b"-1", b""], "restore"),
        ],
        &[],
    )
    .await?;
    let info = Info::ask(&mut client).await?;
    check::for_keys(&info, data).map_err(|problem| client.unfit(problem))?;
    has_database(&mut client, data.highest_database()).await?;
    Ok((client, info))
}

/// Sends what [`scan`] finds until there is no more. Keys that the server does
/// not take are counted and the first named; what concerns all of them ends it.
pub async fn write(
    client: &mut Client,
    batches: &mut mpsc::Receiver<Batch>,
    restored: &(dyn Fn(u64) + Sync),
) -> Result<Written, RedisError> {
    let mut written = Written::default();
    while let Some(batch) = batches.recv().await {
        client.send("RESTORE", &batch.bytes).await?;
        let before = written.restored;
        for command in batch.commands {
            let answer = client.receive("RESTORE").await?;
            match (command, answer) {
                (Sent::Select, Reply::Error(message)) => {
                    return Err(client.refused("SELECT", &message));
                }
                (Sent::Select, _) => {}
                (Sent::Restore(key), Reply::Error(message)) => {
                    let reason = Refusal::of(&message);
                    if matches!(reason, Refusal::Unknown | Refusal::ReadOnly)
                        || reason == Refusal::NoPermission && written.restored == 0
                    {
                        return Err(client.refused("RESTORE", &message));
                    }
                    written.failed += 1;
                    if written.failures.len() < NAMED {
                        written.failures.push((key, shorten(&message)));
                    }
                }
                (Sent::Restore(_), _) => written.restored += 1,
            }
        }
        restored(written.restored - before);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two databases: `a` (1), `b` (expired), `a2` (expires), in 3 `a3`.
    fn sample() -> Vec<u8> {
        let mut rdb = b"REDIS0011".to_vec();
        rdb.extend_from_slice(b"\x00\x01a\x01x");
        rdb.push(252);
        rdb.extend_from_slice(&1000_i64.to_le_bytes());
        rdb.extend_from_slice(b"\x00\x01b\x01x");
        rdb.push(252);
        rdb.extend_from_slice(&3000_i64.to_le_bytes());
        rdb.extend_from_slice(b"\xf8\x09\x00\x02a2\x01x");
        rdb.extend_from_slice(b"\xfe\x03\x00\x02a3\x01x\x00\x01c\x01x");
        rdb.push(255);
        rdb.extend_from_slice(&[0; 8]);
        rdb
    }

    fn patterns(of: &[&str]) -> Vec<Pattern> {
        of.iter().map(Pattern::new).collect()
    }

    #[test]
    fn what_matches_is_counted_and_what_expired_is_not_restored() {
        let rdb = sample();
        let (found, summary) =
            scan(rdb.as_slice(), &patterns(&["a*", "b"]), &|| 2000, None).unwrap();
        assert_eq!(found.matching, BTreeMap::from([(0, 2), (3, 1)]));
        assert_eq!((found.expired, found.total()), (1, 3));
        assert_eq!(summary.databases[&3].keys, 2);
    }

    #[test]
    fn commands_carry_time_and_idleness() {
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let rdb = sample();
        scan(rdb.as_slice(), &patterns(&["a?"]), &|| 2000, Some(&sender)).unwrap();
        drop(sender);
        let batch = receiver.blocking_recv().unwrap();
        assert_eq!(batch.commands.len(), 4);
        let text = String::from_utf8_lossy(&batch.bytes);
        assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*8\r\n$7\r\nRESTORE\r\n$2\r\na2\r\n$4\r\n3000\r\n$13\r\n\0\u{1}x"), "{text:?}");
        assert!(text.contains("REPLACE\r\n$6\r\nABSTTL\r\n$8\r\nIDLETIME\r\n$1\r\n9\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*6"), "{text:?}");
        assert!(receiver.blocking_recv().is_none());
    }

    #[test]
    fn a_scan_ends_when_nobody_listens() {
        let (sender, receiver) = mpsc::channel(AHEAD);
        drop(receiver);
        let error = scan(sample().as_slice(), &patterns(&["*"]), &|| 0, Some(&sender));
        assert!(matches!(error, Err(ScanError::Stopped)));
    }
}
