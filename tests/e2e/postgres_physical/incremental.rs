//! What a second backup reads and stores; and what it complains about again.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use strongroom_tests::operator::{eventually, only, text};

use super::site::{Site, wide_table};
use crate::world::{POLICY, assert_says, snapshot_of};

#[test]
fn after_a_change_little_is_read_and_little_is_stored() {
    let site = Site::new("physical-again", "");
    wide_table(&site.cluster, "wide", 40_000);
    site.cluster.sql("CHECKPOINT");
    // A file that was written within moments of a backup's beginning is read
    // again by the next one.
    let newest = site.cluster.file_of("wide");
    eventually("files that are old enough", || {
        let modified = fs::metadata(&newest).ok()?.modified().ok()?;
        let age = SystemTime::from(strongroom_tests::now()).duration_since(modified);
        (age.ok()? > Duration::from_secs(3)).then_some(())
    });
    let (first_snapshot, first) = site.backup();
    let figure = |figures: &Value, name: &str| figures[name].as_u64().expect("a figure");

    // One row in every hundredth page.
    site.cluster
        .sql("UPDATE wide SET pad = reverse(pad) WHERE id % 800 = 0");
    let (snapshot, second) = site.backup();
    assert!(
        figure(&second, "bytes_stored") * 3 < figure(&first, "bytes_stored"),
        "{first:#} {second:#}"
    );
    assert!(figure(&second, "files_unmodified") > 300, "{second:#}");

    let (_, third) = site.backup();
    assert!(
        figure(&third, "bytes_stored") * 10 < figure(&first, "bytes_stored"),
        "{first:#} {third:#}"
    );
    site.world.restic().check();
    let sums = "SELECT count(*), sum(hashtext(pad)::bigint) FROM wide";
    let wanted = site.cluster.sql(sums);
    let mut restored = site.start_restored(&snapshot, "second", &[]);
    assert_eq!(restored.sql(sums), wanted);
    restored.prove();
    let mut restored = site.start_restored(&first_snapshot, "first", &[]);
    assert_ne!(restored.sql(sums), wanted);
    restored.prove();
}

#[test]
fn a_damaged_page_is_named_in_every_backup() {
    let mut site = Site::new("physical-damaged", "");
    wide_table(&site.cluster, "wide", 100);
    site.cluster.sql("CHECKPOINT");
    let path = site.cluster.file_of("wide");
    site.cluster.stop();
    let file = fs::File::options().write(true).open(&path).expect("a file");
    file.write_all_at(b"damage", 3 * 8192 + 5000)
        .expect("a write");
    drop(file);
    site.cluster.start_again();

    for _ in 0..2 {
        let jobs = site
            .world
            .operator()
            .json_with(3, &["run", POLICY, "--wait"]);
        let job = only(&jobs["jobs"]);
        assert_eq!(job["warning_count"], 1, "{job:#}");
        let warning = &job["warnings"][0];
        assert_eq!(warning["path"]["text"], path.to_str().expect("UTF-8"));
        assert_says(&text(&warning["cause"]), &["block 3", "checksum"]);
        let manifest = site.manifest(&snapshot_of(&job));
        assert_eq!(manifest["pages"]["damaged"], 1, "{manifest:#}");
        let named = &manifest["pages"]["named"][0];
        assert_eq!(named["block"], 3, "{manifest:#}");
        let below = path
            .strip_prefix(site.cluster.data())
            .expect("below the data");
        assert_eq!(text(&named["file"]), format!("/pgdata/{}", below.display()));
    }
}
