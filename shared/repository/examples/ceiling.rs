//! What the machine's cores can do with a stream at most: its chunks cut,
//! hashed, compressed and sealed, and what comes of them hashed, on all cores
//! at once. Nothing is read, joined, queued or stored.
//!
//! `tests/bench/peers --stream` holds a backup of the same stream against it.
//!
//! ```text
//! cargo run --release --example ceiling -- PATTERN BYTES LEVEL
//! ```
//!
//! The stream is the file PATTERN over and over, with a number at the start of
//! each 4 KiB so that no two chunks are the same.

use std::{
    error::Error,
    fs,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use strongroom_repository::{
    format::{
        FormatError,
        blob::BlobKind,
        blob_codec::{BlobCodec, blob_id},
        crypto::MasterKey,
    },
    write::chunker::{Chunker, Gear},
};

/// Bytes between two numbers.
const STAMP_EVERY: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pattern, bytes, level] = &arguments[..] else {
        return Err("usage: ceiling PATTERN BYTES LEVEL".into());
    };
    let (bytes, level) = (bytes.parse()?, level.parse()?);
    let pattern = fs::read(pattern)?;
    let next = AtomicU64::new(0);
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| scope.spawn(|| work(pattern.clone(), &next, bytes, level)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a worker panicked"))
    })?;
    Ok(())
}

/// Takes one pattern's length of the stream after the other.
fn work(mut block: Vec<u8>, next: &AtomicU64, bytes: u64, level: i32) -> Result<(), FormatError> {
    let key = MasterKey::from_bytes(&[7; 64]);
    let gear = Gear::derive(&key.chunker_secret());
    let mut codec = BlobCodec::new(level)?;
    let mut sealed = Vec::new();
    let length = block.len() as u64;
    loop {
        let number = next.fetch_add(1, Relaxed);
        let Some(left) = bytes.checked_sub(number * length).filter(|left| *left > 0) else {
            return Ok(());
        };
        stamp(&mut block, number);
        let mut rest = &block[..left.min(length) as usize];
        let mut chunker = Chunker::new(&gear);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunker.cut(rest).unwrap_or(rest.len()));
            black_box(blob_id(chunk));
            sealed.clear();
            codec.seal(&key, BlobKind::Data, chunk, &mut sealed)?;
            black_box(blob_id(&sealed));
            rest = after;
        }
    }
}

fn stamp(block: &mut [u8], number: u64) {
    let per_block = block.len().div_ceil(STAMP_EVERY) as u64;
    for (page, count) in block.chunks_mut(STAMP_EVERY).zip(number * per_block..) {
        let stamp = count.to_be_bytes();
        let length = stamp.len().min(page.len());
        page[..length].copy_from_slice(&stamp[..length]);
    }
}
