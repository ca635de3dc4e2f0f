//! Fuzz targets: what lies in a snapshot, what an operator uploads or asks
//! for, and what people write.

use std::path::Path;

use strongroom_runtime::config;
use strongroom_wire::job::Report;

pub use crate::{
    backup::upload::fuzz::upload_head,
    restore::{
        cluster::fuzz::{library_list, recovery_log, recovery_plan, recovery_state, settings_file},
        fuzz::{restore_marker, selected_paths},
    },
    wal::push::fuzz::push_request,
};
use crate::{
    config::AgentConfig,
    sources::{files::globs::Filter, redis::Manifest},
};

/// `agent.toml`.
pub fn agent_toml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(config) = config::parse::<AgentConfig>(Path::new("agent.toml"), text)
    {
        let _ = (
            config.consent(),
            config.cache_directory(),
            config.wal_socket(),
        );
    }
}

/// Globs and a path, apart at line feeds.
pub fn file_globs(data: &[u8]) {
    // The automaton of a set of globs takes up to 2 KiB for each of their bytes.
    let text = String::from_utf8_lossy(&data[..data.len().min(400)]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let path = lines.pop().unwrap_or_default();
    if let Ok(filter) = Filter::new(&lines, &lines) {
        for is_directory in [false, true] {
            let excluded = filter.excludes(path.as_bytes(), is_directory);
            let included = filter.includes(path.as_bytes(), is_directory);
            assert_eq!(excluded, included && !lines.is_empty());
        }
    }
}

/// The manifest of a snapshot of a Redis server: it comes back as it was read.
pub fn redis_manifest(data: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let _ = manifest.dataset().highest_database();
        let written = manifest.encode();
        assert_eq!(
            serde_json::from_slice::<Manifest>(&written).unwrap(),
            manifest
        );
    }
}

/// A report as it waits on disk: it comes back as it was read.
pub fn report_json(data: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let written = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&written).unwrap(), report);
    }
}

#[cfg(test)]
mod runs {
    use crate::backup::upload::fuzz::seeds::heads;

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    strongroom_fuzz::short_runs! {
        agent_toml: texts(&[include_str!("../../deploy/agent.toml")]),
        file_globs: texts(&[
            "*.tmp\n/srv/*/cache\nbuild/**/[a-z]?.o\ntarget/\n{a,b}\\*\n/srv/x/cache",
            "/srv/x",
        ]),
        redis_manifest: texts(&[
            r#"{"format":1,"product":"redis","server_version":"7.0.15","role":"primary","replication_id":"a","replication_offset":42,"rdb":{"version":10,"flavour":"redis","bytes":300,"checksum":"verified"},"databases":{"0":{"keys":2,"expiring":1}},"functions":1,"used_memory":1000,"modules":{"bf":"2"},"module_types":["MBbloom--"],"started":"2026-11-21T12:00:00Z","finished":"2026-11-21T12:00:01Z"}"#,
        ]),
        library_list: texts(&["a, b ,c", "\"with, comma\",\"a \"\"quote\"\"\" , $libdir/b"]),
        push_request: texts(&[
            r#"{"directory":"/var/lib/postgresql/15/main/pg_wal","file":"000000020000000000000005"}"#,
            r#"{"directory":"/d","file":"0000001F.history"}"#,
            r#"{"directory":"/d","file":"000000020000000000000005.00000028.backup"}"#,
        ]),
        recovery_log: texts(&[
            "2026-11-20 12:00:02 UTC [7] LOG:  recovery stopping after commit of transaction 742\n\
             LOG:  redo done at 0/3000148 system usage: CPU\n\tLOG:  redo done at 0/4\n\
             LOG:  last completed transaction was at log time 2026-11-20 11:00:00.5+00\n\
             LOG:  selected new timeline ID: 2\n",
        ]),
        recovery_plan: texts(&["000000010000000000000003 16777216\n00000002.history 50\n"]),
        recovery_state: texts(&[
            r#"{"snapshot":"abababababababababababababababababababababababababababababababab","target":{"restore-point":"x"},"timeline":2,"stage":"log","made":{"16400":"/t"},"boot":"b"}"#,
            r#"{"snapshot":"abababababababababababababababababababababababababababababababab","target":"latest","timeline":1,"stage":"files","boot":""}"#,
        ]),
        report_json: texts(&[
            r#"{"report_id":"00000000-0000-0000-0000-000000000007","attempt":{"job":"00000000-0000-0000-0000-000000000008","attempt":1},"outcome":{"Err":{"code":"source","message":"m","retryable":true}},"warnings":[{"path":[47],"cause":"c"}],"warning_count":1,"peak_resident_bytes":2,"duration_ms":3}"#,
            r#"{"report_id":"00000000-0000-0000-0000-000000000007","attempt":{"job":"00000000-0000-0000-0000-000000000008","attempt":1},"outcome":{"Ok":{"wal":{"objects":1,"bytes":2,"bytes_stored":3}}},"warnings":[],"warning_count":0,"peak_resident_bytes":2,"duration_ms":3}"#,
        ]),
        restore_marker: texts(&[
            r#"{"snapshot":"abababababababababababababababababababababababababababababababab","paths":["/srv/a","b"]}"#,
        ]),
        settings_file: texts(&[
            "cp '/a b'/%f \\ \u{1}x\na = 'b'\n# B more\nc = 'd'\n# E\ne = 'f'\n# B\nlast",
        ]),
        selected_paths: texts(&["/srv/a\n/srv/a\\x41\\u{fc}\\n/b\n/\nA\u{fc}", "/srv//./x\nx"]),
        upload_head: heads(),
    }
}
