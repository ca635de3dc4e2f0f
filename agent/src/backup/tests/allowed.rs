//! Nothing is read but what was allowed, whatever names lead to by then.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use strongroom_compare::beneath::Walker;

use super::bench::{Bench, text};
use crate::{
    allowed::{AllowedPaths, OffLimits, Prefixes},
    backup::BackupRequest,
    config::AbsolutePath,
    sources::files::{Moment, estimate},
};

/// What a host that allows the source lets a backup of these paths read.
fn allowed(bench: &Bench, paths: &[&Path], walker: Walker, off_limits: OffLimits) -> AllowedPaths {
    let spelled = [AbsolutePath::new(&bench.source).unwrap()];
    let prefixes = Prefixes::open(&spelled, walker);
    let mut allowed = AllowedPaths::new(off_limits);
    for path in paths {
        allowed.request(&prefixes, &text(path)).unwrap();
    }
    allowed
}

/// `user/above/data/file` in the source, with the same outside of it, and a link
/// to there in the place of `user` when the second is called.
fn trap(bench: &Bench) -> (PathBuf, impl Fn() + Send + Sync + 'static) {
    let requested = bench.source.join("user/above/data");
    bench.write("user/above/data/file", "allowed");
    let outside = bench.scratch.dir("outside");
    fs::create_dir_all(outside.join("above/data")).unwrap();
    fs::write(outside.join("above/data/file"), "not to be read").unwrap();
    fs::write(outside.join("above/data/more"), "nor this").unwrap();
    let (user, away) = (bench.source.join("user"), bench.scratch.path().join("away"));
    let spring = move || {
        fs::rename(&user, &away).unwrap();
        symlink(&outside, &user).unwrap();
    };
    (requested, spring)
}

#[test]
fn a_link_above_a_requested_path_is_not_followed_once_it_was_allowed() {
    for walker in [Walker::Kernel, Walker::Steps] {
        let bench = Bench::new();
        let (requested, spring) = trap(&bench);
        let other = bench.write("stays", "x");
        let mut request = bench.request_for(|source| {
            source.paths = vec![text(&requested), text(&other)];
        });
        let paths = [&*requested, &*other];
        request.allowed = allowed(&bench, &paths, walker, OffLimits::default());
        spring();
        let backup = bench.backup(&request);
        assert_eq!(bench.list(&backup), ["stays"]);
        assert_eq!(backup.result.bytes_read, 1);
        let warnings = bench.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("user/above/data: "), "{warnings:?}");
        assert!(warnings[0].contains("symbolic link"), "{warnings:?}");

        // Whoever sits at the host may follow his links.
        request.allowed = AllowedPaths::default();
        let backup = bench.backup(&request);
        assert!(
            bench
                .list(&backup)
                .contains(&"user/above/data/more".to_owned())
        );
    }
}

#[test]
fn nor_is_one_that_comes_while_the_backup_is_on_its_way() {
    for walker in [Walker::Kernel, Walker::Steps] {
        for (moment, at) in [
            (Moment::Listed, "user"),
            (Moment::BeforeOpen, "user"),
            (Moment::Listed, "user/above"),
            (Moment::BeforeOpen, "user/above"),
            (Moment::BeforeOpen, "user/above/data"),
        ] {
            let bench = Bench::new();
            let (requested, spring) = trap(&bench);
            let other = bench.write("stays", "x");
            let at = text(&bench.source.join(at));
            let sprung = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&sprung);
            let request = BackupRequest {
                allowed: allowed(&bench, &[&requested, &other], walker, OffLimits::default()),
                probe: Some(Arc::new(move |now, path: &[u8]| {
                    if now == moment && path == at.as_bytes() {
                        spring();
                        seen.store(true, Relaxed);
                    }
                })),
                ..bench.request_for(|source| {
                    source.paths = vec![text(&requested), text(&other)];
                })
            };
            let backup = bench.backup(&request);
            assert!(sprung.load(Relaxed));
            let listed = bench.list(&backup);
            assert!(listed.contains(&"stays".to_owned()), "{listed:?}");
            assert!(
                !listed.iter().any(|path| path.ends_with("more")),
                "{listed:?}"
            );
            // At the most what was allowed: it was open by then.
            assert!(backup.result.bytes_read <= 1 + 7, "{moment:?}");
        }
    }
}

