//! Certificates that end, starts of sessions that are audited.

use strongroom_layout::AgentId;
use uuid::Uuid;

use super::{Fixture, contract, fixture::operator};
use crate::{
    catalog::{AuditFilter, RenewError, SessionStart},
    model::{AgentCertificate, AuditOutcome, AuditRow, ContestSign, Holder},
};

contract!(
    the_first_use_of_a_certificate_ends_those_before_it,
    an_agent_has_one_unused_certificate_and_six_an_hour,
    however_an_agent_calls_itself_its_starts_fill_no_log,
    a_certificate_that_a_restored_catalog_does_not_know_is_entered,
    sessions_are_audited_when_they_are_others,
    an_agent_is_contested_once_and_trusted_under_one_certificate,
    who_was_replaced_meanwhile_gets_no_certificate,
);

async fn renewed(fixture: &Fixture, agent: AgentId, serial: &str) -> AgentCertificate {
    fixture.advance(60);
    let end = fixture.in_seconds(86_400);
    let certificate = AgentCertificate::new(agent, serial.into(), fixture.now(), end);
    let shown = good(fixture, agent).await.remove(0);
    let recorded = fixture.catalog.record_certificate(&certificate, &shown);
    recorded.await.unwrap();
    certificate
}

/// Serial numbers of those that are good, newest first.
async fn good(fixture: &Fixture, agent: AgentId) -> Vec<String> {
    let mut all = fixture.catalog.certificates(agent).await.unwrap();
    all.retain(|it| it.ended.is_none());
    all.into_iter().map(|it| it.serial).collect()
}

async fn audited(fixture: &Fixture, action: &str) -> Vec<AuditRow> {
    let filter = AuditFilter {
        action: Some(action.into()),
        ..AuditFilter::default()
    };
    let mut log = fixture.catalog.audit_log(&filter, 100).await.unwrap().items;
    log.reverse();
    log
}

async fn the_first_use_of_a_certificate_ends_those_before_it(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let second = renewed(&fixture, agent.id, "02").await;
    fixture.catalog.first_use(&second).await.unwrap();
    let used = fixture.now();
    let third = renewed(&fixture, agent.id, "03").await;
    assert_eq!(good(&fixture, agent.id).await, ["03", "02"]);
    let (known, shown) = fixture.catalog.agent_showing(agent.id, "02").await.unwrap();
    assert_eq!(known.id, agent.id);
    assert_eq!(shown.unwrap().first_used_at, Some(used));
    fixture.catalog.first_use(&third).await.unwrap();
    assert_eq!(good(&fixture, agent.id).await, ["03"]);
    // Another one's is nobody's here.
    let other = fixture.agent("web-2").await;
    let (_, shown) = fixture.catalog.agent_showing(other.id, "03").await.unwrap();
    assert_eq!(shown, None);
}

async fn who_was_replaced_meanwhile_gets_no_certificate(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let catalog = &fixture.catalog;
    let first = good(&fixture, agent.id).await.remove(0);
    let second = renewed(&fixture, agent.id, "02").await;
    catalog.first_use(&second).await.unwrap();
    let end = fixture.in_seconds(86_400);
    let next = AgentCertificate::new(agent.id, "03".into(), fixture.now(), end);
    for shown in [&*first, "unknown"] {
        let refused = catalog.record_certificate(&next, shown).await;
        assert!(matches!(refused, Err(RenewError::Ended)), "{refused:?}");
    }
    let other = fixture.agent("web-2").await;
    let others = good(&fixture, other.id).await.remove(0);
    let refused = catalog.record_certificate(&next, &others).await;
    assert!(matches!(refused, Err(RenewError::Ended)), "{refused:?}");
    assert_eq!(good(&fixture, agent.id).await, ["02"]);
    catalog
        .revoke_agent(agent.id, &crate::model::Actor::Coordinator)
        .await
        .unwrap();
    let refused = catalog.record_certificate(&next, "02").await;
    assert!(matches!(refused, Err(RenewError::Ended)), "{refused:?}");
}

const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

async fn an_agent_has_one_unused_certificate_and_six_an_hour(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let catalog = &fixture.catalog;
    let first = agent.id.0.simple().to_string();
    for serial in ["02", "03", "04", "05", "06"] {
        renewed(&fixture, agent.id, serial).await;
        let mut good = good(&fixture, agent.id).await;
        // The one that it enrolled with has not been shown either.
        good.retain(|it| *it != first);
        assert_eq!(good, [serial]);
    }
    let end = fixture.in_seconds(86_400);
    let seventh = AgentCertificate::new(agent.id, "07".into(), fixture.now(), end);
    for _ in 0..3 {
        let refused = catalog.may_renew(agent.id, DAY).await;
        assert!(matches!(refused, Err(RenewError::TooOften)));
        let refused = catalog.record_certificate(&seventh, "06").await;
        assert!(matches!(refused, Err(RenewError::TooOften)));
    }
    let told = audited(&fixture, "certificate.renew").await;
    let refused = told.iter().filter(|it| it.outcome == AuditOutcome::Refused);
    assert_eq!((told.len(), refused.count()), (6, 1));
    // One that was replaced unused is known to have ended.
    let (_, shown) = catalog.agent_showing(agent.id, "05").await.unwrap();
    assert!(shown.unwrap().ended.is_some());
    // Of short-lived ones it needs more.
    let minute = jiff::SignedDuration::from_mins(1);
    catalog.may_renew(agent.id, minute).await.unwrap();
    fixture.advance(3_600);
    catalog.may_renew(agent.id, DAY).await.unwrap();
    renewed(&fixture, agent.id, "08").await;
    // Those whose time is over are forgotten.
    fixture.advance(90_000);
    renewed(&fixture, agent.id, "09").await;
    assert_eq!(catalog.certificates(agent.id).await.unwrap().len(), 1);
}

