//! From finished packs to durable ones that an index lists.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use strongroom_layout::{ObjectId, ObjectKind, ObjectName};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{
    JournalDirectory, WriteError,
    buffers::Buffers,
    claims::proven,
    flow::Flow,
    halt::Halt,
    journal::{self, Journal, JournalFile},
    pack::FinishedPack,
    writer::OnStored,
};
use crate::{
    format::{
        FormatError,
        blob::BlobKind,
        crypto::MasterKey,
        index::{IndexFile, IndexPack},
        pack::{PackEntry, PackHeader},
        unpacked,
    },
    store::{Body, SharedStore},
};

/// An index file is written when this many blobs wait for it …
pub(super) const INDEX_BLOBS: usize = 50_000;
/// … or when the last one is this old: so much is stored again after a crash
/// that leaves no journal.
const INDEX_AGE: Duration = Duration::from_mins(10);
/// How long the last index of a failed run may take.
const SALVAGE: Duration = Duration::from_secs(10);

/// Uploads packs and the indexes that list them.
#[derive(Debug)]
pub(super) struct Uploads {
    pub(super) key: Arc<MasterKey>,
    pub(super) store: SharedStore,
    pub(super) halt: Arc<Halt>,
    pub(super) data_buffers: Buffers,
    pub(super) tree_buffers: Buffers,
    pub(super) flow: Flow,
    pub(super) packs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) on_stored: OnStored,
    /// Where it is remembered what was written.
    pub(super) directory: Option<JournalDirectory>,
    pub(super) durable: Mutex<Durable>,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
    /// Uploads belong to the span that the writer was made in.
    pub(super) span: tracing::Span,
}

/// Packs that are in the store and in no index yet.
#[derive(Debug)]
pub(super) struct Durable {
    packs: Vec<IndexPack>,
    blobs: usize,
    since: Instant,
    /// Says the same of the same packs.
    journal: Journal,
}

/// Packs that are to be listed, and where they are noted until then.
struct Due {
    index: IndexFile,
    noted: Option<JournalFile>,
}

impl Durable {
    pub(super) fn new(journal: Option<JournalDirectory>) -> Self {
        Self {
            packs: Vec::new(),
            blobs: 0,
            since: Instant::now(),
            journal: Journal::new(journal),
        }
    }

    fn add(&mut self, pack: IndexPack, record: Option<&[u8]>) {
        self.blobs += pack.blobs.len();
        self.packs.push(pack);
        if let Some(record) = record {
            self.journal.append(record);
        }
    }

    fn take(&mut self) -> Option<Due> {
        self.blobs = 0;
        self.since = Instant::now();
        let packs = mem::take(&mut self.packs);
        (!packs.is_empty()).then(|| Due {
            index: IndexFile { packs },
            noted: self.journal.take(),
        })
    }

    fn take_when_due(&mut self) -> Option<Due> {
        let due = self.blobs >= INDEX_BLOBS || self.since.elapsed() >= INDEX_AGE;
        if due { self.take() } else { None }
    }
}

impl Uploads {
    /// The buffers for packs of a kind.
    pub(super) fn buffers(&self, kind: BlobKind) -> &Buffers {
        match kind {
            BlobKind::Data => &self.data_buffers,
            BlobKind::Tree => &self.tree_buffers,
        }
    }

    /// Uploads a pack in the background, once the flow lets it. The pack's
    /// buffer, which the caller had to wait for, bounds how many there are.
    pub(super) fn start(self: &Arc<Self>, pack: FinishedPack) {
        let uploads = Arc::clone(self);
        let span = tracing::info_span!(
            parent: &self.span, "upload",
            pack = %pack.id.short(), kind = %pack.object_kind(), bytes = pack.bytes.len(),
        );
        let task = async move { uploads.upload(pack).await }.instrument(span);
        self.tasks.spawn_on(task, &self.runtime);
    }

    async fn upload(&self, pack: FinishedPack) {
        let result = tokio::select! {
            biased;
            () = self.halt.token().cancelled() => return,
            result = self.upload_pack(pack) => result,
        };
        if let Err(error) = result {
            self.halt.fail(error);
        }
    }

