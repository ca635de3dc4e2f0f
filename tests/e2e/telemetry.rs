//! One trace per job, across both programs.

use strongroom_tests::{
    coordinator::Setup,
    operator::text,
    traces::{Collector, Span, ancestry},
    tree::Tree,
};

use crate::world::{POLICY, World, snapshot_of};

#[test]
fn a_job_is_one_trace_from_the_coordinator_to_the_agents_s3_requests() {
    let collector = Collector::start();
    let setup = Setup {
        otlp_endpoint: Some(collector.endpoint()),
        ..Setup::default()
    };
    let world = World::with("telemetry", setup);
    world.fill(&Tree::small(1));
    let job = world.operator().backup(POLICY);
    snapshot_of(&job);
    let trace = text(&job["trace_id"]);
    assert_eq!(trace.len(), 32, "{job:#}");

    let is_put = |span: &Span| span.service == "strongroom-agent" && span.name == "s3.put";
    let is_root = |span: &Span| span.trace == trace && span.parent.is_empty();
    // The last span of the agent to end, and the coordinator's own last one.
    let spans = collector.wait_for("a complete trace", |spans| {
        let mine = || spans.iter().filter(|span| span.trace == trace);
        mine().any(|span| span.name == "attempt") && mine().any(is_root)
    });

    let roots: Vec<_> = spans.iter().filter(|span| is_root(span)).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!(roots[0].service, "strongroom", "{roots:#?}");

    // From every S3 request of the agent up to the coordinator's root,
    // without a gap: request, stage, attempt, job.
    let spans = collector.wait_for("all parents", |spans| {
        let mut puts = spans.iter().filter(|span| is_put(span));
        puts.all(|put| ancestry(spans, put).last().is_some_and(|top| is_root(top)))
    });
    let puts: Vec<_> = spans.iter().filter(|span| is_put(span)).collect();
    assert!(
        puts.len() >= 6,
        "config, key, lock, packs, index, snapshot: {puts:#?}"
    );
    for put in puts {
        let chain: Vec<_> = ancestry(&spans, put)
            .into_iter()
            .map(|span| &span.name)
            .collect();
        assert!(
            chain.len() >= 3 && chain.contains(&&"attempt".to_owned()),
            "{chain:?}"
        );
    }

    // The coordinator's part belongs to the same trace, below the agent's.
    for name in ["sign", "publish", "list objects", "release locks"] {
        let asked: Vec<_> = spans
            .iter()
            .filter(|span| span.service == "strongroom" && span.name == name)
            .collect();
        assert!(!asked.is_empty(), "no span {name:?}: {spans:#?}");
        for span in asked {
            assert_eq!(span.trace, trace, "{span:#?}");
        }
    }

    // The same id stands in the audit log and in the agent's log lines.
    let audited = world.operator().audit("job");
    assert!(
        audited
            .iter()
            .any(|entry| entry["trace_id"] == trace.as_str()),
        "{audited:#?}"
    );
}

#[test]
fn json_logs_carry_the_trace_id() {
    let world = World::with_agent("json-logs", Setup::default(), |agent| {
        agent.extra("[telemetry]\nlog_format = \"json\"\nlog_level = \"info,strongroom=debug\"\n")
    });
    world.fill(&Tree::small(2));
    let job = world.operator().backup(POLICY);
    let trace = text(&job["trace_id"]);
    let line = world
        .agent
        .program()
        .wait_for_line("the trace id", |line| line.contains(&trace));
    let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    assert_eq!(text(&line["trace_id"]), trace, "{line:#}");
}
