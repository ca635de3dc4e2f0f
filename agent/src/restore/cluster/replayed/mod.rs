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
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use rustix::{
    fs::{Mode, fchmod, fstat},
    process::geteuid,
};
use strongroom_compare::beneath;
use strongroom_layout::position::SegmentName;
use strongroom_postgres::{
    physical::manifest::Manifest,
    wal::{Edits, Layout, Replayed, TablespaceCreation, tablespace::first_in_place},
};
use strongroom_spec::{ClusterTarget, RestoreSpec};

use self::reading::LogFacts;
use super::{
    ClusterRestoreError, Consent,
    base::{make_directory, readable},
    owner::Owner,
    programs::Version,
    recovery::Choice,
    relink::link,
    tablespaces::{self, Destination, Home, Placed, destinations},
};
use crate::allowed::AllowedDirectory;

/// Where a restored cluster's tablespaces go.
#[derive(Debug)]
pub(super) struct Replay {
    /// Those of the base backup.
    pub(super) bases: Vec<Placed>,
    /// Those that the log makes.
    pub(super) made: Vec<Placed>,
    /// Of those, whose places an earlier run has taken.
    taken_before: BTreeSet<u32>,
    /// What changes in archived log.
    pub(super) edits: Edits,
    /// What changes in segments of the snapshot.
    held: BTreeMap<SegmentName, Edits>,
}

