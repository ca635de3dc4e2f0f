//! Seals parts of a log, stores them, and enters them into the catalog.
//!
//! Several at once, but entered in the order in which they were given: what is
//! entered has no hole behind it, unless the log itself has one. A part counts
//! as archived when it is entered.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use parking_lot::Mutex;
use strongroom_layout::{ObjectName, SystemId, WalPart, position::TimelineId};
use strongroom_repository::{
    Repository,
    format::{
        FormatError,
        wal::{WalCodec, WalPlace},
    },
    store::{Body, SharedStore, StoreError},
};
use strongroom_wire::{
    job::{Leg, WalResult},
    wal::{MAX_STORED, StoredHistory, StoredWal, WalPosition},
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
    pub(super) figures: WalResult,
}

/// What happened.
pub(super) enum Progress<T> {
    /// Something more is in the store: to be entered as soon as may be.
    Stored,
    /// This was entered, in this order.
    Entered(Vec<T>),
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

    /// Seals and stores; gives the object and its size.
    async fn put(
        &self,
        place: WalPlace,
        level: i32,
        plaintext: Bytes,
    ) -> Result<(ObjectName, Body), WalError> {
        let this = self.clone();
        let sealed = tokio::task::spawn_blocking(move || this.seal(place, level, &plaintext));
        let (name, body) = sealed.await.map_err(|_| WalError::Cancelled)??;
        self.store.put(name, body.clone()).await?;
        Ok((name, body))
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
            figures: WalResult::default(),
        }
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
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
            let (object, body) = vault.put(place, level, cut.bytes).await?;
            let part = StoredWal {
                system,
                timeline,
                start,
                end,
                id: object.id().unwrap_or(body.sha256),
                length: body.length,
                commits: summary.commits,
                restore_points: summary.restore_points,
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
            let (object, body) = vault.put(place, LEVEL, content).await?;
            let what = What::History(StoredHistory {
                system,
                timeline,
                id: object.id().unwrap_or(body.sha256),
                length: body.length,
                legs,
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