    async fn upload_pack(&self, pack: FinishedPack) -> Result<(), WriteError> {
        let what = match pack.kind {
            BlobKind::Data => "a data pack",
            BlobKind::Tree => "a tree pack",
        };
        let pass = self.flow.enter(pack.bytes.len() as u64).await;
        self.put(what, pack.object_kind(), pack.body()).await?;
        pass.arrived();
        self.packs.fetch_add(1, Relaxed);
        let due = self.note(pack.id, pack.entries)?;
        self.buffers(pack.kind).give_back(pack.bytes);
        match due {
            Some(due) => self.put_index(due).await,
            None => Ok(()),
        }
    }

    /// Remembers a durable pack.
    fn note(&self, id: ObjectId, entries: Vec<PackEntry>) -> Result<Option<Due>, WriteError> {
        let header = PackHeader { entries };
        let is_kept = self.durable.lock().journal.is_kept();
        let record = is_kept.then(|| journal::encode(&self.key, id, &header));
        let record = record.transpose().map_err(|source| WriteError::Format {
            what: "a note of a pack",
            source,
        })?;
        let blobs = header.entries.into_iter().map(Into::into).collect();
        let mut durable = self.durable.lock();
        durable.add(IndexPack { id, blobs }, record.as_deref());
        Ok(durable.take_when_due())
    }

    /// Waits for all uploads, then writes the last index.
    pub(super) async fn finish(&self) -> Result<(), WriteError> {
        self.tasks.close();
        self.tasks.wait().await;
        if self.halt.is_set() {
            self.salvage().await;
            return Err(self.halt.take_cause());
        }
        let last = self.durable.lock().take();
        let Some(due) = last else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.halt.token().cancelled() => Err(self.halt.take_cause()),
            result = self.put_index(due) => result,
        }
    }

    /// Lists what a failed run did store, so that the next run finds it. Best
    /// effort: what is not listed may still be in the journal, or else is only
    /// stored again.
    async fn salvage(&self) {
        let last = self.durable.lock().take();
        let Some(due) = last else { return };
        let packs = due.index.packs.len();
        match tokio::time::timeout(SALVAGE, self.put_index(due)).await {
            Ok(Ok(())) => tracing::info!(packs, "indexed what was stored before the run ended"),
            Ok(Err(error)) => {
                tracing::warn!(packs, %error, "could not index what was stored before the run ended");
            }
            Err(_) => tracing::warn!(
                packs,
                "no time to index what was stored before the run ended"
            ),
        }
    }

    async fn put_index(&self, due: Due) -> Result<(), WriteError> {
        let sealed = seal_index(&self.key, &due.index).map_err(|source| WriteError::Format {
            what: "an index",
            source,
        })?;
        let body = Body::new(sealed);
        let id = body.sha256;
        self.put("an index", ObjectKind::Index, body).await?;
        self.note_index(id)?;
        if let Some(noted) = due.noted {
            noted.remove();
        }
        Ok(())
    }

    /// Remembers a durable index file, before the notes of its packs go.
    fn note_index(&self, id: ObjectId) -> Result<(), WriteError> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let record = journal::record::encode_index(&self.key, id);
        let record = record.map_err(|source| WriteError::Format {
            what: "a note of an index",
            source,
        })?;
        self.durable.lock().journal.append_index(&record);
        proven::note_own(directory, &self.key, id);
        Ok(())
    }

    async fn put(
        &self,
        what: &'static str,
        kind: ObjectKind,
        body: Body,
    ) -> Result<(), WriteError> {
        let length = body.length;
        self.store
            .put(ObjectName::Hashed(kind, body.sha256), body)
            .await
            .map_err(|source| WriteError::Store { what, source })?;
        self.bytes.fetch_add(length, Relaxed);
        (self.on_stored.0)(length);
        Ok(())
    }
}

fn seal_index(key: &MasterKey, index: &IndexFile) -> Result<Vec<u8>, FormatError> {
    key.seal(&unpacked::encode("index", &index.encode()?)?)
}
