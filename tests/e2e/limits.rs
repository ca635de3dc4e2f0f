//! What a job may take of its host: limits of the policy and of the host, and
//! the agent's priority.

use std::{fs, path::Path, process::Command};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_tests::{
    agent::Agent,
    coordinator::Setup,
    operator::{eventually, text},
    program::PATIENCE,
    scratch::Scratch,
    traces::{Collector, Span},
    tree::Tree,
};

use crate::world::{AGENT, POLICY, World, assert_says, snapshot_of};

const MIB: u64 = 1 << 20;

/// The agent's span of a job, which says what limits hold.
fn attempt(collector: &Collector, job: &serde_json::Value) -> Span {
    let trace = text(&job["trace_id"]);
    let is_attempt = |span: &Span| span.trace == trace && span.name == "attempt";
    let spans = collector.wait_for("attempt", |spans| spans.iter().any(is_attempt));
    spans.into_iter().find(is_attempt).expect("it was there")
}

/// The limits that an attempt's span names: upload, download, read, threads,
/// memory; 0 is none.
fn limits(span: &Span) -> [u64; 5] {
    ["upload", "download", "read", "threads", "memory"].map(|name| {
        let value = span.attributes.get(&format!("limits.{name}"));
        value.map_or(0, |text| text.parse().expect("a number"))
    })
}

#[test]
fn a_policy_s_limits_reach_the_agent_and_combine_with_its_host_s() {
    let collector = Collector::start();
    let setup = Setup {
        otlp_endpoint: Some(collector.endpoint()),
        ..Setup::default()
    };
    let world = World::with_agent("limits", setup, |agent| {
        agent.extra(
            "[limits]\nupload = \"100MiB/s\"\ndownload = \"200MiB/s\"\nthreads = 3\n\
             memory = \"48MiB\"\n",
        )
    });
    Tree::small(1).write(&world.source);
    // One is stricter here, one there, one is in the policy alone.
    world.operator().apply(&world.policy(
        "limits = { upload = \"300MiB/s\", download = \"150MiB/s\", read = \"500MiB/s\", \
         threads = 2, memory = \"64MiB\" }",
    ));
    let wanted = [100 * MIB, 150 * MIB, 500 * MIB, 2, 48 * MIB];

    let policy = world.operator().json(&["policies", "show", POLICY]);
    assert_eq!(policy["limits"]["read_bytes_per_second"], 500 * MIB);
    assert_says(&text(&policy["toml"]), &["read = \"500MiB/s\"", "64MiB"]);
    let backup = world.operator().backup(POLICY);
    assert_eq!(backup["limits"]["memory_bytes"], 64 * MIB, "{backup:#}");
    assert_eq!(limits(&attempt(&collector, &backup)), wanted);

    // A restore of its snapshot keeps to them as well.
    let snapshot = snapshot_of(&backup);
    let target = world.restores.join("again");
    let restore = world.operator().restore(&snapshot, AGENT, &target);
    assert_eq!(limits(&attempt(&collector, &restore)), wanted);

    // Without the policy the host's are left.
    world.operator().json(&["policies", "delete", POLICY]);
    let target = world.restores.join("without");
    let restore = world.operator().restore(&snapshot, AGENT, &target);
    assert_eq!(
        limits(&attempt(&collector, &restore)),
        [100 * MIB, 200 * MIB, 0, 3, 48 * MIB]
    );
}

#[test]
fn threads_that_do_not_fit_into_the_memory_are_given_up_with_a_word() {
    let world = World::with_agent("few-threads", Setup::default(), |agent| {
        agent.extra("[limits]\nmemory = \"30MiB\"\n")
    });
    Tree::small(1).write(&world.source);
    world
        .operator()
        .apply(&world.policy("limits = { threads = 64 }"));
    snapshot_of(&world.operator().backup(POLICY));
    let line = world
        .agent
        .program()
        .wait_for_line("a warning", |line| line.contains("limits.memory"));
    assert_says(&line, &["limits.threads", "wanted=64"]);
}

