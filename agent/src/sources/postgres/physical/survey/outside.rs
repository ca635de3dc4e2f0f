//! Directories that are reached by a link, or stored in another place than they
//! lie in: the log and the tablespaces.

use std::{collections::BTreeSet, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags, Stat, fstat, openat},
    io::Errno,
};
use strongroom_postgres::physical::{exclude::Place, manifest::TABLESPACES};
use strongroom_repository::write::parent::ParentTree;

use super::{
    super::{
        ClusterError,
        tablespaces::{DIRECTORY, Tablespaces},
    },
    Surveyor, Waiting,
    listing::Survey,
};

pub(super) const WAL: &str = "pg_wal";

/// Inodes of directories that are stored elsewhere in the snapshot, wherever
/// in the data directory they lie.
pub(super) struct Elsewhere {
    /// Where tablespaces lie: nothing but the tablespace is in them.
    tablespaces: BTreeSet<(u64, u64)>,
    /// What is stored of them, and the log.
    data: BTreeSet<(u64, u64)>,
}

impl Elsewhere {
    /// Of the tablespaces, and of the log's directory.
    pub(super) fn of(tablespaces: &Tablespaces, log: &Stat) -> Self {
        let linked = &tablespaces.linked;
        let data = linked.iter().map(|it| identity(&it.own_stat));
        Self {
            tablespaces: linked.iter().map(|it| identity(&it.stat)).collect(),
            data: data.chain([identity(log)]).collect(),
        }
    }

    /// Whether a directory is stored already; one of the server's own is not,
    /// even if a tablespace was made in it.
    pub(super) fn has(&self, stat: &Stat, own: bool) -> bool {
        let id = identity(stat);
        self.data.contains(&id) || !own && self.tablespaces.contains(&id)
    }
}

/// Device and inode.
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Surveyor<'_> {
    /// The log's directory; a link to one, as `initdb --waldir` makes it, leads
    /// to one of the cluster's owner.
    pub(super) fn log(&self) -> Result<(OwnedFd, Stat), ClusterError> {
        let (cluster, owner) = (self.cluster, &self.cluster.owner);
        let path = cluster.directory.join(WAL);
        match owner.enter(&cluster.fd, &cluster.directory, WAL.as_bytes()) {
            Ok(Some((_, stat))) if !owner.may_list(&stat) => Err(owner.foreign(path, &stat)),
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(ClusterError::Missing { path }),
            Err(ClusterError::Link { .. }) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let failed = |error: Errno| owner.failed(&path, error.into());
                let fd = openat(&cluster.fd, WAL, flags, Mode::empty()).map_err(failed)?;
                let stat = fstat(&fd).map_err(failed)?;
                if owner.owns(&stat) {
                    Ok((fd, stat))
                } else {
                    Err(owner.not_owned(path, &stat))
                }
            }
            Err(error) => Err(error),
        }
    }

    /// `pg_tblspc`, without its links: the server makes them from its map. What
    /// lies in it are tablespaces in their place.
    pub(super) fn in_place(
        &self,
        survey: &mut Survey,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), ClusterError> {
        let (root, tablespaces) = (survey.root, self.tablespaces);
        let place = self.cluster.directory.join(DIRECTORY);
        let fd = self.again(&tablespaces.dir, &place)?;
        let name = DIRECTORY.as_bytes();
        let above = survey.add(Some(root), name, place.clone(), fd, tablespaces.stat);
        for (oid, dir, stat) in &tablespaces.in_place {
            let name = oid.to_string();
            let place = place.join(&name);
            let fd = self.again(dir, &place)?;
            if !self.cluster.owner.may_list(stat) {
                return Err(self.cluster.owner.foreign(place, stat));
            }
            let dir = survey.add(Some(above), name.as_bytes(), place, fd, *stat);
            waiting.push(Waiting {
                dir,
                place: Place::Own,
                depth: 1,
                previous: None,
            });
        }
        Ok(())
    }

    /// Of each tablespace only the directory of this cluster and version.
    pub(super) fn elsewhere(
        &self,
        survey: &mut Survey,
        waiting: &mut Vec<Waiting>,
        previous: Option<&ParentTree>,
    ) -> Result<(), ClusterError> {
        let linked = &self.tablespaces.linked;
        if linked.is_empty() {
            return Ok(());
        }
        let (cluster, version) = (self.cluster, self.cluster.version_directory());
        let fd = self.again(&cluster.fd, &cluster.directory)?;
        let place = cluster.directory.join(DIRECTORY);
        let above = survey.add(None, TABLESPACES.as_bytes(), place, fd, cluster.stat);
        for tablespace in linked {
            let (name, place) = (tablespace.oid.to_string(), &tablespace.path);
            let (fd, stat) = (self.again(&tablespace.dir, place)?, tablespace.stat);
            let dir = survey.add(Some(above), name.as_bytes(), place.clone(), fd, stat);
            let place = place.join(&version);
            let (fd, stat) = (self.again(&tablespace.own, &place)?, tablespace.own_stat);
            let own = survey.add(Some(dir), version.as_bytes(), place, fd, stat);
            let before = self.subtree(previous.map(|it| &it.tree), name.as_bytes());
            let before = before.as_deref().map(|before| &before.tree);
            waiting.push(Waiting {
                dir: own,
                place: Place::Own,
                depth: 1,
                previous: self.subtree(before, version.as_bytes()),
            });
        }
        Ok(())
    }

    /// The same descriptor once more.
    pub(super) fn again(&self, fd: &OwnedFd, place: &Path) -> Result<OwnedFd, ClusterError> {
        let again = fd.try_clone();
        again.map_err(|error| self.cluster.owner.failed(place, error))
    }
}
