//! Fuzz targets: policies and configuration, what callers of the API and of the
//! embedded store name, what a store answers, and what an agent sends.

use std::path::Path;

use jiff::Timestamp;
use strongroom_runtime::config;

pub use crate::{
    cli::fuzz::agents_tar,
    embedded::fuzz::{store_key, store_request},
    stores::fuzz::store_answer,
};
use crate::{
    config::Config,
    model::DatasetName,
    policy::{
        self, Cron, Schedule, Span,
        cron::{check_cron, check_time_zone},
    },
    schedule::next_due,
};

/// A document of policies. Every problem has a line of it.
pub fn policy_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines = text.matches('\n').count() + 1;
    match policy::parse("policies.toml", text, &["primary".into()]) {
        Ok(policies) => assert!(!policies.is_empty()),
        Err(invalid) => {
            assert!(!invalid.problems.is_empty());
            for problem in &invalid.problems {
                assert!((1..=lines).contains(&problem.line), "{problem}");
            }
        }
    }
}

/// `coordinator.toml`.
pub fn coordinator_toml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = config::parse::<Config>(Path::new("coordinator.toml"), text);
    }
}

/// A cron expression and a time zone, apart at a line feed. The next run is
/// behind the last one, and what was missed is caught up by one.
pub fn cron(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (cron, timezone) = text.split_once('\n').unwrap_or((&text, "UTC"));
    if check_cron(cron).is_err() || check_time_zone(timezone).is_err() {
        return;
    }
    let schedule = Schedule::Cron(Cron {
        cron: cron.into(),
        timezone: timezone.into(),
        jitter: None,
    });
    let last = Timestamp::from_second(1_790_000_000).unwrap();
    let now = Timestamp::from_second(1_790_100_000).unwrap();
    if let Some(due) = next_due(&schedule, last, last, "web@host") {
        assert!(due.nominal > last);
        let caught_up = next_due(&schedule, last, now, "web@host").unwrap();
        assert!(caught_up.nominal >= due.nominal);
    }
}

/// A span of time, and the name of a dataset: what is shown of them is read as
/// the same.
pub fn spans_and_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    if let Ok(name) = text.parse::<DatasetName>() {
        assert_eq!(name.to_string(), text);
    }
}

#[cfg(test)]
mod runs {
    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    /// As one of ours is sent.
    fn requests() -> Vec<Vec<u8>> {
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let signed = "host;range;x-amz-content-sha256;x-amz-date";
        let request = |first: &str, more: &str| {
            format!(
                "{first}\nhost: 127.0.0.1:7490\nrange: bytes=0-1\n{more}\
                 x-amz-date: 20260101T000000Z\nauthorization: AWS4-HMAC-SHA256 \
                 Credential=SRX/20260101/us-east-1/s3/aws4_request, \
                 SignedHeaders={signed}, Signature=00"
            )
        };
        let chunked = "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\n\
                       x-amz-decoded-content-length: 12\nif-range: \"x\"\n";
        texts(&[
            &request(
                "GET /b/k?x-id=1",
                &format!("x-amz-content-sha256: {hash}\n"),
            ),
            &request("PUT /b/k", chunked),
        ])
    }

    strongroom_fuzz::short_runs! {
        agents_tar: crate::cli::fuzz::seeds::tars(),
        store_answer: texts(&[
            "Thu, 01 Jan 2026 12:04:00 GMT\n<Error><Code>AccessDenied</Code><Message>not \
             signed</Message></Error>",
        ]),
        store_request: requests(),
        policy_file: texts(&[include_str!("../../deploy/policies.toml")]),
        coordinator_toml: texts(&[include_str!("../../deploy/coordinator.toml")]),
        cron: texts(&[
            "0 2 * * *\nEurope/Berlin",
            "*/5 0-23/2 1,15 JAN-DEC MON#1\nAustralia/Lord_Howe",
            "0 0 30 2 *",
            "59 23 L * 5L",
        ]),
        spans_and_names: texts(&["1h30m", "3650d", "web@db-1"]),
        store_key: texts(&["bucket\nprefix/data/ab/abcdef", "bucket\ncHJlZml4L2RhdGE"]),
    }
}
