//! Whether two files hold the same bytes.

use std::{
    fs::File,
    io,
    os::{fd::BorrowedFd, unix::fs::FileExt},
};

use rustix::{
    fs::{self, Mode, OFlags, SeekFrom},
    io::Errno,
};

/// Bytes read at a time, per side.
const BUFFER: usize = 256 * 1024;

/// Two buffers, reused from file to file.
pub(crate) struct Buffers {
    source: Vec<u8>,
    restored: Vec<u8>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            source: vec![0; BUFFER],
            restored: vec![0; BUFFER],
        }
    }
}

/// Opens a file for reading; never follows a symlink, never waits for a fifo.
pub(crate) fn open(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(fs::openat(directory, name, flags, Mode::empty())?.into())
}

/// The offset of the first byte at which two files of `size` bytes differ.
/// What is a hole in both is not read.
pub(crate) fn first_difference(
    source: &File,
    restored: &File,
    size: u64,
    buffers: &mut Buffers,
) -> io::Result<Option<u64>> {
    let mut offset = 0;
    let (mut source_data, mut restored_data) = (0, 0);
    while offset < size {
        // Ask again only once the last answer is behind us: a file without
        // holes costs one call.
        if offset >= source_data {
            source_data = next_data(source, offset, size)?;
        }
        if offset >= restored_data {
            restored_data = next_data(restored, offset, size)?;
        }
        let data = source_data.min(restored_data);
        if data > offset {
            offset = data;
            continue;
        }
        let length = usize::try_from(size - offset).map_or(BUFFER, |rest| rest.min(BUFFER));
        let was = read(source, offset, &mut buffers.source[..length])?;
        let is = read(restored, offset, &mut buffers.restored[..length])?;
        let (was, is) = (&buffers.source[..was], &buffers.restored[..is]);
        if was != is {
            let equal = was.iter().zip(is).take_while(|(was, is)| was == is).count();
            return Ok(Some(offset + equal as u64));
        }
        if was.len() < length {
            // Both shrank alike while being read.
            return Ok(None);
        }
        offset += length as u64;
    }
    Ok(None)
}

/// Where the next data at or behind `offset` begins; `size` when there is
/// none, `offset` where the file system cannot say.
fn next_data(file: &File, offset: u64, size: u64) -> io::Result<u64> {
    match fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(data),
        Err(Errno::NXIO) => Ok(size),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(offset),
        Err(error) => Err(error.into()),
    }
}

/// Fills the buffer as far as the file goes.
fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
