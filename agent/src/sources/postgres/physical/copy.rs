//! Reading what was surveyed, on all threads.
//!
//! Relations are read in pieces of at most [`EXTENT`] bytes, so that a single
//! large table keeps all threads busy. A relation that shrinks meanwhile is
//! filled up with zeros, as `pg_basebackup` does it: replay cuts it again.
//! One that grows is read up to the size it had: replay adds the rest.

use std::{
    fs::File as StdFile,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::atomic::Ordering::Relaxed,
};

use parking_lot::Mutex;
use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, pread},
};
use strongroom_postgres::physical::{
    Lsn,
    manifest::{DamagedPage, MOST_DAMAGED, Pages},
    page::{self, Verdict},
};
use strongroom_repository::{
    format::blob::{BlobId, BlobKind},
    write::{Halted, StreamError, Worker, WriteError, Writer},
};
use strongroom_spec::WarningCode;

use super::{
    ClusterError,
    access::Owner,
    blobs::blob_bytes,
    survey::{Content, File, Survey},
};
use crate::{
    monitor::Monitor,
    sources::{
        files::{Counts, metadata::size},
        throttle::{Pace, Paced},
    },
};

/// Bytes that one thread reads of a relation before another may go on: a
/// multiple of every size that blobs have.
const EXTENT: u64 = 32 << 20;

/// What a copy works with.
pub(super) struct Copy<'a> {
    pub(super) survey: &'a Survey,
    /// Bytes of a page.
    pub(super) page: usize,
    /// Pages of a full piece of a relation.
    pub(super) segment_pages: u32,
    /// Where the backup begins; `None`: pages have no checksums.
    pub(super) verify: Option<Lsn>,
    pub(super) monitor: &'a Monitor,
    pub(super) counts: &'a Counts,
    pub(super) pace: &'a Pace,
    pub(super) owner: &'a Owner,
    /// Whether the server has ended the backup.
    pub(super) is_lost: &'a (dyn Fn() -> bool + Sync),
}

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// As many as files were surveyed; `None` for those known already.
    pub(super) files: Vec<Option<CopiedFile>>,
    /// What checksums said.
    pub(super) pages: Pages,
}

/// What became of a file.
#[derive(Debug, Default)]
pub(super) struct CopiedFile {
    pub(super) blobs: Vec<BlobId>,
    /// Bytes.
    pub(super) size: u64,
    /// It vanished before it was read: replay knows why.
    pub(super) gone: bool,
    /// Pages in it are damaged.
    pub(super) damaged: bool,
}

/// A piece of work.
enum Item {
    /// All that is to be read.
    All,
    /// Part of a relation.
    Extent(Extent),
    /// A file that is read to its end.
    Plain(usize),
}

struct Extent {
    file: usize,
    offset: u64,
    length: u64,
    blob: u64,
}

/// What all threads note.
struct Notes {
    files: Vec<Mutex<Parts>>,
    pages: Mutex<Pages>,
    failure: Mutex<Option<ClusterError>>,
}

#[derive(Default)]
struct Parts {
    /// By offset.
    blobs: Vec<(u64, Vec<BlobId>)>,
    size: u64,
    gone: bool,
    damaged: bool,
}

