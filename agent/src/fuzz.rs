//! Fuzz targets: what lies in a snapshot, what an operator uploads or asks
//! for, and what people write.

use std::path::Path;

use strongroom_runtime::config;
use strongroom_wire::job::Report;

use crate::{
    config::AgentConfig,
    sources::{files::globs::Filter, redis::Manifest},
};
pub use crate::{restore::fuzz::selected_paths, sources::upload::fuzz::upload_head};

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
    use crate::sources::upload::fuzz::seeds::heads;

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
        report_json: texts(&[
            r#"{"report_id":"00000000-0000-0000-0000-000000000007","attempt":{"job":"00000000-0000-0000-0000-000000000008","attempt":1},"outcome":{"Err":{"code":"source","message":"m","retryable":true}},"warnings":[{"path":[47],"cause":"c"}],"warning_count":1,"peak_resident_bytes":2,"duration_ms":3}"#,
            r#"{"report_id":"00000000-0000-0000-0000-000000000007","attempt":{"job":"00000000-0000-0000-0000-000000000008","attempt":1},"outcome":{"Ok":{"wal":{"objects":1,"bytes":2,"bytes_stored":3}}},"warnings":[],"warning_count":0,"peak_resident_bytes":2,"duration_ms":3}"#,
        ]),
        selected_paths: texts(&["/srv/a\n/srv/a\\x41\\u{fc}\\n/b\n/\nA\u{fc}", "/srv//./x\nx"]),
        upload_head: heads(),
    }
}
