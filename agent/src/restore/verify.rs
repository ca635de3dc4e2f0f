//! Compares files that are there with what they should hold, chunk by chunk,
//! so that only what differs is fetched and written.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, openat};
use strongroom_repository::{format::blob_codec::blob_id, read::Index};

use super::{
    Context,
    error::RestoreError,
    plan::{FileAction, FileRef, Plan, Use},
    target::Target,
};

/// What an existing file has of what it should have.
struct Found {
    file: FileRef,
    /// Those of its uses that need no writing, by their place in the plan.
    matching: Vec<u32>,
    matching_bytes: u64,
    same_size: bool,
    /// Bytes on disk.
    blocks: u64,
}

/// Settles what the survey left to be verified.
pub(crate) fn verify(
    context: &Context<'_>,
    target: Option<&Target>,
    plan: &mut Plan,
) -> Result<(), RestoreError> {
    let Some(target) = target else { return Ok(()) };
    let files: Vec<FileRef> = plan
        .file_refs()
        .filter(|file| plan.file(*file).action.is_compared())
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    context.monitor.enter("comparing");
    let found = compare_all(context, target, plan, &files)?;
    settle(plan, found);
    Ok(())
}

fn compare_all(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    files: &[FileRef],
) -> Result<Vec<Found>, RestoreError> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let work = || {
        let mut buffer = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Relaxed)) {
            if context.monitor.cancel.is_cancelled() {
                return;
            }
            let found = compare(context, target, plan, *file, &mut buffer);
            all.lock().push(found);
        }
    };
    thread::scope(|scope| {
        for _ in 1..context.options.threads.min(files.len()) {
            let builder = thread::Builder::new().name("compare".into());
            builder
                .spawn_scoped(scope, work)
                .map_err(RestoreError::Thread)?;
        }
        work();
        Ok::<_, RestoreError>(())
    })?;
    context.check_cancelled()?;
    Ok(all.into_inner())
}

fn compare(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    file: FileRef,
    buffer: &mut Vec<u8>,
) -> Found {
    let mut found = Found {
        file,
        matching: Vec::new(),
        matching_bytes: 0,
        same_size: false,
        blocks: 0,
    };
    // What cannot be read is written anew.
    if let Ok(opened) = open(target, plan, file)
        && let Ok(stat) = opened.metadata()
    {
        found.same_size = stat.size() == plan.file(file).size;
        found.blocks = stat.blocks() * 512;
        let index = context.reader.index();
        let first = plan.file(file).first_use;
        // Zeros that read well may be a hole where none is wanted.
        let holed = plan.file(file).filled && found.blocks < stat.size();
        for position in first..first + plan.file(file).uses {
            if context.monitor.cancel.is_cancelled() {
                break;
            }
            let used = &plan.uses[position as usize];
            if matches(index, &opened, used, buffer)
                && !(holed && may_be_a_hole(buffer, used.offset))
            {
                found.matching.push(position);
                found.matching_bytes += u64::from(index.plaintext_length(used.blob));
            }
        }
    }
    found
}

fn open(target: &Target, plan: &Plan, file: FileRef) -> io::Result<File> {
    let dir = target.dir(plan, plan.file(file).dir)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(&*dir, plan.file_name(file), flags, Mode::empty())?;
    // The one that was found: what is kept of it is what is compared.
    plan.inode(file).check(&opened)?;
    Ok(opened.into())
}

fn matches(index: &Index, file: &File, used: &Use, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(index.plaintext_length(used.blob) as usize, 0);
    file.read_exact_at(buffer, used.offset).is_ok() && index.is_id(used.blob, &blob_id(buffer))
}

/// Holes are whole pages of a file.
const PAGE: usize = 4096;

/// Whether some page of the file is nothing but zeros as far as it is in these bytes,
/// which stand at `offset` of it.
fn may_be_a_hole(bytes: &[u8], offset: u64) -> bool {
    let into_page = (offset % PAGE as u64) as usize;
    let first = if into_page == 0 { 0 } else { PAGE - into_page };
    let (edge, pages) = bytes.split_at(first.min(bytes.len()));
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    (!edge.is_empty() && is_zero(edge)) || pages.chunks(PAGE).any(is_zero)
}

fn settle(plan: &mut Plan, found: Vec<Found>) {
    let mut keep = vec![true; plan.uses.len()];
    for mut found in found {
        let file = &mut plan.files[found.file.0 as usize];
        let all = found.matching.len() == file.uses as usize;
        if file.action == FileAction::Match && !(all && found.same_size) {
            // Made anew, it keeps nothing of what was there.
            found.matching.clear();
            found.matching_bytes = 0;
        }
        for position in &found.matching {
            keep[*position as usize] = false;
        }
        let matching = found.matching.len() as u32;
        file.action = if all && found.same_size {
            FileAction::Keep
        } else if matching == 0 {
            FileAction::Replace
        } else {
            FileAction::Update
        };
        file.uses -= matching;
        if file.action != FileAction::Keep {
            plan.freed += found.blocks.saturating_sub(found.matching_bytes);
        }
    }
    let mut keep = keep.into_iter();
    plan.uses.retain(|_| keep.next().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_zeros_may_be_a_hole_wherever_chunks_are_cut() {
        let page = PAGE as u64;
        let mut bytes = vec![1; 3 * PAGE];
        assert!(!may_be_a_hole(&bytes, 0));
        bytes[PAGE..2 * PAGE].fill(0);
        assert!(may_be_a_hole(&bytes, 0));
        // The zeros lie in two pages, neither of which is all zeros.
        assert!(!may_be_a_hole(&bytes, page / 2));
        // What is zero to the end of the chunk may go on behind it.
        bytes.fill(1);
        bytes[3 * PAGE - 10..].fill(0);
        assert!(!may_be_a_hole(&bytes, 0));
        assert!(may_be_a_hole(&bytes, 10));
        bytes.fill(1);
        bytes[..10].fill(0);
        assert!(may_be_a_hole(&bytes, page - 10));
        assert!(!may_be_a_hole(&[], 7));
    }
}
