//! Restores that ended before they were done.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::site::Site;
use crate::restore::tests::Hook;

#[test]
fn a_restore_that_died_before_the_owner_had_his_files_goes_on() {
    let mut site = Site::new("cluster-resumed", "");
    let snapshot = site.store();
    let work = site.work(snapshot);
    // What has a second name is given to nobody: all else is done by then.
    let (data, once) = (site.data(), AtomicBool::new(true));
    let (file, second) = (data.join("planted"), site.scratch.join("second"));
    let plant = {
        let (file, second) = (file.clone(), second.clone());
        move || {
            if once.swap(false, Relaxed) {
                fs::write(&file, "").unwrap();
                fs::hard_link(&file, &second).unwrap();
            }
        }
    };
    site.options.before_finish = Hook(Some(Arc::new(plant)));
    let refusal = site.refusal(&work);
    assert!(refusal.contains("second name"), "{refusal}");
    assert!(data.join("PG_VERSION").exists(), "nothing was restored");
    fs::remove_file(&second).unwrap();
    // A file that was not written whole, and one that was given away already.
    let version = data.join("PG_VERSION");
    fs::write(&version, "").unwrap();
    std::os::unix::fs::chown(data.join("base"), Some(1), Some(1)).unwrap();

    let result = site.run(&work).unwrap();
    let server = site.server(&result);
    assert_eq!(server.sql("SELECT count(*) FROM ledger"), "1000");
    let owner = fs::metadata(&version).unwrap().uid();
    assert_eq!(fs::metadata(data.join("base")).unwrap().uid(), owner);
    for entry in fs::read_dir(&data).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        assert!(!name.starts_with(".strongroom-restore-"), "{name} is left");
    }
    // It is a cluster now, and no longer a restore's to write to.
    drop(server);
    let refusal = site.refusal(&work);
    assert!(refusal.contains("not empty"), "{refusal}");
}

#[test]
fn a_started_server_is_described_and_what_it_needs_lies_with_it() {
    let site = Site::new("cluster-started", "");
    let result = site.run(&site.work(site.store())).unwrap();
    let server = site.server(&result);
    let described = result.server.unwrap();
    assert_eq!(described.port, server.port);
    let mut psql = strongroom_tests::cluster::as_postgres("psql");
    let (port, sockets) = (described.port.to_string(), &described.socket_directory);
    psql.args([
        "-X", "-A", "-t", "-U", "postgres", "-h", sockets, "-p", &port,
    ]);
    psql.args(["-d", "postgres", "-c", "SELECT count(*) FROM ledger"]);
    let said = strongroom_tests::cluster::succeed(&mut psql);
    assert_eq!(said.stdout, b"1000\n");
    assert!(
        fs::read_to_string(&described.log)
            .unwrap()
            .contains("ready")
    );
    let within = site.data();
    assert!(std::path::Path::new(&described.log).starts_with(&within));
    assert_eq!(server.sql("SHOW autovacuum"), "off");
}
