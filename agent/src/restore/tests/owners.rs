//! Accounts are their names, whatever numbers they had elsewhere.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use strongroom_spec::{DirectoryTarget, Overwrite, RestoreSpec, WarningCode};

use super::hostile::Forge;

/// Of every Debian host.
const DAEMON: u32 = 1;

/// A file of `number:name` for its user and its group.
fn owned(forge: &Forge, name: &str, (uid, user): (u32, &str), (gid, group): (u32, &str)) -> String {
    let owner = format!(r#""uid":{uid},"gid":{gid},"user":"{user}","group":"{group}""#);
    let file = forge.file(name, name);
    assert!(file.contains(r#""uid":0,"gid":0"#));
    file.replace(r#""uid":0,"gid":0"#, &owner)
}

fn restore(forge: &Forge, nodes: &[String], numeric_ids: bool) {
    let work = RestoreSpec::new(
        forge.publish(forge.tree(nodes)),
        DirectoryTarget {
            directory: forge.place.target().to_str().unwrap().into(),
            overwrite: Overwrite::IfChanged,
            numeric_ids,
            ..DirectoryTarget::default()
        },
    );
    forge.place.run(&work).unwrap();
}

#[test]
fn files_belong_to_whom_they_belonged_to() {
    let forge = Forge::new();
    let owner = |name: &str| {
        let found = fs::metadata(forge.place.target().join(name)).unwrap();
        (found.uid(), found.gid())
    };
    let moved = (59_091, "daemon");
    let unknown = (DAEMON, "nobody-knows-them");
    let nodes = [
        owned(&forge, "a", moved, (0, "root")),
        owned(&forge, "b", moved, (59_092, "daemon")),
        owned(&forge, "c", unknown, (59_093, "")),
    ];
    restore(&forge, &nodes, false);
    assert_eq!(owner("a"), (DAEMON, 0));
    assert_eq!(owner("b"), (DAEMON, DAEMON));
    assert_eq!(owner("c"), (DAEMON, 59_093));
    let (warnings, count) = forge.place.monitor.warnings();
    let said = |warning: &strongroom_spec::Warning| {
        let path = String::from_utf8_lossy(&warning.path);
        let name = path.rsplit('/').next().unwrap_or_default();
        (warning.code, name.to_owned())
    };
    let said: Vec<_> = warnings.iter().map(said).collect();
    assert_eq!(
        said,
        [
            (WarningCode::OwnerDiffers, "c".into()),
            (WarningCode::OwnerMapped, "a".into()),
            (WarningCode::OwnerMapped, "b".into()),
        ],
        "each owner once, at its first file"
    );
    assert_eq!(
        count, 1,
        "what got the number of its name is no reason to worry"
    );

    restore(&forge, &nodes, true);
    assert_eq!(owner("a"), (59_091, 0));
    assert_eq!(owner("c"), (DAEMON, 59_093));
    assert_eq!(forge.place.monitor.warning_count(), 1, "nothing more");
}

#[test]
fn rights_are_not_given_to_an_account_that_only_has_the_number() {
    // It is daemon's here already, and the snapshot gives it to `bin`: by number
    // that would be daemon too.
    let forge = Forge::new();
    let path = forge.place.target().join("program");
    fs::create_dir_all(forge.place.target()).unwrap();
    fs::write(&path, "program").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&path, Some(DAEMON), Some(DAEMON)).unwrap();
    // Its number is not used again meanwhile.
    let held = fs::File::open(&path).unwrap();
    let nodes = [owned(&forge, "program", (DAEMON, "bin"), (0, "root"))];
    restore(&forge, &nodes, false);
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.uid(), 2);
    let before = held.metadata().unwrap();
    assert_ne!(found.ino(), before.ino(), "daemon may still have it open");
}
