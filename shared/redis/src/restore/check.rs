//! Whether a server can take a dataset. Pure, and asked before anything is
//! changed: a server that is sent what it cannot load may exit.

use std::collections::BTreeMap;

use crate::{
    Info, Product, Role,
    rdb::{Counts, Flavour},
};

/// What is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The RDB's version.
    pub version: u32,
    /// Whose.
    pub flavour: Flavour,
    /// Databases with keys; `None`: they could not be counted.
    pub databases: Option<BTreeMap<u64, Counts>>,
    /// Memory that it took on its own server, in bytes; 0: not known.
    pub used_memory: u64,
    /// Modules that its server had, by name.
    pub modules: Vec<String>,
    /// Whether some of its data belongs to modules.
    pub has_module_data: bool,
}

impl Dataset {
    /// The highest database with keys.
    pub fn highest_database(&self) -> Option<u64> {
        self.databases.as_ref()?.keys().next_back().copied()
    }
}

/// The newest RDB that a server loads; `None`: it is newer than this program,
/// and will know what this program knows.
///
/// Source: `RDB_VERSION` in `rdb.h` of each version.
fn newest(info: &Info) -> Option<(Flavour, u32)> {
    let newest = match (info.product, info.major_minor()) {
        (Product::Redis, (..5, _)) => (Flavour::Redis, 8),
        (Product::Redis, (5 | 6, _)) => (Flavour::Redis, 9),
        (Product::Redis, (7, 0 | 1)) => (Flavour::Redis, 10),
        (Product::Redis, (7, 2 | 3)) | (Product::Valkey, (..9, _)) => (Flavour::Redis, 11),
        (Product::Redis, (7, _) | (8, ..=5)) => (Flavour::Redis, 12),
        (Product::Valkey, (9, 0 | 1)) => (Flavour::Valkey, 80),
        _ => return None,
    };
    Some(newest)
}

/// The last version that Redis and Valkey have in common.
const COMMON: u32 = 11;

fn loads(info: &Info, data: &Dataset) -> bool {
    match (info.product, data.flavour) {
        (Product::Redis, Flavour::Valkey) => false,
        (Product::Valkey, Flavour::Redis) => data.version <= COMMON,
        (Product::Redis, Flavour::Redis) => {
            newest(info).is_none_or(|(_, newest)| data.version <= newest)
        }
        (Product::Valkey, Flavour::Valkey) => match newest(info) {
            None => true,
            Some((Flavour::Valkey, newest)) => data.version <= newest,
            Some((Flavour::Redis, _)) => false,
        },
    }
}

/// Why a server cannot take single keys of a dataset: what is wrong and what
/// to do, to be read behind the server's name.
pub fn for_keys(info: &Info, data: &Dataset) -> Result<(), String> {
    if info.loading {
        return Err("is reading its own data (loading): wait until it is done".into());
    }
    if let Role::Replica { host, port, .. } = &info.role {
        return Err(format!(
            "is a replica of {host}:{port}: restore into that, or make this one a primary first \
             (REPLICAOF NO ONE)"
        ));
    }
    if info.cluster {
        return Err(
            "is part of a cluster, whose nodes own some of the keys each: restore dump.rdb as a \
             file on a server without cluster mode, and move the keys from there"
                .into(),
        );
    }
    if !loads(info, data) {
        return Err(format!(
            "is {} {} and does not know RDB version {} of {}: restore into the version that the \
             backup is of, or a newer one",
            info.product, info.version, data.version, data.flavour
        ));
    }
    if data.has_module_data {
        let missing: Vec<&str> = data
            .modules
            .iter()
            .filter(|name| !info.modules.contains_key(*name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "lacks modules that the backup's server had: {}; load them first (MODULE LOAD)",
                missing.join(", ")
            ));
        }
    }
    Ok(())
}

