//! Which claims of an index file are true.
//!
//! Whoever may write to `index/` may say that any blob lies anywhere, and a
//! backup that believed it would never store that blob. So a blob counts as
//! stored only if the pack that is to hold it says so itself: its header must
//! list exactly what the index does. That is one small read per pack, and each
//! index file is looked at once, for what was found is remembered ([`proven`]).

pub(super) mod proven;

use futures::{StreamExt, stream};
use strongroom_layout::ObjectId;

use crate::{
    Repository,
    format::{
        FormatError,
        index::IndexPack,
        pack::{self, PackEntry, PackHeader},
    },
    store::{ByteRange, StoreError, StoreErrorKind},
};

/// Headers that are fetched at once.
const AT_ONCE: usize = 32;

/// A pack of which an index file says what cannot be confirmed.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) pack: ObjectId,
    pub(super) cause: String,
    /// It will be no better next time.
    pub(super) is_final: bool,
    /// The pack is not there, or shorter than what is to be in it.
    pub(super) is_gone: bool,
}

/// Those of the packs whose headers do not say the same as their index. Fails when
/// the store does.
pub(super) async fn doubts(
    repository: &Repository,
    packs: impl IntoIterator<Item = &IndexPack>,
) -> Result<Vec<Doubt>, StoreError> {
    // Who lists no blobs claims nothing.
    let packs = packs.into_iter().filter(|pack| !pack.blobs.is_empty());
    let mut checks = stream::iter(packs)
        .map(|pack| check(repository, pack))
        .buffer_unordered(AT_ONCE);
    let mut doubts = Vec::new();
    while let Some(doubt) = checks.next().await {
        doubts.extend(doubt?);
    }
    Ok(doubts)
}

async fn check(repository: &Repository, pack: &IndexPack) -> Result<Option<Doubt>, StoreError> {
    let doubt = |cause: String, is_final| {
        let pack = pack.id;
        Ok(Some(Doubt {
            pack,
            cause,
            is_final,
            is_gone: false,
        }))
    };
    let mut claimed: Vec<PackEntry> = pack.blobs.iter().map(|blob| (*blob).into()).collect();
    claimed.sort_unstable_by_key(|entry| entry.offset);
    let Some(range) = pack::header_range(&claimed) else {
        return doubt("the blobs that it lists make no pack".into(), true);
    };
    let bytes = ByteRange::new(range.start, range.end - range.start);
    let tail = match repository.store().get(pack.name(), bytes).await {
        Ok(tail) => tail,
        Err(error) => {
            return match &error.kind {
                StoreErrorKind::NotFound | StoreErrorKind::Truncated { .. } => Ok(Some(Doubt {
                    pack: pack.id,
                    cause: error.kind.to_string(),
                    is_final: true,
                    is_gone: true,
                })),
                // No header lies there, or so the coordinator thinks.
                _ if error.is_unreadable() => doubt(error.kind.to_string(), false),
                _ => Err(error),
            };
        }
    };
    match header(repository, &tail, range.end) {
        Ok(header) if header.entries == claimed => Ok(None),
        Ok(_) => doubt("its header lists other blobs".into(), true),
        Err(error) => doubt(error.to_string(), true),
    }
}

fn header(
    repository: &Repository,
    tail: &[u8],
    pack_length: u64,
) -> Result<PackHeader, FormatError> {
    PackHeader::open(repository.key(), tail, pack_length)
}
