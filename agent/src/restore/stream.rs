//! Single files of a snapshot, read in order: what restores into servers feed
//! them with. Nothing touches the disk.
//!
//! [`SnapshotFiles`] finds files; a [`FileStream`] gives one's content as
//! [`io::Read`], fetched and verified ahead by a few requests. [`Contents`]
//! gives those of many files, one after the other, fetched across their
//! borders: a thousand small files take hardly more time than a large one.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind},
        snapshot::Snapshot,
    },
    read::{BlobRef, Index, ReadError, Reader},
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{block_on, error::RestoreError, open, select::components};
use crate::monitor::Monitor;

/// Plaintext that one request brings, bytes; more if a single blob is larger.
const PIECE: u64 = 4 << 20;
/// Requests ahead of what has been read.
const AHEAD: usize = 4;
/// The same of many files, whose pieces are smaller.
const AHEAD_OF_MANY: usize = 16;
/// Plaintext that is asked for or waits to be read, bytes.
const WAITING: u64 = 24 << 20;
/// Bytes of a pack that are fetched though nobody asked for them, rather than
/// asking twice.
const GAP: u64 = 256 << 10;
/// Blobs of one piece, and its requests at once.
const MOST_BLOBS: usize = 1024;
const AT_ONCE: usize = 8;

/// The files of a snapshot.
pub struct SnapshotFiles {
    reader: Arc<Reader>,
    runtime: Handle,
    monitor: Arc<Monitor>,
    id: ObjectId,
    snapshot: Snapshot,
    fetched: Arc<AtomicU64>,
}

impl SnapshotFiles {
    /// Loads the snapshot and the index. Blocks, as do all methods: call them
    /// from a thread that is none of `runtime`'s.
    pub fn open(
        repository: Arc<Repository>,
        runtime: Handle,
        id: ObjectId,
        monitor: Arc<Monitor>,
    ) -> Result<Self, RestoreError> {
        let (snapshot, reader) = open(repository, &runtime, id, &monitor)?;
        Ok(Self::of(reader, runtime, (id, snapshot), monitor))
    }

    /// Of a snapshot that is loaded already.
    pub(super) fn of(
        reader: Arc<Reader>,
        runtime: Handle,
        (id, snapshot): (ObjectId, Snapshot),
        monitor: Arc<Monitor>,
    ) -> Self {
        Self {
            reader,
            runtime,
            monitor,
            id,
            snapshot,
            fetched: Arc::default(),
        }
    }

    /// What the snapshot file says.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Fetched from the store for all streams so far, bytes.
    pub fn bytes_fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    /// The entry at `path`, which counts from the snapshot's root; `None` for
    /// the root itself.
    pub fn entry(&self, path: &str) -> Result<Option<Node>, RestoreError> {
        if components(path)?.next().is_none() {
            return Ok(None);
        }
        self.find(path).map(Some)
    }

    /// What is in a directory; `None`: in the root.
    pub fn children(&self, directory: Option<&Node>) -> Result<Vec<Node>, RestoreError> {
        let tree = match directory.map(|it| &it.kind) {
            None => Some(self.snapshot.tree),
            Some(NodeKind::Dir { subtree }) => *subtree,
            Some(_) => None,
        };
        let Some(id) = tree else {
            return Ok(Vec::new());
        };
        Ok(block_on(&self.runtime, &self.monitor, self.reader.tree(&id))??.nodes)
    }

    /// The content of the regular file at `path`, which counts from the
    /// snapshot's root.
    pub fn file(&self, path: &str) -> Result<FileStream, RestoreError> {
        self.content(path, &self.find(path)?)
    }

    /// The content of a regular file; `path` is what errors call it.
    pub fn content(&self, path: &str, node: &Node) -> Result<FileStream, RestoreError> {
        let NodeKind::File { size, content, .. } = &node.kind else {
            return Err(RestoreError::InvalidPath {
                path: path.into(),
                problem: "it is no regular file there",
            });
        };
        let mut contents = self.contents(AHEAD);
        contents.add(content)?;
        Ok(FileStream {
            contents,
            size: *size,
            damage: None,
            piece: Vec::new(),
            position: 0,
        })
    }

