//! What a server says of itself.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Client, RedisError, Reply, rdb::Counts};

/// Which program a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// Whether a server takes writes, or follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows.
    Replica {
        /// Its primary's name or address.
        host: String,
        /// Its primary's port.
        port: u16,
        /// Whether it is connected and in sync.
        linked: bool,
    },
}

impl Role {
    /// `primary` or `replica`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica { .. } => "replica",
        }
    }
}

/// What `INFO` says, as far as we need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Which program.
    pub product: Product,
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// Whether it takes writes.
    pub role: Role,
    /// Databases with keys, by number.
    pub databases: BTreeMap<u64, Counts>,
    /// Bytes of data in memory.
    pub used_memory: u64,
    /// The most that it may be; 0: no limit.
    pub max_memory: u64,
    /// The id of its history.
    pub replication_id: String,
    /// How far its history is, in bytes.
    pub replication_offset: i64,
    /// It reads its data from disk, or from its primary.
    pub loading: bool,
    /// It is part of a cluster.
    pub cluster: bool,
    /// Names and versions of its modules.
    pub modules: BTreeMap<String, String>,
    /// Changes with every start of its program.
    pub run_id: String,
    /// Servers that follow it, as they say where they listen. Who only takes
    /// an RDB, as a backup does, says a port that is none.
    pub replicas: Vec<SocketName>,
    /// Channels that somebody listens to; a Sentinel is one that does.
    pub channels: u64,
    /// How it keeps its data on disk.
    pub persistence: Persistence,
}

/// `host` and `port` as a server says them of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketName {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What `INFO` says of an append-only file and of saved RDBs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of INFO")]
pub struct Persistence {
    /// There is an append-only file.
    pub append_only: bool,
    /// It is being written anew, or will be as soon as that can begin.
    pub rewriting: bool,
    /// One of the two above is under way, not only planned.
    pub rewrite_runs: bool,
    /// The last time went well; so does what was appended since.
    pub rewrite_ok: bool,
    /// An RDB is being saved.
    pub saving: bool,
    /// The last one was saved whole.
    pub save_ok: bool,
    /// When the last one was, in seconds since 1970 UTC.
    pub saved_at: u64,
}

impl Info {
    /// Asks a server.
    pub async fn ask(client: &mut Client) -> Result<Self, RedisError> {
        match client.command(&[b"INFO"]).await? {
            Reply::Bulk(Some(text)) => Self::parse(&String::from_utf8_lossy(&text))
                .ok_or_else(|| client.protocol("INFO names neither version nor role")),
            _ => Err(client.protocol("INFO is no text")),
        }
    }

    /// Major and minor version.
    pub fn major_minor(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten().unwrap_or(0);
        (next(), next())
    }

    /// Keys of all databases. What a server says need not be possible.
    pub fn keys(&self) -> u64 {
        let keys = self.databases.values().map(|counts| counts.keys);
        keys.fold(0, u64::saturating_add)
    }

    /// Reads the answer to `INFO`; `None` when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .collect();
        let get = |name: &str| fields.get(name).copied();
        let number = |name: &str| get(name).and_then(|text| text.trim().parse().ok());
        let (product, version) = match get("valkey_version") {
            Some(version) => (Product::Valkey, version),
            None => (Product::Redis, get("redis_version")?),
        };
        let role = match get("role")? {
            "master" => Role::Primary,
            _ => Role::Replica {
                host: get("master_host")?.into(),
                port: get("master_port")?.parse().ok()?,
                linked: get("master_link_status") == Some("up"),
            },
        };
        Some(Self {
            product,
            version: version.trim().into(),
            role,
            databases: databases(&fields),
            used_memory: number("used_memory").unwrap_or(0),
            max_memory: number("maxmemory").unwrap_or(0),
            replication_id: get("master_replid").unwrap_or_default().into(),
            replication_offset: get("master_repl_offset")
                .and_then(|text| text.parse().ok())
                .unwrap_or(-1),
            loading: get("loading") == Some("1") || get("async_loading") == Some("1"),
            cluster: get("cluster_enabled") == Some("1"),
            // One line for each module: the fields above hold only the last.
            modules: text.lines().filter_map(module).collect(),
            run_id: get("run_id").unwrap_or_default().into(),
            replicas: fields.iter().filter_map(replica).collect(),
            channels: number("pubsub_channels").unwrap_or(0),
            persistence: persistence(&fields),
        })
    }
}

/// `slave0:ip=10.0.0.7,port=6379,state=online,offset=14,lag=0`; nobody listens
/// on port 0 or above 65535.
fn replica((name, said): (&&str, &&str)) -> Option<SocketName> {
    name.strip_prefix("slave")?.parse::<u64>().ok()?;
    let field = |wanted: &str| {
        let mut pairs = said.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|pair| pair.0 == wanted).map(|pair| pair.1)
    };
    let port = field("port")?.parse().ok().filter(|port| *port > 0)?;
    Some(SocketName {
        host: field("ip")?.into(),
        port,
    })
}

fn persistence(fields: &BTreeMap<&str, &str>) -> Persistence {
    let is = |name: &str, wanted: &str| fields.get(name).is_some_and(|it| it.trim() == wanted);
    let failed = |name: &str| is(name, "err");
    let saved_at = fields.get("rdb_last_save_time");
    let saved_at = saved_at.and_then(|it| it.trim().parse().ok());
    let rewrite_runs = is("aof_rewrite_in_progress", "1");
    Persistence {
        append_only: is("aof_enabled", "1"),
        rewriting: rewrite_runs || is("aof_rewrite_scheduled", "1"),
        rewrite_runs,
        rewrite_ok: !failed("aof_last_bgrewrite_status") && !failed("aof_last_write_status"),
        saving: is("rdb_bgsave_in_progress", "1"),
        save_ok: !failed("rdb_last_bgsave_status"),
        saved_at: saved_at.unwrap_or(0),
    }
}

