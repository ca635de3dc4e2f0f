//! Restores that are cut off, and run again.

use std::{
    fs::{self, File},
    process::Stdio,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use rustix::fs::{FlockOperation, flock};
use strongroom_agent::monitor::Monitor;
use strongroom_layout::{Directory, ObjectName};
use strongroom_repository::store::{
    Body, ByteRange, Listed, SharedStore, Store, StoreError, StoreErrorKind,
};
use strongroom_spec::{FailureCode, RecoveryTarget};
use strongroom_tests::{
    cluster::{as_postgres, server_programs, succeed},
    operator::eventually,
    port::Port,
};
use tokio_util::sync::CancellationToken;

use crate::site::{Site, names, port, rows};

/// A store that fails, or cancels, at one of the parts of the log: when it is
/// fetched, which is the second time. The first time the log is read for what it
/// does.
#[derive(Debug)]
struct Trap {
    store: SharedStore,
    /// At this one; `None`: at none.
    at: Option<ObjectName>,
    cancel: Option<CancellationToken>,
    /// It is not there any more.
    gone: bool,
    /// Parts that were asked for.
    seen: Mutex<Vec<ObjectName>>,
}

impl Trap {
    /// At the part of this number, in the log's order.
    fn new(site: &Site, number: Option<usize>, cancel: Option<CancellationToken>) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(site.repository.store()),
            at: number.map(|number| site.archive.parts()[number].object()),
            cancel,
            gone: false,
            seen: Mutex::default(),
        })
    }

    /// The parts that were asked for twice.
    fn fetched(&self) -> usize {
        let seen = self.seen.lock().expect("no panic");
        let again = |(index, object): &(usize, &ObjectName)| seen[..*index].contains(object);
        seen.iter().enumerate().filter(again).count()
    }
}

impl Store for Trap {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.put(object, body)
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        if matches!(object, ObjectName::Wal(_)) {
            let mut seen = self.seen.lock().expect("no panic");
            let second = seen.contains(&object);
            seen.push(object);
            drop(seen);
            if second && self.at == Some(object) {
                if let Some(cancel) = &self.cancel {
                    cancel.cancel();
                }
                let kind = if self.gone {
                    StoreErrorKind::NotFound
                } else {
                    StoreErrorKind::Transient("the line is cut".into())
                };
                return Box::pin(ready(Err(StoreError::new("get", object, kind))));
            }
        }
        self.store.get(object, range)
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        self.store.list(directory)
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.remove(object)
    }
}

/// Several segments of log, in halves.
fn site(name: &str) -> Site {
    let site = Site::new(name);
    for row in 1..=5 {
        site.insert(row);
        site.cluster.sql("SELECT pg_switch_wal()");
    }
    site.insert(6);
    site.archive(8 << 20);
    site
}

#[test]
fn a_restore_goes_on_with_the_log_that_is_missing() {
    let site = site("recovery-interrupted");
    for start in [true, false] {
        let name = format!("restored-{start}");
        let mut work = site.work(&name, site.recovery(RecoveryTarget::Latest));
        work.target.start = start;
        let trap = Trap::new(&site, Some(5), None);
        let cut = Arc::new(site.repository.with_store(trap.clone()));
        let monitor = Arc::new(Monitor::new(CancellationToken::new()));
        let error = site
            .run_on(&cut, &work, &monitor)
            .expect_err("the line is cut");
        assert_eq!(error.code(), FailureCode::Store, "{error}");
        assert!(error.to_string().contains("the line is cut"), "{error}");
        let there = names(&site.target(&name).join("strongroom_wal"));
        let segments = there.iter().filter(|name| name.len() == 24).count();
        // The segment before the backup is of no use.
        assert_eq!(segments, 1, "{there:?}");

        // Somebody who wants something else is told what is there.
        let other = site.work(&name, site.recovery(RecoveryTarget::Xid(1_000)));
        let refusal = site.run(&other);
        assert!(refusal.is_err());

        // Not a segment is fetched twice, but for the first, which the snapshot holds,
        // too: it is compared with that.
        let whole = Trap::new(&site, None, None);
        let repository = Arc::new(site.repository.with_store(whole.clone()));
        let result = site
            .run_on(&repository, &work, &monitor)
            .expect("it goes on");
        assert_eq!(whole.fetched(), site.archive.parts().len() - 4 + 1);
        if start {
            assert_eq!(rows(port(&result)), "1 2 3 4 5 6", "{:?}", result.notes);
        } else {
            let error = site.run(&work).expect_err("it is done");
            assert!(error.to_string().contains("not empty"), "{error}");
        }
    }
}

#[test]
fn a_cancel_ends_server_and_restore() {
    let site = site("recovery-cancelled");
    let work = site.work("restored", site.recovery(RecoveryTarget::Latest));
    let cancel = CancellationToken::new();
    let trap = Trap::new(&site, Some(3), Some(cancel.clone()));
    let cut = Arc::new(site.repository.with_store(trap));
    let error = site.run_on(&cut, &work, &Arc::new(Monitor::new(cancel)));
    let error = error.expect_err("cancelled");
    assert_eq!(error.code(), FailureCode::Cancelled, "{error}");
    assert!(!site.target("restored").join("postmaster.pid").exists());
    let result = site.run(&work).expect("it goes on");
    assert_eq!(rows(port(&result)), "1 2 3 4 5 6");
}

#[test]
fn a_server_that_outlived_its_agent_gives_way_to_the_next() {
    let site = site("recovery-outlived");
    let work = site.work("restored", site.recovery(RecoveryTarget::Latest));
    let trap = Trap::new(&site, Some(7), None);
    let cut = Arc::new(site.repository.with_store(trap));
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    site.run_on(&cut, &work, &monitor)
        .expect_err("the line is cut");
    // As it is in the moment in which an agent dies: its server waits.
    let data = site.target("restored");
    let lock = File::open(data.join("strongroom_wal/.lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody has it");
    let own = Port::lease();
    let mut start = as_postgres(server_programs().join("pg_ctl"));
    start.args(["start", "-s", "-W", "-D"]).arg(&data).arg("-l");
    start.arg(site.cluster.beside("logs").join("log"));
    start.args(["-o", &format!("-p {}", own.number())]);
    succeed(start.stdin(Stdio::null()));
    eventually("a server that waits for its log", || {
        let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        status.contains("standby").then_some(())
    });
    drop(lock);
    let result = site.run(&work).expect("it goes on");
    assert_eq!(rows(port(&result)), "1 2 3 4 5 6", "{:?}", result.notes);
}

#[test]
fn parts_that_were_merged_since_they_were_listed_are_found_again() {
    let site = site("recovery-superseded");
    site.archive
        .supersede(&site.runtime, &site.cluster.data(), true);
    let (found, _) = site.rows_at("restored", RecoveryTarget::Latest);
    assert_eq!(found, "1 2 3 4 5 6");
}

#[test]
fn parts_that_were_merged_since_they_were_read_are_found_again() {
    let site = site("recovery-superseded-later");
    let trap = Arc::into_inner(Trap::new(&site, Some(5), None)).expect("nobody else has it");
    site.archive
        .supersede(&site.runtime, &site.cluster.data(), false);
    let gone = Arc::new(Trap { gone: true, ..trap });
    let cut = Arc::new(site.repository.with_store(gone));
    let work = site.work("restored", site.recovery(RecoveryTarget::Latest));
    let monitor = Arc::new(Monitor::new(CancellationToken::new()));
    let result = site.run_on(&cut, &work, &monitor).expect("restored");
    assert_eq!(rows(port(&result)), "1 2 3 4 5 6");
}
