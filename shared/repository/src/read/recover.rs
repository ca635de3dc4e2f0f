//! What packs say of themselves: the way to blobs whose index file is lost.

use std::sync::Arc;

use futures::{StreamExt, stream};
use strongroom_layout::{Directory, ObjectName};

use super::{Damage, IndexBuilder, ReadError};
use crate::{
    Repository,
    format::{
        index::{IndexFile, IndexPack},
        pack::{PackHeader, TRAILER_LENGTH},
    },
    store::{ByteRange, Listed},
};

/// Headers that are fetched at once.
const AT_ONCE: usize = 16;

/// Bytes of a pack's end that are fetched at first: the header of some 400
/// blobs, more than most packs have.
const FIRST: u64 = 16 << 10;

/// Adds to `builder` what the packs that it does not name say of themselves.
/// One whose header cannot be had is a problem, and so is a store that does not
/// list its packs.
pub(super) async fn add_unnamed(
    repository: &Arc<Repository>,
    builder: &mut IndexBuilder,
    problems: &mut Vec<ReadError>,
) -> Result<(), ReadError> {
    let listed = match repository.store().list(Directory::Data).await {
        Ok(listed) => listed,
        Err(error) if error.is_retryable() => return Err(error.into()),
        Err(error) => {
            problems.push(error.into());
            return Ok(());
        }
    };
    let unnamed: Vec<Listed> = listed
        .into_iter()
        .filter(|pack| !builder.names(&pack.id))
        .collect();
    let mut headers = stream::iter(unnamed)
        .map(|pack| async move { (pack, header(repository, pack).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((pack, header)) = headers.next().await {
        match header {
            Ok(header) => {
                let blobs = header.entries.into_iter().map(Into::into).collect();
                let packs = vec![IndexPack { id: pack.id, blobs }];
                let index = IndexFile { packs };
                match index.check() {
                    Ok(()) => builder.add(&index)?,
                    Err(error) => {
                        let name = ObjectName::data_pack(pack.id);
                        problems.push(ReadError::damaged(name, Damage::Format(error)));
                    }
                }
            }
            Err(error) if error.is_of_one_place() => problems.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The header of a pack whose size is known.
async fn header(repository: &Repository, pack: Listed) -> Result<PackHeader, ReadError> {
    let mut name = ObjectName::data_pack(pack.id);
    let mut tail = fetch_tail(repository, name, pack.size, FIRST).await;
    if matches!(&tail, Err(ReadError::Store(error)) if error.is_unreadable()) {
        // Jobs that read trees alone must call them so.
        name = ObjectName::tree_pack(pack.id);
        tail = fetch_tail(repository, name, pack.size, FIRST).await;
    }
    let tail = tail?;
    let damaged = |error| ReadError::damaged(name, Damage::Format(error));
    let Some(trailer) = tail.last_chunk::<TRAILER_LENGTH>() else {
        let damage = Damage::Truncated {
            got: tail.len() as u64,
            expected: TRAILER_LENGTH as u64,
        };
        return Err(ReadError::damaged(name, damage));
    };
    let length = PackHeader::tail_length(*trailer, pack.size).map_err(damaged)?;
    let tail = match u64::from(length) {
        length if length <= tail.len() as u64 => tail,
        length => fetch_tail(repository, name, pack.size, length).await?,
    };
    PackHeader::open(repository.key(), &tail, pack.size).map_err(damaged)
}

/// The last `length` bytes of a pack, or all of it.
async fn fetch_tail(
    repository: &Repository,
    name: ObjectName,
    size: u64,
    length: u64,
) -> Result<bytes::Bytes, ReadError> {
    let length = length.min(size);
    let Some(range) = ByteRange::new(size - length, length) else {
        return Ok(bytes::Bytes::new());
    };
    let got = repository.store().get(name, Some(range)).await;
    got.map_err(|error| ReadError::from_get(name, error))
}
