//! What sources make that are no files on the host: streams as files, in
//! directories of a snapshot's own.

use std::{io, sync::atomic::Ordering::Relaxed};

use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::process::{getegid, geteuid};
use strongroom_repository::{
    format::{
        FormatError,
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind, Tree},
    },
    write::{Content, Halted, StreamError, Writer},
};
use tokio::runtime::Handle;

use super::files::owners::Owners;
use crate::monitor::Monitor;

/// Saves a stream as a file's content. The inner error is the stream's own.
pub fn save_stream(
    writer: &Writer,
    input: &mut (dyn io::Read + Send),
    monitor: &Monitor,
) -> Result<io::Result<Content>, Halted> {
    let saved = Mutex::new((input, None));
    writer.run((), |worker, ()| {
        let mut saved = saved.lock();
        let mut progress = |bytes| {
            monitor.bytes.fetch_add(bytes, Relaxed);
        };
        saved.1 = match worker.save_stream(&mut *saved.0, &mut progress) {
            Ok(content) => Some(Ok(content)),
            Err(StreamError::Read(error)) => Some(Err(error)),
            Err(StreamError::Halted(halted)) => return Err(halted),
        };
        Ok(())
    })?;
    saved.into_inner().1.ok_or(Halted)
}

/// A directory of these entries, in whatever order. A name that no file can
/// have is an error.
pub fn encode(mut nodes: Vec<Node>) -> Result<Vec<u8>, FormatError> {
    nodes.sort_by(|left, right| left.name.cmp(&right.name));
    Tree { nodes }.encode()
}

/// Saves what [`encode`] gave.
pub fn save_tree(writer: &Writer, tree: &[u8]) -> Result<BlobId, Halted> {
    let saved = Mutex::new(None);
    writer.run((), |worker, ()| {
        *saved.lock() = Some(worker.save(BlobKind::Tree, tree)?);
        Ok(())
    })?;
    saved.into_inner().ok_or(Halted)
}

/// A file that only the agent's user may read.
pub fn file(name: &str, content: Content, time: Timestamp) -> Node {
    let kind = NodeKind::File {
        size: content.size,
        content: content.blobs,
        allocated: false,
    };
    node(name, 0o600, kind, time)
}

/// A directory that only the agent's user may enter.
pub fn directory(name: &str, subtree: BlobId, time: Timestamp) -> Node {
    let subtree = Some(subtree);
    node(name, 0o700, NodeKind::Dir { subtree }, time)
}

fn node(name: &str, mode: u32, kind: NodeKind, time: Timestamp) -> Node {
    let owners = Owners::of_host();
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    Node {
        name: name.into(),
        kind,
        mode,
        mtime: time,
        atime: time,
        ctime: time,
        uid,
        gid,
        user: owners.user(uid).to_owned(),
        group: owners.group(gid).to_owned(),
        inode: 0,
        device_id: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}

/// Waits for `future`, but not beyond the end of the run.
pub fn until_halted<T>(
    writer: &Writer,
    runtime: &Handle,
    future: impl Future<Output = T>,
) -> Result<T, Halted> {
    let halted = writer.halted();
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = halted.cancelled() => Err(Halted),
            output = future => Ok(output),
        }
    })
}
