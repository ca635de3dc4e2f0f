//! Seals parts of a log, stores them, and enters them into the catalog.
//!
//! Several at once, but entered in the order in which they were given: what is
//! entered has no hole behind it, unless the log itself has one. A part counts
//! as archived when it is entered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use parking_lot::Mutex;
use strongroom_layout::{ObjectId, ObjectName, SystemId, WalPart, position::TimelineId};
use strongroom_repository::{
    Repository,
    format::{
        FormatError,
        wal::{WalCodec, WalPlace},
        wal_digest::WalDigester,
    },
    store::{Body, SharedStore, StoreError},
};
use strongroom_spec::{Leg, WalOutcome};
use strongroom_wire::wal::{
    ArchivedWalResponse, MAX_STORED, StoredHistory, StoredWal, WalPosition,
};
use tracing::Instrument;

use super::{WalError, cut::Cut, summary::Summary};
use crate::grants::{GrantAuthority, WalRecord};

/// zstd's level: what higher ones gain is little.
const LEVEL: i32 = 1;
/// While log waits: in three quarters of the time, for a tenth more in the store.
const HURRIED: i32 = -1;

/// How parts get into a repository, for whichever cluster.
#[derive(Clone)]
pub(super) struct Vault {
    repository: Arc<Repository>,
    store: SharedStore,
    authority: Arc<GrantAuthority>,
    /// Costly to make: as many as ever were at work at once.
    codecs: Arc<Mutex<Vec<WalCodec>>>,
}

/// On its way into the catalog. `T` says what it is to whoever gave it.
pub(super) struct Archive<T> {
    vault: Vault,
    uploads: FuturesOrdered<BoxFuture<'static, Result<Entry<T>, WalError>>>,
    /// In the store, not yet entered.
    stored: VecDeque<Entry<T>>,
    entering: Option<BoxFuture<'static, Result<Vec<T>, StoreError>>>,
    /// More log waits than is under way: time is dearer than room.
    pub(super) hurry: bool,
    /// What was entered.
    pub(super) figures: WalOutcome,
}

/// What happened.
pub(super) enum Progress<T> {
    /// Something more is in the store: to be entered as soon as may be.
    Stored,
    /// This was entered, in this order.
    Entered(Vec<T>),
}

/// Timelines whose history is in the archive or on its way, with the digest of the
/// file; `None`: an earlier version archived it.
pub(super) type Histories = BTreeMap<TimelineId, Option<ObjectId>>;

/// What an answer says of them.
pub(super) fn histories_of(known: &ArchivedWalResponse) -> Histories {
    let known = known.histories.iter();
    known.map(|it| (it.timeline, it.digest)).collect()
}

struct Entry<T> {
    what: What,
    tag: T,
}

enum What {
    Part(StoredWal),
    History(StoredHistory),
}

impl Vault {
    pub(super) fn new(
        repository: Arc<Repository>,
        store: SharedStore,
        authority: Arc<GrantAuthority>,
    ) -> Self {
        Self {
            repository,
            store,
            authority,
            codecs: Arc::default(),
        }
    }

    pub(super) fn authority(&self) -> &GrantAuthority {
        &self.authority
    }

    /// Digests of nothing so far.
    pub(super) fn digester(&self) -> WalDigester {
        WalDigester::new(self.repository.key())
    }

    /// The digest of a whole file.
    pub(super) fn digest_of(&self, content: &[u8]) -> ObjectId {
        let mut digester = self.digester();
        digester.update(content);
        digester.digest()
    }

    /// Seals and stores; gives the object and its size, and what `digest` makes of
    /// the plaintext meanwhile.
    async fn put<D: Send + 'static>(
        &self,
        place: WalPlace,
        level: i32,
        plaintext: Bytes,
        digest: impl FnOnce(&[u8]) -> D + Send + 'static,
    ) -> Result<(ObjectName, Body, D), WalError> {
        let this = self.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let sealed = this.seal(place, level, &plaintext)?;
            Ok::<_, FormatError>((sealed, digest(&plaintext)))
        });
        let ((name, body), digest) = sealed.await.map_err(|error| {
            if error.is_panic() {
                WalError::Panicked
            } else {
                WalError::Cancelled
            }
        })??;
        self.store.put(name, body.clone()).await?;
        Ok((name, body, digest))
    }

    fn seal(
        &self,
        place: WalPlace,
        level: i32,
        plaintext: &[u8],
    ) -> Result<(ObjectName, Body), FormatError> {
        let codec = self.codecs.lock().pop();
        let mut codec = codec.map_or_else(WalCodec::new, Ok)?;
        let sealed = codec.seal(self.repository.key(), place, level, plaintext);
        self.codecs.lock().push(codec);
        let (name, sealed) = sealed?;
        let body = Body::hashed(vec![Bytes::from(sealed)], name.id);
        Ok((ObjectName::Wal(name), body))
    }
}

