//! A store in a local directory, laid out as restic's `local` backend does.
//!
//! An object appears whole or not at all: it is written beside its place,
//! fsynced, renamed into it, and the directory is fsynced.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use strongroom_layout::{Directory, ObjectName};
use strongroom_runtime::buffers::Buffers;

use super::{Body, ByteRange, Listed, Store, StoreError, StoreErrorKind, Written};

/// Small parts are gathered to writes of this many bytes.
const WRITE_BUFFER: usize = 256 << 10;

/// Objects below a directory.
#[derive(Debug, Clone)]
pub struct FsStore {
    root: PathBuf,
    buffers: Buffers,
}

impl FsStore {
    /// The store below `root`, which need not exist yet: directories are made
    /// when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            buffers: Buffers::default(),
        }
    }

    fn path(&self, object: ObjectName) -> PathBuf {
        self.root.join(object.path())
    }

    /// Runs blocking I/O where it may block, and names `place` in its error.
    async fn blocking<T: Send + 'static>(
        operation: &'static str,
        place: PathBuf,
        work: impl FnOnce(&Path) -> Result<T, StoreErrorKind> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shown = place.display().to_string();
        tokio::task::spawn_blocking(move || work(&place))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error).into()))
            .map_err(|kind| StoreError::new(operation, shown, kind))
    }
}

impl Store for FsStore {
    fn put(&self, object: ObjectName, body: Body) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(Self::blocking("put", self.path(object), move |path| {
            put(path, &body).map_err(classify)
        }))
    }

    fn get(
        &self,
        object: ObjectName,
        range: Option<ByteRange>,
    ) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let buffers = self.buffers.clone();
        Box::pin(Self::blocking("get", self.path(object), move |path| {
            get(path, range, &buffers)
        }))
    }

    fn list(&self, directory: Directory) -> BoxFuture<'_, Result<Vec<Listed>, StoreError>> {
        let path = self.root.join(directory.as_str());
        Box::pin(Self::blocking("list", path, move |path| {
            list(path, directory).map_err(classify)
        }))
    }

    fn remove(&self, object: ObjectName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(Self::blocking(
            "remove",
            self.path(object),
            |path| match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(classify(error)),
                _ => Ok(()),
            },
        ))
    }
}

fn classify(error: io::Error) -> StoreErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::PermissionDenied => {
            StoreErrorKind::Denied("permission denied: check its owner and mode".into())
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreErrorKind::Denied("the file system is mounted read-only".into())
        }
        _ => StoreErrorKind::Io(error),
    }
}

fn put(path: &Path, body: &Body) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = temporary_beside(path)?;
    let file = match create(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(directory)?;
            create(&temporary)?
        }
        result => result?,
    };
    let written = write(file, body).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_directory(directory)
}

/// A name that restic's own temporary files have, too, and ignores.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-tmp-{random:016x}"));
    Ok(path.with_file_name(name))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn write(file: File, body: &Body) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER.min(body.length as usize), file);
    for part in &body.parts {
        writer.write_all(part)?;
    }
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

/// Makes a directory and those above it, each durable in its parent.
fn make_directory(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().mode(0o700).create(path);
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    match made {
        Ok(()) => sync_directory(parent.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match parent {
            Some(parent) => {
                make_directory(parent)?;
                make_directory(path)
            }
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn get(path: &Path, range: Option<ByteRange>, buffers: &Buffers) -> Result<Bytes, StoreErrorKind> {
    let mut file = File::open(path).map_err(classify)?;
    let size = file.metadata().map_err(classify)?.len();
    let (first, length) = match range {
        None => (0, size),
        Some(range) if range.first > range.last || range.last >= size => {
            return Err(StoreErrorKind::Truncated {
                got: size.saturating_sub(range.first),
                expected: range.length(),
            });
        }
        Some(range) => (range.first, range.length()),
    };
    if first > 0 {
        file.seek(SeekFrom::Start(first)).map_err(classify)?;
    }
    let mut bytes = buffers.buffer(length as usize);
    let got = file
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(classify)?;
    if got as u64 == length {
        Ok(buffers.share(bytes))
    } else {
        Err(StoreErrorKind::Truncated {
            got: got as u64,
            expected: length,
        })
    }
}

fn list(path: &Path, directory: Directory) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    if directory == Directory::Data {
        for entry in entries(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                list_files(&entry.path(), &mut listed)?;
            }
        }
    } else {
        list_files(path, &mut listed)?;
    }
    Ok(listed)
}

fn list_files(path: &Path, listed: &mut Vec<Listed>) -> io::Result<()> {
    for entry in entries(path)? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(id) = id {
            match entry.metadata() {
                Ok(metadata) => listed.push(Listed {
                    id,
                    size: metadata.len(),
                    written: written(&metadata),
                }),
                // Removed since the directory was read: a lock, most likely.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn written(metadata: &std::fs::Metadata) -> Written {
    let modified = metadata.modified().ok();
    modified
        .and_then(|at| Timestamp::try_from(at).ok())
        .map_or(Written::Unknown, Written::At)
}

/// The entries of a directory; none when it is not there.
fn entries(path: &Path) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    match std::fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("not/there/yet");
        conformance::run(Arc::new(FsStore::new(root))).await;
    }

    #[tokio::test]
    async fn lies_where_restic_looks_for_it_and_only_the_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("repository");
        let body = Body::new(&b"pack"[..]);
        let hex = body.sha256.to_string();
        let object = ObjectName::data_pack(body.sha256);
        FsStore::new(&root).put(object, body).await.unwrap();
        let path = root.join("data").join(&hex[..2]).join(&hex);
        assert_eq!(std::fs::read(&path).unwrap(), b"pack");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        for above in path.ancestors().skip(1).take(3) {
            assert_eq!(mode(above), 0o700, "{}", above.display());
        }
        let parent = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn foreign_files_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index");
        std::fs::create_dir(&index).unwrap();
        std::fs::write(index.join("README"), "").unwrap();
        std::fs::write(index.join(format!("{}-tmp-1", "a".repeat(64))), "").unwrap();
        let store = FsStore::new(directory.path());
        assert_eq!(store.list(Directory::Index).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let body = Body::new(&b"index"[..]);
        let object = ObjectName::index(body.sha256);
        // Where the object should go stands a directory that is not empty.
        std::fs::create_dir_all(directory.path().join(object.path()).join("x")).unwrap();
        let store = FsStore::new(directory.path());
        let error = store.put(object, body).await.unwrap_err();
        assert!(error.to_string().contains(&object.path()), "{error}");
        let index = directory.path().join("index");
        assert_eq!(std::fs::read_dir(index).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_named() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert!(matches!(classify(error), StoreErrorKind::Full));
    }
}
