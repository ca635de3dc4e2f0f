//! What is decided of logs that make tablespaces.

use std::{collections::BTreeMap, fs, path::Path};

use strongroom_layout::{
    ObjectId,
    position::{Lsn, SegmentSize, TimelineId},
};
use strongroom_postgres::physical::{
    label::Tablespace,
    manifest::{FORMAT, METHOD, Pages},
};
use strongroom_spec::Relocation;
use strongroom_tests::scratch::Scratch;

use super::{reading::Reading, *};

const SEGMENT: u64 = 1 << 20;

fn layout() -> Layout {
    Layout {
        major: 15,
        system_identifier: 7,
        segment_size: SegmentSize::new(SEGMENT as u32).unwrap(),
        block_size: 8192,
    }
}

/// CRC-32C, a bit at a time.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg())
        })
    })
}

/// The first page of a segment, with records that make these tablespaces.
fn log(tablespaces: &[(u32, &str)]) -> LogFacts {
    let mut page = Vec::new();
    page.extend(0xD110_u16.to_le_bytes());
    page.extend(2_u16.to_le_bytes());
    page.extend(1_u32.to_le_bytes());
    page.extend(SEGMENT.to_le_bytes());
    page.extend([0; 8]);
    page.extend(7_u64.to_le_bytes());
    page.extend((SEGMENT as u32).to_le_bytes());
    page.extend(8192_u32.to_le_bytes());
    let mut previous = SEGMENT - 64;
    for (oid, path) in tablespaces {
        let start = SEGMENT + page.len() as u64;
        let data = [&oid.to_le_bytes()[..], path.as_bytes(), b"\0"].concat();
        let body = [&[255, data.len() as u8][..], &data].concat();
        let mut header = ((24 + body.len()) as u32).to_le_bytes().to_vec();
        header.extend(9_u32.to_le_bytes());
        header.extend(previous.to_le_bytes());
        header.extend([0, 5, 0, 0]);
        let sum = checksum(&[&body[..], &header].concat());
        page.extend([&header[..], &sum.to_le_bytes(), &body].concat());
        page.resize(page.len().next_multiple_of(8), 0);
        previous = start;
    }
    let mut reading = Reading::new(layout(), TimelineId(1), Lsn(SEGMENT)).unwrap();
    reading.feed(&page).unwrap();
    let mut facts = LogFacts::default();
    facts.add(reading, vec![]);
    facts
}

#[derive(Clone, Copy)]
struct Case<'a> {
    bases: &'a [(u32, &'a str)],
    log: &'a [(u32, &'a str)],
    moves: &'a [(&'a str, &'a str)],
    version: &'a str,
    allowed: &'a str,
    taken: bool,
    /// What is allowed is looked at once, as agents do it.
    resolves: bool,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            bases: &[],
            log: &[],
            moves: &[],
            version: "15.3",
            allowed: "/",
            taken: false,
            resolves: false,
        }
    }
}

/// Where what the log makes goes, and whether it is edited.
type Decision = (Vec<(u32, String, bool)>, bool);

