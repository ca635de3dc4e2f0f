//! Blobs on their way in and out of packs: compressed when that helps, and
//! sealed.
//!
//! Source: restic `doc/design.rst`, "Pack Format". Empty blobs are never
//! compressed (their plaintext length, 0, would read as "not compressed"),
//! trees always.

use std::{fmt, io::Cursor};

use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{compress_bound, get_frame_content_size},
};

use super::{
    FormatError,
    blob::{BlobId, BlobKind},
    crypto::{ENVELOPE_OVERHEAD, IV_LENGTH, MasterKey},
    sha256::sha256,
};

/// A blob is kept raw when compression saves less than this share of it.
const LEAST_SAVING_PERCENT: usize = 3;

/// The most bytes that one of zstd's can stand for: a block of 128 KiB that
/// repeats a single byte takes four (RFC 8878, 3.1.1.2).
pub(crate) const MOST_PER_BYTE: u64 = (128 << 10) / 4;

/// How a blob was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBlob {
    /// Bytes of its envelope.
    pub length: u32,
    /// Bytes of its plaintext when it was compressed.
    pub uncompressed_length: Option<u32>,
}

/// Seals and opens blobs; holds zstd contexts, so keep one per thread.
pub struct BlobCodec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    level: i32,
    scratch: Vec<u8>,
}

impl fmt::Debug for BlobCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobCodec")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// The id of a blob: the SHA-256 of its plaintext.
pub fn blob_id(plaintext: &[u8]) -> BlobId {
    sha256(plaintext)
}

impl BlobCodec {
    /// Compresses at zstd's `level`, 1 to 22.
    pub fn new(level: i32) -> Result<Self, FormatError> {
        Ok(Self {
            compressor: Compressor::new(level).map_err(zstd_error("compress"))?,
            decompressor: Decompressor::new().map_err(zstd_error("decompress"))?,
            level,
            scratch: Vec::new(),
        })
    }

    /// Changes the level for the blobs that follow.
    pub fn set_level(&mut self, level: i32) -> Result<(), FormatError> {
        if level != self.level {
            self.compressor
                .set_compression_level(level)
                .map_err(zstd_error("compress"))?;
            self.level = level;
        }
        Ok(())
    }

