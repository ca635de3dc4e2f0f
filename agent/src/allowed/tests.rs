//! Names that lead elsewhere by the time they are used.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, mkdirat, statat};
use strongroom_compare::beneath::{self, Walker};
use strongroom_tests::scratch::Scratch;

use super::*;
use crate::config::AbsolutePath;

const BOTH: [Walker; 2] = [Walker::Kernel, Walker::Steps];
const OTHER: u32 = 12_345;

fn allowed(paths: &[&Path]) -> Vec<AbsolutePath> {
    let path = |path: &&Path| AbsolutePath::new(path).unwrap();
    paths.iter().map(path).collect()
}

fn within(prefixes: &[&Path], path: &Path, walker: Walker) -> Result<AllowedDirectory, Problem> {
    let spelled = allowed(prefixes);
    let prefixes = Prefixes::open(&spelled, walker);
    AllowedDirectory::within(&prefixes, path.to_str().unwrap(), OffLimits::default())
}

/// A place with an allowed directory, one that is not, and a link to swap in.
struct Trap {
    scratch: Scratch,
    allowed: PathBuf,
    outside: PathBuf,
}

impl Trap {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let allowed = scratch.dir("allowed");
        let outside = scratch.dir("outside");
        Self {
            scratch,
            allowed,
            outside,
        }
    }

    /// Puts a link to the outside in the place of an allowed directory.
    fn spring(&self, directory: &Path) {
        fs::rename(directory, self.scratch.join("moved away")).unwrap();
        symlink(&self.outside, directory).unwrap();
    }

    fn assert_untouched(&self) {
        let found = fs::read_dir(&self.outside).unwrap().count();
        assert_eq!(found, 0, "something was written outside");
    }
}

#[test]
fn a_component_exchanged_after_consent_is_not_walked_through() {
    for walker in BOTH {
        // The target itself, one above it, and one that was not there.
        for (there, swapped, target) in [
            ("user/target", "user/target", "user/target"),
            ("user/target", "user", "user/target"),
            ("user", "user", "user/new/target"),
        ] {
            let trap = Trap::new("exchanged");
            fs::create_dir_all(trap.allowed.join(there)).unwrap();
            let target = trap.allowed.join(target);
            let directory = within(&[&trap.allowed], &target, walker).unwrap();
            trap.spring(&trap.allowed.join(swapped));
            for refused in [
                directory.open().map(drop),
                directory.create(Mode::RWXU).map(drop),
                directory.nearest().map(drop),
            ] {
                let refused = refused.unwrap_err().to_string();
                assert!(refused.contains("symbolic link"), "{refused}");
            }
            trap.assert_untouched();
        }
    }
}

#[test]
fn a_link_that_appears_where_nothing_was_is_not_walked_through() {
    for walker in BOTH {
        let trap = Trap::new("appears");
        let target = trap.allowed.join("new/target");
        let directory = within(&[&trap.allowed], &target, walker).unwrap();
        assert!(directory.open().unwrap().is_none());
        symlink(&trap.outside, trap.allowed.join("new")).unwrap();
        directory.create(Mode::RWXU).unwrap_err();
        trap.assert_untouched();
    }
}

#[test]
fn what_is_opened_stays_what_it_was() {
    for walker in BOTH {
        let trap = Trap::new("stays");
        let target = trap.allowed.join("target");
        let directory = within(&[&trap.allowed], &target, walker).unwrap();
        directory.create(Mode::RWXU).unwrap();
        trap.spring(&target);
        for opened in [
            directory.descriptor().unwrap(),
            directory.create(Mode::RWXU).unwrap(),
            directory.clone().nearest().unwrap(),
        ] {
            let _made = mkdirat(&opened, "entry", Mode::RWXU);
            assert!(statat(&opened, "entry", AtFlags::empty()).is_ok());
        }
        trap.assert_untouched();
        // A program that takes paths would go elsewhere.
        let steady = directory.check_steady(0);
        assert!(matches!(steady, Err(Unsteady::Exchanged)), "{steady:?}");
    }
}

