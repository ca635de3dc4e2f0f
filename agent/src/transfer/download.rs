//! A part of a snapshot into pieces.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use strongroom_repository::{Repository, format::node::NodeKind, store::SharedStore};
use strongroom_spec::{DownloadOutcome, DownloadSpec};
use tokio::runtime::Handle;

use super::{TransferError, archive, write::PieceWriter};
use crate::{monitor::Monitor, restore::stream::SnapshotFiles};

/// Seals a file, or the tar of a directory, and stores the pieces. Blocks:
/// call it from a thread that is none of `runtime`'s.
pub fn run(
    repository: Arc<Repository>,
    store: SharedStore,
    runtime: &Handle,
    work: &DownloadSpec,
    monitor: &Arc<Monitor>,
) -> Result<DownloadOutcome, TransferError> {
    let files = SnapshotFiles::open(
        repository,
        runtime.clone(),
        work.snapshot,
        Arc::clone(monitor),
    )?;
    let entry = files.entry(&work.path)?;
    let mut writer = PieceWriter::new(store, runtime.clone(), Arc::clone(monitor), &work.reader)?;
    monitor.enter("sealing");
    let name = match &entry {
        Some(node) => safe_name(&node.name),
        None => work.snapshot.short(),
    };
    let (file_name, count, archive) = match entry {
        Some(node) if matches!(node.kind, NodeKind::File { .. }) => {
            let mut content = files.content(&work.path, &node)?;
            monitor.total_bytes.store(content.size(), Relaxed);
            io::copy(&mut content, &mut writer)
                .map_err(|error| TransferError::from_io(&node.name, error))?;
            (name, 1, false)
        }
        top => {
            let count = archive::write(&files, top, &mut writer, monitor)?;
            (format!("{name}.tar"), count, true)
        }
    };
    let (manifest, bytes) = writer.finish()?;
    Ok(DownloadOutcome {
        manifest,
        bytes,
        file_name,
        files: count,
        archive,
    })
}

/// A name that is one on any host: it becomes the operator's file.
fn safe_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '/' | '\\') {
                '_'
            } else {
                c
            }
        })
        .collect();
    match name.as_str() {
        "" | "." | ".." => "_".into(),
        _ => name,
    }
}