    /// The contents of many files.
    pub fn many(&self) -> Contents {
        self.contents(AHEAD_OF_MANY)
    }

    fn contents(&self, ahead: usize) -> Contents {
        Contents {
            reader: Arc::clone(&self.reader),
            runtime: self.runtime.clone(),
            monitor: Arc::clone(&self.monitor),
            fetched: Arc::clone(&self.fetched),
            most_ahead: ahead,
            blobs: VecDeque::new(),
            ahead: VecDeque::new(),
            waiting: 0,
            opened: Opened::default(),
            next: 0,
            position: 0,
        }
    }

    /// The whole content of a small file; one of more than `limit` bytes is an
    /// error.
    pub fn small_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, RestoreError> {
        let mut stream = self.file(path)?;
        if stream.size() > limit {
            return Err(RestoreError::InvalidPath {
                path: path.into(),
                problem: "it is larger than such a file can be",
            });
        }
        let mut content = Vec::new();
        while let Some(piece) = stream.next_piece()? {
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// The entry at `path`, one directory after the other.
    fn find(&self, path: &str) -> Result<Node, RestoreError> {
        let no_path = |nearest: String| RestoreError::NoPath {
            path: path.into(),
            nearest,
            snapshot: self.id.to_string(),
        };
        let mut tree = Some(self.snapshot.tree);
        let mut found: Option<Node> = None;
        let mut nearest = String::from("/");
        for name in components(path)? {
            let Some(id) = tree else {
                return Err(no_path(nearest));
            };
            let nodes = block_on(&self.runtime, &self.monitor, self.reader.tree(&id))??.nodes;
            let Some(node) = nodes.into_iter().find(|it| it.name == name.as_bytes()) else {
                return Err(no_path(nearest));
            };
            if nearest.len() > 1 {
                nearest.push('/');
            }
            nearest.push_str(name);
            tree = match node.kind {
                NodeKind::Dir { subtree } => subtree,
                _ => None,
            };
            found = Some(node);
        }
        found.ok_or(RestoreError::InvalidPath {
            path: path.into(),
            problem: "it names no file",
        })
    }
}

/// The content of one file, in order. What is fetched ahead ends with it.
pub struct FileStream {
    contents: Contents,
    size: u64,
    /// Behind the last piece that was given.
    damage: Option<ReadError>,
    /// What is being read, and how far.
    piece: Vec<u8>,
    position: usize,
}

/// The contents of files, in the order in which they are added and read. What
/// is fetched ahead ends with it.
pub struct Contents {
    reader: Arc<Reader>,
    runtime: Handle,
    monitor: Arc<Monitor>,
    fetched: Arc<AtomicU64>,
    most_ahead: usize,
    /// Not asked for yet.
    blobs: VecDeque<BlobRef>,
    ahead: VecDeque<Piece>,
    /// Plaintext of `ahead`, bytes.
    waiting: u64,
    /// What is being read: the blob, and how far all of it is.
    opened: Opened,
    next: usize,
    position: usize,
}

/// Blobs one behind the other, and where each ends; behind the last of them, why
/// the next one is not there.
#[derive(Default)]
struct Opened {
    plain: Vec<u8>,
    ends: Vec<usize>,
    damage: Option<ReadError>,
}

/// A request under way, and the plaintext that it is to bring; dropped, it is
/// given up.
struct Piece(JoinHandle<Result<Opened, ReadError>>, u64);

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FileStream {
    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next few MiB, verified; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, RestoreError> {
        if let Some(damage) = self.damage.take() {
            return Err(damage.into());
        }
        let Some(opened) = self.contents.next_piece()? else {
            return Ok(None);
        };
        match opened.damage {
            Some(damage) if opened.plain.is_empty() => Err(damage.into()),
            damage => {
                self.damage = damage;
                Ok(Some(opened.plain))
            }
        }
    }
}

impl Contents {
    /// Adds a file's content behind the others; gives the number of its blobs,
    /// by which [`Contents::file`] knows its end.
    pub fn add(&mut self, content: &[BlobId]) -> Result<usize, RestoreError> {
        for id in content {
            let blob = self.reader.index().require(BlobKind::Data, id)?;
            self.blobs.push_back(blob);
        }
        Ok(content.len())
    }

    /// Whether more could be asked for than has been added.
    pub fn is_hungry(&self) -> bool {
        self.blobs.len() < self.most_ahead
    }

    /// Asks for what may be asked for, without waiting for anything.
    pub fn fetch_ahead(&mut self) {
        while self.ahead.len() < self.most_ahead
            && !self.blobs.is_empty()
            && (self.ahead.is_empty() || self.waiting < WAITING)
        {
            let piece = self.ask();
            self.waiting += piece.1;
            self.ahead.push_back(piece);
        }
    }

    /// The next file, of so many blobs; to be read to its end.
    pub fn file(&mut self, blobs: usize) -> OneOfMany<'_> {
        OneOfMany {
            contents: self,
            blobs,
        }
    }

    fn next_piece(&mut self) -> Result<Option<Opened>, RestoreError> {
        self.fetch_ahead();
        let Some(mut piece) = self.ahead.pop_front() else {
            return Ok(None);
        };
        self.waiting -= piece.1;
        let answer = block_on(&self.runtime, &self.monitor, &mut piece.0)?;
        Ok(Some(answer.map_err(ReadError::from)??))
    }

    /// Asks for the next few MiB, wherever they lie.
    fn ask(&mut self) -> Piece {
        let index = self.reader.index();
        let mut taken: Vec<BlobRef> = Vec::new();
        let mut plain = 0;
        while let Some(&next) = self.blobs.front() {
            let length = u64::from(index.plaintext_length(next));
            if !taken.is_empty() && (plain + length > PIECE || taken.len() >= MOST_BLOBS) {
                break;
            }
            plain += length;
            taken.push(next);
            self.blobs.pop_front();
        }
        let work = fetch(Arc::clone(&self.reader), taken, Arc::clone(&self.fetched));
        Piece(self.runtime.spawn(work), plain)
    }
}

/// One file of [`Contents`].
pub struct OneOfMany<'a> {
    contents: &'a mut Contents,
    /// Not read to their ends yet.
    blobs: usize,
}

