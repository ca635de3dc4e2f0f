//! What replaying the log does outside of the data directory, known before
//! anything is written: it makes the tablespaces that were made behind the
//! beginning of the base backup, where they lay. Beside the original, that is
//! where the original's files lie.
//!
//! 1. All log to be replayed is read ([`reading`]): the archived log by
//!    [`super::recovery`], or that of the snapshot ([`held`]).
//! 2. [`Replay::decide`] says where each tablespace goes, and refuses.
//! 3. [`Replay::make`] makes the directories and, for those that are moved, the
//!    links; the log that the server is given has no path left in their records
//!    (see [`strongroom_postgres::wal::tablespace`]), so that replay takes the
//!    links as they are.
//! 4. [`links`] verifies what there is, before a server runs and when it does.

pub(super) mod held;
mod links;
pub(super) mod reading;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, fchmod, openat};
use strongroom_compare::beneath;
use strongroom_layout::position::SegmentName;
use strongroom_postgres::{
    physical::manifest::Manifest,
    wal::{Edits, Layout, Replayed, TablespaceCreation, tablespace::first_in_place},
};
use strongroom_wire::job::RestoreClusterWork;

use self::reading::LogFacts;
use super::{
    ClusterRestoreError, Consent,
    base::make_parents,
    owner::Owner,
    places::{self, Destination, destinations},
    programs::Version,
    relink::link,
};

/// Where a restored cluster's tablespaces go.
#[derive(Debug)]
pub(super) struct Replay {
    /// Those of the base backup.
    pub(super) bases: Vec<Destination>,
    /// Those that the log makes.
    pub(super) made: Vec<Destination>,
    /// What changes in archived log.
    pub(super) edits: Edits,
    /// What changes in segments of the snapshot.
    held: BTreeMap<SegmentName, Edits>,
}

/// What it is decided from, beside the log.
pub(super) struct Terms<'a> {
    pub(super) work: &'a RestoreClusterWork,
    pub(super) manifest: &'a Manifest,
    pub(super) layout: Layout,
    /// Of the server that will replay, as far as it is known.
    pub(super) version: Option<Version>,
    pub(super) consent: Consent<'a>,
    /// Whether an earlier run of the same restore has taken a place already.
    pub(super) taken: &'a dyn Fn(&Destination) -> bool,
}

impl Replay {
    /// Decides, and looks at the places; writes nothing.
    pub(super) fn decide(facts: &LogFacts, terms: &Terms<'_>) -> Result<Self, ClusterRestoreError> {
        let (work, known) = (terms.work, &terms.manifest.tablespaces);
        let creations = facts.creations()?;
        let bases = destinations(known, &work.tablespaces);
        let made = places::made(&creations, &bases, &work.tablespaces);
        places::check(&work.target, &bases, &made, &work.tablespaces)?;
        for place in bases.iter().filter(|place| !place.moved) {
            (terms.consent)(&place.to).map_err(|cause| ClusterRestoreError::NotAllowed {
                path: place.to.clone(),
                cause,
            })?;
        }
        for place in &made {
            terms.check(place, &creations)?;
        }
        let moved = |creation: &TablespaceCreation| {
            let mut all = bases.iter().chain(&made);
            all.any(|place| place.moved && place.oid == creation.oid)
        };
        for creation in creations.iter().filter(|it| moved(it)) {
            terms.check_moved(creation, &creations)?;
        }
        let (edits, held) = facts.edits(&terms.layout, |creation| {
            if moved(creation) {
                Replayed::InPlace
            } else {
                Replayed::AtItsPath
            }
        });
        Ok(Self {
            bases,
            made,
            edits,
            held,
        })
    }

    /// Makes the places of those that the log makes, in a data directory that is
    /// restored. Those that are there are left.
    pub(super) fn make(
        &self,
        target: &Path,
        owner: Option<&Owner>,
    ) -> Result<(), ClusterRestoreError> {
        let root = beneath::open_root(target).map_err(ClusterRestoreError::file("open", target))?;
        let links = target.join("pg_tblspc");
        let above = beneath::open_child(&root, b"pg_tblspc");
        let above = above.map_err(ClusterRestoreError::file("open", &links))?;
        for place in &self.made {
            make_place(Path::new(&place.to), owner)?;
            if place.moved {
                let name = place.oid.to_string();
                let at = links.join(&name);
                link(&above, &name, &place.to)
                    .map_err(ClusterRestoreError::file("make the link", at))?;
            }
        }
        Ok(())
    }

