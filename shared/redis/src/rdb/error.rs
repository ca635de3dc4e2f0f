//! Why an RDB cannot be read.

use std::io;

use super::Flavour;

/// An RDB that is damaged, or that this version cannot read. Positions are
/// bytes from its beginning.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// What brings the bytes failed.
    #[error("cannot read the RDB: {0}")]
    Read(#[source] io::Error),
    /// Neither `REDIS` nor `VALKEY` at its beginning.
    #[error("this is no RDB: it begins with neither REDIS nor VALKEY and a version")]
    NotRdb,
    /// It ends too early.
    #[error("the RDB ends at byte {position}, in the middle of its data")]
    Truncated {
        /// Where.
        position: u64,
    },
    /// Bytes behind its end.
    #[error("the RDB goes on behind its end at byte {position}")]
    Trailing {
        /// Where it should have ended.
        position: u64,
    },
    /// The checksum does not fit: some byte is not what the server wrote.
    #[error("the RDB is damaged: its checksum says {said:016x}, its bytes give {found:016x}")]
    Checksum {
        /// What stands at its end.
        said: u64,
        /// What its bytes give.
        found: u64,
    },
    /// Something newer than this program.
    #[error(
        "the RDB (version {version} of {flavour}) has {what} {number} at byte {position}, which \
         this version of Strongroom does not know"
    )]
    Unsupported {
        /// `a value of type` or `an opcode`.
        what: &'static str,
        /// Its number.
        number: u8,
        /// The RDB's version.
        version: u32,
        /// Whose versions these are.
        flavour: Flavour,
        /// Where.
        position: u64,
    },
    /// Something that cannot be.
    #[error("the RDB is damaged at byte {position}: {problem}")]
    Damaged {
        /// Where.
        position: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

impl RdbError {
    /// Whether the bytes themselves are wrong, and reading them again would
    /// not help.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Unsupported { .. })
    }
}