    /// Appends the stored form of a blob to `out`.
    pub fn seal(
        &mut self,
        key: &MasterKey,
        kind: BlobKind,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<SealedBlob, FormatError> {
        let plain_length = u32::try_from(plaintext.len())
            .map_err(|_| FormatError::invalid("blob", "it is longer than 4 GiB"))?;
        let start = out.len();
        let compressed = self.compress(kind, plaintext, out)?;
        if compressed {
            key.seal_tail(out, start)?;
        } else {
            out.truncate(start);
            key.seal_into(out, plaintext)?;
        }
        Ok(SealedBlob {
            length: u32::try_from(out.len() - start)
                .map_err(|_| FormatError::invalid("blob", "it is longer than 4 GiB"))?,
            uncompressed_length: compressed.then_some(plain_length),
        })
    }

    /// Appends room for an IV and the compressed bytes; `false` when they
    /// should be stored raw.
    fn compress(
        &mut self,
        kind: BlobKind,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, FormatError> {
        if plaintext.is_empty() {
            return Ok(false);
        }
        let start = out.len();
        out.reserve(compress_bound(plaintext.len()) + ENVELOPE_OVERHEAD);
        out.extend_from_slice(&[0; IV_LENGTH]);
        let mut place = Cursor::new(&mut *out);
        place.set_position((start + IV_LENGTH) as u64);
        let length = self
            .compressor
            .compress_to_buffer(plaintext, &mut place)
            .map_err(zstd_error("compress"))?;
        let enough = plaintext.len() - plaintext.len() * LEAST_SAVING_PERCENT / 100;
        Ok(kind == BlobKind::Tree || length < enough)
    }

    /// Opens the stored form of the blob `id`, verifies it, and appends its
    /// plaintext to `out`; on an error `out` is as it was.
    pub fn open(
        &mut self,
        key: &MasterKey,
        id: &BlobId,
        sealed: &[u8],
        uncompressed_length: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let start = out.len();
        match self.open_unnamed(key, sealed, uncompressed_length, out)? {
            got if got == *id => Ok(()),
            got => {
                out.truncate(start);
                Err(FormatError::WrongHash { expected: *id, got })
            }
        }
    }

    /// Opens the stored form of a blob whose id the caller compares, because
    /// it knows only a part of it; appends its plaintext to `out` and returns
    /// its id. On an error `out` is as it was.
    pub fn open_unnamed(
        &mut self,
        key: &MasterKey,
        sealed: &[u8],
        uncompressed_length: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<BlobId, FormatError> {
        let start = out.len();
        self.open_unverified(key, sealed, uncompressed_length, out)
            .map(|()| blob_id(&out[start..]))
            .inspect_err(|_| out.truncate(start))
    }

    fn open_unverified(
        &mut self,
        key: &MasterKey,
        sealed: &[u8],
        uncompressed_length: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let Some(length) = uncompressed_length else {
            return key.open_into(sealed, out);
        };
        self.scratch.clear();
        key.open_into(sealed, &mut self.scratch)?;
        decompress_exactly(&mut self.decompressor, "blob", &self.scratch, length, out)
    }
}

/// Appends exactly `length` decompressed bytes. Never takes more memory than
/// that, whatever the frame unpacks to.
pub(super) fn decompress_exactly(
    decompressor: &mut Decompressor<'static>,
    what: &'static str,
    compressed: &[u8],
    length: u32,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let wrong = |got: u64| {
        FormatError::invalid(
            what,
            format!("it unpacks to {got} bytes where {length} were stated"),
        )
    };
    if let Ok(Some(stated)) = get_frame_content_size(compressed)
        && stated != u64::from(length)
    {
        return Err(wrong(stated));
    }
    // The room is taken before anything is unpacked, so what cannot be is not
    // believed.
    if u64::from(length) > compressed.len() as u64 * MOST_PER_BYTE {
        let problem = format!("{} bytes cannot unpack to {length}", compressed.len());
        return Err(FormatError::invalid(what, problem));
    }
    let start = out.len();
    out.reserve(length as usize);
    let mut place = Cursor::new(&mut *out);
    place.set_position(start as u64);
    let got = decompressor
        .decompress_to_buffer(compressed, &mut place)
        .map_err(|source| FormatError::Zstd {
            operation: "decompress",
            what,
            source,
        })?;
    if got == length as usize {
        Ok(())
    } else {
        Err(wrong(got as u64))
    }
}

fn zstd_error(operation: &'static str) -> impl FnOnce(std::io::Error) -> FormatError {
    move |source| FormatError::Zstd {
        operation,
        what: "blob",
        source,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_bytes(&[7; 64])
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_length_that_cannot_be_takes_no_memory() {
        let mut codec = BlobCodec::new(3).unwrap();
        // A frame that does not say how long it is: only the index does.
        let frame = zstd::stream::encode_all(&b"x"[..], 3).unwrap();
        assert_eq!(get_frame_content_size(&frame).unwrap(), None);
        let sealed = key().seal(&frame).unwrap();
        let mut out = Vec::new();
        let error = codec
            .open_unnamed(&key(), &sealed, Some(u32::MAX), &mut out)
            .unwrap_err();
        assert!(error.to_string().contains("cannot unpack"), "{error}");
        assert_eq!(out.capacity(), 0);
        // What repeats itself as often as zstd can say is no lie.
        let zeros = vec![0; 10 << 20];
        let frame = zstd::bulk::compress(&zeros, 19).unwrap();
        let sealed = key().seal(&frame).unwrap();
        let length = Some(zeros.len() as u32);
        codec
            .open_unnamed(&key(), &sealed, length, &mut out)
            .unwrap();
        assert_eq!(out.len(), zeros.len());
    }

    #[test]
    fn rules_of_compression() {
        let mut codec = BlobCodec::new(3).unwrap();
        let cases = [
            (BlobKind::Data, Vec::new(), false),
            (BlobKind::Tree, Vec::new(), false),
            (BlobKind::Data, noise(10_000), false),
            (BlobKind::Tree, noise(10_000), true),
            (BlobKind::Tree, b"{}".to_vec(), true),
            (BlobKind::Data, vec![1; 10_000], true),
        ];
        for (kind, plaintext, compressed) in cases {
            let mut out = b"before".to_vec();
            let blob = codec.seal(&key(), kind, &plaintext, &mut out).unwrap();
            let stated = compressed.then_some(plaintext.len() as u32);
            assert_eq!(blob.uncompressed_length, stated);
            assert_eq!(blob.length as usize, out.len() - 6);
            let mut opened = Vec::new();
            codec
                .open(&key(), &blob_id(&plaintext), &out[6..], stated, &mut opened)
                .unwrap();
            assert_eq!(opened, plaintext);
        }
    }

    #[test]
    fn a_false_length_is_refused() {
        let mut codec = BlobCodec::new(3).unwrap();
        let plaintext = vec![1; 10_000];
        let id = blob_id(&plaintext);
        let mut sealed = Vec::new();
        codec
            .seal(&key(), BlobKind::Data, &plaintext, &mut sealed)
            .unwrap();
        for length in [0, 1, 9_999, 10_001, u32::MAX] {
            let mut out = b"before".to_vec();
            let result = codec.open(&key(), &id, &sealed, Some(length), &mut out);
            assert!(matches!(result, Err(FormatError::Invalid { .. })));
            assert_eq!(out, b"before");
        }
        let result = codec.open(&key(), &id, &sealed, None, &mut Vec::new());
        assert!(matches!(result, Err(FormatError::WrongHash { .. })));
    }

    #[test]
    fn a_bomb_that_hides_its_size_is_refused() {
        use std::io::Write;
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let sealed = key().seal(&encoder.finish().unwrap()).unwrap();
        let id = blob_id(&[0; 10]);
        let mut out = Vec::new();
        BlobCodec::new(3)
            .unwrap()
            .open(&key(), &id, &sealed, Some(10), &mut out)
            .unwrap_err();
        assert!(out.capacity() < 1 << 10);
    }

    #[test]
    fn a_blob_under_another_id_is_refused() {
        let mut codec = BlobCodec::new(3).unwrap();
        let mut sealed = Vec::new();
        codec
            .seal(&key(), BlobKind::Data, b"a", &mut sealed)
            .unwrap();
        let result = codec.open(&key(), &blob_id(b"b"), &sealed, None, &mut Vec::new());
        assert!(matches!(result, Err(FormatError::WrongHash { .. })));
    }

    proptest! {
        #[test]
        fn blobs_round_trip(seed: Vec<u8>, repeat in 1..200_usize, tree: bool, level in 1..6) {
            let plaintext = seed.repeat(repeat);
            let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
            let mut codec = BlobCodec::new(1).unwrap();
            codec.set_level(level).unwrap();
            let mut sealed = Vec::new();
            let blob = codec.seal(&key(), kind, &plaintext, &mut sealed).unwrap();
            let mut out = Vec::new();
            codec.open(&key(), &blob_id(&plaintext), &sealed, blob.uncompressed_length, &mut out).unwrap();
            prop_assert_eq!(out, plaintext);
        }
    }
}
