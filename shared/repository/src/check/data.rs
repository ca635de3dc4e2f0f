//! Reads every pack and verifies all that is in it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{CheckOptions, CheckProgress, CheckReport, structure::IndexedPack};
use crate::{
    format::{
        FormatError,
        blob_codec::{BlobCodec, blob_id},
        pack::{PackEntry, PackHeader},
    },
    read::{Damage, ReadError, Reader},
};

/// Packs that are read at once unless told otherwise.
const AT_ONCE: usize = 2;

pub(super) async fn check(
    reader: &Arc<Reader>,
    packs: Vec<IndexedPack>,
    options: CheckOptions,
    progress: &Arc<CheckProgress>,
    report: &mut CheckReport,
) -> Result<(), ReadError> {
    let at_once = match options.at_once {
        0 => AT_ONCE,
        count => count,
    };
    let mut checks = stream::iter(packs)
        .map(|pack| check_pack(reader.clone(), pack, progress.clone()))
        .buffer_unordered(at_once);
    while let Some(checked) = checks.next().await {
        let (pack, problems) = checked?;
        report.bytes_read += pack.size;
        for what in problems {
            report.add(pack.name.path(), what);
        }
    }
    Ok(())
}

/// Reads a pack and says what is wrong with it.
async fn check_pack(
    reader: Arc<Reader>,
    pack: IndexedPack,
    progress: Arc<CheckProgress>,
) -> Result<(IndexedPack, Vec<String>), ReadError> {
    let bytes = match reader.repository().store().get(pack.name, None).await {
        Ok(bytes) => bytes,
        Err(error) => match ReadError::from_get(pack.name, error) {
            ReadError::Damaged { damage, .. } => return Ok((pack, vec![damage.to_string()])),
            error => return Err(error),
        },
    };
    progress.bytes.fetch_add(bytes.len() as u64, Relaxed);
    tokio::task::spawn_blocking(move || {
        let problems = reader.with_codec(|codec| Ok(problems(&reader, codec, &pack, &bytes)))?;
        Ok((pack, problems))
    })
    .await?
}

fn problems(
    reader: &Reader,
    codec: &mut BlobCodec,
    pack: &IndexedPack,
    bytes: &Bytes,
) -> Vec<String> {
    let mut problems = Vec::new();
    let got = blob_id(bytes);
    if Some(got) != pack.name.id() {
        problems.push(Damage::WrongHash { got }.to_string());
    }
    let key = reader.repository().key();
    match PackHeader::open(key, bytes, bytes.len() as u64) {
        Ok(header) => {
            compare(reader, pack, &header, &mut problems);
            for entry in &header.entries {
                if let Err(error) = open(reader, codec, entry, bytes) {
                    let PackEntry { id, offset, .. } = entry;
                    problems.push(format!("blob {id} at byte {offset}: {error}"));
                }
            }
        }
        Err(error) => problems.push(error.to_string()),
    }
    problems
}

/// The header must say what the index says.
fn compare(reader: &Reader, pack: &IndexedPack, header: &PackHeader, problems: &mut Vec<String>) {
    let index = reader.index();
    let mut entries = header.entries.clone();
    entries.sort_by_key(|entry| entry.offset);
    let same = entries.len() == pack.blobs.len()
        && entries.iter().zip(&pack.blobs).all(|(entry, blob)| {
            let location = index.location(*blob);
            index.is_id(*blob, &entry.id)
                && index.kind(*blob) == entry.kind
                && location.offset == entry.offset
                && location.length == entry.length
                && location.uncompressed_length == entry.uncompressed_length
        });
    if !same {
        problems.push("its header and the index list different blobs".into());
    }
}

fn open(
    reader: &Reader,
    codec: &mut BlobCodec,
    entry: &PackEntry,
    bytes: &Bytes,
) -> Result<(), FormatError> {
    let start = entry.offset as usize;
    // The header's blobs fill what lies before it, as its codec has checked.
    let sealed = &bytes[start..start + entry.length as usize];
    let mut plaintext = Vec::new();
    let key = reader.repository().key();
    codec.open(
        key,
        &entry.id,
        sealed,
        entry.uncompressed_length,
        &mut plaintext,
    )
}