/// Niceness and I/O priority of a thread or process, as `ionice` says it.
fn priority(id: &str) -> Option<(i64, String)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // After the name, which stands in parentheses, comes the third field.
    let fields = stat.rsplit(") ").next()?;
    let nice = fields.split(' ').nth(19 - 3)?.parse().ok()?;
    let output = Command::new("ionice")
        .args(["-p", id])
        .output()
        .expect("`ionice` must be installed: apt-get install util-linux");
    if !output.status.success() {
        // It has just ended.
        return None;
    }
    let ionice = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some((nice, ionice))
}

#[test]
fn every_thread_of_the_agent_and_its_commands_stand_back() {
    let scratch = Scratch::new("priority-fifo");
    let fifo = scratch.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).expect("a fifo can be made");
    let world = World::with_agent("priority", Setup::default(), |agent| {
        agent.extra(&format!(
            "[commands.wait]\nargv = [\"cat\", \"{}\"]\n",
            fifo.display()
        ))
    });
    world.operator().apply(&format!(
        "[[policy]]\nname = \"{POLICY}\"\nagents = {{ names = [\"{AGENT}\"] }}\n\
         source = {{ command = {{ name = \"wait\" }} }}\nstore = \"primary\"\n"
    ));
    let job = world.operator().start(POLICY);
    let agent = world.agent.program().pid();
    // The workers are at work, and the command waits for our word.
    let threads = eventually("a worker", || {
        let threads = threads(agent);
        let works = |(_, name): &(String, String)| name.starts_with("worker-");
        threads.iter().any(works).then_some(threads)
    });
    assert!(threads.len() >= 4, "{threads:?}");
    let wanted = (10, "best-effort: prio 7".to_owned());
    for (id, name) in threads {
        // Idle threads of the runtime come and go.
        if let Some(found) = priority(&id) {
            assert_eq!(found, wanted, "{name}");
        }
    }
    let command = eventually("the command", || {
        let children = format!("/proc/{agent}/task");
        let mut children = fs::read_dir(children).ok()?.filter_map(|task| {
            let path = task.ok()?.path().join("children");
            let children = fs::read_to_string(path).ok()?;
            children.split_whitespace().next().map(str::to_owned)
        });
        children.next()
    });
    assert_eq!(priority(&command), Some(wanted));
    fs::write(&fifo, "a word").expect("the command reads");
    snapshot_of(&world.operator().wait_for_end(&job));
}

/// Ids and names.
fn threads(process: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(Path::new("/proc").join(process.to_string()).join("task"));
    tasks
        .expect("it runs")
        .filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let id = task.file_name().into_string().ok()?;
            Some((id, name.trim().to_owned()))
        })
        .collect()
}

#[test]
fn limits_of_the_host_that_cannot_work_are_named_with_what_can() {
    let scratch = Scratch::new("bad-limits");
    for (number, (line, parts)) in [
        (
            "threads = 0",
            &["limits.threads", "0 threads", "at least 1"][..],
        ),
        ("memory = \"16MiB\"", &["limits.memory", "16MiB", "22MiB"]),
        ("read = \"0B/s\"", &["limits.read", "0B/s", "1KiB/s"]),
        (
            "ionice = \"realtime:0\"",
            &["limits.ionice", "realtime:0", "idle"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("bad-{number}");
        let agent = Agent::prepare(&scratch, &name).extra(&format!("[limits]\n{line}\n"));
        let mut program = agent.spawn();
        assert!(!program.wait(PATIENCE).success());
        assert_says(&program.log(), parts);
        let config = fs::read_to_string(agent.config()).expect("the configuration");
        let at = config.lines().position(|it| it == line).expect("the line") + 1;
        assert_says(&program.log(), &[&format!("agent.toml:{at}:")]);
    }
}
