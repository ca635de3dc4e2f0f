//! What of a cluster is to be saved: a walk that reads names and statuses.
//!
//! Runs after the server has begun the backup: whatever comes into being
//! later, replay makes again. Directories are opened one name at a time and
//! never through a link, but for those that PostgreSQL itself makes: `pg_wal`,
//! and those of tablespaces. Any other link in the cluster's data is an error:
//! a server that was restored with it would write into the original's files.
//! Links elsewhere, and what the cluster's owner may not read, are left out
//! and warned of.

mod holds;
mod left_out;
mod listing;
mod outside;
mod previous;

use std::sync::Arc;

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, FileType, statat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::{
    DEEPEST,
    exclude::{Place, Unlogged, Verdict, is_own, verdict},
    manifest::PGDATA,
};
use strongroom_repository::write::{ParentTrees, Writer, parent::ParentTree};
use strongroom_spec::WarningCode;

pub(super) use self::listing::{Content, Dir, File, Survey};
use self::{
    holds::below,
    outside::{Elsewhere, WAL},
};
use super::{
    ClusterError,
    access::{link, os},
    data_dir::Cluster,
    tablespaces::Tablespaces,
};
use crate::{monitor::Monitor, sources::files::metadata::kind};

/// Without these no server starts, and so there is none that lacks them.
const REQUIRED: [&[u8]; 2] = [b"base", b"pg_xact"];

/// What a survey needs to know.
pub(super) struct Surveyor<'a> {
    pub(super) writer: &'a Writer,
    pub(super) parents: &'a ParentTrees,
    pub(super) monitor: &'a Monitor,
    pub(super) cluster: &'a Cluster,
    pub(super) tablespaces: &'a Tablespaces,
}

/// A directory whose entries are to be listed.
struct Waiting {
    dir: usize,
    place: Place,
    /// How many directories it lies below that of the server or a tablespace.
    depth: usize,
    previous: Option<Arc<ParentTree>>,
}

impl Surveyor<'_> {
    /// Walks the cluster.
    pub(super) fn survey(&self) -> Result<Survey, ClusterError> {
        let (cluster, tablespaces) = (self.cluster, self.tablespaces);
        let last = self.last();
        let copied_from = last.as_ref().map(|last| last.copied_from);
        let mut survey = Survey {
            dirs: Vec::new(),
            files: Vec::new(),
            root: 0,
            global: 0,
            wal: 0,
            bytes: 0,
            kept: (0, 0),
        };
        let root = self.again(&cluster.fd, &cluster.directory)?;
        let place = cluster.directory.clone();
        survey.root = survey.add(None, PGDATA.as_bytes(), place, root, cluster.stat);
        let root = survey.root;
        let (log, stat) = self.log()?;
        let place = cluster.directory.join(WAL);
        survey.wal = survey.add(Some(root), WAL.as_bytes(), place, log, stat);
        let elsewhere = Elsewhere::of(tablespaces, &stat);
        let mut waiting = vec![Waiting {
            dir: root,
            place: Place::Root,
            depth: 0,
            previous: last.as_ref().map(|last| Arc::clone(&last.pgdata)),
        }];
        let before = last.and_then(|last| last.tablespaces);
        self.in_place(&mut survey, &mut waiting)?;
        self.elsewhere(&mut survey, &mut waiting, before.as_deref())?;
        while let Some(next) = waiting.pop() {
            if self.monitor.cancel.is_cancelled() {
                return Err(ClusterError::Halted(strongroom_repository::write::Halted));
            }
            self.list(&mut survey, &next, &elsewhere, copied_from, &mut waiting)?;
        }
        survey.global = self.required(&survey, b"global")?;
        for name in REQUIRED {
            self.required(&survey, name)?;
        }
        tablespaces.warn(cluster, self.monitor);
        Ok(survey)
    }

    /// A directory of the root that must be there.
    fn required(&self, survey: &Survey, name: &[u8]) -> Result<usize, ClusterError> {
        let is_it = |dir: &Dir| dir.parent == Some(survey.root) && dir.name == name;
        let found = survey.dirs.iter().position(is_it);
        found.ok_or_else(|| ClusterError::Missing {
            path: self.cluster.directory.join(os(name)),
        })
    }

    /// Lists a directory: files are noted, directories wait.
    fn list(
        &self,
        survey: &mut Survey,
        next: &Waiting,
        elsewhere: &Elsewhere,
        copied_from: Option<Timestamp>,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), ClusterError> {
        let at = next.dir;
        let (fd, place) = (
            Arc::clone(&survey.dirs[at].fd),
            survey.dirs[at].place.clone(),
        );
        let owner = &self.cluster.owner;
        let previous = next.previous.as_deref().map(|previous| &previous.tree);
        let mut names = beneath::names(&fd).map_err(|error| owner.failed(&place, error))?;
        names.sort_unstable();
        let unlogged = if next.place == Place::Database {
            Unlogged::among(names.iter().map(|name| &**name))
        } else {
            Unlogged::default()
        };
        for name in names {
            let path = || place.join(os(&name));
            let own = is_own(next.place, &name);
            let verdict = verdict(next.place, &name, &unlogged);
            match verdict {
                Verdict::Take | Verdict::TakeEmpty => {}
                // Not taken, taken already, or at the end.
                Verdict::Leave | Verdict::Wal | Verdict::Tablespaces | Verdict::Last => continue,
            }
            let stat = match statat(&fd, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Dropped since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(owner.failed(&path(), error.into())),
            };
            match kind(&stat) {
                // Nothing in it is taken: wherever it leads, the restored
                // server has a directory of its own.
                FileType::Symlink if verdict == Verdict::TakeEmpty => {
                    survey.add_like(at, &name, path());
                }
                FileType::Symlink if own => return Err(link(&fd, &place, &name)),
                FileType::Symlink => self.leave_link(&fd, &name, path()),
                FileType::Directory => {
                    let Some((below_fd, stat)) = owner.enter(&fd, &place, &name)? else {
                        continue;
                    };
                    if elsewhere.has(&stat, own) {
                        continue;
                    }
                    let empty = verdict == Verdict::TakeEmpty;
                    if !empty && !owner.may_list(&stat) {
                        self.leave(own, path(), &stat)?;
                        continue;
                    }
                    let dir = survey.add(Some(at), &name, path(), below_fd, stat);
                    if !empty {
                        if next.depth + 1 >= DEEPEST {
                            return Err(ClusterError::TooDeep { path: path() });
                        }
                        waiting.push(Waiting {
                            dir,
                            depth: next.depth + 1,
                            place: below(next.place, &survey.dirs[at].path, &name),
                            previous: self.subtree(previous, &name),
                        });
                    }
                }
                FileType::RegularFile if !owner.may_read(&stat) => {
                    self.leave(own, path(), &stat)?;
                }
                FileType::RegularFile => {
                    let file = self.file(at, next.place, &name, stat, previous, copied_from);
                    survey.push(file);
                }
                _ if own => return Err(ClusterError::NotRegular { path: path() }),
                _ => self.monitor.warn(
                    WarningCode::TypeNotStored,
                    path().into_os_string().into_encoded_bytes(),
                    "it is neither a file nor a directory: it is not part of the backup",
                ),
            }
        }
        Ok(())
    }
}
