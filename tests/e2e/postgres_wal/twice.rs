//! Two recoveries of one base backup, both put to use.

use std::{fs, io::Write as _, path::Path};

use strongroom_tests::{cluster::Cluster, scratch::Scratch};

use super::{
    conflict::{end_segments, push_from},
    push::{program, push_settings},
    recovery::rows,
};
use crate::postgres_physical::site::{Restored, Site};

/// Which timeline a server writes to.
fn timeline(server: &Restored) -> u32 {
    let name = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    u32::from_str_radix(&name[..8], 16).expect("a timeline")
}

/// A recovered server takes the place of the one before, with its settings, and
/// goes on; a base backup is made of it, as `status` advises.
fn put_to_use(
    site: &mut Site,
    (mut server, name): (Restored, &str),
    settings: &str,
    numbers: std::ops::RangeInclusive<usize>,
) {
    server.stop();
    let data = site.cluster.data();
    fs::rename(&server.data, &data).expect("a data directory");
    let file = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.auto.conf"));
    writeln!(
        file.expect("the settings"),
        "port = {}\n{settings}",
        site.cluster.port()
    )
    .expect("lines");
    site.cluster.start_again();
    site.cluster.sql(&format!("CREATE TABLE only_{name} ()"));
    site.backup();
    let last = site.commit(numbers).pop().expect("a commit");
    end_segments(site);
    site.wait_for_newest(&last.at);
}

fn put_away(site: &mut Site, to: &Path) {
    site.cluster.stop();
    fs::rename(site.cluster.data(), to).expect("a data directory");
}

/// Whether a server knows the tables of the one and of the other.
fn story(server: &Restored) -> String {
    server.sql("SELECT to_regclass('only_x') IS NOT NULL, to_regclass('only_y') IS NOT NULL")
}

fn both_are_put_to_use(mut site: Site, scratch: &Scratch, settings: &str, wal: &str) {
    site.cluster.sql("CREATE TABLE moments (n int PRIMARY KEY)");
    site.archive(wal);
    site.archiving_job();
    site.backup();
    let first = site.commit(1..=5).pop().expect("a commit");
    site.cluster.sql("SELECT pg_switch_wal()");
    let second = site.commit(6..=8).pop().expect("a commit");
    end_segments(&site);
    site.wait_until_recoverable(&second.at);
    put_away(&mut site, &scratch.join("old"));

    let x = site.recovered("x", &["--at", &first.at]);
    let y = site.recovered("y", &["--at", &second.at]);
    assert_eq!((rows(&x), rows(&y)), (5, 8));
    // Neither knew of the other, and nothing of either is archived yet.
    let (of_x, of_y) = (timeline(&x), timeline(&y));
    assert_eq!((of_x, of_y), (2, 3));

    put_to_use(&mut site, (x, "x"), settings, 6..=7);
    put_away(&mut site, &scratch.join("of-x"));
    put_to_use(&mut site, (y, "y"), settings, 9..=11);

    for (name, until, wanted, said) in [
        ("latest", &[][..], 11, "f|t"),
        ("of-two", &["--timeline", "2"], 7, "t|f"),
        ("of-three", &["--timeline", "3"], 11, "f|t"),
        ("of-one", &["--timeline", "1"], 8, "f|f"),
        ("then", &["--at", &second.at], 8, "f|f"),
    ] {
        let mut server = site.recovered(name, until);
        assert_eq!((rows(&server), &*story(&server)), (wanted, said), "{name}");
        // Each is another one again.
        assert!(timeline(&server) > of_y, "{name}");
        server.stop();
    }
}

#[test]
fn of_two_recoveries_that_are_streamed_each_keeps_its_story() {
    let scratch = Scratch::new("wal-twice-places");
    let site = Site::new("wal-twice", "wal_keep_size = '512MB'");
    both_are_put_to_use(site, &scratch, "", "flush = '1s'");
}

#[test]
fn of_two_recoveries_that_are_pushed_each_keeps_its_story() {
    let scratch = Scratch::new("wal-twice-push-places");
    let program = program(&scratch);
    let cluster = Cluster::with(&scratch, "server", "archive_mode = on");
    let site_scratch = Scratch::new("wal-twice-push");
    let site = Site::of("wal-twice-push-site", site_scratch, cluster, |agent| agent);
    let settings = push_settings(&program, &site.world.agent.wal_socket());
    push_from(&site, &settings);
    both_are_put_to_use(site, &scratch, &settings, "method = 'push'");
}
