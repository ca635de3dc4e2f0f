//! Fetches packs and writes the files' content.
//!
//! Requests run several at a time, bounded by the bytes they bring; threads
//! open, verify and write the chunks in whatever order they come. Chunks that
//! are not where the index says, but may be elsewhere, are planned and fetched
//! again from there, round by round.

use std::{
    collections::HashMap,
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use strongroom_repository::{
    format::blob_codec::BlobCodec,
    read::{BlobRef, PackRef, ReadError},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    error::RestoreError,
    fetches::{self, Fetch, place},
    files::{Files, is_full},
    plan::{FileRef, Plan, Use},
    target::Target,
};

/// Requests at most that are under way or waiting for a thread.
const AT_ONCE: u32 = 64;

/// Memory is counted in pieces of this many bytes.
const UNIT: u32 = 1024;

/// A request that has been answered, and the memory that it holds.
struct Fetched<'a> {
    fetch: &'a Fetch,
    bytes: Result<Bytes, ReadError>,
    /// Freed when the answer is dropped.
    memory: Option<SemaphorePermit<'a>>,
}

/// Figures of what was done, bytes.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) fetched: AtomicU64,
    pub(crate) written: AtomicU64,
}

/// Chunks that were not at one place and have another.
#[derive(Default)]
struct Elsewhere {
    /// At their next places.
    uses: Vec<Use>,
    /// Of each pack the first that did not have what it should.
    wrong: HashMap<PackRef, (BlobRef, ReadError)>,
}

/// One round.
struct Stage<'a> {
    context: &'a Context<'a>,
    target: &'a Target,
    plan: &'a Plan,
    /// Those of the plan, or what is left of them; sorted.
    uses: &'a [Use],
    files: &'a Files<'a>,
    moved: &'a Moved,
    elsewhere: Mutex<Elsewhere>,
    /// Ends everything: cancelled from outside, or by the first fatal error.
    stop: CancellationToken,
    fatal: Mutex<Option<RestoreError>>,
}

/// Carries out `fetches`, which serve the plan's sorted uses. Damage becomes a
/// problem of the files concerned; all else that fails ends the restore.
pub(crate) fn write(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    files: &Files<'_>,
    fetches: &[Fetch],
) -> Result<Moved, RestoreError> {
    let moved = Moved::default();
    let round = |uses: &[Use], fetches: &[Fetch]| {
        let stage = Stage {
            context,
            target,
            plan,
            uses,
            files,
            moved: &moved,
            elsewhere: Mutex::default(),
            stop: context.monitor.cancel.child_token(),
            fatal: Mutex::default(),
        };
        carry_out(stage, fetches)
    };
    let mut left = round(&plan.uses, fetches)?;
    while !left.uses.is_empty() {
        let reader = context.reader;
        for (place, error) in left.wrong.values() {
            context.block_on(reader.report(*place, error))?;
        }
        let mut uses = mem::take(&mut left.uses);
        let place = |blob| place(reader.index(), blob);
        let fetches = fetches::plan(&mut uses, place, context.options.max_range());
        left = round(&uses, &fetches)?;
    }
    Ok(moved)
}

/// Carries out one round; gives what is to be looked for elsewhere.
fn carry_out(stage: Stage<'_>, fetches: &[Fetch]) -> Result<Elsewhere, RestoreError> {
    let context = stage.context;
    let units = context.options.memory_units();
    let memory = Semaphore::new(units as usize);
    thread::scope(|scope| {
        let (sender, receiver) = bounded(AT_ONCE as usize);
        for _ in 0..context.options.threads {
            let receiver = receiver.clone();
            let builder = thread::Builder::new().name("restore".into());
            builder
                .spawn_scoped(scope, || stage.work(receiver))
                .map_err(RestoreError::Thread)?;
        }
        drop(receiver);
        context
            .runtime
            .block_on(stage.fetch_all(fetches, &memory, units, sender));
        Ok::<_, RestoreError>(())
    })?;
    if let Some(fatal) = stage.fatal.into_inner() {
        return Err(fatal);
    }
    context.check_cancelled()?;
    Ok(stage.elsewhere.into_inner())
}

