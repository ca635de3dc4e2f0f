//! Whether an RDB is whole.

use std::io::Read;

use super::{Checksum, RdbError, Reader, Summary};

/// An RDB that is as its server wrote it.
#[derive(Debug)]
pub struct Verified {
    /// What is in it; up to where it could be read, when it could not be read
    /// to its end.
    pub summary: Summary,
    /// Why its keys could not be counted: it is newer than this program, or
    /// written by a server with a format of its own. Its checksum fits all the
    /// same, or there is none and nothing else is wrong.
    pub unread: Option<RdbError>,
}

/// Reads an RDB to its end and verifies it. What this program does not know is
/// no reason to throw a backup away that its checksum says is whole; what does
/// not fit its checksum is.
pub fn verify(inner: impl Read) -> Result<Verified, RdbError> {
    let mut reader = Reader::new(inner)?;
    let error = loop {
        match reader.advance() {
            Ok(true) => {}
            Ok(false) => {
                return Ok(Verified {
                    summary: reader.summary().clone(),
                    unread: None,
                });
            }
            Err(error) => break error,
        }
    };
    match error {
        RdbError::Unsupported { .. } | RdbError::Damaged { .. } => {}
        // Of a byte too many or too few the checksum need not know: with a
        // zero behind it, every CRC fits again.
        error => return Err(error),
    }
    match reader.drain() {
        Ok(()) => {}
        Err(read @ RdbError::Read(_)) => return Err(read),
        // An end that came too early says more than the checksum that is not
        // one.
        Err(_) if error.is_damage() => return Err(error),
        Err(mismatch) => return Err(mismatch),
    }
    let summary = reader.summary().clone();
    if summary.checksum != Checksum::Verified && error.is_damage() {
        return Err(error);
    }
    Ok(Verified {
        summary,
        unread: Some(error),
    })
}