impl Copy<'_> {
    /// Reads and saves everything that is not known.
    pub(super) fn run(&self, writer: &Writer) -> Result<Copied, ClusterError> {
        let files = &self.survey.files;
        let notes = Notes {
            files: files.iter().map(|_| Mutex::default()).collect(),
            pages: Mutex::default(),
            failure: Mutex::new(None),
        };
        let ran = writer.run(Item::All, |worker, item| {
            self.handle(worker, item, &notes)
                .map_err(|error| match error {
                    ClusterError::Halted(halted) => halted,
                    error => {
                        notes.failure.lock().get_or_insert(error);
                        worker.fail(WriteError::Cancelled)
                    }
                })
        });
        if let Some(failure) = notes.failure.into_inner() {
            return Err(failure);
        }
        ran?;
        let copied = notes.files.into_iter().zip(files).map(|(parts, file)| {
            let parts = parts.into_inner();
            (!matches!(file.content, Content::Known(_))).then(|| parts.join())
        });
        let mut pages = notes.pages.into_inner();
        pages.checksums = self.verify.is_some();
        pages.named.sort();
        Ok(Copied {
            files: copied.collect(),
            pages,
        })
    }

    fn handle(
        &self,
        worker: &mut Worker<'_, Item>,
        item: Item,
        notes: &Notes,
    ) -> Result<(), ClusterError> {
        self.check_backup()?;
        match item {
            Item::All => {
                self.push_all(worker);
                Ok(())
            }
            Item::Extent(extent) => self.extent(worker, &extent, notes),
            Item::Plain(file) => self.plain(worker, file, notes),
        }
    }

    /// There is no point in reading on when the server has ended the backup.
    fn check_backup(&self) -> Result<(), ClusterError> {
        if (self.is_lost)() {
            return Err(ClusterError::Lost);
        }
        Ok(())
    }

    /// The last pushed is the first done.
    fn push_all(&self, worker: &Worker<'_, Item>) {
        for (number, file) in self.survey.files.iter().enumerate().rev() {
            match &file.content {
                Content::Known(_) => {}
                Content::Plain => worker.push(Item::Plain(number)),
                Content::Relation { before, .. } => {
                    let blob = blob_bytes(self.survey.bytes, *before);
                    let whole = size(&file.stat);
                    let mut offset = whole.next_multiple_of(EXTENT);
                    while offset > 0 {
                        offset -= EXTENT;
                        worker.push(Item::Extent(Extent {
                            file: number,
                            offset,
                            length: EXTENT.min(whole - offset),
                            blob,
                        }));
                    }
                }
            }
        }
    }

    fn extent(
        &self,
        worker: &mut Worker<'_, Item>,
        extent: &Extent,
        notes: &Notes,
    ) -> Result<(), ClusterError> {
        let file = &self.survey.files[extent.file];
        let Some(fd) = self.open(file)? else {
            notes.files[extent.file].lock().gone = true;
            return Ok(());
        };
        if extent.length == EXTENT {
            // A hint; it does not matter when it is not taken.
            let length = std::num::NonZeroU64::new(extent.length);
            let _ = fadvise(&fd, extent.offset, length, Advice::Sequential);
        }
        let mut buffer = vec![0; extent.blob.min(extent.length) as usize];
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        let mut blobs = Vec::new();
        let mut damaged = false;
        while at < end {
            worker.check()?;
            self.check_backup()?;
            let part = &mut buffer[..extent.blob.min(end - at) as usize];
            let read = self
                .read_at(&fd, part, at)
                .map_err(|error| self.owner.failed(&self.place(file), error))?;
            part[read..].fill(0);
            self.counts.bytes_read.fetch_add(read as u64, Relaxed);
            self.monitor.bytes.fetch_add(part.len() as u64, Relaxed);
            damaged |= self.verify(&fd, file, part, at, notes);
            blobs.push(worker.save(BlobKind::Data, part)?);
            at += part.len() as u64;
        }
        if extent.offset == 0 {
            self.monitor.files.fetch_add(1, Relaxed);
        }
        let mut parts = notes.files[extent.file].lock();
        parts.blobs.push((extent.offset, blobs));
        parts.size += extent.length;
        parts.damaged |= damaged;
        Ok(())
    }

    /// Verifies the pages of a part of a relation. A page that is being
    /// written is read again: either it is whole then, or it was written since
    /// the backup began.
    fn verify(
        &self,
        fd: &OwnedFd,
        file: &File,
        part: &mut [u8],
        offset: u64,
        notes: &Notes,
    ) -> bool {
        let (Some(began), Content::Relation { file: of, .. }) = (self.verify, &file.content) else {
            return false;
        };
        let first = offset / self.page as u64;
        let mut verified = 0;
        let mut damaged = Vec::new();
        for (number, page) in part.chunks_exact_mut(self.page).enumerate() {
            let block = first + number as u64;
            // Counted through all pieces, in 32 bits, as the server does.
            let of_relation = u64::from(of.segment) * u64::from(self.segment_pages) + block;
            let verdict = |page: &[u8]| page::verify(page, of_relation as u32, began);
            verified += 1;
            if !matches!(verdict(page), Verdict::Damaged { .. }) {
                continue;
            }
            let mut again = vec![0; self.page];
            let whole = read_fully(fd, &mut again, block * self.page as u64)
                .is_ok_and(|read| read == self.page);
            if whole {
                page.copy_from_slice(&again);
            }
            if whole && matches!(verdict(&again), Verdict::Damaged { .. }) {
                damaged.push(block);
            }
        }
        let mut pages = notes.pages.lock();
        pages.verified += verified;
        pages.damaged += damaged.len() as u64;
        for block in &damaged {
            if pages.named.len() < MOST_DAMAGED {
                pages.named.push(DamagedPage {
                    file: self.shown(file),
                    block: *block,
                });
            }
        }
        drop(pages);
        for block in &damaged {
            let cause =
                format!("block {block}: the page's checksum is wrong; it is stored as it is");
            self.monitor.warn(
                WarningCode::PageDamaged,
                self.place(file).into_os_string().into_encoded_bytes(),
                cause,
            );
        }
        !damaged.is_empty()
    }

    fn plain(
        &self,
        worker: &mut Worker<'_, Item>,
        number: usize,
        notes: &Notes,
    ) -> Result<(), ClusterError> {
        let file = &self.survey.files[number];
        let Some(fd) = self.open(file)? else {
            notes.files[number].lock().gone = true;
            return Ok(());
        };
        let mut input = StdFile::from(fd);
        let mut input = Paced {
            pace: self.pace,
            inner: &mut input,
        };
        let mut progress = |bytes| {
            self.counts.bytes_read.fetch_add(bytes, Relaxed);
            self.monitor.bytes.fetch_add(bytes, Relaxed);
        };
        let content = match worker.save_stream(&mut input, &mut progress) {
            Ok(content) => content,
            Err(StreamError::Halted(halted)) => return Err(halted.into()),
            Err(StreamError::Read(error)) => {
                return Err(self.owner.failed(&self.place(file), error));
            }
        };
        self.monitor.files.fetch_add(1, Relaxed);
        let mut parts = notes.files[number].lock();
        parts.size = content.size;
        parts.blobs.push((0, content.blobs));
        Ok(())
    }

    /// `None`: it has vanished.
    fn open(&self, file: &File) -> Result<Option<OwnedFd>, ClusterError> {
        let dir = &self.survey.dirs[file.dir];
        let opened = self.owner.open(&dir.fd, &dir.place, &file.name)?;
        Ok(opened.map(|(fd, _)| fd))
    }

    /// Reads until `out` is full or the file ends, at the source's pace.
    fn read_at(&self, fd: &OwnedFd, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let at = offset + filled as u64;
            let read = self
                .pace
                .read(&mut out[filled..], |out| read_once(fd, out, at))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(filled)
    }

    fn place(&self, file: &File) -> PathBuf {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&file.name);
        self.survey.dirs[file.dir].place.join(name)
    }

    fn shown(&self, file: &File) -> String {
        let dir = &self.survey.dirs[file.dir].path;
        format!("/{dir}/{}", String::from_utf8_lossy(&file.name))
    }
}

fn read_once(fd: impl AsFd, out: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match pread(&fd, &mut *out, offset) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Reads until `out` is full or the file ends.
pub(super) fn read_fully(fd: impl AsFd, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match read_once(&fd, &mut out[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

impl Parts {
    fn join(mut self) -> CopiedFile {
        self.blobs.sort_unstable_by_key(|(offset, _)| *offset);
        CopiedFile {
            blobs: self
                .blobs
                .into_iter()
                .flat_map(|(_, blobs)| blobs)
                .collect(),
            size: self.size,
            gone: self.gone,
            damaged: self.damaged,
        }
    }
}

/// Saves a few bytes that were made or read by the caller.
pub(super) fn save_bytes(writer: &Writer, bytes: &[u8]) -> Result<Vec<BlobId>, Halted> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let id = Mutex::new(None);
    writer.run((), |worker, ()| {
        *id.lock() = Some(worker.save(BlobKind::Data, bytes)?);
        Ok(())
    })?;
    Ok(vec![id.into_inner().ok_or(Halted)?])
}