impl Stage<'_> {
    async fn fetch_all<'a>(
        &self,
        fetches: &'a [Fetch],
        memory: &'a Semaphore,
        units: u32,
        sender: Sender<Fetched<'a>>,
    ) {
        let requests = stream::iter(fetches).map(|fetch| async move {
            // Every request takes a share, however small: that bounds their
            // number, and so the channel never blocks.
            let need = (fetch.range.len() as u32 / UNIT).clamp(units.div_ceil(AT_ONCE), units);
            // Never closed.
            let memory = memory.acquire_many(need).await.ok();
            let bytes = self.fetch(fetch).await;
            Fetched {
                fetch,
                bytes,
                memory,
            }
        });
        let mut answers = requests.buffer_unordered(self.context.options.requests);
        loop {
            let answer = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                answer = answers.next() => answer,
            };
            let Some(answer) = answer else { return };
            if sender.send(answer).is_err() {
                return;
            }
        }
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Bytes, ReadError> {
        let reader = self.context.reader;
        let first = self.uses[fetch.uses.start].blob;
        let name = reader.index().pack_name(first);
        let bytes = reader.fetch(name, fetch.range.clone()).await?;
        let length = bytes.len() as u64;
        self.moved.fetched.fetch_add(length, Relaxed);
        self.context.monitor.bytes_stored.fetch_add(length, Relaxed);
        Ok(bytes)
    }

    /// Opens and writes what was fetched, until there is no more.
    fn work(&self, receiver: Receiver<Fetched<'_>>) {
        let result = self.context.reader.with_codec(|codec| {
            let mut plaintext = Vec::new();
            for fetched in receiver {
                if self.stop.is_cancelled() {
                    break;
                }
                self.write_fetched(codec, fetched, &mut plaintext);
            }
            Ok(())
        });
        if let Err(error) = result {
            self.fail(error.into());
        }
    }

    fn write_fetched(&self, codec: &mut BlobCodec, fetched: Fetched<'_>, plaintext: &mut Vec<u8>) {
        let Fetched {
            fetch,
            bytes,
            memory: _memory,
        } = fetched;
        let bytes = match bytes {
            Ok(bytes) => Some(bytes),
            Err(error) if error.is_of_one_place() => None,
            Err(error) => return self.fail(error.into()),
        };
        let uses = &self.uses[fetch.uses.clone()];
        for uses in uses.chunk_by(|left, right| left.blob == right.blob) {
            let blob = uses[0].blob;
            plaintext.clear();
            let opened = match &bytes {
                Some(bytes) => self.open(codec, fetch, blob, bytes, plaintext),
                None => self.fetch_alone(codec, blob, plaintext),
            };
            match opened {
                Ok(()) => self.write_uses(uses, plaintext),
                Err(error) if error.is_of_one_place() => self.missed(uses, error),
                Err(error) => return self.fail(error.into()),
            }
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    fn open(
        &self,
        codec: &mut BlobCodec,
        fetch: &Fetch,
        blob: BlobRef,
        bytes: &Bytes,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let reader = self.context.reader;
        let (start, end) = place(reader.index(), blob).range;
        let start = (start - fetch.range.start) as usize;
        let end = (end - fetch.range.start) as usize;
        // The range covers all its blobs; the reader has checked its length.
        reader.open_blob(codec, blob, &bytes[start..end], plaintext)
    }

    /// After a range could not be read as a whole: what is before the damage
    /// can still be saved.
    fn fetch_alone(
        &self,
        codec: &mut BlobCodec,
        blob: BlobRef,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let reader = self.context.reader;
        let (start, end) = place(reader.index(), blob).range;
        let name = reader.index().pack_name(blob);
        let bytes = self
            .context
            .runtime
            .block_on(reader.fetch(name, start..end))?;
        reader.open_blob(codec, blob, &bytes, plaintext)
    }

    fn write_uses(&self, uses: &[Use], plaintext: &[u8]) {
        for used in uses {
            if self.context.problems.has_failed(used.file) {
                continue;
            }
            let length = plaintext.len() as u64;
            match self.files.write(used.file, used.offset, plaintext) {
                Ok(()) => {
                    self.moved.written.fetch_add(length, Relaxed);
                    self.context.monitor.bytes.fetch_add(length, Relaxed);
                }
                Err(error) if is_full(&error) => {
                    let path = self.target.path_of(self.plan, used.file);
                    let remaining = self.context.remaining();
                    return self.fail(RestoreError::Full { path, remaining });
                }
                Err(error) => self.failed(used.file, format!("cannot be written: {error}"), false),
            }
        }
    }

    /// A chunk is not where it should be.
    fn missed(&self, uses: &[Use], error: ReadError) {
        let index = self.context.reader.index();
        let place = uses[0].blob;
        if let Some(next) = index.next_place(place) {
            let mut elsewhere = self.elsewhere.lock();
            let uses = uses.iter().map(|used| Use {
                blob: next,
                ..*used
            });
            elsewhere.uses.extend(uses);
            let pack = index.pack_of(place);
            elsewhere.wrong.entry(pack).or_insert((place, error));
            return;
        }
        for used in uses {
            self.failed(used.file, error.to_string(), true);
        }
    }

    fn failed(&self, file: FileRef, cause: String, damage: bool) {
        let path = || self.target.path_of(self.plan, file);
        self.context.problems.fail(file, path, cause, damage);
    }

    fn fail(&self, error: RestoreError) {
        self.fatal.lock().get_or_insert(error);
        self.stop.cancel();
    }
}
