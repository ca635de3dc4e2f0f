//! Is everything there, whole and consistent?
//!
//! [`check`] looks at the structure: every index opens, every pack that an
//! index names is there with the size that its blobs imply, every snapshot and
//! tree opens and everything they refer to is indexed. With
//! [`CheckOptions::read_data`] it also reads every pack: its hash, its header
//! against the index, no gaps, and every blob's authentication code,
//! decompression and hash. It goes on after a problem and lists all of them;
//! only a store that fails ends it.

mod data;
mod report;
mod structure;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

pub use report::{CheckReport, MAX_PROBLEMS, Problem};

use crate::{
    Repository,
    read::{OnTrouble, ReadError, Reader, Trouble, load_index},
};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Read and verify every pack, too.
    pub read_data: bool,
    /// Packs that are read at once, each wholly in memory; 0: two.
    pub at_once: usize,
}

/// How far a check is; watch it from elsewhere.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Trees that were read.
    pub trees: AtomicU64,
    /// Bytes of packs that were read.
    pub bytes: AtomicU64,
    /// Bytes of all packs; 0 until they are listed.
    pub total_bytes: AtomicU64,
}

/// Checks a repository.
pub async fn check(
    repository: &Arc<Repository>,
    options: CheckOptions,
    progress: &Arc<CheckProgress>,
) -> Result<CheckReport, ReadError> {
    let mut report = CheckReport::default();
    let (index, problems) = load_index(repository).await?;
    for problem in &problems {
        report.add_error(problem);
    }
    let trouble = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&trouble);
    let on_trouble = OnTrouble(Arc::new(move |trouble| told.lock().push(trouble)));
    let reader = Reader::with_index(repository.clone(), index, on_trouble);
    let packs = structure::packs(&reader, &mut report).await?;
    let total: u64 = packs.iter().map(|pack| pack.size).sum();
    progress.total_bytes.store(total, Relaxed);
    structure::snapshots(&reader, progress, &mut report).await?;
    if options.read_data {
        data::check(&reader, packs, options, progress, &mut report).await?;
    }
    for Trouble { object, cause } in std::mem::take(&mut *trouble.lock()) {
        report.add(object, cause);
    }
    report.finish();
    Ok(report)
}
