//! Clusters that are gone and come back to the very place where they were.

use std::fs;

use strongroom_tests::{
    cluster::{Cluster, directory_for_postgres},
    scratch::Scratch,
};

use super::site::{Restored, Site};

const ROWS: &str = "SELECT count(*), sum(id) FROM t";

/// Backs a cluster up, moves all of it away and restores it to where it was.
fn comes_home(name: &str, directory: &str, inside: Option<&str>) {
    let scratch = Scratch::new(name);
    let cluster = Cluster::start(&scratch, directory);
    let data = cluster.data();
    let place = inside.map(|inside| data.join(inside));
    let mut within = String::new();
    if let Some(place) = &place {
        directory_for_postgres(place);
        let place = place.display();
        cluster.sql(&format!("CREATE TABLESPACE inside LOCATION '{place}'"));
        within = "TABLESPACE inside".into();
    }
    cluster.sql(&format!("CREATE TABLE t (id int) {within}"));
    cluster.sql("INSERT INTO t SELECT generate_series(1, 10000)");
    let (source, home) = (scratch.dir("source"), scratch.path().to_owned());
    let mut site = Site::of(&format!("{name}-site"), scratch, cluster, |agent| {
        agent.allow(&source, &home)
    });
    let snapshot = site.backup().0;

    site.cluster.stop();
    let gone = data.with_file_name("gone");
    fs::rename(&data, &gone).expect("a data directory that moves away");
    let job = site.restore(0, &snapshot, &data, &["--start"]);
    let mut restored = Restored::of(&job, data.clone());
    assert_eq!(restored.sql(ROWS), "10000|50005000");
    if let Some(place) = &place {
        let located =
            "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'inside'";
        assert_eq!(restored.sql(located), place.to_str().expect("UTF-8"));
        // What it writes now is not what was moved away.
        assert!(fs::read_dir(place).expect("a directory").count() > 0);
    }
    restored.sql("INSERT INTO t SELECT generate_series(10001, 20000)");
    restored.sql("CHECKPOINT");
    assert_eq!(restored.sql(ROWS), "20000|200010000");
    restored.prove();
}

#[test]
fn a_cluster_that_is_gone_comes_back_to_where_it_was() {
    comes_home("physical-home", "server", None);
}

#[test]
fn a_place_with_an_odd_name_is_a_place_to_come_back_to() {
    comes_home("physical-home-odd", "it's 5% = é", None);
}

#[test]
fn a_tablespace_inside_the_data_directory_comes_back_with_it() {
    // No location of a tablespace has a single quote, and no path that pg_ctl
    // starts a server on has a double one.
    comes_home("physical-home-inside", "a b%c = é", Some("t \"s\" %=é"));
}