fn decide(case: &Case<'_>) -> Result<Decision, String> {
    let tablespace = |(oid, path): &(u32, &str)| Tablespace {
        oid: *oid,
        path: (*path).into(),
    };
    let relocation = |(from, to): &(&str, &str)| Relocation {
        from: (*from).into(),
        to: (*to).into(),
    };
    let manifest = Manifest {
        format: FORMAT,
        method: METHOD.into(),
        server_version: case.version.into(),
        major: 15,
        system_identifier: "7".into(),
        catalog_version: 0,
        start_lsn: Lsn(SEGMENT),
        stop_lsn: Lsn(SEGMENT + 100),
        timeline: TimelineId(1),
        wal_segment_size: layout().segment_size,
        wal_segments: vec![],
        block_size: 8192,
        from_standby: false,
        began: String::new(),
        ended: String::new(),
        data_directory: "/srv/pg".into(),
        owner: "postgres".into(),
        tablespaces: case.bases.iter().map(tablespace).collect(),
        settings: BTreeMap::new(),
        pages: Pages::default(),
    };
    let work = RestoreSpec::new(
        ObjectId([0; 32]),
        ClusterTarget {
            directory: "/restore/pg".into(),
            tablespaces: case.moves.iter().map(relocation).collect(),
            start: true,
            ..ClusterTarget::default()
        },
    );
    let consent = |path: &str| {
        if Path::new(path).starts_with(case.allowed) {
            let above = Path::new(path).parent().unwrap();
            let real = above.canonicalize().unwrap_or(above.into());
            let real = real.join(Path::new(path).file_name().unwrap());
            if case.resolves {
                return AllowedDirectory::named(&real).map_err(|error| error.to_string());
            }
            return AllowedDirectory::named(Path::new(path)).map_err(|error| error.to_string());
        }
        Err("it is not allowed".to_owned())
    };
    let target = AllowedDirectory::named(Path::new(&work.target.directory)).unwrap();
    let terms = Terms {
        work: &work,
        target: &target,
        manifest: &manifest,
        layout: layout(),
        version: Version::parse(case.version),
        consent: &consent,
        taken: &|_| case.taken,
    };
    let replay = Replay::decide(&log(case.log), &terms).map_err(|error| error.to_string())?;
    let made = replay.made.into_iter().map(|it| it.to);
    let made = made.map(|it| (it.oid, it.to, it.moved));
    Ok((made.collect(), !replay.edits.is_empty()))
}

fn refusal(case: &Case<'_>, parts: &[&str]) {
    let refusal = decide(case).unwrap_err();
    assert!(parts.iter().all(|part| refusal.contains(part)), "{refusal}");
}

