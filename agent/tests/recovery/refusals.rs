//! What cannot be reached is said before anything is written.

use strongroom_layout::{
    SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_spec::{FailureCode, Recovery, RecoveryTarget};

use crate::site::Site;

#[test]
fn what_cannot_be_reached_is_refused_before_anything_is_written() {
    let site = Site::new("recovery-refusals");
    site.insert(1);
    let aborted = site
        .cluster
        .sql("BEGIN; SELECT pg_current_xact_id(); INSERT INTO rows VALUES (2); ROLLBACK");
    let aborted: u32 = aborted.trim().parse().expect("a number");
    site.insert(3);
    site.archive(200_000);
    let refused = |recovery: Recovery, code: FailureCode, says: &[&str]| {
        let error = site
            .run(&site.work("refused", recovery))
            .expect_err("a refusal");
        assert_eq!(error.code(), code, "{error}");
        let message = error.to_string();
        assert!(says.iter().all(|part| message.contains(part)), "{message}");
        assert!(!site.target("refused").exists(), "something was written");
    };
    let latest = || site.recovery(RecoveryTarget::Latest);
    let to = |target| site.recovery(target);

    let xid = RecoveryTarget::Xid(aborted);
    refused(
        to(xid),
        FailureCode::NotFound,
        &["rolled back", &aborted.to_string()],
    );
    let early = Lsn(site.base.stop.0 - 8);
    refused(
        to(RecoveryTarget::Lsn(early)),
        FailureCode::NotFound,
        &["outside"],
    );
    let late = Lsn(site.archive.end(1).0 + 8);
    refused(
        to(RecoveryTarget::Lsn(late)),
        FailureCode::NotFound,
        &["outside"],
    );
    let other = Recovery {
        system: SystemId(7),
        ..latest()
    };
    refused(other, FailureCode::NotFound, &["cluster 7"]);
    let mut astray = latest();
    astray.legs[0].timeline = TimelineId(9);
    refused(astray, FailureCode::NotFound, &["timeline 1", "(9)"]);
    let mut unknown = latest();
    unknown.legs[0].until = Some(site.archive.end(1));
    unknown.legs.push(strongroom_spec::Leg {
        timeline: TimelineId(5),
        until: None,
    });
    refused(
        unknown,
        FailureCode::NotFound,
        &["history file of timeline 5"],
    );

    let whole = site.archive.parts();
    let mut gap = whole.clone();
    let missing = gap.remove(gap.len() - 2);
    site.archive.set_parts(gap);
    let says = [&missing.start.to_string()[..], "gap", "timeline 1"];
    refused(latest(), FailureCode::NotFound, &says);

    // One that lies in the store, but is not what its name says.
    site.archive.set_parts(whole);
    let part = site.archive.parts().pop().expect("a part");
    let gone = site.repository.store().remove(part.object());
    site.runtime.block_on(gone).expect("removed");
    let error = site
        .run(&site.work("vanished", latest()))
        .expect_err("it is gone");
    assert_eq!(error.code(), FailureCode::Corrupt, "{error}");
    let message = error.to_string();
    assert!(
        message.contains("vanished") && message.contains(&part.start.to_string()),
        "{message}"
    );
}

#[test]
fn a_server_that_gives_up_says_what_it_wanted() {
    let site = Site::new("recovery-gives-up");
    site.insert(1);
    site.archive(1 << 20);
    let point = RecoveryTarget::RestorePoint("never named".into());
    let error = site.run(&site.work("restored", site.recovery(point)));
    let message = error.expect_err("it is not there").to_string();
    for part in [
        "restore point \"never named\"",
        "gave up",
        "before configured recovery target",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