impl<T: Send + 'static> Archive<T> {
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            vault,
            uploads: FuturesOrdered::new(),
            stored: VecDeque::new(),
            entering: None,
            hurry: false,
            figures: WalOutcome::default(),
        }
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether a history file is to be given: it is new, or another than the one
    /// that is known, which whoever enters it will say.
    pub(super) fn wants_history(
        &self,
        known: &mut Histories,
        timeline: TimelineId,
        content: &[u8],
    ) -> bool {
        let digest = self.vault.digest_of(content);
        match known.insert(timeline, Some(digest)) {
            None => true,
            Some(before) => before.is_some_and(|before| before != digest),
        }
    }

    /// What is neither stored nor given up.
    pub(super) fn under_way(&self) -> usize {
        self.uploads.len()
    }

    /// Everything that was given is entered.
    pub(super) fn is_idle(&self) -> bool {
        self.uploads.is_empty() && self.stored.is_empty() && self.entering.is_none()
    }

    /// Gives a part of a cluster's log.
    pub(super) fn store(
        &mut self,
        system: SystemId,
        timeline: TimelineId,
        cut: Cut,
        summary: Summary,
        tag: T,
    ) {
        let vault = self.vault.clone();
        let level = if self.hurry { HURRIED } else { LEVEL };
        let (start, end) = (cut.start, cut.end());
        let place = WalPlace {
            system,
            timeline,
            part: WalPart::Range { start, end },
        };
        let upload = async move {
            let plaintext = cut.bytes.clone();
            let (object, body, digests) = vault
                .put(place, level, plaintext, move |_| cut.digests())
                .await?;
            let part = StoredWal {
                system,
                timeline,
                start,
                end,
                id: object.id().unwrap_or(body.sha256),
                length: body.length,
                commits: summary.commits,
                restore_points: summary.restore_points,
                digests,
            };
            let what = What::Part(part);
            Ok(Entry { what, tag })
        };
        self.uploads
            .push_back(upload.instrument(tracing::debug_span!("part")).boxed());
    }

    /// Gives a timeline's history file.
    pub(super) fn store_history(
        &mut self,
        system: SystemId,
        timeline: TimelineId,
        content: Bytes,
        legs: Vec<Leg>,
        tag: T,
    ) {
        let vault = self.vault.clone();
        let place = WalPlace {
            system,
            timeline,
            part: WalPart::History,
        };
        let upload = async move {
            let of = vault.clone();
            let digest = move |content: &[u8]| of.digest_of(content);
            let (object, body, digest) = vault.put(place, LEVEL, content, digest).await?;
            let what = What::History(StoredHistory {
                system,
                timeline,
                id: object.id().unwrap_or(body.sha256),
                length: body.length,
                legs,
                digest: Some(digest),
            });
            Ok(Entry { what, tag })
        };
        self.uploads
            .push_back(upload.instrument(tracing::debug_span!("history")).boxed());
    }

    /// Nothing is being entered, so that the next may be.
    pub(super) fn may_enter(&self) -> bool {
        self.entering.is_none()
    }

    /// What is stored and waits to be entered.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.stored.iter().map(|entry| &entry.tag)
    }

    /// Waits for the next thing to happen; never while there is nothing to
    /// wait for. Cancel-safe: what is given up goes on the next time.
    pub(super) async fn advance(&mut self) -> Result<Progress<T>, WalError> {
        let entering = async {
            match &mut self.entering {
                Some(entering) => entering.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            entered = entering => {
                self.entering = None;
                Ok(Progress::Entered(entered?))
            }
            Some(upload) = self.uploads.next(), if self.stored.len() < MAX_STORED => {
                self.stored.push_back(upload?);
                Ok(Progress::Stored)
            }
            else => std::future::pending().await,
        }
    }

    /// Enters what is stored, and how far the log is then known.
    pub(super) fn enter(&mut self, position: Option<WalPosition>) {
        let mut record = WalRecord {
            position,
            ..WalRecord::default()
        };
        let mut tags = Vec::with_capacity(self.stored.len());
        for Entry { what, tag } in self.stored.drain(..) {
            match what {
                What::Part(part) => {
                    self.figures.objects += 1;
                    self.figures.bytes += part.end.0 - part.start.0;
                    self.figures.bytes_stored += part.length;
                    record.stored.push(part);
                }
                What::History(history) => record.histories.push(history),
            }
            tags.push(tag);
        }
        let vault = self.vault.clone();
        let entering = async move {
            vault.authority.record_wal(record).await?;
            Ok(tags)
        };
        self.entering = Some(entering.boxed());
    }
}
