//! A Redis server.

use std::process::Command;

use anyhow::Result;
use strongroom_tests::{redis::Server, scratch::Scratch};

use crate::{
    Options, measure,
    report::Report,
    strongroom::{Strongroom, snapshot},
};

/// Its RDB to nowhere, and into a repository.
pub(crate) fn compare(options: &Options, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("redis");
    let server = Server::start(&scratch, "server");
    eprintln!("filling Redis: {} keys", options.keys);
    let script = "math.randomseed(tonumber(ARGV[1])) \
         for i = 1, tonumber(ARGV[3]) do local t = {} \
         for j = 1, 25 do t[j] = string.char(math.random(0,255), math.random(0,255), math.random(0,255), math.random(0,255)) end \
         redis.call('SET', 'key:' .. (ARGV[2] + i), table.concat(t)) end";
    let batch = 50_000;
    let mut client = server.client();
    for first in (0..options.keys).step_by(batch as usize) {
        let count = batch.min(options.keys - first);
        client.run(&[
            "EVAL",
            script,
            "0",
            &first.to_string(),
            &first.to_string(),
            &count.to_string(),
        ]);
    }
    report.note(format!(
        "Redis uses {} MiB of memory.",
        server.info("used_memory").parse::<u64>()? >> 20
    ));
    for _ in 0..options.runs {
        let mut nowhere = Command::new("sh");
        nowhere.arg("-c").arg(format!(
            "redis-cli -p {} --rdb - >/dev/null 2>&1",
            server.port()
        ));
        report.add(
            "Redis backup",
            "redis-cli --rdb to nowhere",
            measure::run(&nowhere)?,
        );
        let place = Scratch::new("fresh");
        let ours = Strongroom::start(
            &place,
            &format!(
                "[redis.bench]\nurl = \"{}\"\nallow_restore = true",
                server.url()
            ),
            r#"source = { redis = { connection = "bench" } }"#,
        );
        let (usage, job) = ours.backup()?;
        report.add("Redis backup", "strongroom", usage);
        let (usage, _, _) = ours.restore(&snapshot(&job), "rdb", &[])?;
        report.add("Redis restore of the RDB", "strongroom", usage);
    }
    Ok(())
}
