//! A large stream: cut by the thread that reads it, its chunks saved by all.

use std::{
    io::{self, Read},
    mem,
    sync::Arc,
};

use super::{
    StreamError, Worker,
    chunker::{Chunker, MIN_CHUNK},
    halt::Halted,
    work_queue::{Chunk, Joined, Stream},
};
use crate::format::blob::{BlobId, BlobKind};

/// Read at once, in bytes. What lies behind a cut, at most this much, is
/// copied to the next chunk's buffer.
const READ: usize = 256 * 1024;
/// What a chunk's buffer begins with, in bytes.
const BUFFER: usize = 2 << 20;

/// What a stream was saved as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its chunks, in order; none for an empty stream.
    pub blobs: Vec<BlobId>,
    /// Bytes.
    pub size: u64,
}

impl<T> Worker<'_, T> {
    /// Saves what `input` gives, up to its end. Up to 512 KiB become one blob,
    /// saved by this thread; more is cut into chunks, saved by all.
    /// `progress` is told about bytes as they are read.
    pub fn save_stream(
        &mut self,
        input: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Content, StreamError> {
        let mut buffer = self.crew.buffer();
        let result = self.read_all(input, progress, &mut buffer);
        self.crew.recycle(buffer);
        result
    }

    fn read_all(
        &mut self,
        input: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
        buffer: &mut Vec<u8>,
    ) -> Result<Content, StreamError> {
        let mut content = Content::default();
        let mut filled = 0;
        // One byte more tells whether it is a large one.
        while filled <= MIN_CHUNK {
            self.shared.halt.check()?;
            match read_some(input, buffer, filled, MIN_CHUNK + 1 - filled)? {
                0 => {
                    content.size = filled as u64;
                    if filled > 0 {
                        content
                            .blobs
                            .push(self.save(BlobKind::Data, &buffer[..filled])?);
                    }
                    return Ok(content);
                }
                read => {
                    filled += read;
                    progress(read as u64);
                }
            }
        }
        self.cut(input, progress, buffer, filled)
    }

    fn cut(
        &mut self,
        input: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
        buffer: &mut Vec<u8>,
        mut filled: usize,
    ) -> Result<Content, StreamError> {
        let shared = Arc::clone(&self.shared);
        let mut chunker = Chunker::new(&shared.gear);
        let stream = Arc::new(Stream::default());
        let (mut count, mut size) = (0, filled as u64);
        loop {
            shared.halt.check()?;
            if let Some(length) = chunker.cut(&buffer[..filled]) {
                let mut next = self.crew.buffer();
                let rest = &buffer[length..filled];
                grow(&mut next, rest.len());
                next[..rest.len()].copy_from_slice(rest);
                filled = rest.len();
                self.hand_over(mem::replace(buffer, next), length, count, &stream)?;
                count += 1;
                continue;
            }
            let read = read_some(input, buffer, filled, READ)?;
            if read == 0 {
                break;
            }
            filled += read;
            size += read as u64;
            progress(read as u64);
        }
        if filled > 0 {
            let last = mem::take(buffer);
            self.hand_over(last, filled, count, &stream)?;
            count += 1;
        }
        let blobs = self.join(&stream, count)?;
        Ok(Content { blobs, size })
    }

    /// Queues a chunk; saves it here when the queue is full.
    fn hand_over(
        &mut self,
        buffer: Vec<u8>,
        length: usize,
        index: usize,
        stream: &Arc<Stream>,
    ) -> Result<(), Halted> {
        let chunk = Chunk {
            buffer,
            length,
            index,
            stream: Arc::clone(stream),
        };
        match self.crew.offer(chunk) {
            Ok(()) => Ok(()),
            Err(chunk) => self.save_chunk(chunk),
        }
    }

    fn join(&mut self, stream: &Stream, count: usize) -> Result<Vec<BlobId>, Halted> {
        loop {
            match self.crew.join(stream, count)? {
                Joined::Complete(ids) => return Ok(ids),
                Joined::Help(chunk) => self.save_chunk(chunk)?,
            }
        }
    }

    pub(super) fn save_chunk(&mut self, chunk: Chunk) -> Result<(), Halted> {
        let id = self.save(BlobKind::Data, &chunk.buffer[..chunk.length])?;
        chunk.stream.set(chunk.index, id);
        self.crew.chunk_done(chunk.buffer);
        Ok(())
    }
}

/// Reads at most `most` bytes to where `filled` ends; 0 at the end.
fn read_some(
    input: &mut dyn Read,
    buffer: &mut Vec<u8>,
    filled: usize,
    most: usize,
) -> io::Result<usize> {
    grow(buffer, filled + most);
    loop {
        match input.read(&mut buffer[filled..filled + most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Buffers keep their length, so that each byte is zeroed once and not once a
/// chunk.
fn grow(buffer: &mut Vec<u8>, length: usize) {
    if buffer.len() < length {
        let target = length.max(BUFFER).max(buffer.len().saturating_mul(3) / 2);
        buffer.resize(target, 0);
    }
}