#[test]
fn links_that_stay_within_what_is_allowed_are_resolved_once() {
    for walker in BOTH {
        let trap = Trap::new("resolved");
        let (other, real) = (trap.scratch.dir("other"), trap.allowed.join("real"));
        fs::create_dir(&real).unwrap();
        symlink("real", trap.allowed.join("link")).unwrap();
        symlink(&other, trap.allowed.join("across")).unwrap();
        symlink(&trap.allowed, trap.scratch.join("alias")).unwrap();
        let alias = trap.scratch.join("alias");
        let prefixes = [trap.allowed.as_path(), &other, &alias];
        for (path, leads_to) in [
            (trap.allowed.join("link/x/y"), real.join("x/y")),
            (trap.allowed.join("across/x"), other.join("x")),
            (alias.join("x"), trap.allowed.join("x")),
        ] {
            let directory = within(&prefixes, &path, walker).unwrap();
            assert_eq!(
                directory.path(),
                leads_to.canonicalize().unwrap_or(leads_to)
            );
            directory.create(Mode::RWXU).unwrap();
            assert!(directory.path().is_dir());
        }
        // Where the link leads later does not matter.
        let directory = within(&prefixes, &trap.allowed.join("link/late"), walker).unwrap();
        fs::remove_file(trap.allowed.join("link")).unwrap();
        symlink(&trap.outside, trap.allowed.join("link")).unwrap();
        directory.create(Mode::RWXU).unwrap();
        assert!(real.join("late").is_dir());
        trap.assert_untouched();
        let refused = within(&prefixes, &trap.allowed.join("link/late"), walker);
        assert!(matches!(refused, Err(Problem::LeadsTo(_))), "{refused:?}");
    }
}

#[test]
fn an_allowed_directory_that_is_missing_is_made() {
    let trap = Trap::new("missing-prefix");
    let prefix = trap.scratch.join("not/yet");
    let directory = within(&[&prefix], &prefix.join("target"), Walker::Kernel).unwrap();
    directory.create(Mode::RWXU).unwrap();
    assert!(prefix.join("target").is_dir());
}

#[test]
fn only_the_directory_that_was_opened_is_removed() {
    let trap = Trap::new("removed");
    let target = trap.allowed.join("user/target");
    fs::create_dir_all(&target).unwrap();
    let open = |path: &Path| {
        let directory = within(&[&trap.allowed], path, Walker::Kernel).unwrap();
        directory.descriptor().unwrap();
        directory
    };
    // Something is in it, then nothing.
    open(&trap.allowed.join("user")).remove().unwrap_err();
    open(&target).remove().unwrap();
    assert!(!target.exists());
    // One of the same name outside, and one in its place.
    fs::create_dir(&target).unwrap();
    fs::create_dir(trap.outside.join("target")).unwrap();
    let directory = open(&target);
    let other = open(&target);
    fs::rename(&target, trap.scratch.join("elsewhere")).unwrap();
    fs::create_dir(&target).unwrap();
    other.remove().unwrap_err();
    trap.spring(&trap.allowed.join("user"));
    directory.remove().unwrap_err();
    assert!(trap.outside.join("target").exists());
    // The allowed directory itself stays.
    let empty = trap.scratch.dir("empty");
    within(&[&empty], &empty, Walker::Kernel)
        .unwrap()
        .remove()
        .unwrap();
    assert!(empty.exists());
}

#[test]
fn whoever_sits_at_the_host_may_follow_links() {
    let trap = Trap::new("named");
    symlink(&trap.outside, trap.allowed.join("link")).unwrap();
    let directory = AllowedDirectory::named(&trap.allowed.join("link/new/target")).unwrap();
    assert!(directory.open().unwrap().is_none());
    directory.create(Mode::RWXU).unwrap();
    assert!(trap.outside.join("new/target").is_dir());
    for path in ["target", ""] {
        let refused = AllowedDirectory::named(Path::new(path)).unwrap_err();
        assert!(refused.to_string().contains("not an absolute"), "{refused}");
    }
}