async fn a_certificate_that_a_restored_catalog_does_not_know_is_entered(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    fixture.advance(60);
    let (now, end) = (fixture.now(), fixture.in_seconds(86_400));
    let unknown = AgentCertificate::new(agent.id, "0a".into(), now, end);
    for _ in 0..2 {
        fixture.catalog.first_use(&unknown).await.unwrap();
    }
    assert_eq!(good(&fixture, agent.id).await, ["0a"]);
    assert_eq!(audited(&fixture, "certificate.adopt").await.len(), 1);
}

async fn sessions_are_audited_when_they_are_others(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let start = |boot: u128, address: [u8; 4]| SessionStart {
        address: address.into(),
        boot: Uuid::from_u128(boot),
        serial: "01".into(),
        version: Some("0.1.0".into()),
    };
    let (here, there) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let begin = async |start| {
        fixture
            .catalog
            .session_begins(agent.id, &start)
            .await
            .unwrap();
    };
    for _ in 0..3 {
        begin(start(1, here)).await;
    }
    assert_eq!(audited(&fixture, "session.begin").await.len(), 1);
    // It starts again and again: told a minute later, with their number.
    for boot in 2..5 {
        begin(start(boot, here)).await;
    }
    assert_eq!(audited(&fixture, "session.begin").await.len(), 1);
    fixture.advance(60);
    begin(start(5, here)).await;
    let entries = audited(&fixture, "session.begin").await;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].detail["restarts_before"], 3);
    assert_eq!(entries[1].detail["address"], "192.0.2.1");
    assert_eq!(entries[1].detail["serial"], "01");
    // From elsewhere it is told at once.
    begin(start(6, there)).await;
    assert_eq!(audited(&fixture, "session.begin").await.len(), 3);
    let last = fixture.catalog.last_session(agent.id).await.unwrap();
    assert_eq!(last, Some(start(6, there)));
}

async fn however_an_agent_calls_itself_its_starts_fill_no_log(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let begin = async |version: u32| {
        let start = SessionStart {
            address: [192, 0, 2, 1].into(),
            boot: Uuid::from_u128(1),
            serial: "01".into(),
            version: Some(version.to_string()),
        };
        let begun = fixture.catalog.session_begins(agent.id, &start);
        begun.await.unwrap();
    };
    for version in 0..200 {
        begin(version % 2).await;
        fixture.advance(5);
    }
    assert_eq!(audited(&fixture, "session.begin").await.len(), 20);
    // Who it is now is known all the same, and how often it was another.
    let last = fixture.catalog.last_session(agent.id).await.unwrap();
    assert_eq!(last.unwrap().version.as_deref(), Some("1"));
    fixture.advance(3_600);
    begin(7).await;
    let log = audited(&fixture, "session.begin").await;
    assert_eq!(log.len(), 21);
    assert_eq!(log[20].detail["restarts_before"], 180);
}

async fn an_agent_is_contested_once_and_trusted_under_one_certificate(fixture: Fixture) {
    let agent = fixture.agent("web-1").await;
    let catalog = &fixture.catalog;
    let first = agent.id.0.simple().to_string();
    let second = renewed(&fixture, agent.id, "02").await;
    catalog.first_use(&second).await.unwrap();
    renewed(&fixture, agent.id, "03").await;
    let holder = |serial: &str| Holder {
        address: [192, 0, 2, 1].into(),
        serial: serial.into(),
        boot: None,
        version: None,
    };
    for _ in 0..2 {
        let holders = vec![holder("02"), holder(&first)];
        let sign = ContestSign::EndedCertificate;
        let contested = catalog
            .contest_agent(agent.id, sign, holders)
            .await
            .unwrap();
        assert!(contested.is_active() && contested.contest.is_some());
    }
    assert_eq!(audited(&fixture, "agent.contest").await.len(), 1);
    for wrong in [None, Some("03")] {
        let refused = catalog.trust_agent(agent.id, wrong, &operator()).await;
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("--serial"), "{message}");
    }
    let trusted = catalog
        .trust_agent(agent.id, Some(&first), &operator())
        .await;
    assert_eq!(trusted.unwrap().contest, None);
    assert_eq!(good(&fixture, agent.id).await, [first]);
    for _ in 0..2 {
        let refused = holder("02");
        catalog
            .note_ended_certificate(agent.id, &refused)
            .await
            .unwrap();
    }
    assert_eq!(audited(&fixture, "certificate.refuse").await.len(), 1);
    assert_eq!(audited(&fixture, "agent.trust").await.len(), 1);
}