/// `db0:keys=3,expires=1,avg_ttl=0`
fn databases(fields: &BTreeMap<&str, &str>) -> BTreeMap<u64, Counts> {
    let entry = |(name, counts): (&&str, &&str)| {
        let number = name.strip_prefix("db")?.parse().ok()?;
        let count = |wanted: &str| {
            let mut pairs = counts.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|pair| pair.0 == wanted)?.1.parse().ok()
        };
        let counts = Counts {
            keys: count("keys")?,
            expiring: count("expires")?,
        };
        Some((number, counts))
    };
    fields.iter().filter_map(entry).collect()
}

/// `module:name=bf,ver=20612,api=1,…`
fn module(line: &str) -> Option<(String, String)> {
    let fields = line.strip_prefix("module:")?;
    let field = |wanted: &str| {
        let mut pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|pair| pair.0 == wanted).map(|pair| pair.1)
    };
    Some((
        field("name")?.into(),
        field("ver").unwrap_or_default().into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n\
        # Memory\r\nused_memory:1048576\r\nmaxmemory:0\r\n# Persistence\r\nloading:0\r\n\
        async_loading:0\r\n# Replication\r\nrole:master\r\nmaster_replid:ab12\r\n\
        master_repl_offset:77\r\n# Modules\r\nmodule:name=bf,ver=20612,api=1\r\n\
        module:name=ReJSON,ver=20607,api=1\r\n# Cluster\r\ncluster_enabled:0\r\n\
        # Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=9\r\ndb12:keys=1,expires=0,avg_ttl=0\r\n";

    #[test]
    fn more_keys_than_can_be_are_as_many_as_can_be() {
        let text = format!("{REDIS}db13:keys={},expires=0\r\n", u64::MAX);
        assert_eq!(Info::parse(&text).unwrap().keys(), u64::MAX);
    }

    #[test]
    fn a_primary() {
        let info = Info::parse(REDIS).unwrap();
        assert_eq!(
            (info.product, info.version.as_str()),
            (Product::Redis, "7.0.15")
        );
        assert_eq!(info.major_minor(), (7, 0));
        assert_eq!(info.role, Role::Primary);
        assert_eq!(info.keys(), 4);
        assert_eq!(
            info.databases[&0],
            Counts {
                keys: 3,
                expiring: 1
            }
        );
        assert_eq!(
            info.databases[&12],
            Counts {
                keys: 1,
                expiring: 0
            }
        );
        assert_eq!((info.used_memory, info.max_memory), (1 << 20, 0));
        assert_eq!(
            (info.replication_id.as_str(), info.replication_offset),
            ("ab12", 77)
        );
        assert!(!info.loading && !info.cluster);
        let modules: Vec<&str> = info.modules.keys().map(String::as_str).collect();
        assert_eq!(modules, ["ReJSON", "bf"]);
    }

    #[test]
    fn a_replica_of_valkey_that_loads() {
        let text = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n\
            role:slave\r\nmaster_host:::1\r\nmaster_port:6379\r\nmaster_link_status:down\r\n\
            loading:1\r\ncluster_enabled:1\r\n";
        let info = Info::parse(text).unwrap();
        assert_eq!(
            (info.product, info.major_minor()),
            (Product::Valkey, (8, 1))
        );
        assert_eq!(
            info.role,
            Role::Replica {
                host: "::1".into(),
                port: 6379,
                linked: false
            }
        );
        assert!(info.loading && info.cluster);
        assert_eq!(info.keys(), 0);
    }

    #[test]
    fn who_follows_and_what_is_on_disk() {
        let text = format!(
            "{REDIS}run_id:f00\r\npubsub_channels:1\r\nconnected_slaves:4\r\n\
             slave0:ip=10.0.0.7,port=6379,state=online,offset=14,lag=0\r\n\
             slave1:ip=10.0.0.8,port=65536,state=send_bulk,offset=0,lag=0\r\n\
             slave2:ip=10.0.0.9,port=0,state=wait_bgsave,offset=0,lag=0\r\n\
             slave3:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0,type=replica\r\n\
             aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:1\r\n\
             aof_last_bgrewrite_status:err\r\naof_last_write_status:ok\r\n\
             rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n\
             rdb_last_save_time:1700000000\r\n"
        );
        let info = Info::parse(&text).unwrap();
        let replicas: Vec<String> = info.replicas.iter().map(ToString::to_string).collect();
        assert_eq!(replicas, ["10.0.0.7:6379", "::1:6380"]);
        assert_eq!((info.run_id.as_str(), info.channels), ("f00", 1));
        let expected = Persistence {
            append_only: true,
            rewriting: true,
            save_ok: true,
            saved_at: 1_700_000_000,
            ..Persistence::default()
        };
        assert_eq!(info.persistence, expected);
        let bare = Info::parse(REDIS).unwrap();
        assert!(bare.replicas.is_empty() && !bare.persistence.append_only);
        assert!(bare.persistence.rewrite_ok && bare.persistence.save_ok);
    }

    #[test]
    fn what_is_no_info_is_none() {
        for text in [
            "",
            "role:master",
            "redis_version:7",
            "redis_version:7\nrole:slave",
        ] {
            assert_eq!(Info::parse(text), None, "{text}");
        }
    }
}
