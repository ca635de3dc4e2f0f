//! The directory with real files and locks.

use strongroom_tests::scratch::Scratch;

use super::*;

fn named(path: &Path) -> AllowedDirectory {
    AllowedDirectory::named(path).unwrap()
}

fn directory(scratch: &Scratch) -> WalDirectory {
    WalDirectory::create(&named(scratch.path()), None).unwrap()
}

#[test]
fn what_is_unfinished_has_no_name_yet() {
    let scratch = Scratch::new("wal-directory");
    let directory = directory(&scratch);
    let mut unfinished = directory.begin("segment").unwrap();
    unfinished.file.write_all(b"half").unwrap();
    assert_eq!(directory.length("segment"), None);
    // Begun anew by whoever comes after a crash.
    drop(unfinished);
    let mut unfinished = directory.begin("segment").unwrap();
    unfinished.file.write_all(b"whole!").unwrap();
    directory.finish(unfinished).unwrap();
    assert_eq!(directory.length("segment"), Some(6));
    directory
        .set_plan([("segment", 5), ("next", 7)].into_iter())
        .unwrap();
    let whole = BTreeMap::from([("segment".to_owned(), 5)]);
    assert_eq!(directory.whole().unwrap(), whole);
}

#[test]
fn the_state_comes_back_and_goes_with_the_end() {
    let scratch = Scratch::new("wal-directory-state");
    assert!(
        WalDirectory::open(&named(scratch.path()), None)
            .unwrap()
            .is_none()
    );
    let first = directory(&scratch);
    assert_eq!(first.state().unwrap(), None);
    let state = State {
        snapshot: ObjectId([7; 32]),
        target: RecoveryTarget::Xid(742),
        timeline: TimelineId(2),
        stage: Stage::Log,
        made: BTreeMap::from([(16_400, "/srv/place".to_owned())]),
        choices: Some(BTreeMap::from([(
            16_400,
            Choice {
                to: "/srv/place".into(),
                moved: true,
            },
        )])),
        boot: boot(),
    };
    first.set_state(&state).unwrap();
    let again = directory(&scratch);
    assert_eq!(again.state().unwrap(), Some(state));
    again.write("segment", b"log").unwrap();
    again.write("stale.unfinished", b"half").unwrap();
    again.keep(&BTreeSet::from(["segment".to_owned()])).unwrap();
    again.leave().unwrap();
    let left = std::fs::read_dir(scratch.join(NAME)).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["segment"]);
    first.remove(&named(scratch.path())).unwrap();
    assert!(!scratch.join(NAME).exists());
}

#[test]
fn links_in_it_lead_nowhere() {
    let scratch = Scratch::new("wal-directory-links");
    let precious = scratch.file("precious", "data");
    let directory = directory(&scratch);
    let link = |name: &str| {
        std::os::unix::fs::symlink(&precious, scratch.join(NAME).join(name)).unwrap();
    };
    link("segment.unfinished");
    link(STATE);
    link(LOCK);
    directory.write("segment", b"log").unwrap();
    assert!(matches!(directory.state(), Err(RecoveryError::File { .. })));
    directory.fetching().unwrap_err();
    assert_eq!(std::fs::read(&precious).unwrap(), b"data");
}

#[test]
fn one_fetches_at_a_time() {
    let scratch = Scratch::new("wal-directory-lock");
    let directory = directory(&scratch);
    let fetching = directory.fetching().unwrap();
    assert!(matches!(directory.fetching(), Err(RecoveryError::Busy(_))));
    drop(fetching);
    directory.fetching().unwrap();
}

#[test]
fn second_names_of_other_files_are_neither_read_nor_given_away() {
    let scratch = Scratch::new("wal-directory-hard-links");
    let precious = scratch.file("precious", "data");
    let directory = directory(&scratch);
    for name in [LOCK, STATE, PLAN] {
        std::fs::hard_link(&precious, scratch.join(NAME).join(name)).unwrap();
    }
    directory.state().unwrap_err();
    directory.whole().unwrap_err();
    directory.fetching().unwrap_err();
    std::fs::remove_file(scratch.join(NAME).join(LOCK)).unwrap();
    directory.fetching().unwrap();
}