#[test]
fn what_the_log_makes_stays_only_where_nothing_is() {
    let scratch = Scratch::new("replayed-places");
    let taken = scratch.dir("taken");
    fs::write(taken.join("precious"), "").unwrap();
    let (taken, empty, absent) = (taken, scratch.dir("empty"), scratch.join("absent/deep"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (taken, empty, absent) = (text(&taken), text(&empty), text(&absent));
    let one = |path| [(16_400, path)];
    for free in [&empty, &absent] {
        let log = one(free.as_str());
        let case = Case {
            log: &log,
            ..Case::default()
        };
        let stays = (vec![(16_400, free.clone(), false)], false);
        assert_eq!(decide(&case).unwrap(), stays);
        // Nobody allows it.
        let case = Case {
            allowed: "/other",
            ..case
        };
        refusal(
            &case,
            &["not allowed", free, "16400", "--tablespace 16400=DIR"],
        );
    }
    let log = one(taken.as_str());
    let case = Case {
        log: &log,
        ..Case::default()
    };
    refusal(&case, &["not empty", &taken, "--tablespace"]);
    // What an earlier run of the same restore has begun is its own.
    decide(&Case {
        taken: true,
        ..case
    })
    .unwrap();
    // By path or by number, and what it is moved to must be free as well.
    for from in [taken.as_str(), "16400"] {
        let moves = [(from, absent.as_str())];
        let case = Case {
            log: &log,
            moves: &moves,
            allowed: absent.as_str(),
            ..Case::default()
        };
        assert_eq!(
            decide(&case).unwrap(),
            (vec![(16_400, absent.clone(), true)], true)
        );
    }
    let log = one("/no/such");
    let moves = [("16400", taken.as_str())];
    refusal(
        &Case {
            log: &log,
            moves: &moves,
            ..Case::default()
        },
        &["not empty", &taken],
    );
}

#[test]
fn a_tablespace_of_the_base_backup_goes_where_that_puts_it() {
    let bases = [(16_400, "/srv/fast")];
    let log = [(16_400, "/srv/fast")];
    let case = Case {
        bases: &bases,
        log: &log,
        ..Case::default()
    };
    assert_eq!(decide(&case).unwrap(), (vec![], false));
    let moves = [("16400", "/new")];
    assert_eq!(
        decide(&Case {
            moves: &moves,
            ..case
        })
        .unwrap(),
        (vec![], true)
    );
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let moves = [("16400", "/new")];
    let log = [(16_400, "/srv/fast")];
    let case = Case {
        log: &log,
        moves: &moves,
        version: "14.4",
        ..Case::default()
    };
    refusal(&case, &["PostgreSQL 14.4", "14.5", "/srv/fast", "16400"]);
    decide(&Case {
        version: "14.5",
        ..case
    })
    .unwrap();
    // Nothing of the kind is asked of the server where nothing is moved.
    decide(&Case {
        log: &log,
        version: "14.4",
        ..Case::default()
    })
    .unwrap();

    // Dropped between the two: the link is gone then.
    let twice = [(16_400, "/srv/fast"), (16_400, "/srv/fast")];
    refusal(
        &Case {
            log: &twice,
            moves: &moves,
            ..Case::default()
        },
        &["16400", "twice"],
    );
    decide(&Case {
        log: &twice,
        ..Case::default()
    })
    .unwrap();

    // One after the other at one path: each needs its own place.
    let same = [(16_400, "/srv/fast"), (16_401, "/srv/fast")];
    decide(&Case {
        log: &same,
        ..Case::default()
    })
    .unwrap();
    let by_path = [("/srv/fast", "/new")];
    let case = Case {
        log: &same,
        moves: &by_path,
        ..Case::default()
    };
    refusal(
        &case,
        &["tablespace 16400", "tablespace 16401", "of its own"],
    );
    let by_number = [("16400", "/new"), ("16401", "/newer")];
    decide(&Case {
        log: &same,
        moves: &by_number,
        ..Case::default()
    })
    .unwrap();

    let inside = [("16400", "/restore/pg/x")];
    refusal(
        &Case {
            log: &log,
            moves: &inside,
            ..Case::default()
        },
        &["one in the other"],
    );
    let stray = [("16499", "/new")];
    refusal(
        &Case {
            log: &log,
            moves: &stray,
            ..Case::default()
        },
        &["16499", "/srv/fast (16400)"],
    );
}

#[test]
fn a_place_that_links_lead_to_is_not_taken_by_its_name() {
    use std::os::unix::fs::symlink;

    let scratch = Scratch::new("replayed-through-links");
    let real = scratch.dir("real");
    let real = real.canonicalize().unwrap();
    symlink(&real, scratch.join("link")).unwrap();
    let path = scratch.join("link/place").to_str().unwrap().to_owned();
    let log = [(16_400, path.as_str())];
    let case = Case {
        log: &log,
        resolves: true,
        ..Case::default()
    };
    let leads_to = real.join("place");
    refusal(
        &case,
        &["symbolic links", leads_to.to_str().unwrap(), "--tablespace"],
    );
    // Asked for, it is taken where it really is.
    let moves = [("16400", path.as_str())];
    let (made, _) = decide(&Case {
        moves: &moves,
        ..case
    })
    .unwrap();
    assert_eq!(
        made,
        [(16_400, leads_to.to_str().unwrap().to_owned(), true)]
    );
}

#[test]
fn a_place_that_was_filled_meanwhile_is_not_taken() {
    let scratch = Scratch::new("replayed-filled");
    let data = scratch.dir("data");
    fs::create_dir(data.join("pg_tblspc")).unwrap();
    let target = AllowedDirectory::named(&data).unwrap();
    let place = scratch.dir("place");
    let text = place.to_str().unwrap().to_owned();
    let replay = |before: &[u32]| Replay {
        bases: vec![],
        made: vec![Placed {
            to: Destination {
                oid: 16_400,
                from: "/srv/fast".into(),
                to: text.clone(),
                moved: true,
                inside: false,
            },
            directory: AllowedDirectory::named(&place).unwrap(),
        }],
        taken_before: before.iter().copied().collect(),
        edits: Edits::default(),
        held: BTreeMap::new(),
    };
    replay(&[]).make(&target, None).unwrap();
    let link = data.join("pg_tblspc/16400");
    assert_eq!(fs::read_link(&link).unwrap(), place);
    fs::remove_file(&link).unwrap();
    fs::write(place.join("precious"), "").unwrap();
    let error = replay(&[]).make(&target, None).unwrap_err().to_string();
    assert!(
        error.contains("not empty") && error.contains("16400"),
        "{error}"
    );
    assert!(!link.is_symlink());
    // A server has worked there.
    replay(&[16_400]).make(&target, None).unwrap();
    // Its user says that it has, and it is another's.
    std::os::unix::fs::chown(&place, Some(12_345), None).unwrap();
    let mode = fs::metadata(&place).unwrap().permissions();
    let error = replay(&[16_400]).make(&target, None).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    assert_eq!(fs::metadata(&place).unwrap().permissions(), mode);
}

#[test]
fn a_log_that_makes_others_is_not_the_same() {
    let known = log(&[(16_400, "/srv/fast")]);
    assert!(log(&[(16_400, "/srv/fast")]).does_the_same(&known));
    for other in [
        &[][..],
        &[(16_401, "/srv/fast")],
        &[(16_400, "/srv/slow")],
        &[(16_400, "/srv/fast"), (16_401, "/srv/slow")],
    ] {
        assert!(!log(other).does_the_same(&known), "{other:?}");
    }
}

#[test]
fn tablespaces_in_place_are_nobody_s_business() {
    let log = [(16_400, "")];
    let case = Case {
        log: &log,
        version: "14.0",
        allowed: "/none",
        ..Case::default()
    };
    assert_eq!(decide(&case).unwrap(), (vec![], false));
}

#[test]
fn links_lead_where_they_should_and_nowhere_else() {
    use std::os::unix::fs::symlink;

    let scratch = Scratch::new("replayed-links");
    let links = scratch.dir("pg_tblspc");
    let target = AllowedDirectory::named(scratch.path()).unwrap();
    fs::create_dir(links.join("16402")).unwrap();
    fs::write(links.join("note"), "").unwrap();
    symlink("/new", links.join("16400")).unwrap();
    let allowed = BTreeMap::from([(16_400, "/new"), (16_401, "/not there")]);
    let verify =
        |allowed: &BTreeMap<u32, &str>| links::verify(&target, allowed, std::iter::empty());
    verify(&allowed).unwrap();
    let elsewhere = BTreeMap::from([(16_400, "/newer")]);
    assert!(verify(&elsewhere).unwrap_err().to_string().contains("/new"));
    for stray in ["16403", "out"] {
        symlink("/precious", links.join(stray)).unwrap();
        let error = verify(&allowed).unwrap_err().to_string();
        assert!(
            error.contains("/precious") && error.contains(stray),
            "{error}"
        );
        fs::remove_file(links.join(stray)).unwrap();
    }
    links::forget(&target, 16_400);
    assert!(!links.join("16400").is_symlink());
}

#[test]
fn no_link_anywhere_in_a_cluster_leads_out_of_it() {
    use std::os::unix::fs::symlink;

    let scratch = Scratch::new("replayed-stray");
    let (data, tablespace) = (scratch.dir("data"), scratch.dir("tablespace"));
    for directory in [
        "data/base/16397",
        "data/pg_wal",
        "data/pg_tblspc/16402/PG",
        "tablespace/PG/5",
    ] {
        fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    let named = |path: &Path| AllowedDirectory::named(path).unwrap();
    let (target, other) = (named(&data), named(&tablespace));
    let absent = named(&scratch.join("absent"));
    let verify = || {
        let tablespaces = [&other, &absent].into_iter();
        links::verify(&target, &BTreeMap::new(), tablespaces)
    };
    verify().unwrap();
    for stray in [
        "data/base/1",
        "data/base/16397/2619",
        "data/base/16397/x.conf",
        "data/pg_wal/000000010000000000000003",
        "data/pg_tblspc/16402/PG/5",
        "data/pg_xact",
        "data/log",
        "data/postgresql.auto.conf",
        "tablespace/x.conf",
        "tablespace/PG/5/16400",
    ] {
        let link = scratch.join(stray);
        symlink("/precious", &link).unwrap();
        let error = verify().unwrap_err().to_string();
        let named = link.to_str().unwrap();
        assert!(
            error.contains("/precious") && error.contains(named),
            "{error}"
        );
        fs::remove_file(link).unwrap();
    }
    // Read, and nothing else.
    symlink("/etc/ssl/key", data.join("server.key")).unwrap();
    verify().unwrap();
    // What nobody can look through is not passed over.
    let deep = (0..120).fold(data.join("base"), |path, _| path.join("d"));
    fs::create_dir_all(deep).unwrap();
    let error = verify().unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");
}
