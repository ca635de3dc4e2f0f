//! Walks a snapshot and the target side by side and plans what to do. Writes
//! nothing.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
};

use futures::future::join_all;
use strongroom_repository::{
    format::{
        blob::{BlobId, BlobKind},
        blob_codec::blob_id,
        node::{Node, NodeKind, Tree},
    },
    read::ReadError,
};
use strongroom_spec::{Sparse, WarningCode};

use super::{
    Context,
    decide::{self, Existing, Mode, Refusal},
    entries::Verdict,
    error::RestoreError,
    marker::is_marker,
    plan::{DirAction, DirMetadata, DirRef, FileAction, FileRef, Link, Plan, ROOT, absolute},
    select::{Scope, Selection},
    target::{Found, Target, examine, stat},
};

/// Trees that are loaded at once.
const TREES_AT_ONCE: usize = 16;

/// Longer chunks are not made up of zeros to see whether they are zeros.
const LONGEST_ZEROS: u32 = 16 << 20;

pub(crate) struct Survey<'a> {
    context: &'a Context<'a>,
    target: Option<&'a Target>,
    selection: &'a Selection,
    mode: Mode,
    /// Who we are.
    user: u32,
    plan: Plan,
    primaries: HashMap<(u64, u64), (FileRef, u64)>,
    zeros: HashMap<u32, BlobId>,
}

/// Plans the restore of the snapshot whose root is `tree`.
pub(crate) fn survey(
    context: &Context<'_>,
    target: Option<&Target>,
    selection: &Selection,
    mode: Mode,
    tree: BlobId,
) -> Result<Plan, RestoreError> {
    let survey = Survey {
        context,
        target,
        selection,
        mode,
        user: rustix::process::geteuid().as_raw(),
        plan: Plan::new(tree, selection.top(), target.is_some()),
        primaries: HashMap::new(),
        zeros: HashMap::new(),
    };
    survey.walk()
}

