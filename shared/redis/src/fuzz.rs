//! Fuzz targets: servers, and files that claim to be an RDB, may say anything.

use std::{
    io::{self, Read},
    pin::pin,
    task::{Context, Poll, Waker},
};

use crc_fast::CrcAlgorithm;

use crate::{
    Address, Info, Reply,
    glob::Pattern,
    primary,
    rdb::{self, Reader},
    replica, resp,
};

/// A file that gives few bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(out.len());
        self.0.read(&mut out[..length])
    }
}

/// An RDB, as it is and with a checksum that fits. How it is cut is of no
/// matter, and neither is whether values are looked at.
pub fn rdb(data: &[u8]) {
    verify(data);
    let mut fitting = data.to_vec();
    if let Some((body, sum)) = fitting.split_last_chunk_mut::<8>() {
        *sum = crc_fast::checksum(CrcAlgorithm::Crc64Redis, body).to_le_bytes();
        verify(&fitting);
    }
}

fn verify(data: &[u8]) {
    let whole = rdb::verify(data);
    let pieces = rdb::verify(Pieces(data, 7));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    let mut keys = 0;
    let mut read = || {
        let mut reader = Reader::new(data)?;
        while reader.advance()? {
            keys += 1;
            if let Ok(value) = reader.value(1000)? {
                assert!(value.bytes.len() <= 1000);
                let payload = rdb::payload(&value, reader.version());
                assert_eq!(payload.len(), value.bytes.len() + 11);
            }
        }
        Ok::<_, rdb::RdbError>(())
    };
    let ended = read();
    if let Ok(verified) = whole {
        assert_eq!(verified.unread.is_none(), ended.is_ok());
        let counted: u64 = verified.summary.databases.values().map(|it| it.keys).sum();
        assert_eq!(counted, keys);
    }
}

/// What is read from memory is there at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}

/// Answers of a server, one behind the other.
pub fn resp_replies(mut data: &[u8]) {
    while let Ok(reply) = now(resp::reply(&mut data)) {
        if let Reply::Simple(text) | Reply::Error(text) = reply {
            let _ = replica::full_resync(&text);
        }
    }
}

/// Commands of a replica, one behind the other. What we write is read as we
/// meant it.
pub fn replica_commands(mut data: &[u8]) {
    while let Ok(words) = now(primary::command(&mut data)) {
        if words.is_empty() {
            continue;
        }
        let mut written = Vec::new();
        let parts: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        resp::encode(&parts, &mut written);
        assert_eq!(
            now(primary::command(&mut written.as_slice())).unwrap(),
            words
        );
    }
}

/// A pattern and a key, apart at a line feed. A key that stands in a pattern
/// byte for byte matches itself.
pub fn key_pattern(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (pattern, key) = data.split_at(end.unwrap_or(data.len() / 2));
    let _ = Pattern::new(pattern).matches(key);
    let literal: Vec<u8> = key.iter().flat_map(|byte| [b'\\', *byte]).collect();
    assert!(Pattern::new(literal).matches(key));
}

/// What a server says to `INFO`.
pub fn info(data: &[u8]) {
    if let Some(info) = Info::parse(&String::from_utf8_lossy(data)) {
        let _ = info.keys();
        let _ = info.major_minor();
    }
}

/// The URL of a server: what is shown of it is read as the same.
pub fn redis_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(address) = text.parse::<Address>() {
        let shown = address.to_string();
        assert_eq!(shown.parse(), Ok(address), "{shown}");
    }
}

#[cfg(test)]
mod runs {
    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    strongroom_fuzz::short_runs! {
        rdb: crate::rdb::tests::samples(),
        resp_replies: texts(&[
            "+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 42\r\n$5\r\nhello\r\n",
            "*3\r\n$3\r\nfoo\r\n:-7\r\n*2\r\n+a\r\n$-1\r\n",
            "-ERR unknown\r\n*-1\r\n*0\r\n\r\n",
        ]),
        replica_commands: texts(&[
            "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n\r\n",
            "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n",
        ]),
        key_pattern: texts(&["us?r:*[^a-z]\\*\nuser:1A*", "[]a\nb", "***x\nyyyyyyx"]),
        info: texts(&[
            "# Server\r\nredis_version:7.2.4\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n\
             master_port:6379\r\nmaster_link_status:up\r\nused_memory:1000\r\nmaxmemory:0\r\n\
             master_replid:abc\r\nmaster_repl_offset:42\r\ncluster_enabled:1\r\n\
             module:name=bf,ver=20612,api=1\r\ndb0:keys=3,expires=1,avg_ttl=0\r\n\
             db1:keys=18446744073709551615,expires=0\r\n",
            "valkey_version:9.0.0\r\nrole:master\r\ndb0:keys=1,expires=1\r\n",
        ]),
        redis_url: texts(&[
            "redis://127.0.0.1:6379",
            "rediss://[::1]/",
            "unix:///run/redis/redis.sock",
            "redis://redis.example",
        ]),
    }
}
