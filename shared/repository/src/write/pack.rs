//! A pack while it is filled, hashed as it grows.

use bytes::Bytes;
use strongroom_layout::{ObjectId, ObjectKind};

use super::plan::MAX_PACK_BLOBS;
use crate::{
    format::{
        FormatError,
        blob::{BlobId, BlobKind},
        blob_codec::SealedBlob,
        crypto::MasterKey,
        pack::{PackEntry, PackHeader},
        sha256::Sha256,
    },
    store::Body,
};

/// Room that a buffer needs behind the blobs, in bytes: the header.
pub(super) const HEADER_ROOM: usize = MAX_PACK_BLOBS * 41 + 64;

/// Blobs of one kind, back to back.
pub(super) struct OpenPack {
    buffer: Vec<u8>,
    hasher: Sha256,
    header: PackHeader,
}

/// A pack ready for upload.
#[derive(Debug)]
pub(super) struct FinishedPack {
    pub(super) kind: BlobKind,
    pub(super) id: ObjectId,
    pub(super) bytes: Bytes,
    pub(super) entries: Vec<PackEntry>,
}

impl OpenPack {
    /// Into an empty buffer.
    pub(super) fn new(buffer: Vec<u8>) -> Self {
        Self {
            buffer,
            hasher: Sha256::default(),
            header: PackHeader::default(),
        }
    }

    /// Whether `length` more bytes keep the pack within `limit`; an empty pack
    /// takes anything.
    pub(super) fn has_room(&self, length: usize, limit: usize) -> bool {
        self.header.entries.is_empty()
            || (self.buffer.len() + length <= limit && self.header.entries.len() < MAX_PACK_BLOBS)
    }

    /// Appends a blob.
    pub(super) fn push(
        &mut self,
        kind: BlobKind,
        id: BlobId,
        sealed: &[u8],
        form: SealedBlob,
    ) -> Result<(), FormatError> {
        let offset = u32::try_from(self.buffer.len())
            .map_err(|_| FormatError::invalid("pack", "it is longer than 4 GiB"))?;
        self.header.entries.push(PackEntry {
            id,
            kind,
            offset,
            length: form.length,
            uncompressed_length: form.uncompressed_length,
        });
        self.hasher.update(sealed);
        self.buffer.extend_from_slice(sealed);
        Ok(())
    }

    /// Appends the header and names the pack; `None` when it is empty.
    pub(super) fn finish(
        mut self,
        kind: BlobKind,
        key: &MasterKey,
    ) -> Result<FinishedPack, FormatError> {
        let tail = self.header.seal(key)?;
        self.hasher.update(&tail);
        self.buffer.extend_from_slice(&tail);
        Ok(FinishedPack {
            kind,
            id: self.hasher.finish(),
            bytes: self.buffer.into(),
            entries: self.header.entries,
        })
    }
}

impl FinishedPack {
    pub(super) fn object_kind(&self) -> ObjectKind {
        match self.kind {
            BlobKind::Data => ObjectKind::DataPack,
            BlobKind::Tree => ObjectKind::TreePack,
        }
    }

    /// For upload; shares the bytes.
    pub(super) fn body(&self) -> Body {
        Body::hashed(vec![self.bytes.clone()], self.id)
    }
}
