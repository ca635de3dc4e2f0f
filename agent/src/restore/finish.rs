//! What comes after the content: entries without content, metadata, hard
//! links, and the metadata of directories, the deepest first. A file gets its
//! modification time only here: until then it is visibly unfinished.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    thread,
};

use parking_lot::Mutex;
use rustix::{
    fs::{AtFlags, FileType, Mode, linkat, mknodat, symlinkat},
    io::Errno,
};
use strongroom_repository::format::{
    blob::BlobId,
    node::{Node, NodeKind},
};
use strongroom_spec::WarningCode;

use super::{
    Context,
    error::RestoreError,
    files::{Files, is_full},
    inode::exchanged,
    marker::is_marker,
    metadata::{self, Metadata},
    plan::{DirRef, FileAction, FileRef, Link, Plan, ROOT},
    select::Selection,
    target::{Target, remove, stat},
};

pub(crate) struct Finish<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) target: &'a Target,
    pub(crate) plan: &'a Plan,
    pub(crate) files: &'a Files<'a>,
    pub(crate) selection: &'a Selection,
    pub(crate) finished: &'a AtomicU64,
}

impl Finish<'_> {
    /// Completes everything. Returns at the first error that concerns more
    /// than one path.
    pub(crate) fn run(&self) -> Result<(), RestoreError> {
        self.remove_failed();
        self.finish_files()?;
        for link in &self.plan.links {
            self.context.check_cancelled()?;
            self.link(*link);
        }
        for dir in self.plan.dir_refs().rev() {
            self.context.check_cancelled()?;
            self.finish_dir(dir);
        }
        Ok(())
    }

    /// What could not be restored is not left behind as if it had been. Files
    /// that were there before are left as far as they got.
    fn remove_failed(&self) {
        for file in self.context.problems.failed() {
            if self.plan.file(file).action.is_new() && self.files.is_made(file) {
                let dir = self.target.dir(self.plan, self.plan.file(file).dir);
                let removed = dir.and_then(|dir| remove(&dir, self.plan.file_name(file)));
                if let Err(error) = removed {
                    let path = self.target.path_of(self.plan, file);
                    let cause = format!("incomplete, and not removed: {error}");
                    self.context.warn(WarningCode::Leftover, path, cause);
                }
            }
        }
    }

    /// All entries but directories and further hard links, on all threads.
    fn finish_files(&self) -> Result<(), RestoreError> {
        let next = AtomicUsize::new(0);
        let fatal = Mutex::new(None);
        let work = || {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= self.plan.dirs.len() || fatal.lock().is_some() {
                    return;
                }
                if let Err(error) = self.finish_files_of(DirRef(number as u32)) {
                    fatal.lock().get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.context.options.threads {
                let builder = thread::Builder::new().name("finish".into());
                builder
                    .spawn_scoped(scope, work)
                    .map_err(RestoreError::Thread)?;
            }
            work();
            Ok::<_, RestoreError>(())
        })?;
        fatal.into_inner().map_or(Ok(()), Err)
    }

    fn finish_files_of(&self, dir: DirRef) -> Result<(), RestoreError> {
        self.context.check_cancelled()?;
        let has_files = self
            .plan
            .files
            .get(self.plan.dir(dir).first_file.0 as usize)
            .is_some_and(|file| file.dir == dir);
        let Some(tree) = self.plan.dir(dir).tree.filter(|_| has_files) else {
            return Ok(());
        };
        let directory = match self.target.dir(self.plan, dir) {
            Ok(directory) => directory,
            Err(error) => {
                self.dir_failed(dir, &error);
                return Ok(());
            }
        };
        let mut file = self.plan.dir(dir).first_file;
        for node in self.nodes(dir, tree)? {
            let next = self.plan.files.get(file.0 as usize);
            if next.is_none_or(|next| next.dir != dir) {
                break;
            }
            // Not all nodes were planned.
            if self.plan.file_name(file) == node.name {
                self.finish_file(&directory, file, &node)?;
                file.0 += 1;
            }
        }
        Ok(())
    }

    /// The nodes of a directory that the plan knows as files, in its order.
    fn nodes(&self, dir: DirRef, tree: BlobId) -> Result<Vec<Node>, RestoreError> {
        let reader = self.context.reader;
        let mut nodes = self.context.block_on(reader.tree(&tree))??.nodes;
        let scope = self.plan.dir(dir).scope;
        nodes.retain(|node| {
            !matches!(node.kind, NodeKind::Dir { .. })
                && self.selection.below(scope, &node.name).is_some()
                && !(dir == ROOT && is_marker(&node.name))
        });
        for node in &mut nodes {
            // All was said when it was surveyed.
            self.context.entries.bare(node);
            self.context.owners.settle(node, |_, _, _| ());
        }
        Ok(nodes)
    }

    fn finish_file(
        &self,
        directory: &OwnedFd,
        file: FileRef,
        node: &Node,
    ) -> Result<(), RestoreError> {
        if self.plan.file(file).action == FileAction::Link || self.context.problems.has_failed(file)
        {
            return Ok(());
        }
        let made = self.make(directory, file, node).and_then(|made| {
            if made {
                let warn = |cause| self.warn(file, cause);
                let inode = self.plan.inode(file);
                let owners = &self.context.owners;
                let wanted = Metadata::from(node);
                metadata::apply(directory, &node.name, inode, wanted, owners, warn)?;
            }
            Ok(made)
        });
        match made {
            Ok(true) => self.done(file),
            Ok(false) => {}
            Err(error) if is_full(&error) => {
                return Err(RestoreError::Full {
                    path: self.target.path_of(self.plan, file),
                    remaining: self.context.remaining(),
                });
            }
            Err(error) => {
                let path = || self.target.path_of(self.plan, file);
                let cause = format!("cannot be restored: {error}");
                self.context.problems.fail(file, path, cause, false);
            }
        }
        Ok(())
    }

    /// Makes what has no content, or finds that it is there; `false`: it
    /// cannot be made here, which was said.
    fn make(&self, directory: &OwnedFd, file: FileRef, node: &Node) -> io::Result<bool> {
        let action = self.plan.file(file).action;
        let kind = match &node.kind {
            NodeKind::File { .. } => {
                match action {
                    _ if self.files.is_made(file) || action == FileAction::Keep => {}
                    FileAction::Update => self.files.resize(file)?,
                    _ => self.files.make_without_content(file)?,
                }
                return Ok(true);
            }
            _ if action == FileAction::Keep => return Ok(true),
            NodeKind::Dir { .. } => return Ok(false),
            NodeKind::Symlink { target } => {
                self.clear(directory, file)?;
                symlinkat(&**target, directory, &*node.name)?;
                return self.made(directory, file, FileType::Symlink);
            }
            NodeKind::Fifo => (FileType::Fifo, 0),
            NodeKind::BlockDevice { device } => (FileType::BlockDevice, *device),
            NodeKind::CharDevice { device } => (FileType::CharacterDevice, *device),
        };
        self.clear(directory, file)?;
        let mode = Mode::RUSR | Mode::WUSR;
        match mknodat(directory, &*node.name, kind.0, mode, kind.1) {
            Ok(()) => self.made(directory, file, kind.0),
            Err(Errno::PERM) => {
                let what = node.kind.as_str();
                self.warn(file, format!("{what} not made: only root may make devices"));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn made(&self, directory: &OwnedFd, file: FileRef, kind: FileType) -> io::Result<bool> {
        let (name, inode) = (self.plan.file_name(file), self.plan.inode(file));
        self.target.note_made(directory, name, kind, inode)?;
        Ok(true)
    }

    fn clear(&self, directory: &OwnedFd, file: FileRef) -> io::Result<()> {
        match self.plan.file(file).action {
            FileAction::Replace => remove(directory, self.plan.file_name(file)),
            _ => Ok(()),
        }
    }

    fn link(&self, link: Link) {
        let result = if self.context.problems.has_failed(link.primary) {
            let of = self.target.path_of(self.plan, link.primary);
            let of = strongroom_compare::EscapedPath(&of).to_string();
            Err(io::Error::other(format!(
                "it is a hard link of {of}, which was not restored"
            )))
        } else {
            self.try_link(link)
        };
        match result {
            Ok(()) => self.done(link.file),
            Err(error) => {
                let path = || self.target.path_of(self.plan, link.file);
                let cause = format!("cannot be linked: {error}");
                self.context.problems.fail(link.file, path, cause, false);
            }
        }
    }

    fn try_link(&self, link: Link) -> io::Result<()> {
        let primary_dir = self
            .target
            .dir(self.plan, self.plan.file(link.primary).dir)?;
        let dir = self.target.dir(self.plan, self.plan.file(link.file).dir)?;
        let primary = self.plan.file_name(link.primary);
        let name = self.plan.file_name(link.file);
        // Its owner is the snapshot's by now.
        let ours = self.plan.inode(link.primary).get().ok_or_else(exchanged)?;
        let is_ours = |directory: &OwnedFd, name: &[u8]| -> io::Result<bool> {
            Ok(ours.is(&stat(directory, name)?, directory))
        };
        if !is_ours(&primary_dir, primary)? {
            return Err(exchanged());
        }
        if is_ours(&dir, name).unwrap_or(false) {
            return Ok(());
        }
        remove(&dir, name)?;
        linkat(&*primary_dir, primary, &*dir, name, AtFlags::empty())?;
        if is_ours(&dir, name)? {
            return Ok(());
        }
        remove(&dir, name)?;
        Err(exchanged())
    }

    fn finish_dir(&self, dir: DirRef) {
        let Some(wanted) = &self.plan.dir(dir).metadata else {
            return;
        };
        let parent = self.target.dir(self.plan, self.plan.dir(dir).parent);
        let applied = parent.and_then(|parent| {
            let name = self.plan.dir_name(dir);
            let inode = &self.plan.dir(dir).inode;
            let (wanted, owners) = (Metadata::from(wanted), &self.context.owners);
            metadata::apply(&parent, name, inode, wanted, owners, |cause| {
                let path = self.target.path_of_dir(self.plan, dir);
                self.context.warn(WarningCode::NotRestored, path, cause);
            })
        });
        match applied {
            Ok(()) => self.context.monitor.add(0),
            Err(error) => self.dir_failed(dir, &error),
        }
    }

    fn dir_failed(&self, dir: DirRef, error: &io::Error) {
        let path = self.target.path_of_dir(self.plan, dir);
        let cause = format!("cannot be restored: {error}");
        self.context.problems.note(path, cause, false);
    }

    fn done(&self, file: FileRef) {
        if self.plan.file(file).action != FileAction::Keep {
            self.finished.fetch_add(1, Relaxed);
        }
        self.context.monitor.add(0);
    }

    fn warn(&self, file: FileRef, cause: String) {
        let path = self.target.path_of(self.plan, file);
        self.context.warn(WarningCode::NotRestored, path, cause);
    }
}