impl io::Read for OneOfMany<'_> {
    /// An error holds a [`RestoreError`].
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let contents = &mut *self.contents;
        while self.blobs > 0 && !out.is_empty() {
            let Some(&end) = contents.opened.ends.get(contents.next) else {
                if let Some(damage) = contents.opened.damage.take() {
                    return Err(io::Error::other(RestoreError::from(damage)));
                }
                let next = contents.next_piece().map_err(io::Error::other)?;
                contents.opened = next.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "it has fewer blobs than said")
                })?;
                (contents.next, contents.position) = (0, 0);
                continue;
            };
            let left = &contents.opened.plain[contents.position..end];
            if left.is_empty() {
                contents.next += 1;
                self.blobs -= 1;
                continue;
            }
            let length = left.len().min(out.len());
            out[..length].copy_from_slice(&left[..length]);
            contents.position += length;
            return Ok(length);
        }
        Ok(0)
    }
}

/// A blob that is wanted, and which one of a piece it is.
type Wanted = (usize, BlobRef);

/// Fetches and opens blobs: those that lie close together in a pack with one
/// request.
async fn fetch(
    reader: Arc<Reader>,
    blobs: Vec<BlobRef>,
    fetched: Arc<AtomicU64>,
) -> Result<Opened, ReadError> {
    let groups = neighbours(reader.index(), &blobs);
    let mut arriving = stream::iter(groups)
        .map(|group| fetch_group(Arc::clone(&reader), group, Arc::clone(&fetched)))
        .buffer_unordered(AT_ONCE);
    let mut parts: Vec<_> = blobs.iter().map(|_| Ok(Vec::new())).collect();
    while let Some(group) = arriving.try_next().await? {
        for (at, plain) in group {
            parts[at] = plain;
        }
    }
    let mut opened = Opened::default();
    for part in parts {
        match part {
            Ok(part) => opened.plain.extend_from_slice(&part),
            Err(damage) => {
                opened.damage = Some(damage);
                break;
            }
        }
        opened.ends.push(opened.plain.len());
    }
    Ok(opened)
}

