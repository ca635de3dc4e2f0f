//! Nothing is written but where it was allowed, whatever names lead to by then.

use std::{fs, os::unix::fs::symlink, path::Path};

use strongroom_compare::beneath::Walker;
use strongroom_spec::{DirectoryTarget, Overwrite, RestoreSpec};

use super::support::{Place, write};
use crate::{
    allowed::{AllowedDirectory, OffLimits, Prefixes},
    config::AbsolutePath,
    restore::{RestoreError, run},
};

/// A host that allows restores below this directory.
fn allow(prefix: &Path, target: &Path, walker: Walker, off_limits: OffLimits) -> AllowedDirectory {
    let spelled = [AbsolutePath::new(prefix).unwrap()];
    let prefixes = Prefixes::open(&spelled, walker);
    AllowedDirectory::within(&prefixes, target.to_str().unwrap(), off_limits).unwrap()
}

fn run_in(
    place: &Place,
    work: &RestoreSpec<DirectoryTarget>,
    target: &AllowedDirectory,
) -> Result<(), RestoreError> {
    let runtime = place.runtime.handle().clone();
    let monitor = place.monitor.clone();
    let restored = run(
        place.repository(),
        runtime,
        work,
        target,
        &place.options,
        monitor,
    );
    restored.map(drop)
}

#[test]
fn a_target_exchanged_for_a_link_after_consent_is_not_followed() {
    let place = Place::new();
    write(&place.source().join("file"), "content");
    place.backed_up();
    for walker in [Walker::Kernel, Walker::Steps] {
        for (number, (there, swapped)) in [
            ("user/target", "user/target"),
            ("user/target", "user"),
            ("user", "user"),
        ]
        .into_iter()
        .enumerate()
        {
            let prefix = place.path(&format!("prefix-{walker:?}-{number}"));
            let outside = place.path(&format!("outside-{walker:?}-{number}"));
            fs::create_dir_all(prefix.join(there)).unwrap();
            fs::create_dir(&outside).unwrap();
            let target = prefix.join("user/target");
            let directory = allow(&prefix, &target, walker, OffLimits::default());
            fs::rename(prefix.join(swapped), prefix.join("away")).unwrap();
            symlink(&outside, prefix.join(swapped)).unwrap();
            for dry_run in [true, false] {
                let work = RestoreSpec {
                    dry_run,
                    target: DirectoryTarget {
                        overwrite: Overwrite::Always,
                        ..place.work().target
                    },
                    ..place.work()
                };
                let error = run_in(&place, &work, &directory).unwrap_err().to_string();
                assert!(error.contains("symbolic link"), "{error}");
            }
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
            assert_eq!(fs::read_link(prefix.join(swapped)).unwrap(), outside);
        }
    }
}

/// After the plan is made, everything is written to what was looked at.
#[test]
fn a_target_that_was_opened_is_the_one_that_is_written() {
    let place = Place::new();
    write(&place.source().join("file"), "content");
    place.backed_up();
    let (prefix, outside) = (place.path("prefix"), place.path("outside"));
    fs::create_dir_all(prefix.join("target")).unwrap();
    fs::create_dir(&outside).unwrap();
    let target = prefix.join("target");
    let directory = allow(&prefix, &target, Walker::Kernel, OffLimits::default());
    directory.descriptor().unwrap();
    fs::rename(&target, prefix.join("away")).unwrap();
    symlink(&outside, &target).unwrap();
    run_in(&place, &place.work(), &directory).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let below = place.source().join("file");
    let restored = prefix.join("away").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read(restored).unwrap(), b"content");
}

#[test]
fn the_agents_own_state_is_not_written_to() {
    let place = Place::new();
    let source = place.source();
    for name in ["a-state/identity", "a-state/sub/x", "b", "copy", "z/b"] {
        write(&source.join(name), "of the snapshot");
    }
    place.backed_up();
    let restored = place.restored();
    // Of other content, and older.
    write(&restored.join("a-state/identity"), "own key");
    fs::hard_link(restored.join("a-state/identity"), restored.join("copy")).unwrap();
    let off_limits = OffLimits::of_agent(&restored.join("a-state")).unwrap();
    let target = place.target();
    let directory = allow(&target, &target, Walker::Kernel, off_limits);
    let work = RestoreSpec {
        target: DirectoryTarget {
            overwrite: Overwrite::Always,
            ..place.work().target
        },
        ..place.work()
    };
    run_in(&place, &work, &directory).unwrap();
    let read = |name: &str| fs::read_to_string(restored.join(name)).unwrap();
    assert_eq!(read("a-state/identity"), "own key");
    assert_eq!(read("copy"), "own key");
    assert!(!restored.join("a-state/sub").exists());
    assert_eq!(
        (read("b"), read("z/b")),
        ("of the snapshot".into(), "of the snapshot".into())
    );
    let (warnings, _) = place.monitor.warnings();
    let named: Vec<_> = warnings
        .iter()
        .filter(|warning| warning.cause.contains("the agent's own state"))
        .map(|warning| String::from_utf8_lossy(&warning.path).into_owned())
        .collect();
    let path = |name: &str| restored.join(name).to_str().unwrap().to_owned();
    assert_eq!(named, [path("a-state"), path("copy")]);
}