/// Why a server cannot take all of a dataset.
pub fn for_whole(info: &Info, data: &Dataset) -> Result<(), String> {
    for_keys(info, data)?;
    if info.max_memory > 0 && data.used_memory > info.max_memory {
        return Err(format!(
            "may use {} bytes (maxmemory), and the backup's server used {}: raise it with CONFIG \
             SET maxmemory, or keys would be evicted or writes refused",
            info.max_memory, data.used_memory
        ));
    }
    if info.replication_id.is_empty() {
        return Err("says nothing of its replication in INFO: it cannot be made a replica".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, more: &str) -> Info {
        Info::parse(&format!(
            "{version}\nrole:master\nmaster_replid:abc\n{more}"
        ))
        .unwrap()
    }

    fn data(flavour: Flavour, version: u32) -> Dataset {
        Dataset {
            version,
            flavour,
            databases: None,
            used_memory: 1000,
            modules: vec!["bf".into()],
            has_module_data: false,
        }
    }

    #[test]
    fn a_server_takes_what_its_version_knows() {
        let redis = |version: &str| server(&format!("redis_version:{version}"), "");
        let valkey = |version: &str| {
            server(
                &format!("redis_version:7.2.4\nvalkey_version:{version}"),
                "",
            )
        };
        for (info, newest) in [
            (redis("4.0.1"), 8),
            (redis("6.2.14"), 9),
            (redis("7.0.15"), 10),
            (redis("7.2.0"), 11),
            (redis("7.4.1"), 12),
            (redis("8.4.0"), 12),
            (valkey("8.1.0"), 11),
        ] {
            let check = |version| for_whole(&info, &data(Flavour::Redis, version));
            assert_eq!(check(newest), Ok(()), "{info:?}");
            let error = check(newest + 1).unwrap_err();
            assert!(error.contains("RDB version"), "{error}");
            assert!(for_whole(&info, &data(Flavour::Valkey, 80)).is_err());
        }
        // Newer than we know: what is known is known there.
        assert_eq!(
            for_whole(&redis("9.0.0"), &data(Flavour::Redis, 12)),
            Ok(())
        );
        // Valkey 9 reads what is common, and its own.
        for (flavour, version, taken) in [
            (Flavour::Redis, 11, true),
            (Flavour::Redis, 12, false),
            (Flavour::Valkey, 80, true),
            (Flavour::Valkey, 81, false),
        ] {
            let checked = for_whole(&valkey("9.0.1"), &data(flavour, version));
            assert_eq!(checked.is_ok(), taken, "{flavour} {version}");
        }
    }

    #[test]
    fn servers_that_must_not_be_touched() {
        for (more, wanted) in [
            ("cluster_enabled:1", "part of a cluster"),
            ("loading:1", "loading"),
            ("maxmemory:999", "maxmemory"),
        ] {
            let info = server("redis_version:7.2.0", more);
            let error = for_whole(&info, &data(Flavour::Redis, 11)).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let replica = Info::parse(
            "redis_version:7.2.0\nrole:slave\nmaster_host:db-1\nmaster_port:6379\nmaster_replid:a",
        )
        .unwrap();
        let error = for_whole(&replica, &data(Flavour::Redis, 11)).unwrap_err();
        assert!(error.contains("replica of db-1:6379"), "{error}");
        // Keys alone do not fill the memory.
        let full = server("redis_version:7.2.0", "maxmemory:999");
        assert_eq!(for_keys(&full, &data(Flavour::Redis, 11)), Ok(()));
    }

    #[test]
    fn modules_are_missed_only_where_their_data_is() {
        let bare = server("redis_version:7.2.0", "");
        let mut with_data = data(Flavour::Redis, 11);
        with_data.has_module_data = true;
        let error = for_whole(&bare, &with_data).unwrap_err();
        assert!(error.contains("modules") && error.contains("bf"), "{error}");
        let equipped = server("redis_version:7.2.0", "module:name=bf,ver=1");
        assert_eq!(for_whole(&equipped, &with_data), Ok(()));
    }
}
