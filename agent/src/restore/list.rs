//! Lists what a snapshot holds.

use std::{
    cmp::Ordering, ffi::OsStr, ops::ControlFlow, os::unix::ffi::OsStrExt, path::Path, sync::Arc,
    vec,
};

use strongroom_compare::EscapedPath;

use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    format::{
        node::{Node, NodeKind},
        snapshot::Snapshot,
    },
    read::Reader,
};
use strongroom_spec::{Entry, ListOutcome, ListSpec};
use tokio::runtime::Handle;

use super::{
    block_on,
    error::RestoreError,
    open,
    select::{components, unescape},
};
use crate::monitor::Monitor;

/// Lists one page of a snapshot. Blocks, as [`super::run`] does.
///
/// Names in `path` and `after` that are not UTF-8 are given escaped, as
/// [`strongroom_compare::EscapedPath`] shows them.
pub fn list(
    repository: Arc<Repository>,
    runtime: &Handle,
    work: &ListSpec,
    monitor: &Arc<Monitor>,
) -> Result<ListOutcome, RestoreError> {
    let mut result = ListOutcome {
        entries: Vec::new(),
        truncated: false,
    };
    let (snapshot, reader) = open(repository, runtime, work.snapshot, monitor)?;
    list_with(&reader, runtime, &snapshot, work, monitor, |entry| {
        if result.entries.len() >= work.limit as usize {
            result.truncated = true;
            return ControlFlow::Break(());
        }
        result.entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(result)
}

/// Loads a snapshot and the index, for [`list_with`].
pub fn read_snapshot(
    repository: Arc<Repository>,
    runtime: &Handle,
    id: ObjectId,
    monitor: &Arc<Monitor>,
) -> Result<(Snapshot, Arc<Reader>), RestoreError> {
    open(repository, runtime, id, monitor)
}

/// Gives the entries one by one, in path order, until `emit` breaks. The
/// limit of `work` is not heeded.
pub fn list_with(
    reader: &Arc<Reader>,
    runtime: &Handle,
    snapshot: &Snapshot,
    work: &ListSpec,
    monitor: &Monitor,
    mut emit: impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), RestoreError> {
    monitor.enter("listing");
    let walk = Walk {
        reader,
        runtime,
        monitor,
    };
    let after = work.after.as_deref().map(names).transpose()?;
    let mut frames = match walk.resolve(snapshot, work)? {
        // Behind a single entry there is nothing.
        Resolved::Single(_) if after.is_some() => return Ok(()),
        Resolved::Single(entry) => {
            let _ = emit(entry);
            return Ok(());
        }
        Resolved::Directory(frame) => match frame.behind_path(after) {
            Some(frame) => vec![frame],
            None => return Ok(()),
        },
    };
    while let Some(frame) = frames.last_mut() {
        let Some(node) = frame.nodes.next() else {
            frames.pop();
            continue;
        };
        let path = join(&frame.path, &node.name);
        let below = match frame.skip(&node.name) {
            Skip::Behind => continue,
            Skip::Leads(below) => Some(below),
            Skip::No => {
                if emit(entry(path.clone(), &node)).is_break() {
                    return Ok(());
                }
                None
            }
        };
        if let NodeKind::Dir {
            subtree: Some(tree),
        } = node.kind
            && work.recursive
        {
            let nodes = walk.load(&tree)?;
            let mut frame = Frame::new(path, nodes);
            frame.after = below.unwrap_or_default();
            frames.push(frame);
        }
    }
    Ok(())
}

/// A directory being listed.
struct Frame {
    path: Vec<u8>,
    nodes: vec::IntoIter<Node>,
    /// What was listed before ends here: names below this directory.
    after: Vec<Vec<u8>>,
}

/// Whether an entry was listed before.
enum Skip {
    No,
    Behind,
    /// It was, but below it the listing goes on behind these names.
    Leads(Vec<Vec<u8>>),
}

impl Frame {
    fn new(path: Vec<u8>, nodes: Vec<Node>) -> Self {
        Self {
            path,
            nodes: nodes.into_iter(),
            after: Vec::new(),
        }
    }

    /// Goes on behind a path that counts from the snapshot's root; `None`:
    /// all of this directory was listed.
    fn behind_path(mut self, after: Option<Vec<Vec<u8>>>) -> Option<Self> {
        let Some(mut after) = after else {
            return Some(self);
        };
        let own: Vec<&[u8]> = self.path.split(|byte| *byte == b'/').skip(1).collect();
        let shared = after.len().min(own.len());
        match own
            .iter()
            .copied()
            .cmp(after[..shared].iter().map(Vec::as_slice))
        {
            // The path leads into this directory, or to one above it.
            _ if own[..shared] == after[..shared] => {
                self.after = after.split_off(shared);
                Some(self)
            }
            Ordering::Less => None,
            _ => Some(self),
        }
    }

    fn skip(&mut self, name: &[u8]) -> Skip {
        let Some(first) = self.after.first() else {
            return Skip::No;
        };
        match name.cmp(first) {
            Ordering::Less => Skip::Behind,
            Ordering::Equal => {
                let below = self.after.drain(..).skip(1).collect();
                Skip::Leads(below)
            }
            Ordering::Greater => {
                self.after.clear();
                Skip::No
            }
        }
    }
}

enum Resolved {
    Single(Entry),
    Directory(Frame),
}

struct Walk<'a> {
    reader: &'a Arc<Reader>,
    runtime: &'a Handle,
    monitor: &'a Monitor,
}

impl Walk<'_> {
    fn load(&self, tree: &ObjectId) -> Result<Vec<Node>, RestoreError> {
        let tree = block_on(self.runtime, self.monitor, self.reader.tree(tree))??;
        Ok(tree.nodes)
    }

    /// What stands at the path that was asked for.
    fn resolve(&self, snapshot: &Snapshot, work: &ListSpec) -> Result<Resolved, RestoreError> {
        let mut path = Vec::new();
        let mut nodes = self.load(&snapshot.tree)?;
        let mut rest = components(&work.path)?.peekable();
        while let Some(name) = rest.next() {
            let unescaped = unescape(name);
            let find =
                |wanted: &[u8]| nodes.binary_search_by(|node| node.name.as_slice().cmp(wanted));
            let no_path = || RestoreError::NoPath {
                path: work.path.clone(),
                nearest: shown(&path),
                snapshot: work.snapshot.short(),
            };
            let at = find(name.as_bytes())
                .or_else(|_| find(&unescaped))
                .map_err(|_| no_path())?;
            let node = nodes.swap_remove(at);
            path = join(&path, &node.name);
            match node.kind {
                NodeKind::Dir {
                    subtree: Some(tree),
                } => nodes = self.load(&tree)?,
                NodeKind::Dir { subtree: None } => nodes = Vec::new(),
                _ if rest.peek().is_none() => return Ok(Resolved::Single(entry(path, &node))),
                _ => nodes = Vec::new(),
            }
        }
        Ok(Resolved::Directory(Frame::new(path, nodes)))
    }
}

/// A path of the snapshot for people.
fn shown(path: &[u8]) -> String {
    let path = if path.is_empty() { b"/" } else { path };
    EscapedPath(Path::new(OsStr::from_bytes(path))).to_string()
}

fn names(path: &str) -> Result<Vec<Vec<u8>>, RestoreError> {
    Ok(components(path)?.map(unescape).collect())
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

fn entry(path: Vec<u8>, node: &Node) -> Entry {
    let (size, link_target) = match &node.kind {
        NodeKind::File { size, .. } => (*size, None),
        NodeKind::Symlink { target } => (0, Some(target.clone().into())),
        _ => (0, None),
    };
    Entry {
        path: path.into(),
        kind: node.kind.as_str().into(),
        mode: node.mode & 0o7777,
        uid: node.uid,
        gid: node.gid,
        size,
        modified: node.mtime.to_string(),
        link_target,
    }
}