/// What it is decided from, beside the log.
pub(super) struct Terms<'a> {
    pub(super) work: &'a RestoreSpec<ClusterTarget>,
    pub(super) target: &'a AllowedDirectory,
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
        let home = Home {
            from: &terms.manifest.data_directory,
            to: &work.target.directory,
        };
        let bases = destinations(known, &work.target.tablespaces, home);
        let made = tablespaces::made(&creations, &bases, &work.target.tablespaces, home);
        tablespaces::check(
            &work.target.directory,
            &bases,
            &made,
            &work.target.tablespaces,
        )?;
        let bases = bases.into_iter().map(|place| terms.enter_base(place));
        let bases = bases.collect::<Result<Vec<_>, _>>()?;
        let made = made.into_iter();
        let made = made.map(|place| terms.enter_made(place, &creations));
        let made = made.collect::<Result<Vec<_>, _>>()?;
        let all: Vec<_> = bases.iter().chain(&made).collect();
        tablespaces::check_apart(terms.target, &all)?;
        let moved = |creation: &TablespaceCreation| {
            let mut all = bases.iter().chain(&made);
            all.any(|place| place.to.moved && place.to.oid == creation.oid)
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
        let taken = made.iter().filter(|it| (terms.taken)(&it.to));
        Ok(Self {
            taken_before: taken.map(|it| it.to.oid).collect(),
            bases,
            made,
            edits,
            held,
        })
    }

    /// Makes the places of those that the log makes, in a data directory that is
    /// restored. Those that an earlier run has taken are left; others must still
    /// be free.
    pub(super) fn make(
        &self,
        target: &AllowedDirectory,
        owner: Option<&Owner>,
    ) -> Result<(), ClusterRestoreError> {
        let root = target.descriptor();
        let root = root.map_err(ClusterRestoreError::file("open", target.path()))?;
        let links = target.path().join("pg_tblspc");
        let above = beneath::open_child(&root, b"pg_tblspc");
        let above = above.map_err(ClusterRestoreError::file("open", &links))?;
        for Placed {
            to: place,
            directory,
        } in &self.made
        {
            // Since that was asked, all files were restored. What an earlier run
            // has taken belongs to the server's user since, who could have written
            // himself that it was: anybody else's directory must be free.
            let taken = self.taken_before.contains(&place.oid) && belongs(directory, owner);
            if !taken {
                check_free(directory).map_err(|cause| refused(place, cause))?;
            }
            make_place(directory, owner)?;
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
    pub(super) fn edit(
        &self,
        target: &AllowedDirectory,
        layout: &Layout,
    ) -> Result<(), ClusterRestoreError> {
        held::edit(target, layout.segment_size, &self.held)
    }

    /// The places of those that the log makes, by number.
    pub(super) fn taken(&self) -> BTreeMap<u32, String> {
        self.made
            .iter()
            .map(|place| (place.to.oid, place.to.to.clone()))
            .collect()
    }

    /// Where all tablespaces go, by number.
    pub(super) fn choices(&self) -> BTreeMap<u32, Choice> {
        let all = self.bases.iter().chain(&self.made);
        all.map(|Placed { to: place, .. }| {
            let (to, moved) = (place.to.clone(), place.moved);
            (place.oid, Choice { to, moved })
        })
        .collect()
    }

    /// All directories of tablespaces.
    pub(super) fn directories(&self) -> impl Iterator<Item = &AllowedDirectory> {
        let all = self.bases.iter().chain(&self.made);
        all.map(|place| &place.directory)
    }

    /// Verifies that no link in the data directory or in a tablespace leads
    /// anywhere else.
    pub(super) fn verify(&self, target: &AllowedDirectory) -> Result<(), ClusterRestoreError> {
        let all = self.bases.iter().chain(&self.made);
        let places = all.map(|it| (it.to.oid, &*it.to.to)).collect();
        links::verify(target, &places, self.directories())
    }

    /// Removes what was made for tablespaces that the server, which has replayed
    /// the log, does not have: they were made later, or dropped again. Gives
    /// where they would have been.
    pub(super) fn settle(&self, target: &AllowedDirectory) -> Vec<String> {
        let mut gone = Vec::new();
        for Placed {
            to: place,
            directory,
        } in &self.made
        {
            // Only a directory that nothing is in goes.
            if directory.remove().is_ok() {
                links::forget(target, place.oid);
                gone.push(place.to.clone());
            }
        }
        gone
    }
}

impl Terms<'_> {
    /// Whether a tablespace of the base backup may go there.
    fn enter_base(&self, place: Destination) -> Result<Placed, ClusterRestoreError> {
        Placed::enter(place, false, self.consent, |place, cause| {
            let path = place.to.clone();
            ClusterRestoreError::NotAllowed { path, cause }
        })
    }

    /// Whether the log may make a tablespace there. One that is not moved is made
    /// by the name in the log.
    fn enter_made(
        &self,
        place: Destination,
        creations: &[&TablespaceCreation],
    ) -> Result<Placed, ClusterRestoreError> {
        let by_name = !place.moved;
        let placed = Placed::enter(place, by_name, self.consent, refused)?;
        let Placed {
            to: place,
            directory,
        } = &placed;
        if !place.moved {
            let exact = |it: &&&TablespaceCreation| it.oid == place.oid;
            let text = creations.iter().filter(exact);
            if !text.map(|it| &it.path).all(|it| it == place.to.as_bytes()) {
                return Err(refused(place, "its name is no UTF-8".into()));
            }
            // The server goes by the name, wherever that leads by then.
            if directory.path() != Path::new(&place.to) {
                let real = directory.path().display();
                let cause = format!("symbolic links lead from there to {real}");
                return Err(refused(place, cause));
            }
        }
        if !(self.taken)(place) {
            check_free(directory).map_err(|cause| refused(place, cause))?;
        }
        Ok(placed)
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

fn refused(place: &Destination, cause: String) -> ClusterRestoreError {
    ClusterRestoreError::LogTablespace {
        oid: place.oid,
        path: place.from.clone(),
        to: place.to.clone(),
        cause,
    }
}

/// Makes a directory that a server can make a tablespace in.
fn make_place(
    directory: &AllowedDirectory,
    owner: Option<&Owner>,
) -> Result<(), ClusterRestoreError> {
    make_directory(directory)?;
    let give = || -> io::Result<()> {
        let opened = readable(directory)?;
        fchmod(&opened, Mode::RWXU)?;
        owner.map_or(Ok(()), |owner| owner.take_one(&opened, b""))
    };
    give().map_err(ClusterRestoreError::file("give away", directory.path()))
}

/// Whether a directory is there and the server's user's.
fn belongs(directory: &AllowedDirectory, owner: Option<&Owner>) -> bool {
    let user = owner.map_or_else(|| geteuid().as_raw(), |owner| owner.uid);
    let found = readable(directory).and_then(|opened| Ok(fstat(opened)?));
    found.is_ok_and(|stat| stat.st_uid == user)
}

/// Whether a directory is empty or not there; else why it cannot be taken.
fn check_free(directory: &AllowedDirectory) -> Result<(), String> {
    let path = directory.path().display();
    let names = directory
        .open()
        .and_then(|opened| opened.map_or(Ok(Vec::new()), beneath::names));
    match names {
        Ok(names) if names.is_empty() => Ok(()),
        Ok(_) => Err(format!("{path} is not empty")),
        Err(error) => Err(format!("{path} cannot be looked into: {error}")),
    }
}

#[cfg(test)]
mod tests;
