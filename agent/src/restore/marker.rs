//! The marker of an unfinished restore.
//!
//! `.strongroom-restore-<snapshot>` stands in the target from before the first
//! entry is written until the last is done. It holds which paths were
//! selected. While it stands, the same restore may be run again, with
//! `--overwrite never` too: what it finds in the selected places is its own
//! work, to be compared and completed. It is locked, so that two restores do
//! not meet in one target.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::AsFd,
    path::PathBuf,
};

use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, openat},
    io::Errno,
};
use strongroom_layout::ObjectId;

use super::{
    error::RestoreError,
    target::{Target, remove},
};

const PREFIX: &str = ".strongroom-restore-";

/// Larger ones are none: selected paths have some hundred bytes each.
const LARGEST: u64 = 64 << 20;

/// Whether a name at the top of a snapshot is some restore's marker: it is
/// never restored, it would be taken for this one's.
pub(crate) fn is_marker(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// The name of the marker of this snapshot's restores.
pub(crate) fn marker_name(snapshot: ObjectId) -> String {
    format!("{PREFIX}{snapshot}")
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Content {
    snapshot: ObjectId,
    /// Sorted.
    paths: Vec<String>,
}

/// The locked marker of this restore.
#[derive(Debug)]
pub(crate) struct Marker {
    file: File,
    name: String,
    path: PathBuf,
    content: Content,
    resumes: bool,
}

impl Marker {
    /// Opens the marker that an earlier run has left, if there is one.
    pub(crate) fn find(
        target: &Target,
        snapshot: ObjectId,
        paths: &[String],
    ) -> Result<Option<Self>, RestoreError> {
        Self::open(target, snapshot, paths, OFlags::empty())
    }

    /// Opens or makes the marker; call before anything is written.
    pub(crate) fn place(
        target: &Target,
        snapshot: ObjectId,
        paths: &[String],
    ) -> Result<Self, RestoreError> {
        let marker = Self::open(target, snapshot, paths, OFlags::CREATE)?;
        let mut marker = marker.ok_or_else(|| {
            let source = Errno::NOENT.into();
            failed("create", target.path().to_path_buf(), source)
        })?;
        marker
            .write()
            .map_err(|source| failed("write", marker.path.clone(), source))?;
        Ok(marker)
    }

    /// Whether it was left by an earlier run of the same restore.
    pub(crate) fn resumes(&self) -> bool {
        self.resumes
    }

    /// All is done.
    pub(crate) fn remove(self, target: &Target) -> Result<(), RestoreError> {
        remove(target.root(), self.name.as_bytes())
            .map_err(|source| failed("remove", self.path, source))
    }

    fn open(
        target: &Target,
        snapshot: ObjectId,
        paths: &[String],
        create: OFlags,
    ) -> Result<Option<Self>, RestoreError> {
        let name = marker_name(snapshot);
        let path = target.path().join(&name);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = match openat(target.root(), &name, flags | create, mode) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("open", path, error.into())),
        };
        match check_ours(target, &file) {
            Ok(()) => {}
            Err(source) => return Err(failed("use", path, source)),
        }
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(RestoreError::Busy(target.path().into())),
            Err(error) => return Err(failed("lock", path, error.into())),
        }
        let mut sorted = paths.to_vec();
        sorted.sort();
        let content = Content {
            snapshot,
            paths: sorted,
        };
        let mut text = Vec::new();
        (&mut file)
            .take(LARGEST)
            .read_to_end(&mut text)
            .map_err(|source| failed("read", path.clone(), source))?;
        // Of another selection, or written by halves: nothing to build on.
        let resumes = serde_json::from_slice(&text).is_ok_and(|found: Content| found == content);
        Ok(Some(Self {
            file,
            name,
            path,
            content,
            resumes,
        }))
    }

    fn write(&mut self) -> io::Result<()> {
        if self.resumes {
            return Ok(());
        }
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&serde_json::to_vec(&self.content)?)?;
        self.file.sync_all()
    }
}

/// Its name can be known beforehand: whoever owns the target may have put
/// anything there, another's file under a second name included.
fn check_ours(target: &Target, file: &File) -> io::Result<()> {
    let found = fstat(file)?;
    let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    if regular && found.st_nlink == 1 && target.is_ours(&found) {
        return Ok(());
    }
    Err(io::Error::other(
        "no restore by this user has made it (it is no regular file, belongs to somebody else, or \
         has a second name); see who put it there, and remove it",
    ))
}

/// Fuzz target: what stands in a marker comes back as it was read.
#[cfg(any(test, fuzzing))]
pub fn restore_marker(data: &[u8]) {
    if let Ok(content) = serde_json::from_slice::<Content>(data) {
        let written = serde_json::to_vec(&content).unwrap();
        assert_eq!(
            serde_json::from_slice::<Content>(&written).unwrap(),
            content
        );
    }
}

fn failed(operation: &'static str, path: PathBuf, source: io::Error) -> RestoreError {
    RestoreError::Target {
        operation,
        path,
        source,
    }
}
