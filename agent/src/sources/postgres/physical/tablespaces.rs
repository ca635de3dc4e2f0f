//! The tablespaces of a cluster: the links in `pg_tblspc` that the server knows.
//!
//! The server follows whatever link a number stands on, and so may a restored
//! one; but only what its catalog has is a tablespace of it. Catalog and
//! directory are not of the same moment: one that is being made has its link
//! before its row is seen, one that is being dropped loses its link first. So
//! what does not fit is looked at again for a few seconds. Whatever is made
//! after the backup began is made again by replay.

use std::{collections::BTreeSet, io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use rustix::{
    fs::{AtFlags, FileType, Stat, fstat, statat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::names;
use strongroom_spec::WarningCode;

use super::{
    ClusterError,
    access::{os, target},
    data_dir::Cluster,
};
use crate::{monitor::Monitor, sources::files::metadata::kind};

pub(super) const DIRECTORY: &str = "pg_tblspc";

const ATTEMPTS: u32 = 6;
const WAIT: Duration = Duration::from_secs(1);

/// The first number that an object of a user's gets: `access/transam.h`. Those
/// below it are in the data directory.
const FIRST_NORMAL: u32 = 16_384;

/// A tablespace that lies elsewhere.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) oid: u32,
    /// Where its link leads.
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    pub(super) stat: Stat,
    /// The directory of this cluster in it, and of this version.
    pub(super) own: OwnedFd,
    pub(super) own_stat: Stat,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tablespaces {
    /// `pg_tblspc`.
    pub(super) dir: OwnedFd,
    pub(super) stat: Stat,
    pub(super) linked: Vec<Linked>,
    /// Directories that are tablespaces themselves, by number.
    pub(super) in_place: Vec<(u32, OwnedFd, Stat)>,
    strays: Vec<Vec<u8>>,
    gone: Option<ClusterError>,
}

/// Finds the tablespaces; `ask` gives the numbers that the server's catalog
/// has, after it has waited for so long.
pub(super) fn find(
    cluster: &Cluster,
    mut ask: impl FnMut(Duration) -> Result<BTreeSet<u32>, ClusterError>,
) -> Result<Tablespaces, ClusterError> {
    let mut attempt = 1;
    let mut wait = Duration::ZERO;
    loop {
        let entries = Entries::of(cluster)?;
        let known = ask(wait)?;
        let found = entries.compare(cluster, &known)?;
        let unsettled = found.gone.is_some() || found.stray_oids().next().is_some();
        match found.gone {
            _ if unsettled && attempt < ATTEMPTS => (attempt, wait) = (attempt + 1, WAIT),
            Some(gone) => return Err(gone),
            None => return Ok(found),
        }
    }
}

impl Tablespaces {
    /// The numbers of those that are to be in the backup.
    pub(super) fn oids(&self) -> BTreeSet<u32> {
        let linked = self.linked.iter().map(|it| it.oid);
        let in_place = self.in_place.iter().map(|(oid, ..)| *oid);
        linked.chain(in_place).collect()
    }

    /// The numbers on which something stands that the server does not know.
    fn stray_oids(&self) -> impl Iterator<Item = u32> + '_ {
        self.strays.iter().filter_map(|name| names::oid(name))
    }

    /// An error when the server knows one by now that was left out.
    pub(super) fn check_strays(
        &self,
        ask: impl FnOnce() -> Result<BTreeSet<u32>, ClusterError>,
    ) -> Result<(), ClusterError> {
        if self.strays.is_empty() {
            return Ok(());
        }
        let known = ask()?;
        match self.stray_oids().find(|oid| known.contains(oid)) {
            Some(late) => Err(ClusterError::TablespaceLate(late)),
            None => Ok(()),
        }
    }

    /// Warns of what is left out.
    pub(super) fn warn(&self, cluster: &Cluster, monitor: &Monitor) {
        for name in &self.strays {
            let path = cluster.directory.join(DIRECTORY).join(os(name));
            monitor.warn(
                WarningCode::StrayTablespace,
                path.into_os_string().into_encoded_bytes(),
                "the server has no tablespace of this number: neither this nor what it leads to \
                 is part of the backup; remove it if nobody needs it",
            );
        }
    }
}

/// What stands in `pg_tblspc`.
struct Entries {
    dir: OwnedFd,
    stat: Stat,
    names: Vec<Box<[u8]>>,
}

impl Entries {
    fn of(cluster: &Cluster) -> Result<Self, ClusterError> {
        let path = cluster.directory.join(DIRECTORY);
        let owner = &cluster.owner;
        let opened = owner.enter(&cluster.fd, &cluster.directory, DIRECTORY.as_bytes())?;
        let Some((dir, stat)) = opened else {
            return Err(ClusterError::Missing { path });
        };
        let names = beneath::names(&dir).map_err(|error| owner.failed(&path, error))?;
        Ok(Self { dir, stat, names })
    }

    fn compare(
        self,
        cluster: &Cluster,
        known: &BTreeSet<u32>,
    ) -> Result<Tablespaces, ClusterError> {
        let Self { dir, stat, names } = self;
        let mut found = Tablespaces {
            dir,
            stat,
            linked: Vec::new(),
            in_place: Vec::new(),
            strays: Vec::new(),
            gone: None,
        };
        for name in &names {
            match names::oid(name).filter(|oid| known.contains(oid)) {
                Some(oid) => found.add(cluster, name, oid)?,
                None => found.strays.push(name.to_vec()),
            }
        }
        let taken = found.oids();
        let missing = known
            .iter()
            .find(|oid| **oid >= FIRST_NORMAL && !taken.contains(*oid));
        if let Some(oid) = missing
            && found.gone.is_none()
        {
            let path = cluster.directory.join(DIRECTORY).join(oid.to_string());
            found.gone = Some(gone(cluster, *oid, path));
        }
        Ok(found)
    }
}

impl Tablespaces {
    /// Opens one that the server knows.
    fn add(&mut self, cluster: &Cluster, name: &[u8], oid: u32) -> Result<(), ClusterError> {
        let (owner, place) = (&cluster.owner, cluster.directory.join(DIRECTORY));
        let failed = |error: Errno| owner.failed(&place.join(os(name)), error.into());
        let stat = match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Dropped since it was listed.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        if kind(&stat) != FileType::Symlink {
            if let Some((dir, stat)) = owner.enter(&self.dir, &place, name)? {
                self.in_place.push((oid, dir, stat));
            }
            return Ok(());
        }
        let path = target(&self.dir, name).map_err(failed)?;
        let dir = match beneath::open_root(&path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.gone = Some(gone(cluster, oid, path));
                return Ok(());
            }
            Err(error) => return Err(owner.failed(&path, error)),
        };
        let stat = fstat(&dir).map_err(|error| owner.failed(&path, error.into()))?;
        let version = cluster.version_directory();
        match owner.enter(&dir, &path, version.as_bytes())? {
            None => self.gone = Some(gone(cluster, oid, path)),
            // The server made it, and so it is its user's.
            Some((_, own)) if !owner.owns(&own) => {
                return Err(owner.not_owned(path.join(version), &own));
            }
            Some((own, own_stat)) => self.linked.push(Linked {
                oid,
                path,
                dir,
                stat,
                own,
                own_stat,
            }),
        }
        Ok(())
    }
}

fn gone(cluster: &Cluster, oid: u32, path: PathBuf) -> ClusterError {
    ClusterError::TablespaceGone {
        oid,
        path,
        version: cluster.version_directory(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use strongroom_tests::scratch::Scratch;

    use super::{super::data_dir::tests::cluster_in, *};

    const VERSION: &str = "PG_15_202209061";

    struct Fixture {
        scratch: Scratch,
        data: PathBuf,
    }

    impl Fixture {
        fn new(name: &str) -> Self {
            let scratch = Scratch::new(name);
            scratch.dir("data/pg_tblspc");
            let data = scratch.join("data");
            Self { scratch, data }
        }

        /// A tablespace with a link on its number.
        fn link(&self, oid: u32, version: Option<&str>) -> PathBuf {
            let place = self.scratch.dir(&format!("space-{oid}"));
            if let Some(version) = version {
                fs::create_dir(place.join(version)).unwrap();
            }
            symlink(&place, self.entry(oid)).unwrap();
            place
        }

        fn entry(&self, oid: u32) -> PathBuf {
            self.data.join(format!("pg_tblspc/{oid}"))
        }

        /// Asked the first time and then again, the server knows these.
        fn find(
            &self,
            mut known: impl FnMut(u32) -> Vec<u32>,
        ) -> (u32, Result<Tablespaces, ClusterError>) {
            let mut asked = 0;
            let found = find(&cluster_in(&self.data), |_| {
                asked += 1;
                Ok(known(asked).into_iter().chain([1663, 1664]).collect())
            });
            (asked, found)
        }
    }

    fn strays(found: &Tablespaces) -> Vec<u32> {
        found.stray_oids().collect()
    }

    #[test]
    fn what_the_server_knows_is_taken_and_nothing_else() {
        let fixture = Fixture::new("tablespaces");
        fixture.link(16_400, Some(VERSION));
        fs::create_dir(fixture.entry(16_401)).unwrap();
        let (asked, found) = fixture.find(|_| vec![16_400, 16_401]);
        let found = found.unwrap();
        assert_eq!((asked, found.oids()), (1, [16_400, 16_401].into()));
        assert_eq!(found.linked[0].path, fixture.scratch.join("space-16400"));

        // Another cluster's, and something that never was one.
        fixture.link(16_402, Some(VERSION));
        fs::write(fixture.data.join("pg_tblspc/note"), "").unwrap();
        let (asked, found) = fixture.find(|_| vec![16_400, 16_401]);
        let found = found.unwrap();
        assert_eq!(found.oids(), [16_400, 16_401].into());
        assert_eq!((asked, strays(&found)), (ATTEMPTS, vec![16_402]));
        found.check_strays(|| Ok([16_400].into())).unwrap();
        // It was being made all the time.
        let late = found.check_strays(|| Ok([16_402].into())).unwrap_err();
        assert!(
            matches!(late, ClusterError::TablespaceLate(16_402)),
            "{late}"
        );
    }

    #[test]
    fn what_is_made_or_dropped_meanwhile_is_waited_for() {
        let fixture = Fixture::new("tablespaces-moving");
        // Its row is seen after its link.
        fixture.link(16_400, Some(VERSION));
        let (asked, found) = fixture.find(|asked| if asked < 3 { vec![] } else { vec![16_400] });
        assert_eq!((asked, found.unwrap().oids()), (3, [16_400].into()));
        // Its link goes before its row.
        let gone = fixture.link(16_401, None);
        let entry = fixture.entry(16_401);
        let (asked, found) = fixture.find(|asked| {
            if asked == 1 {
                return vec![16_400, 16_401];
            }
            let _ended = fs::remove_file(&entry);
            if asked == 2 {
                vec![16_400, 16_401]
            } else {
                vec![16_400]
            }
        });
        let found = found.unwrap();
        assert_eq!((asked, found.oids()), (3, [16_400].into()));
        assert!(strays(&found).is_empty());
        assert!(gone.exists());
    }

    #[test]
    fn files_that_are_not_there_are_an_error() {
        let fixture = Fixture::new("tablespaces-gone");
        let refused = |known: &[u32]| {
            let (asked, found) = fixture.find(|_| known.to_vec());
            let error = found.unwrap_err();
            assert!(
                matches!(error, ClusterError::TablespaceGone { .. }),
                "{error}"
            );
            assert_eq!(asked, ATTEMPTS);
            error.to_string()
        };
        // No link at all; one that leads nowhere; one to an empty directory.
        assert!(refused(&[16_400]).contains("pg_tblspc/16400"));
        symlink("/no/such", fixture.entry(16_400)).unwrap();
        assert!(refused(&[16_400]).contains("/no/such"));
        fixture.link(16_401, Some("PG_14_202107181"));
        fs::remove_file(fixture.entry(16_400)).unwrap();
        let message = refused(&[16_401]);
        assert!(
            message.contains(VERSION) && message.contains("mounted"),
            "{message}"
        );
    }

    #[test]
    fn a_tablespace_of_another_user_is_not_read() {
        let fixture = Fixture::new("tablespaces-foreign");
        let place = fixture.link(16_400, Some(VERSION));
        let of_another = |path: &Path| {
            std::os::unix::fs::chown(path, Some(12_345), None).expect("these tests run as root");
        };
        // Whose directory the server's lies in is nothing to us.
        of_another(&place);
        fixture.find(|_| vec![16_400]).1.unwrap();
        of_another(&place.join(VERSION));
        let error = fixture.find(|_| vec![16_400]).1.unwrap_err();
        assert!(matches!(error, ClusterError::NotOwned { .. }), "{error}");
    }
}
