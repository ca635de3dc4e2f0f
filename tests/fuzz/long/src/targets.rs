//! All targets by name.

use std::{env, sync::OnceLock};

use strongroom_fuzz::Heap;

#[global_allocator]
static HEAP: Heap = Heap;

type Target = fn(&[u8]);

macro_rules! targets {
    ($($krate:ident: $($target:ident),*;)*) => {
        const TARGETS: &[(&str, Target)] = &[
            $($((stringify!($target), $krate::fuzz::$target),)*)*
        ];
    };
}

targets! {
    strongroom_layout: names;
    strongroom_transfer: transfer_manifest, transfer_object, public_key;
    strongroom_wire: agent_messages, coordinator_messages, join_token;
    strongroom_runtime: certificate, certificates_pem, certificate_request, settings, units,
        trace_context;
    strongroom_repository: envelope, blob, pack_header, pack_tail, index, unpacked, tree, snapshot,
        lock, config, key_file, wal_object, store_listing;
    strongroom_s3: s3_listing, s3_versions, s3_tags, s3_error, s3_location, s3_answer;
    strongroom_postgres: pg_control, wal_segment_header, wal_log, wal_record, relation_page,
        data_directory_names, backup_label, tablespace_map, timeline_history,
        replication_messages, sql_script, pg_restore_list, globals_sql, logical_manifest,
        physical_manifest, name_pattern, postgres_url, server_words, service_file,
        version_of_program;
    strongroom_agent: agent_toml, file_globs, redis_manifest, report_json, selected_paths,
        upload_head, library_list, push_request, recovery_log, recovery_plan, recovery_state,
        restore_marker, settings_file;
    strongroom: policy_file, coordinator_toml, cron, spans_and_names, store_key, store_request,
        store_answer, agents_tar;
    strongroom_redis: rdb, resp_replies, replica_commands, key_pattern, info, redis_url;
}

/// Runs the target that `STRONGROOM_FUZZ_TARGET` names.
pub(crate) fn run(data: &[u8]) {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    strongroom_fuzz::run(*CHOSEN.get_or_init(chosen), data);
}

fn chosen() -> Target {
    let name = env::var("STRONGROOM_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = found else {
        let known: Vec<_> = TARGETS.iter().map(|(known, _)| *known).collect();
        panic!(
            "STRONGROOM_FUZZ_TARGET={name:?} is none of {}",
            known.join(", ")
        );
    };
    *target
}