impl Survey<'_> {
    fn walk(mut self) -> Result<Plan, RestoreError> {
        let mut waiting = vec![ROOT];
        while !waiting.is_empty() {
            let batch = waiting.split_off(waiting.len().saturating_sub(TREES_AT_ONCE));
            let trees = self.load(&batch)?;
            // The top of the stack comes first: depth first, in tree order.
            for (dir, tree) in batch.into_iter().zip(trees).rev() {
                let found = match tree {
                    None => Vec::new(),
                    Some(Ok(tree)) => self.directory(dir, tree)?,
                    Some(Err(error)) if error.is_damage() => {
                        let path = absolute(self.context.target.path(), self.plan.dir_path(dir));
                        self.context.problems.note(path, error.to_string(), true);
                        Vec::new()
                    }
                    Some(Err(error)) => return Err(error.into()),
                };
                waiting.extend(found.into_iter().rev());
            }
        }
        Ok(self.plan)
    }

    fn load(&self, dirs: &[DirRef]) -> Result<Vec<Option<Result<Tree, ReadError>>>, RestoreError> {
        let loads = dirs.iter().map(|dir| {
            let tree = self.plan.dir(*dir).tree;
            async move {
                match tree {
                    None => None,
                    Some(id) => Some(self.context.reader.tree(&id).await),
                }
            }
        });
        self.context.block_on(join_all(loads))
    }

    /// Plans all entries of a directory; returns its directories.
    fn directory(&mut self, dir: DirRef, tree: Tree) -> Result<Vec<DirRef>, RestoreError> {
        let scope = self.plan.dir(dir).scope;
        let named = |name: &[u8]| {
            tree.nodes
                .binary_search_by(|node| node.name.as_slice().cmp(name))
                .is_ok()
        };
        if let Some((path, nearest)) = self.selection.missing(scope, named) {
            return Err(self.no_path(path, nearest));
        }
        let existing = self.open_existing(dir)?;
        self.plan.dirs[dir.0 as usize].first_file = FileRef(self.plan.files.len() as u32);
        let mut dirs = Vec::new();
        for mut node in tree.nodes {
            let Some(scope) = self.selection.below(scope, &node.name) else {
                continue;
            };
            if dir == ROOT && is_marker(&node.name) {
                let path = absolute(self.context.target.path(), node.name);
                let cause = "the marker of an unfinished restore is not restored";
                self.context.warn(WarningCode::Leftover, path, cause.into());
                continue;
            }
            match self
                .context
                .entries
                .verdict(dir == ROOT, &node.name, &node.kind)
            {
                Verdict::Restore => {}
                Verdict::LeaveOut => {
                    let path = self.entry_path(dir, &node.name);
                    self.context
                        .warn(WarningCode::NotRestored, path, left_out(&node.kind));
                    continue;
                }
                Verdict::Refuse => {
                    return Err(RestoreError::LeadsElsewhere {
                        path: self.entry_path(dir, &node.name),
                        what: described(&node.kind),
                    });
                }
            }
            self.context.entries.bare(&mut node);
            self.context.owners.settle(&mut node, |node, code, cause| {
                self.context
                    .warn(code, self.entry_path(dir, &node.name), cause);
            });
            let found = match &existing {
                Some(directory) => {
                    let found = examine(directory, &node.name)
                        .map_err(|source| self.target_error(dir, &node.name, source))?;
                    if let Some(own) = self.off_limits(directory, &node.name) {
                        let cause = format!(
                            "it is the agent's own state ({}), which no restore writes to: what \
                             the snapshot has there is not restored",
                            own.display()
                        );
                        let path = self.entry_path(dir, &node.name);
                        self.context.warn(WarningCode::OwnState, path, cause);
                        continue;
                    }
                    found
                }
                None => Found::NOTHING,
            };
            if let NodeKind::Dir { subtree } = node.kind {
                let deepest = self.context.entries.deepest();
                if !self.plan.lies_within(dir, deepest) {
                    return Err(RestoreError::TooDeep {
                        path: self.entry_path(dir, &node.name),
                        deepest,
                    });
                }
                let added = self.add_dir(dir, node, subtree, scope, &found.existing)?;
                if let Some(inode) = found.inode {
                    self.plan.dir(added).inode.set(inode);
                }
                dirs.push(added);
            } else {
                let next = FileRef(self.plan.files.len() as u32);
                self.add_file(dir, &node, scope, &found)?;
                if let Some(inode) = found.inode {
                    self.plan.inode(next).set(inode);
                }
            }
        }
        Ok(dirs)
    }

    /// What of the agent's own state stands there.
    fn off_limits(&self, directory: &OwnedFd, name: &[u8]) -> Option<PathBuf> {
        let found = stat(directory, name).ok()?;
        self.context.target.off_limits(&found)
    }

    fn open_existing(&self, dir: DirRef) -> Result<Option<Arc<OwnedFd>>, RestoreError> {
        match self.target {
            Some(target) if self.plan.dir(dir).action == DirAction::Keep => target
                .dir(&self.plan, dir)
                .map(Some)
                .map_err(|source| self.target_error(dir, b"", source)),
            _ => Ok(None),
        }
    }

    fn add_dir(
        &mut self,
        parent: DirRef,
        node: Node,
        subtree: Option<BlobId>,
        scope: Scope,
        existing: &Existing,
    ) -> Result<DirRef, RestoreError> {
        let action = decide::directory(existing, self.mode)
            .map_err(|refusal| self.refused(parent, &node, refusal))?;
        // What is there and not itself selected, or not to be overwritten,
        // keeps its metadata.
        let ours = scope == Scope::Everything
            && self.mode != Mode::Fresh(strongroom_spec::Overwrite::Never);
        let name = node.name.clone();
        let metadata = (action != DirAction::Keep || ours).then(|| DirMetadata::from(node));
        self.plan
            .add_dir(parent, &name, subtree, scope, action, metadata)
    }

    fn add_file(
        &mut self,
        dir: DirRef,
        node: &Node,
        scope: Scope,
        found: &Found,
    ) -> Result<(), RestoreError> {
        if let Some((path, nearest)) = self.selection.missing(scope, |_| false) {
            return Err(self.no_path(path, nearest));
        }
        let action = decide::file(node, &found.existing, self.mode, self.user)
            .map_err(|refusal| self.refused(dir, node, refusal))?;
        if let Some(primary) = self.primary(node) {
            let file = self.plan.add_file(dir, &node.name, 0, FileAction::Link)?;
            self.plan.links.push(Link { file, primary });
            return Ok(());
        }
        if action == FileAction::Replace {
            self.plan.freed += found.blocks;
        }
        match &node.kind {
            NodeKind::File { .. } => self.add_content(dir, node, action),
            _ => self.plan.add_file(dir, &node.name, 0, action).map(drop),
        }
    }

    /// The entry that this one is a hard link of, if it came before.
    fn primary(&mut self, node: &Node) -> Option<FileRef> {
        if node.links < 2 {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        node.kind.as_str().hash(&mut hasher);
        if let NodeKind::File { size, content, .. } = &node.kind {
            (size, content).hash(&mut hasher);
        }
        // A file that changed between the two reads of the backup is two files.
        let content = hasher.finish();
        let next = FileRef(self.plan.files.len() as u32);
        let (primary, of) = *self
            .primaries
            .entry((node.device_id, node.inode))
            .or_insert((next, content));
        (primary != next && of == content).then_some(primary)
    }

    fn add_content(
        &mut self,
        dir: DirRef,
        node: &Node,
        action: FileAction,
    ) -> Result<(), RestoreError> {
        let NodeKind::File {
            size,
            content,
            allocated,
        } = &node.kind
        else {
            return Ok(());
        };
        let filled = *allocated || self.context.sparse == Sparse::Never;
        let reader = self.context.reader;
        let index = reader.index();
        let mut chunks = Vec::with_capacity(content.len());
        let mut total = 0;
        for id in content {
            let settled = match index.require(BlobKind::Data, id) {
                Ok(blob) if index.is_disputed(blob) => {
                    self.context.block_on(reader.settle(blob))?
                }
                found => found,
            };
            match settled {
                Ok(blob) => {
                    chunks.push((blob, total));
                    total += u64::from(index.plaintext_length(blob));
                }
                Err(error) if !error.is_damage() && !error.is_of_one_place() => {
                    return Err(error.into());
                }
                Err(error) => {
                    let file = self.plan.add_file(dir, &node.name, 0, action)?;
                    let path = || absolute(self.context.target.path(), self.plan.file_path(file));
                    let cause = error.to_string();
                    self.context.problems.fail(file, path, cause, true);
                    return Ok(());
                }
            }
        }
        if total != *size {
            let path = self.entry_path(dir, &node.name);
            let cause = format!("the snapshot states {size} bytes, but holds {total}");
            self.context
                .warn(WarningCode::RepositoryDamaged, path, cause);
        }
        self.plan.add_file(dir, &node.name, total, action)?;
        if filled {
            self.plan.fill();
        }
        if action == FileAction::Keep {
            return Ok(());
        }
        for (position, (blob, offset)) in chunks.into_iter().enumerate() {
            let length = index.plaintext_length(blob);
            let may_be_hole = action.is_new() && !filled;
            if !(may_be_hole && self.is_hole(content, position, length)) {
                self.plan.add_use(blob, offset)?;
            }
        }
        Ok(())
    }

    /// Whether a chunk is known to be zeros: those of large holes repeat.
    fn is_hole(&mut self, content: &[BlobId], position: usize, length: u32) -> bool {
        let id = &content[position];
        let neighbours = [position.checked_sub(1), position.checked_add(1)];
        let repeats = neighbours
            .into_iter()
            .flatten()
            .any(|neighbour| content.get(neighbour) == Some(id));
        repeats
            && length <= LONGEST_ZEROS
            && self
                .zeros
                .entry(length)
                .or_insert_with(|| blob_id(&vec![0; length as usize]))
                == id
    }

    fn entry_path(&self, dir: DirRef, name: &[u8]) -> PathBuf {
        let mut path = self.plan.dir_path(dir);
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        absolute(self.context.target.path(), path)
    }

    fn refused(&self, dir: DirRef, node: &Node, refusal: Refusal) -> RestoreError {
        let path = self.entry_path(dir, &node.name);
        match refusal {
            Refusal::Exists => RestoreError::NotEmpty { path },
            Refusal::DirectoryInTheWay => RestoreError::InTheWay {
                path,
                kind: node.kind.as_str(),
            },
        }
    }

    fn target_error(&self, dir: DirRef, name: &[u8], source: std::io::Error) -> RestoreError {
        RestoreError::Target {
            operation: "examine",
            path: self.entry_path(dir, name),
            source,
        }
    }

    fn no_path(&self, path: &str, nearest: &str) -> RestoreError {
        RestoreError::NoPath {
            path: path.into(),
            nearest: nearest.into(),
            snapshot: self.context.snapshot.short(),
        }
    }
}

/// An entry that is no file, in words.
fn described(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Symlink { target } => {
            format!("a symbolic link to {}", target.escape_ascii())
        }
        NodeKind::Fifo => "a named pipe".into(),
        _ => "a device".into(),
    }
}

fn left_out(kind: &NodeKind) -> String {
    format!(
        "it is {} in the snapshot, and is left out: a server would write through it, to what \
         another one uses",
        described(kind)
    )
}
