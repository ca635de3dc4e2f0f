//! A run: everything wired together.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Halted, JournalDirectory, Worker, WriteError,
    buffers::Buffers,
    chunker::Gear,
    flow::Flow,
    halt::Halt,
    membership::Membership,
    pack::{HEADER_ROOM, OpenPack},
    plan::{DEFAULT_MEMORY_BUDGET, MemoryPlan, workers_within},
    uploads::{Durable, Uploads},
    work_queue::Crew,
};
use crate::{
    format::{
        FormatError,
        blob::{BlobId, BlobKind},
        blob_codec::SealedBlob,
        crypto::MasterKey,
    },
    store::SharedStore,
};

/// How a run uses the machine.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Threads, at least one.
    pub workers: usize,
    /// Bytes, see [`MemoryPlan`].
    pub memory_budget: usize,
    /// zstd's level, 1 to 22, as long as the processor is the limit; data of
    /// which level 1 leaves hardly more is compressed at that.
    pub level: i32,
    /// The same while the store is: fewer bytes to wait for.
    pub patient_level: i32,
    /// Told about bytes as they become durable.
    pub on_stored: OnStored,
    /// Where to note what is stored, for a run that is interrupted; see
    /// [`Known::resume`](super::Known::resume).
    pub journal: Option<JournalDirectory>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: workers_within(DEFAULT_MEMORY_BUDGET, cores),
            memory_budget: DEFAULT_MEMORY_BUDGET,
            level: 3,
            // Beyond, little is gained for much more time and memory.
            patient_level: 6,
            on_stored: OnStored::default(),
            journal: None,
        }
    }
}

/// A callback; see [`WriteOptions::on_stored`].
#[derive(Clone)]
pub struct OnStored(pub Arc<dyn Fn(u64) + Send + Sync>);

impl Default for OnStored {
    fn default() -> Self {
        Self(Arc::new(|_| ()))
    }
}

impl fmt::Debug for OnStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnStored(…)")
    }
}

/// What a run added to the repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Blobs that were not there.
    pub blobs: u64,
    /// Their plaintext, bytes.
    pub plain_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of all objects: packs and indexes.
    pub stored_bytes: u64,
}

/// What the threads of a run share.
pub(super) struct Shared {
    pub(super) key: Arc<MasterKey>,
    pub(super) gear: Gear,
    pub(super) membership: Membership,
    pub(super) halt: Arc<Halt>,
    level: i32,
    patient_level: i32,
    pub(super) blobs: AtomicU64,
    pub(super) plain_bytes: AtomicU64,
    plan: MemoryPlan,
    data: Box<[Mutex<Option<OpenPack>>]>,
    tree: Mutex<Option<OpenPack>>,
    uploads: Arc<Uploads>,
}

/// Adds blobs to a repository. Methods block: call them from a thread that is
/// none of the runtime's.
pub struct Writer {
    shared: Arc<Shared>,
    workers: usize,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("plan", &self.shared.plan)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// As on a link that is faster than anything.
    #[cfg(test)]
    pub(super) fn assume_a_fast_link(&self) {
        self.shared.uploads.flow.assume(1e12);
    }