/// Blobs by pack and place, cut where nothing is wanted for long.
fn neighbours(index: &Index, blobs: &[BlobRef]) -> Vec<Vec<Wanted>> {
    let mut all: Vec<Wanted> = blobs.iter().copied().enumerate().collect();
    all.sort_by_key(|(_, blob)| (index.pack_of(*blob), index.location(*blob).offset));
    let mut groups: Vec<Vec<Wanted>> = Vec::new();
    let mut end = 0;
    for wanted in all {
        let at = index.location(wanted.1);
        match groups.last_mut() {
            Some(group)
                if index.pack_of(group[0].1) == index.pack_of(wanted.1)
                    && u64::from(at.offset) <= end + GAP =>
            {
                group.push(wanted);
                end = end.max(u64::from(at.offset) + u64::from(at.length));
            }
            _ => {
                groups.push(vec![wanted]);
                end = u64::from(at.offset) + u64::from(at.length);
            }
        }
    }
    groups
}

/// A blob of a piece, or what is wrong with it wherever it lies.
type Came = (usize, Result<Vec<u8>, ReadError>);

/// Fetches and opens blobs that are said to lie close together; when one of
/// them does not, each from wherever it lies. What is wrong with one of them
/// concerns no other: it is of the file alone that it belongs to.
async fn fetch_group(
    reader: Arc<Reader>,
    group: Vec<Wanted>,
    fetched: Arc<AtomicU64>,
) -> Result<Vec<Came>, ReadError> {
    let together = fetch_together(Arc::clone(&reader), group.clone(), Arc::clone(&fetched));
    match together.await {
        Ok(opened) => {
            let came = opened.into_iter().map(|(at, plain)| (at, Ok(plain)));
            return Ok(came.collect());
        }
        Err(error) if error.is_of_one_place() => {}
        Err(error) => return Err(error),
    }
    let mut came = Vec::new();
    for (at, blob) in group {
        match reader.blob_from(blob).await {
            Ok((_, plaintext)) => {
                fetched.fetch_add(plaintext.len() as u64, Relaxed);
                came.push((at, Ok(plaintext)));
            }
            Err(error) if error.is_of_one_place() => came.push((at, Err(error))),
            Err(error) => return Err(error),
        }
    }
    Ok(came)
}

async fn fetch_together(
    reader: Arc<Reader>,
    group: Vec<Wanted>,
    fetched: Arc<AtomicU64>,
) -> Result<Vec<(usize, Vec<u8>)>, ReadError> {
    let index = reader.index();
    let places = group.iter().map(|(_, blob)| index.location(*blob));
    let Some(start) = places.clone().map(|at| at.offset).min() else {
        return Ok(Vec::new());
    };
    let end = places.map(|at| at.offset.saturating_add(at.length)).max();
    let range = start..end.unwrap_or(start);
    let sealed = reader.fetch(index.pack_name(group[0].1), range).await?;
    fetched.fetch_add(sealed.len() as u64, Relaxed);
    // Opening takes CPU: not on a thread that serves the network.
    let open = move || {
        let mut opened = Vec::new();
        reader.with_codec(|codec| {
            for (at, blob) in group {
                let place = reader.index().location(blob);
                let from = (place.offset - start) as usize;
                let bytes = sealed.get(from..from + place.length as usize);
                let mut plain = Vec::new();
                reader.open_blob(codec, blob, bytes.unwrap_or_default(), &mut plain)?;
                opened.push((at, plain));
            }
            Ok(())
        })?;
        Ok(opened)
    };
    tokio::task::spawn_blocking(open).await?
}

impl io::Read for FileStream {
    /// An error holds a [`RestoreError`].
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.piece.len() {
            self.position = 0;
            let Some(piece) = self.next_piece().map_err(io::Error::other)? else {
                self.piece.clear();
                return Ok(0);
            };
            self.piece = piece;
        }
        let left = &self.piece[self.position..];
        let length = left.len().min(out.len());
        out[..length].copy_from_slice(&left[..length]);
        self.position += length;
        Ok(length)
    }
}
