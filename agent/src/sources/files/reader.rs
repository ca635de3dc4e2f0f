//! Reads a file without reading its holes, at the source's pace, and no further
//! than it reached when it was opened: a file may grow faster than it is read.

use std::{
    io::{self, Read},
    os::fd::BorrowedFd,
};

use rustix::{
    fs::{Advice, SeekFrom, Stat, fadvise, seek},
    io::{Errno, pread},
};

use super::metadata::size;
use crate::{sources::throttle::Pace, zeros::LongRun};

/// Files larger than this are announced as read from front to back, in bytes.
const SEQUENTIAL: u64 = 4 << 20;

/// A regular file from its first byte to the size that it had; holes read as
/// zeros.
pub(super) struct FileReader<'a> {
    file: BorrowedFd<'a>,
    pace: &'a Pace,
    position: u64,
    /// Up to here there is data.
    data_until: u64,
    /// And then, up to here, a hole.
    hole_until: u64,
    /// The file may have holes: fewer blocks are its than it is long.
    sparse: bool,
    /// All of it lay on the disk when it was opened.
    allocated: bool,
    /// If so: the zeros in it.
    zeros: LongRun,
    size: u64,
    longer: bool,
}

impl<'a> FileReader<'a> {
    /// From what `stat` says of it.
    pub(super) fn new(file: BorrowedFd<'a>, stat: &Stat, pace: &'a Pace) -> Self {
        let size = size(stat);
        if size > SEQUENTIAL {
            // A hint; it does not matter when it is not taken.
            let _ = fadvise(file, 0, None, Advice::Sequential);
        }
        let sparse = (stat.st_blocks as u64).saturating_mul(512) < size;
        Self {
            file,
            pace,
            position: 0,
            data_until: 0,
            hole_until: 0,
            sparse,
            allocated: !sparse,
            zeros: LongRun::default(),
            size,
            longer: false,
        }
    }

    /// When all is read: whether more lies behind, which was not read.
    pub(super) fn is_longer(&self) -> bool {
        self.longer
    }

    /// When all is read: whether there are long runs of zeros, and all of the file
    /// lies on the disk: they are no holes.
    pub(super) fn has_allocated_zeros(&self) -> bool {
        self.zeros.found()
    }

    /// Finds out what lies at the position.
    fn locate(&mut self) -> io::Result<()> {
        let known = self.data_until.max(self.hole_until);
        if !self.sparse || self.position < known || self.position >= self.size {
            return Ok(());
        }
        match seek(self.file, SeekFrom::Data(self.position)) {
            Ok(data) if data > self.position => self.hole_until = data.min(self.size),
            Ok(_) => {
                let hole = seek(self.file, SeekFrom::Hole(self.position))?;
                self.data_until = hole.max(self.position + 1);
            }
            // No more data.
            Err(Errno::NXIO) => self.hole_until = self.size,
            // This file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.sparse = false,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.position >= self.size {
            // A look instead of the file's size: some file systems do not know it.
            self.longer = pread(self.file, &mut [0], self.position)? > 0;
            return Ok(0);
        }
        self.locate()?;
        let room = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let most = out.len().min(room);
        let out = &mut out[..most];
        let length = if self.position < self.hole_until {
            let length = out.len().min((self.hole_until - self.position) as usize);
            out[..length].fill(0);
            length
        } else {
            let (file, position) = (self.file, self.position);
            self.pace.read(out, |out| Ok(pread(file, out, position)?))?
        };
        if self.allocated {
            self.zeros.pass(&out[..length]);
        }
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Seek,
        os::{fd::AsFd, unix::fs::FileExt},
    };

    use rustix::fs::fstat;

    use super::*;

    /// Whether or not the file system has holes, the bytes are the same.
    #[test]
    fn holes_read_as_zeros() {
        const MIB: u64 = 1 << 20;
        let layouts: &[(u64, &[u64])] = &[
            (0, &[]),
            (8 * MIB, &[]),
            (8 * MIB, &[0]),
            (8 * MIB, &[8 * MIB - 5]),
            (8 * MIB + 1, &[MIB, 3 * MIB, 5 * MIB + 77]),
        ];
        for (size, written) in layouts {
            let file = tempfile::tempfile().unwrap();
            file.set_len(*size).unwrap();
            for offset in *written {
                file.write_all_at(b"data!", *offset).unwrap();
            }
            let mut read = Vec::new();
            FileReader::new(file.as_fd(), &fstat(&file).unwrap(), &Pace::unlimited())
                .read_to_end(&mut read)
                .unwrap();
            assert!(read == plain(&file), "{size} {written:?}");
        }
    }

    #[test]
    fn what_grows_is_read_to_the_size_that_it_had() {
        let file = tempfile::tempfile().unwrap();
        for size in [0_u64, 5] {
            file.set_len(0).unwrap();
            file.write_all_at(&b"first"[..size as usize], 0).unwrap();
            let (stat, pace) = (fstat(&file).unwrap(), Pace::unlimited());
            let mut reader = FileReader::new(file.as_fd(), &stat, &pace);
            file.write_all_at(b"and more", size).unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, &b"first"[..size as usize]);
            assert!(reader.is_longer());
        }
    }

    #[test]
    fn written_zeros_are_told_from_holes() {
        const MIB: u64 = 1 << 20;
        let has_zeros = |write: &dyn Fn(&File)| {
            let file = tempfile::tempfile().unwrap();
            write(&file);
            let (stat, pace) = (fstat(&file).unwrap(), Pace::unlimited());
            let mut reader = FileReader::new(file.as_fd(), &stat, &pace);
            io::copy(&mut reader, &mut io::sink()).unwrap();
            reader.has_allocated_zeros()
        };
        assert!(has_zeros(&|file| file
            .write_all_at(&vec![0; 1 << 20], 0)
            .unwrap()));
        assert!(!has_zeros(&|file| file.set_len(MIB).unwrap()));
        assert!(!has_zeros(&|file| file
            .write_all_at(&vec![7; 1 << 20], 0)
            .unwrap()));
        assert!(!has_zeros(&|_| ()));
    }

    fn plain(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}
