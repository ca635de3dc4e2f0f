//! Data of every type, and what a server holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Client, Reply, Server, is_before_7};

/// Databases that [`fill`] writes to.
const DATABASES: [u32; 3] = [0, 3, 15];
/// 2100-01-01, in milliseconds.
const LATER: &str = "4102444800000";

/// A key: its type, time of expiry in milliseconds (-1: none) and value in an
/// order of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    kind: String,
    expires: i64,
    value: Vec<Reply>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = format!("{:?}", self.value);
        shown.truncate(200);
        write!(f, "{} until {}: {shown}", self.kind, self.expires)
    }
}

/// All that a server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// By database and key.
    pub keys: BTreeMap<(u32, Vec<u8>), Entry>,
    /// `FUNCTION DUMP`, where there are functions.
    pub functions: Vec<u8>,
}

impl Contents {
    /// Only the keys whose name begins with `prefix`.
    #[must_use]
    pub fn beginning(mut self, prefix: &str) -> Self {
        self.keys
            .retain(|(_, key), _| key.starts_with(prefix.as_bytes()));
        self
    }

    /// Where two servers differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<_> = self.keys.keys().chain(other.keys.keys()).collect();
        let mut found: Vec<String> = keys
            .into_iter()
            .filter(|key| self.keys.get(*key) != other.keys.get(*key))
            .map(|at @ (database, key)| {
                let mut name = key.escape_ascii().to_string();
                name.truncate(60);
                let (left, right) = (self.keys.get(at), other.keys.get(at));
                format!("{name} in {database}: {left:?} and {right:?}")
            })
            .collect();
        if self.functions != other.functions {
            found.push("the functions".into());
        }
        found
    }
}

/// Asserts that two servers hold the same, and anything at all.
#[track_caller]
pub fn assert_same(left: &Contents, right: &Contents) {
    assert!(!left.keys.is_empty(), "no keys prove nothing");
    let differences = left.differences(right);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Writes values of every type in every encoding, with and without a time to
/// live, odd keys, a function, into several databases.
pub fn fill(server: &Server) {
    let mut client = server.client();
    let library = "#!lua name=sample\nredis.register_function('hello', function() return 'hi' end)";
    if server.functions() > 0 {
        client.run(&["FUNCTION", "LOAD", "REPLACE", library]);
    }
    for database in DATABASES {
        client.run(&["SELECT", &database.to_string()]);
        strings(&mut client);
        collections(&mut client);
        streams(&mut client);
    }
}

fn strings(client: &mut Client) {
    let compressible = "all work and no play ".repeat(2000);
    let noise: Vec<u8> = (0..70_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for (key, value) in [
        (&b"string:text"[..], &b"hello"[..]),
        (b"string:empty", b""),
        (b"string:number", b"-12345"),
        (b"string:large-number", b"123456789012345"),
        (b"string:compressible", compressible.as_bytes()),
        (b"string:noise", &noise),
        (b"binary:\0\xff\r\n\x80", b"\0\xff\r\n"),
        (b"", b"of the empty key"),
        ("schlüssel:ä".as_bytes(), "wert".as_bytes()),
        (&b"long:".repeat(20_000), b"of a long key"),
        (b"12345", b"of a key that is a number"),
    ] {
        client.run(&[b"SET", key, value]);
    }
    client.run(&["SET", "ttl:string", "for a while", "PXAT", LATER]);
    client.run(&["SETBIT", "string:bits", "1000", "1"]);
    client.run(&["PFADD", "string:hyperloglog", "a", "b", "c"]);
}

fn collections(client: &mut Client) {
    for (size, count) in [("small", 5), ("large", 3000)] {
        for at in 0..count {
            let member = format!("member-{at}");
            let score = format!("{at}.5");
            client.run(&["RPUSH", &format!("list:{size}"), &member]);
            client.run(&["SADD", &format!("set:{size}"), &member]);
            client.run(&["SADD", &format!("set:{size}-numbers"), &at.to_string()]);
            client.run(&["ZADD", &format!("zset:{size}"), &score, &member]);
            client.run(&["HSET", &format!("hash:{size}"), &member, &score]);
        }
    }
    client.run(&["ZADD", "zset:infinite", "-inf", "a", "+inf", "b", "0", "c"]);
    client.run(&["HSET", "hash:wide", "field", &"x".repeat(100_000)]);
    client.run(&["RPUSH", "list:wide", &"y".repeat(100_000), "z"]);
    client.run(&["GEOADD", "zset:places", "13.4", "52.5", "Berlin"]);
    for kind in ["list", "set", "zset", "hash"] {
        let key = format!("ttl:{kind}");
        client.run(&["COPY", &format!("{kind}:small"), &key]);
        client.run(&["PEXPIREAT", &key, LATER]);
    }
}

fn streams(client: &mut Client) {
    for at in 0..500 {
        let number = at.to_string();
        client.run(&[
            "XADD",
            "stream:events",
            &format!("{}-1", at + 1),
            "n",
            &number,
        ]);
    }
    client.run(&["XDEL", "stream:events", "7-1"]);
    for group in ["readers", "others"] {
        client.run(&["XGROUP", "CREATE", "stream:events", group, "0"]);
    }
    for consumer in ["one", "two"] {
        client.run(&[
            "XREADGROUP",
            "GROUP",
            "readers",
            consumer,
            "COUNT",
            "10",
            "STREAMS",
            "stream:events",
            ">",
        ]);
    }
    client.run(&["XACK", "stream:events", "readers", "1-1", "2-1"]);
    client.run(&[
        "XGROUP",
        "CREATE",
        "stream:empty",
        "waiting",
        "$",
        "MKSTREAM",
    ]);
    client.run(&["COPY", "stream:events", "ttl:stream"]);
    client.run(&["PEXPIREAT", "ttl:stream", LATER]);
}

/// Everything that a server holds.
pub fn contents(server: &Server) -> Contents {
    let mut client = server.client();
    let functions = match server.functions() {
        0 => Vec::new(),
        _ => client.run(&["FUNCTION", "DUMP"]).bytes(),
    };
    let mut keys = BTreeMap::new();
    for database in 0..16 {
        client.run(&["SELECT", &database.to_string()]);
        for key in client.run(&["KEYS", "*"]).array() {
            let key = key.bytes();
            let entry = entry(&mut client, &key);
            keys.insert((database, key), entry);
        }
    }
    Contents { keys, functions }
}

fn entry(client: &mut Client, key: &[u8]) -> Entry {
    let kind = client.run(&[b"TYPE", key]).text();
    let expires = if is_before_7() {
        // It does not tell the moment; that there is one has to do.
        client.run(&[b"PTTL", key]).integer().signum()
    } else {
        client.run(&[b"PEXPIRETIME", key]).integer()
    };
    let value = match kind.as_str() {
        "string" => vec![client.run(&[b"GET", key])],
        "list" => client.run(&[&b"LRANGE"[..], key, b"0", b"-1"]).array(),
        "set" => sorted(client.run(&[b"SMEMBERS", key]).array()),
        "zset" => client
            .run(&[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"])
            .array(),
        "hash" => {
            let pairs = client.run(&[b"HGETALL", key]).array();
            let pairs = pairs.chunks(2).map(|pair| Reply::Array(pair.to_vec()));
            sorted(pairs.collect())
        }
        // With groups, consumers and what is pending.
        "stream" => vec![client.run(&[b"DUMP", key])],
        other => panic!("a value of type {other}"),
    };
    Entry {
        kind,
        expires,
        value,
    }
}

fn sorted(mut elements: Vec<Reply>) -> Vec<Reply> {
    elements.sort();
    elements
}