    /// Has the snapshot's own log lead there.
    pub(super) fn edit(&self, target: &Path, layout: &Layout) -> Result<(), ClusterRestoreError> {
        held::edit(target, layout.segment_size, &self.held)
    }

    /// The places of those that the log makes, by number.
    pub(super) fn taken(&self) -> BTreeMap<u32, String> {
        self.made
            .iter()
            .map(|place| (place.oid, place.to.clone()))
            .collect()
    }

    /// Verifies that no link in `pg_tblspc` leads anywhere else.
    pub(super) fn verify(&self, target: &Path) -> Result<(), ClusterRestoreError> {
        let all = self.bases.iter().chain(&self.made);
        links::verify(target, &all.map(|it| (it.oid, &*it.to)).collect())
    }

    /// Removes what was made for tablespaces that the server, which has replayed
    /// the log, does not have: they were made later, or dropped again. Gives
    /// where they would have been.
    pub(super) fn settle(&self, target: &Path) -> Vec<String> {
        let mut gone = Vec::new();
        for place in &self.made {
            // Only a directory that nothing is in goes.
            if fs::remove_dir(&place.to).is_ok() {
                links::forget(target, place.oid);
                gone.push(place.to.clone());
            }
        }
        gone
    }
}

impl Terms<'_> {
    /// Whether the log may make a tablespace there.
    fn check(
        &self,
        place: &Destination,
        creations: &[&TablespaceCreation],
    ) -> Result<(), ClusterRestoreError> {
        let refused = |cause: String| ClusterRestoreError::LogTablespace {
            oid: place.oid,
            path: place.from.clone(),
            to: place.to.clone(),
            cause,
        };
        if !place.moved {
            (self.consent)(&place.to).map_err(refused)?;
            let exact = |it: &&&TablespaceCreation| it.oid == place.oid;
            let text = creations.iter().filter(exact);
            if !text.map(|it| &it.path).all(|it| it == place.to.as_bytes()) {
                return Err(refused("its name is no UTF-8".into()));
            }
        }
        if !(self.taken)(place) {
            check_free(Path::new(&place.to)).map_err(refused)?;
        }
        Ok(())
    }

    /// Whether replay can be had to make a tablespace elsewhere.
    fn check_moved(
        &self,
        creation: &TablespaceCreation,
        creations: &[&TablespaceCreation],
    ) -> Result<(), ClusterRestoreError> {
        let path = || String::from_utf8_lossy(&creation.path).into_owned();
        // The link is gone with the first; the second would be in place.
        if creations
            .iter()
            .any(|it| it.oid == creation.oid && it.start != creation.start)
        {
            return Err(ClusterRestoreError::MadeTwice {
                oid: creation.oid,
                path: path(),
            });
        }
        let version = self.version.filter(|version| !version.replays_in_place());
        version.map_or(Ok(()), |version| {
            Err(ClusterRestoreError::OldServer {
                version: version.to_string(),
                major: version.major,
                first: first_in_place(version.major).unwrap_or_default(),
                oid: creation.oid,
                path: path(),
            })
        })
    }
}

/// Makes a directory that a server can make a tablespace in.
fn make_place(path: &Path, owner: Option<&Owner>) -> Result<(), ClusterRestoreError> {
    make_parents(path)?;
    if let Err(error) = DirBuilder::new().mode(0o700).create(path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(ClusterRestoreError::file("create", path)(error));
    }
    let give = || -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        fchmod(&directory, Mode::RWXU)?;
        owner.map_or(Ok(()), |owner| owner.take_one(&directory, b""))
    };
    give().map_err(ClusterRestoreError::file("give away", path))
}

/// Whether a directory is empty or not there; else why it cannot be taken.
fn check_free(path: &Path) -> Result<(), String> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(format!("{} is not empty", path.display())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(()),
        Err(error) => Err(format!("{} cannot be looked into: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests;
