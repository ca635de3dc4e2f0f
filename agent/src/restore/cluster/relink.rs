//! Tablespaces at their new places.
//!
//! Done with more rights than the server's user has, in a directory whose
//! contents came from a snapshot: nothing here follows a link in it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, symlinkat, unlinkat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::label::{
    Tablespace, parse_tablespace_map, write_tablespace_map,
};

use super::{ClusterRestoreError, single::read_single, tablespaces::Destination};
use crate::allowed::AllowedDirectory;

const MAP: &str = "tablespace_map";

/// Larger maps are none.
const LARGEST: u64 = 16 << 20;

/// Puts the links to tablespaces in place, and their new paths into the map
/// from which the server makes them again. A map that names others than the
/// snapshot's manifest does is refused: nobody was asked about those.
pub(super) fn relink(
    target: &AllowedDirectory,
    moves: &[Destination],
) -> Result<(), ClusterRestoreError> {
    let root = target.descriptor();
    let root = root.map_err(ClusterRestoreError::file("open", target.path()))?;
    let path = target.path().join(MAP);
    let text = match read(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && moves.is_empty() => return Ok(()),
        text => text.map_err(ClusterRestoreError::file("read", &path))?,
    };
    let mut map = parse_tablespace_map(&text)
        .map_err(|error| ClusterRestoreError::file("understand", &path)(io::Error::other(error)))?;
    for Tablespace { oid, path: to } in &mut map {
        let place = moves.iter().find(|place| place.oid == *oid);
        let place = place.ok_or_else(|| ClusterRestoreError::StrayLink {
            link: target.path().join(format!("pg_tblspc/{oid}")),
            to: to.clone(),
        })?;
        to.clone_from(&place.to);
    }
    write(&root, &write_tablespace_map(&map)).map_err(ClusterRestoreError::file("write", &path))?;
    let links = target.path().join("pg_tblspc");
    let above = beneath::open_child(&root, b"pg_tblspc")
        .map_err(ClusterRestoreError::file("open", &links))?;
    for place in moves {
        let name = place.oid.to_string();
        link(&above, &name, &place.to).map_err(ClusterRestoreError::file(
            "make the link",
            links.join(&name),
        ))?;
    }
    Ok(())
}

fn read(root: &OwnedFd) -> io::Result<String> {
    let bytes = read_single(root, MAP, LARGEST)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes the file anew.
fn write(root: &OwnedFd, text: &str) -> io::Result<()> {
    remove(root, MAP)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(openat(root, MAP, flags, mode)?);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes a link, in the place of whatever link was there.
pub(super) fn link(above: &OwnedFd, name: &str, to: &str) -> io::Result<()> {
    remove(above, name)?;
    Ok(symlinkat(to, above, name)?)
}

fn remove(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn named(path: &Path) -> AllowedDirectory {
        AllowedDirectory::named(path).unwrap()
    }

    fn moves(to: &str) -> Vec<Destination> {
        vec![Destination {
            oid: 16_400,
            from: "/old".into(),
            to: to.into(),
            moved: true,
            inside: false,
        }]
    }

    #[test]
    fn links_and_map_name_the_new_place() {
        let target = tempfile::tempdir().unwrap();
        fs::create_dir(target.path().join("pg_tblspc")).unwrap();
        fs::write(target.path().join(MAP), "16400 /old\n").unwrap();
        for to in ["/new place", "/newer"] {
            relink(&named(target.path()), &moves(to)).unwrap();
            let link = fs::read_link(target.path().join("pg_tblspc/16400")).unwrap();
            assert_eq!(link, Path::new(to));
            let map = fs::read_to_string(target.path().join(MAP)).unwrap();
            assert_eq!(map, format!("16400 {to}\n"));
        }
    }

    #[test]
    fn a_map_names_only_what_was_consented_to() {
        let target = tempfile::tempdir().unwrap();
        fs::create_dir(target.path().join("pg_tblspc")).unwrap();
        for (moves, map) in [
            (moves("/new"), "16400 /old\n16401 /precious\n"),
            (vec![], "16401 /precious\n"),
        ] {
            fs::write(target.path().join(MAP), map).unwrap();
            let error = relink(&named(target.path()), &moves)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("/precious") && error.contains("16401"),
                "{error}"
            );
        }
        fs::remove_file(target.path().join(MAP)).unwrap();
        relink(&named(target.path()), &[]).unwrap();
    }

    #[test]
    fn links_of_the_snapshot_lead_nowhere() {
        let trap = tempfile::tempdir().unwrap();
        let precious = trap.path().join("precious");
        fs::write(&precious, "16400 /old\n").unwrap();
        let target = tempfile::tempdir().unwrap();
        symlink(&precious, target.path().join(MAP)).unwrap();
        symlink(trap.path(), target.path().join("pg_tblspc")).unwrap();
        relink(&named(target.path()), &moves("/new")).unwrap_err();
        fs::remove_file(target.path().join(MAP)).unwrap();
        fs::write(target.path().join(MAP), "16400 /old\n").unwrap();
        relink(&named(target.path()), &moves("/new")).unwrap_err();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "16400 /old\n");
        assert_eq!(fs::read_dir(trap.path()).unwrap().count(), 1);
    }
}
