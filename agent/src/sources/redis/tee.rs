//! Reads an RDB along while it is saved.

use std::io::{self, Read};

use crossbeam_channel::{Receiver, Sender, bounded};
use strongroom_redis::rdb::{self, RdbError, Verified};

/// Pieces between the threads, of at most what is read at once.
const AHEAD: usize = 8;

/// A reader that passes on a copy of all it reads.
pub(super) struct ReadAlong<'a, F> {
    read: &'a mut F,
    copies: Option<Sender<Vec<u8>>>,
}

/// What the second thread reads.
struct Copies {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
}

impl<F: FnMut(&mut [u8]) -> io::Result<usize> + Send> ReadAlong<'_, F> {
    /// Calls `save` with a reader of what `read` gives, and verifies that on
    /// another thread. An RDB whose verification failed reads as broken from
    /// then on. The outer error is that of the thread.
    pub(super) fn run<T>(
        read: &mut F,
        save: impl FnOnce(&mut (dyn Read + Send)) -> T,
    ) -> io::Result<(T, Result<Verified, RdbError>)> {
        let (sender, receiver) = bounded(AHEAD);
        std::thread::scope(|scope| {
            let copies = Copies {
                receiver,
                piece: Vec::new(),
                position: 0,
            };
            let verifier = std::thread::Builder::new()
                .name("rdb".into())
                .spawn_scoped(scope, move || rdb::verify(copies))?;
            let mut along = ReadAlong {
                read,
                copies: Some(sender),
            };
            let saved = save(&mut along);
            drop(along);
            let verified = verifier
                .join()
                .map_err(|_| io::Error::other("the thread that verifies panicked"))?;
            Ok((saved, verified))
        })
    }
}

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for ReadAlong<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = (self.read)(out)?;
        if length == 0 {
            // That is all: the verifier may draw its conclusions.
            self.copies = None;
        } else if let Some(copies) = &self.copies
            && copies.send(out[..length].to_vec()).is_err()
        {
            return Err(io::Error::other("what comes is no RDB"));
        }
        Ok(length)
    }
}

impl Read for Copies {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.position) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let left = &self.piece[self.position..];
        let length = left.len().min(out.len());
        out[..length].copy_from_slice(&left[..length]);
        self.position += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rdb: &[u8], step: usize) -> (io::Result<Vec<u8>>, Result<Verified, RdbError>) {
        let mut rest = rdb;
        let mut read = |out: &mut [u8]| {
            let most = out.len().min(step);
            rest.read(&mut out[..most])
        };
        ReadAlong::run(&mut read, |input| {
            let mut all = Vec::new();
            input.read_to_end(&mut all).map(|_| all)
        })
        .unwrap()
    }

    #[test]
    fn all_is_passed_on_and_verified() {
        let rdb = b"REDIS0011\x00\x01a\x01b\xff\0\0\0\0\0\0\0\0";
        for step in [1, 7, 1000] {
            let (read, verified) = run(rdb, step);
            assert_eq!(read.unwrap(), rdb);
            assert_eq!(verified.unwrap().summary.databases[&0].keys, 1);
        }
    }

    #[test]
    fn what_is_no_rdb_ends_early_and_what_is_cut_at_the_end() {
        let endless = vec![b'x'; 64 << 20];
        let (read, verified) = run(&endless, 100_000);
        assert!(read.is_err());
        assert!(matches!(verified, Err(RdbError::NotRdb)));
        let (read, verified) = run(b"REDIS0011\x00\x01a", 3);
        assert_eq!(read.unwrap().len(), 12);
        assert!(matches!(verified, Err(RdbError::Truncated { .. })));
    }
}
