//! What of a cluster is to be saved: a walk that reads names and statuses.
//!
//! Runs after the server has begun the backup: whatever comes into being
//! later, replay makes again. Directories are opened one name at a time and
//! never through a link, but for those that PostgreSQL itself follows: the
//! data directory, `pg_wal`, and the links in `pg_tblspc`.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::{
    control::ControlFile,
    exclude::{Place, Unlogged, Verdict, verdict},
    manifest::{PGDATA, TABLESPACES},
    names::{self, RelationFile},
};
use strongroom_repository::{
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    write::{ParentTrees, Writer, parent::ParentTree},
};
use strongroom_wire::job::WarningCode;

use super::{ClusterError, unchanged::may_be_taken_over};
use crate::{
    monitor::Monitor,
    sources::files::{
        metadata::{self, kind, size},
        owners::Owners,
    },
};

/// A directory of the snapshot.
#[derive(Debug)]
pub(super) struct Dir {
    /// `None`: in the snapshot's root.
    pub(super) parent: Option<usize>,
    pub(super) name: Vec<u8>,
    /// In the snapshot, without the slash at its beginning.
    pub(super) path: String,
    /// Where it lies on this host, for messages.
    pub(super) place: PathBuf,
    pub(super) stat: Stat,
    pub(super) fd: Arc<OwnedFd>,
}

/// A file of the snapshot.
#[derive(Debug)]
pub(super) struct File {
    pub(super) dir: usize,
    pub(super) name: Vec<u8>,
    /// From before it is read.
    pub(super) stat: Stat,
    pub(super) content: Content,
}

/// What is known of a file's content.
#[derive(Debug)]
pub(super) enum Content {
    /// All there is to know: taken over from the last backup, or a link.
    Known(Node),
    /// A relation: read in pages.
    Relation {
        /// Which piece.
        file: RelationFile,
        /// Size and number of blobs in the last backup.
        before: Option<(u64, usize)>,
    },
    /// Anything else: read to its end.
    Plain,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) dirs: Vec<Dir>,
    pub(super) files: Vec<File>,
    /// The directories `pgdata`, `pgdata/global` and `pgdata/pg_wal`.
    pub(super) root: usize,
    pub(super) global: usize,
    pub(super) wal: usize,
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Files taken over, and their bytes.
    pub(super) kept: (u64, u64),
}

/// What a survey needs to know.
pub(super) struct Surveyor<'a> {
    pub(super) writer: &'a Writer,
    pub(super) parents: &'a ParentTrees,
    pub(super) owners: &'a Owners,
    pub(super) monitor: &'a Monitor,
    pub(super) control: &'a ControlFile,
    pub(super) major: u32,
    /// The name of the cluster's owner, for messages.
    pub(super) owner: &'a str,
}

/// A directory whose entries are to be listed.
struct Waiting {
    dir: usize,
    place: Place,
    previous: Option<Arc<ParentTree>>,
}

/// The last backup's part of a survey.
struct Last {
    copied_from: Timestamp,
    pgdata: Arc<ParentTree>,
    tablespaces: Option<Arc<ParentTree>>,
}