    /// Adds to the repository of `key` in `store`, which has the blobs that
    /// `membership` knows. Uploads run on `runtime`. Ends early when `cancel`
    /// is cancelled. Refuses a budget too small for its workers.
    pub fn new(
        key: Arc<MasterKey>,
        store: SharedStore,
        membership: Membership,
        runtime: Handle,
        options: WriteOptions,
        cancel: &CancellationToken,
    ) -> Result<Self, WriteError> {
        let workers = options.workers.max(1);
        let plan = MemoryPlan::new(options.memory_budget, workers)?;
        let halt = Arc::new(Halt::new(cancel));
        let buffers = |count, size| Buffers::new(count, size + HEADER_ROOM, Arc::clone(&halt));
        let uploads = Uploads {
            key: Arc::clone(&key),
            store,
            data_buffers: buffers(plan.data_buffers, plan.data_pack),
            tree_buffers: buffers(plan.tree_buffers, plan.tree_pack),
            flow: Flow::new(),
            halt: Arc::clone(&halt),
            packs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            on_stored: options.on_stored,
            directory: options.journal.clone(),
            durable: Mutex::new(Durable::new(options.journal)),
            tasks: TaskTracker::new(),
            runtime,
            span: tracing::Span::current(),
        };
        let shared = Shared {
            gear: Gear::derive(&key.chunker_secret()),
            key,
            membership,
            halt,
            level: options.level,
            patient_level: options.patient_level,
            blobs: AtomicU64::new(0),
            plain_bytes: AtomicU64::new(0),
            data: std::iter::repeat_with(Mutex::default)
                .take(plan.data_packers)
                .collect(),
            tree: Mutex::default(),
            plan,
            uploads: Arc::new(uploads),
        };
        Ok(Self {
            shared: Arc::new(shared),
            workers,
        })
    }

    /// Carries out `first` and all items that follow from it on all threads:
    /// `handler` is called for each, and may push more. Returns when nothing
    /// is left, or early; [`Writer::finish`] then says why.
    pub fn run<T, F>(&self, first: T, handler: F) -> Result<(), Halted>
    where
        T: Send,
        F: Fn(&mut Worker<'_, T>, T) -> Result<(), Halted> + Sync,
    {
        let shared = &self.shared;
        let crew = Crew::new(first, shared.plan.queue, Arc::clone(&shared.halt));
        let span = tracing::Span::current();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.workers)
                .map(|number| {
                    let (crew, handler, span) = (&crew, &handler, &span);
                    let alive = alive.clone();
                    std::thread::Builder::new()
                        .name(format!("worker-{number}"))
                        .spawn_scoped(scope, move || {
                            let _alive = alive;
                            span.in_scope(|| work(shared, crew, handler))
                        })
                        .map_err(|error| shared.halt.fail(WriteError::Thread(error)))
                })
                .collect();
            drop(alive);
            shared.uploads.runtime.block_on(async {
                tokio::select! {
                    _ = ended.recv() => {}
                    () = shared.halt.token().cancelled() => shared.wake(&crew),
                }
            });
            threads
                .into_iter()
                .map(|thread| thread?.join().unwrap_or(Err(Halted)))
                .collect::<Vec<_>>()
                .into_iter()
                .collect()
        })
    }

    /// Whether the repository has a blob, or this run stores it.
    pub fn knows(&self, kind: BlobKind, id: BlobId) -> bool {
        self.shared.membership.contains(kind, id)
    }

    /// Cancelled when the run ends early, whatever the cause.
    pub fn halted(&self) -> CancellationToken {
        self.shared.halt.token().clone()
    }

    /// Leaves what a killed process leaves: packs that no index lists.
    #[cfg(test)]
    pub(super) fn kill(self) {
        let uploads = &self.shared.uploads;
        uploads.tasks.close();
        uploads.runtime.block_on(uploads.tasks.wait());
    }

    /// Ends the run for a reason of the caller's. What became durable until
    /// then is indexed, if the store lets us, so that the next run finds it.
    pub fn abandon(self) {
        self.shared.halt.fail(WriteError::Cancelled);
        // The caller has a better one.
        let _ = self.finish();
    }

    /// Uploads what is left and waits until all packs, and the indexes that
    /// list them, are durable. Says why when the run ended early; what became
    /// durable until then is indexed, if the store lets us.
    pub fn finish(self) -> Result<Written, WriteError> {
        let shared = &self.shared;
        if !shared.halt.is_set() {
            // A failure shows below.
            let _ = shared.close_packs();
        }
        let uploads = &shared.uploads;
        uploads.runtime.block_on(uploads.finish())?;
        Ok(Written {
            blobs: shared.blobs.load(Relaxed),
            plain_bytes: shared.plain_bytes.load(Relaxed),
            packs: uploads.packs.load(Relaxed),
            stored_bytes: uploads.bytes.load(Relaxed),
        })
    }
}