#[test]
fn requested_paths_are_reached_where_they_were() {
    for walker in BOTH {
        let trap = Trap::new("requested");
        let above = trap.allowed.join("user/above");
        fs::create_dir_all(&above).unwrap();
        symlink("user", trap.allowed.join("link")).unwrap();
        let spelled = allowed(&[&trap.allowed]);
        let prefixes = Prefixes::open(&spelled, walker);
        let mut paths = AllowedPaths::new(OffLimits::default());
        let requested = trap.allowed.join("link/above/file");
        paths
            .request(&prefixes, requested.to_str().unwrap())
            .unwrap();
        let way = |name: &str| paths.way(&trap.allowed.join(name));
        for name in ["", "link", "link/above"] {
            way(name).unwrap().open().unwrap();
        }
        // Not followed, nor on the way.
        assert!(way("link/above/file").is_none());
        assert!(paths.way(trap.scratch.path()).is_none());
        trap.spring(&trap.allowed.join("user"));
        let refused = way("link/above").unwrap().open().unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");
    }
}

#[test]
fn the_agents_own_state_is_known_by_whatever_name() {
    let scratch = Scratch::new("own-state");
    let state = scratch.dir("allowed/state");
    fs::create_dir(state.join("outbox")).unwrap();
    fs::write(state.join("identity"), "key").unwrap();
    symlink(&state, scratch.join("allowed/link")).unwrap();
    let linked = scratch.join("allowed/linked");
    fs::hard_link(state.join("identity"), &linked).unwrap();
    let prefix = scratch.join("allowed");
    let spelled = allowed(&[&prefix]);
    let prefixes = Prefixes::open(&spelled, Walker::Kernel);
    let off_limits = OffLimits::of_agent(&state).unwrap();

    for name in [
        "state",
        "state/new",
        "state/outbox/x",
        "link",
        "link/outbox",
    ] {
        let path = prefix.join(name);
        let target =
            AllowedDirectory::within(&prefixes, path.to_str().unwrap(), off_limits.clone());
        assert!(
            matches!(target, Err(Problem::OffLimits(_))),
            "{name}: {target:?}"
        );
    }
    for name in ["state", "state/identity", "link/identity", "linked"] {
        let mut paths = AllowedPaths::new(off_limits.clone());
        let asked = paths.request(&prefixes, prefix.join(name).to_str().unwrap());
        assert!(
            matches!(asked, Err(Problem::OffLimits(_))),
            "{name}: {asked:?}"
        );
    }
    // The directory above it may be asked for: what lies in it is known then.
    let mut paths = AllowedPaths::new(off_limits.clone());
    paths.request(&prefixes, prefix.to_str().unwrap()).unwrap();
    let opened = beneath::open_root(&prefix).unwrap();
    let find = |name: &str| {
        let stat = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        paths.off_limits().find(&stat)
    };
    assert_eq!(find("state"), Some(state.canonicalize().unwrap()));
    assert!(find("linked").unwrap().ends_with("identity"));
    assert_eq!(find("link"), None);
    // A number that another file has got is none of its any more.
    fs::remove_file(state.join("identity")).unwrap();
    assert_eq!(find("linked"), None);

    let nothing = OffLimits::of_agent(&scratch.join("nowhere")).unwrap();
    let stat = statat(&opened, "state", AtFlags::empty()).unwrap();
    assert_eq!(nothing.find(&stat), None);
}

#[test]
fn a_path_that_others_can_change_is_given_to_no_program() {
    let trap = Trap::new("steady");
    let user = trap.allowed.join("user");
    let target = user.join("target");
    fs::create_dir_all(&target).unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let steady = || {
        let directory = within(&[&trap.allowed], &target, Walker::Kernel).unwrap();
        directory.descriptor().unwrap();
        directory
            .check_steady(OTHER)
            .map_err(|error| error.to_string())
    };
    steady().unwrap();
    for path in [&user, &trap.allowed] {
        mode(path, 0o777);
        let refused = steady().unwrap_err();
        assert!(refused.contains("mode 0777"), "{refused}");
        // Only owners may exchange what is theirs.
        mode(path, 0o1777);
        steady().unwrap();
        mode(path, 0o755);
    }
    lchown(&user, Some(OTHER), None).expect("these tests run as root");
    steady().unwrap();
    lchown(&user, Some(OTHER + 1), None).unwrap();
    let refused = steady().unwrap_err();
    assert!(refused.contains("belongs to user 12346"), "{refused}");
    assert!(refused.contains(user.to_str().unwrap()), "{refused}");
}