#[test]
fn an_estimate_counts_nothing_behind_such_a_link() {
    let bench = Bench::new();
    let (requested, spring) = trap(&bench);
    let allowed = allowed(&bench, &[&requested], Walker::Kernel, OffLimits::default());
    spring();
    let request = bench.request_for(|source| source.paths = vec![text(&requested)]);
    let crate::backup::BackupSource::Files(source) = &request.source else {
        panic!("a files source");
    };
    let counted = |allowed: &AllowedPaths| {
        estimate::count(source, allowed, &bench.monitor, &|| false);
        bench.monitor.total_files.load(Relaxed)
    };
    assert_eq!(counted(&allowed), 0);
    assert_eq!(counted(&AllowedPaths::default()), 2);
}

/// The state of an agent in the middle of what is backed up, under the name
/// `name`, and reached by its configuration through a link.
fn state(bench: &Bench, name: &str) -> OffLimits {
    bench.write(&format!("{name}/identity.json"), "private key");
    bench.write(&format!("{name}/outbox/report"), "report");
    let alias = bench.scratch.path().join("alias");
    symlink(bench.source.join(name), &alias).unwrap();
    OffLimits::of_agent(&alias).unwrap()
}

#[test]
fn the_agents_own_state_is_left_out_and_named() {
    let bench = Bench::new();
    let off_limits = state(&bench, "var/lib/state");
    bench.write("var/lib/data", "x");
    // A way to it that has another name and number of its own.
    fs::hard_link(
        bench.source.join("var/lib/state/identity.json"),
        bench.source.join("copy"),
    )
    .unwrap();
    let mut request = bench.request();
    request.allowed = allowed(&bench, &[&bench.source], Walker::Kernel, off_limits);
    let backup = bench.backup(&request);
    let listed = ["var/", "var/lib/", "var/lib/data", "var/lib/state/"];
    assert_eq!(bench.list(&backup), listed);
    assert_eq!(backup.result.bytes_read, 1);
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("copy: it is the agent's own state"));
    assert!(warnings[1].starts_with("var/lib/state: it is the agent's own state"));

    // With a snapshot of before to take it from, too.
    let whole = bench.backup(&bench.request());
    assert!(
        bench
            .list(&whole)
            .contains(&"var/lib/state/identity.json".to_owned())
    );
    let again = bench.backup(&BackupRequest {
        parent: Some(whole.result.snapshot),
        ..request.clone()
    });
    assert_eq!(bench.list(&again), listed);
}

#[test]
fn of_an_excluded_state_nothing_is_said() {
    let bench = Bench::new();
    let off_limits = state(&bench, "state");
    bench.write("data", "x");
    let mut request = bench.request_for(|source| {
        source.exclude = vec![text(&bench.source.join("state"))];
    });
    request.allowed = allowed(&bench, &[&bench.source], Walker::Kernel, off_limits);
    let backup = bench.backup(&request);
    assert_eq!(bench.list(&backup), ["data"]);
    assert_eq!(bench.warnings(), [""; 0]);
}

/// Between the look and the opening.
#[test]
fn a_directory_exchanged_for_the_agents_state_is_left_out() {
    let bench = Bench::new();
    let off_limits = state(&bench, "state");
    bench.write("victim/file", "x");
    let (victim, state) = (bench.source.join("victim"), bench.source.join("state"));
    let away = bench.scratch.path().join("away");
    let at = text(&victim);
    let request = BackupRequest {
        allowed: allowed(&bench, &[&victim], Walker::Kernel, off_limits),
        probe: Some(Arc::new(move |now, path: &[u8]| {
            if now == Moment::BeforeOpen && path == at.as_bytes() {
                fs::rename(&victim, &away).unwrap();
                fs::rename(&state, &victim).unwrap();
            }
        })),
        ..bench.request_for(|source| source.paths = vec![text(&bench.source.join("victim"))])
    };
    let failed = bench.try_backup(&request).unwrap_err().to_string();
    assert!(failed.contains("the agent's own state"), "{failed}");
}