/// What one thread does.
fn work<T, F>(shared: &Arc<Shared>, crew: &Crew<T>, handler: &F) -> Result<(), Halted>
where
    F: Fn(&mut Worker<'_, T>, T) -> Result<(), Halted>,
{
    let _alarm = Alarm(&shared.halt);
    Worker::new(shared, crew)
        .map_err(|source| {
            shared.halt.fail(WriteError::Format {
                what: "a blob",
                source,
            })
        })?
        .work(handler)
        // A handler has no business to stop without a cause, but the others
        // must not wait for it.
        .map_err(|Halted| shared.halt.fail(WriteError::Cancelled))
}

/// Stops the others when a worker panics; they would wait for it.
struct Alarm<'a>(&'a Halt);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(WriteError::Panicked);
        }
    }
}

impl Shared {
    /// Appends a sealed blob to an open pack; waits for a buffer when none is
    /// open and all are being uploaded.
    pub(super) fn add(
        &self,
        kind: BlobKind,
        id: BlobId,
        sealed: &[u8],
        form: SealedBlob,
    ) -> Result<(), Halted> {
        let mut packer = self.packer(kind, id);
        if let Some(full) = packer.take_if(|pack| !pack.has_room(sealed.len(), self.limit(kind))) {
            self.close(kind, full)?;
        }
        if packer.is_none() {
            *packer = Some(OpenPack::new(self.uploads.buffers(kind).take()?));
        }
        match packer.as_mut() {
            Some(pack) => pack
                .push(kind, id, sealed, form)
                .map_err(|source| self.pack_error(source)),
            None => Err(Halted),
        }
    }

    /// The first data packer that is free, so that a small run fills one pack;
    /// when all are at work, one that the id picks.
    fn packer(&self, kind: BlobKind, id: BlobId) -> MutexGuard<'_, Option<OpenPack>> {
        match kind {
            BlobKind::Tree => self.tree.lock(),
            BlobKind::Data => self
                .data
                .iter()
                .find_map(Mutex::try_lock)
                .unwrap_or_else(|| self.data[usize::from(id.0[31]) % self.data.len()].lock()),
        }
    }

    /// How hard to compress the next blob, by which stage is the bottleneck:
    /// while every buffer waits for the store, there is time to spare.
    pub(super) fn level(&self, kind: BlobKind) -> i32 {
        if self.uploads.buffers(kind).are_out() {
            self.patient_level
        } else {
            self.level
        }
    }

    fn limit(&self, kind: BlobKind) -> usize {
        self.uploads.flow.pack(match kind {
            BlobKind::Data => self.plan.data_pack,
            BlobKind::Tree => self.plan.tree_pack,
        })
    }

    fn close(&self, kind: BlobKind, pack: OpenPack) -> Result<(), Halted> {
        let pack = pack
            .finish(kind, &self.key)
            .map_err(|source| self.pack_error(source))?;
        self.uploads.start(pack);
        Ok(())
    }

    /// Closes the packs that are still open.
    fn close_packs(&self) -> Result<(), Halted> {
        for packer in &self.data {
            if let Some(pack) = packer.lock().take() {
                self.close(BlobKind::Data, pack)?;
            }
        }
        match self.tree.lock().take() {
            Some(pack) => self.close(BlobKind::Tree, pack),
            None => Ok(()),
        }
    }

    fn pack_error(&self, source: FormatError) -> Halted {
        self.halt.fail(WriteError::Format {
            what: "a pack",
            source,
        })
    }

    /// Lets everybody who waits see that the run has ended.
    fn wake<T>(&self, crew: &Crew<T>) {
        crew.wake();
        self.uploads.data_buffers.wake();
        self.uploads.tree_buffers.wake();
    }
}