impl Surveyor<'_> {
    /// Walks the cluster in `data_directory`.
    pub(super) fn survey(&self, data_directory: &Path) -> Result<Survey, ClusterError> {
        let last = self.last();
        let copied_from = last.as_ref().map(|last| last.copied_from);
        let mut survey = Survey::default();
        let root = self.open_place(data_directory)?;
        survey.root = survey.add(None, PGDATA.as_bytes(), data_directory.into(), root)?;
        let mut waiting = vec![Waiting {
            dir: survey.root,
            place: Place::Root,
            previous: last.as_ref().map(|last| Arc::clone(&last.pgdata)),
        }];
        let mut links = Vec::new();
        while let Some(next) = waiting.pop() {
            if self.monitor.cancel.is_cancelled() {
                return Err(ClusterError::Halted(strongroom_repository::write::Halted));
            }
            self.list(&mut survey, &next, copied_from, &mut waiting, &mut links)?;
        }
        let tablespaces = last.and_then(|last| last.tablespaces);
        self.tablespaces(&mut survey, &links, tablespaces.as_deref(), copied_from)?;
        Ok(survey)
    }

    /// Lists a directory: files are noted, directories wait.
    fn list(
        &self,
        survey: &mut Survey,
        next: &Waiting,
        copied_from: Option<Timestamp>,
        waiting: &mut Vec<Waiting>,
        links: &mut Vec<(u32, PathBuf)>,
    ) -> Result<(), ClusterError> {
        let at = next.dir;
        let (fd, place) = (
            Arc::clone(&survey.dirs[at].fd),
            survey.dirs[at].place.clone(),
        );
        let previous = next.previous.as_deref().map(|previous| &previous.tree);
        let mut names = beneath::names(&fd).map_err(|error| self.failed(&place, error))?;
        names.sort_unstable();
        let unlogged = if next.place == Place::Database {
            Unlogged::among(names.iter().map(|name| &**name))
        } else {
            Unlogged::default()
        };
        for name in names {
            let path = || place.join(os(&name));
            let verdict = verdict(next.place, &name, &unlogged);
            if matches!(verdict, Verdict::Leave | Verdict::Last) {
                continue;
            }
            let stat = match statat(&fd, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Dropped since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(self.failed(&path(), error.into())),
            };
            match (verdict, kind(&stat)) {
                (Verdict::TakeEmpty | Verdict::Wal, FileType::Directory | FileType::Symlink) => {
                    let opened = self.open_place(&path())?;
                    let dir = survey.add(Some(at), &name, path(), opened)?;
                    if verdict == Verdict::Wal {
                        survey.wal = dir;
                    }
                }
                (Verdict::Tablespaces, FileType::Directory) => {
                    let dir = self.enter(survey, at, &fd, &name)?;
                    self.links(survey, dir, waiting, links)?;
                }
                (_, FileType::Directory) => {
                    let Some(dir) = self.enter_if_there(survey, at, &fd, &name)? else {
                        continue;
                    };
                    let below = below(next.place, &place_of(survey, at), &name);
                    if next.place == Place::Root && &*name == b"global" {
                        survey.global = dir;
                    }
                    waiting.push(Waiting {
                        dir,
                        place: below,
                        previous: self.subtree(previous, &name),
                    });
                }
                (_, FileType::RegularFile) => {
                    let file = self.file(at, next.place, &name, stat, previous, copied_from);
                    survey.push(file);
                }
                (_, FileType::Symlink) => match readlinkat(&fd, &*name, Vec::new()) {
                    Ok(target) => {
                        let of = NodeKind::Symlink {
                            target: target.into_bytes(),
                        };
                        let node = metadata::node(&name, of, &stat, self.owners, Vec::new());
                        survey.push(File {
                            dir: at,
                            name: name.into(),
                            stat,
                            content: Content::Known(node),
                        });
                    }
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(self.failed(&path(), error.into())),
                },
                _ => self.monitor.warn(
                    WarningCode::TypeNotStored,
                    path().into_os_string().into_encoded_bytes(),
                    "it is neither a file nor a directory: it is not part of the backup",
                ),
            }
        }
        Ok(())
    }

    /// What stands in `pg_tblspc`: links to tablespaces; or directories, which
    /// are tablespaces in their place.
    fn links(
        &self,
        survey: &mut Survey,
        dir: usize,
        waiting: &mut Vec<Waiting>,
        links: &mut Vec<(u32, PathBuf)>,
    ) -> Result<(), ClusterError> {
        let (fd, place) = (
            Arc::clone(&survey.dirs[dir].fd),
            survey.dirs[dir].place.clone(),
        );
        let names = beneath::names(&fd).map_err(|error| self.failed(&place, error))?;
        for name in names {
            let Some(oid) = names::oid(&name) else {
                continue;
            };
            match readlinkat(&fd, &*name, Vec::new()) {
                Ok(target) => links.push((oid, os(&target.into_bytes()).into())),
                Err(Errno::INVAL) => {
                    if let Some(dir) = self.enter_if_there(survey, dir, &fd, &name)? {
                        waiting.push(Waiting {
                            dir,
                            place: Place::Other,
                            previous: None,
                        });
                    }
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed(&place.join(os(&name)), error.into())),
            }
        }
        Ok(())
    }

    /// Of each tablespace only the directory of this cluster and version.
    fn tablespaces(
        &self,
        survey: &mut Survey,
        links: &[(u32, PathBuf)],
        previous: Option<&ParentTree>,
        copied_from: Option<Timestamp>,
    ) -> Result<(), ClusterError> {
        if links.is_empty() {
            return Ok(());
        }
        let root = survey.root;
        let (fd, place) = (
            survey.dirs[root]
                .fd
                .try_clone()
                .map_err(|error| self.failed(&survey.dirs[root].place, error))?,
            survey.dirs[root].place.clone(),
        );
        let above = survey.add(None, TABLESPACES.as_bytes(), place.join("pg_tblspc"), fd)?;
        let version = self.control.tablespace_directory(self.major);
        for (oid, path) in links {
            // A link that dangles belongs to a tablespace being dropped: the
            // server's map names it all the same.
            let opened = match beneath::open_root(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let fd = survey.dirs[above].fd.try_clone();
                    let fd = fd.map_err(|error| self.failed(path, error))?;
                    survey.add(Some(above), oid.to_string().as_bytes(), path.clone(), fd)?;
                    continue;
                }
                opened => opened.map_err(|error| self.failed(path, error))?,
            };
            let dir = survey.add(
                Some(above),
                oid.to_string().as_bytes(),
                path.clone(),
                opened,
            )?;
            let fd = Arc::clone(&survey.dirs[dir].fd);
            let own = self.enter_if_there(survey, dir, &fd, version.as_bytes())?;
            let Some(own) = own else { continue };
            let before = self.subtree(previous.map(|it| &it.tree), oid.to_string().as_bytes());
            let before = before.as_deref().map(|before| &before.tree);
            let mut waiting = vec![Waiting {
                dir: own,
                place: Place::Other,
                previous: self.subtree(before, version.as_bytes()),
            }];
            while let Some(next) = waiting.pop() {
                self.list(survey, &next, copied_from, &mut waiting, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    fn file(
        &self,
        dir: usize,
        place: Place,
        name: &[u8],
        stat: Stat,
        previous: Option<&Tree>,
        copied_from: Option<Timestamp>,
    ) -> File {
        let before = previous.and_then(|tree| find(tree, name));
        let taken = before.zip(copied_from).and_then(|(before, copied_from)| {
            let NodeKind::File { content, .. } = &before.kind else {
                return None;
            };
            let known = |id: &BlobId| self.writer.knows(BlobKind::Data, *id);
            (may_be_taken_over(before, &stat, copied_from) && content.iter().all(known)).then(
                || {
                    let kind = before.kind.clone();
                    metadata::node(name, kind, &stat, self.owners, Vec::new())
                },
            )
        });
        let relation = || {
            let holds = matches!(place, Place::Database | Place::Global);
            RelationFile::parse(name).filter(|_| holds)
        };
        let content = match (taken, relation()) {
            (Some(node), _) => Content::Known(node),
            (None, Some(file)) => Content::Relation {
                file,
                before: before.and_then(|before| match &before.kind {
                    NodeKind::File { size, content } => Some((*size, content.len())),
                    _ => None,
                }),
            },
            (None, None) => Content::Plain,
        };
        File {
            dir,
            name: name.to_vec(),
            stat,
            content,
        }
    }

    /// The trees of the last backup, if it was one of these.
    fn last(&self) -> Option<Last> {
        let root = self.parents.tree(self.parents.root()?)?;
        let pgdata = self.subtree(Some(&root.tree), PGDATA.as_bytes())?;
        let label = find(&pgdata.tree, b"backup_label")?;
        Some(Last {
            copied_from: label.mtime,
            tablespaces: self.subtree(Some(&root.tree), TABLESPACES.as_bytes()),
            pgdata,
        })
    }

    fn subtree(&self, tree: Option<&Tree>, name: &[u8]) -> Option<Arc<ParentTree>> {
        match find(tree?, name)?.kind {
            NodeKind::Dir { subtree } => self.parents.tree(subtree?),
            _ => None,
        }
    }

    /// Opens a directory that PostgreSQL reaches by its path, links included.
    fn open_place(&self, path: &Path) -> Result<OwnedFd, ClusterError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map_err(|error| self.failed(path, error.into()))
    }

    fn enter(
        &self,
        survey: &mut Survey,
        parent: usize,
        fd: &OwnedFd,
        name: &[u8],
    ) -> Result<usize, ClusterError> {
        let place = survey.dirs[parent].place.join(os(name));
        let opened = beneath::open_child(fd, name).map_err(|error| self.failed(&place, error))?;
        survey.add(Some(parent), name, place, opened)
    }

    fn enter_if_there(
        &self,
        survey: &mut Survey,
        parent: usize,
        fd: &OwnedFd,
        name: &[u8],
    ) -> Result<Option<usize>, ClusterError> {
        match self.enter(survey, parent, fd, name) {
            Ok(dir) => Ok(Some(dir)),
            Err(ClusterError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn failed(&self, path: &Path, source: io::Error) -> ClusterError {
        failed(path, source, self.owner)
    }
}

/// What a failure to open or read means.
pub(super) fn failed(path: &Path, source: io::Error, owner: &str) -> ClusterError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => ClusterError::NotPermitted {
            path,
            owner: owner.to_owned(),
        },
        _ => ClusterError::Read { path, source },
    }
}

impl Survey {
    fn add(
        &mut self,
        parent: Option<usize>,
        name: &[u8],
        place: PathBuf,
        fd: OwnedFd,
    ) -> Result<usize, ClusterError> {
        let stat = fstat(&fd).map_err(|error| ClusterError::Read {
            path: place.clone(),
            source: error.into(),
        })?;
        let shown = String::from_utf8_lossy(name);
        let path = match parent {
            None => shown.into_owned(),
            Some(parent) => format!("{}/{shown}", self.dirs[parent].path),
        };
        self.dirs.push(Dir {
            parent,
            name: name.to_vec(),
            path,
            place,
            stat,
            fd: Arc::new(fd),
        });
        Ok(self.dirs.len() - 1)
    }

    fn push(&mut self, file: File) {
        if kind(&file.stat) == FileType::RegularFile {
            let bytes = size(&file.stat);
            self.bytes = self.bytes.saturating_add(bytes);
            if matches!(file.content, Content::Known(_)) {
                self.kept.0 += 1;
                self.kept.1 += bytes;
            }
        }
        self.files.push(file);
    }
}

/// What a directory below another holds.
fn below(above: Place, path: &str, name: &[u8]) -> Place {
    match above {
        Place::Root if name == b"global" => Place::Global,
        // `base/5`, `tablespaces/16400/PG_15_202209061/5`.
        Place::Other if names::oid(name).is_some() && holds_databases(path) => Place::Database,
        _ => Place::Other,
    }
}

/// Whether the directories in one are databases: `base`, and a cluster's
/// directory in a tablespace, in its place or not.
fn holds_databases(path: &str) -> bool {
    let mut parts = path.split('/');
    let parts = [
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ];
    let is_version = |part: &str| part.starts_with("PG_");
    match parts {
        [Some(PGDATA), Some("base"), None, ..] => true,
        [Some(TABLESPACES), Some(_), Some(version), None, ..]
        | [
            Some(PGDATA),
            Some("pg_tblspc"),
            Some(_),
            Some(version),
            None,
        ] => is_version(version),
        _ => false,
    }
}

fn place_of(survey: &Survey, dir: usize) -> String {
    survey.dirs[dir].path.clone()
}

fn find<'t>(tree: &'t Tree, name: &[u8]) -> Option<&'t Node> {
    let nodes = &tree.nodes;
    let at = nodes.binary_search_by(|node| (*node.name).cmp(name)).ok()?;
    nodes.get(at)
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_where_databases_are() {
        for (path, name, wanted) in [
            ("pgdata/base", "5", Place::Database),
            ("pgdata/base", "pgsql_tmp", Place::Other),
            ("pgdata/pg_xact", "5", Place::Other),
            ("tablespaces/16400/PG_15_202209061", "5", Place::Database),
            ("tablespaces/16400/other", "5", Place::Other),
            (
                "pgdata/pg_tblspc/16400/PG_15_202209061",
                "5",
                Place::Database,
            ),
            ("pgdata/base/5", "7", Place::Other),
        ] {
            assert_eq!(below(Place::Other, path, name.as_bytes()), wanted, "{path}");
        }
        assert_eq!(below(Place::Root, "pgdata", b"global"), Place::Global);
        assert_eq!(below(Place::Root, "pgdata", b"base"), Place::Other);
    }
}
