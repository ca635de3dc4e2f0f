//! Single files of a snapshot, read in order: what restores into servers feed
//! them with. Nothing touches the disk.
//!
//! [`SnapshotFiles`] finds files; a [`FileStream`] gives one's content as
//! [`io::Read`], fetched and verified ahead by a few requests.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use strongroom_layout::ObjectId;
use strongroom_repository::{
    Repository,
    format::{
        blob::{BlobId, BlobKind},
        node::{Node, NodeKind},
        snapshot::Snapshot,
    },
    read::{BlobRef, ReadError, Reader},
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{block_on, error::RestoreError, open, select::components};
use crate::monitor::Monitor;

/// Plaintext that one request brings, bytes; more if a single blob is larger.
const PIECE: u64 = 4 << 20;
/// Requests ahead of what has been read.
const AHEAD: usize = 4;

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
        let NodeKind::File { size, content } = &node.kind else {
            return Err(RestoreError::InvalidPath {
                path: path.into(),
                problem: "it is no regular file there",
            });
        };
        let blobs = content
            .iter()
            .map(|id: &BlobId| self.reader.index().require(BlobKind::Data, id))
            .collect::<Result<VecDeque<_>, _>>()?;
        Ok(FileStream {
            reader: Arc::clone(&self.reader),
            runtime: self.runtime.clone(),
            monitor: Arc::clone(&self.monitor),
            fetched: Arc::clone(&self.fetched),
            size: *size,
            blobs,
            ahead: VecDeque::new(),
            piece: Vec::new(),
            position: 0,
        })
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
    reader: Arc<Reader>,
    runtime: Handle,
    monitor: Arc<Monitor>,
    fetched: Arc<AtomicU64>,
    size: u64,
    /// Not asked for yet.
    blobs: VecDeque<BlobRef>,
    ahead: VecDeque<Piece>,
    /// What is being read, and how far.
    piece: Vec<u8>,
    position: usize,
}

/// A request under way; dropped, it is given up.
struct Piece(JoinHandle<Result<Vec<u8>, ReadError>>);

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
        while self.ahead.len() < AHEAD && !self.blobs.is_empty() {
            let piece = self.ask();
            self.ahead.push_back(piece);
        }
        let Some(mut piece) = self.ahead.pop_front() else {
            return Ok(None);
        };
        let answer = block_on(&self.runtime, &self.monitor, &mut piece.0)?;
        Ok(Some(answer.map_err(ReadError::from)??))
    }

    /// Asks for the next blobs that lie one behind the other in one pack.
    fn ask(&mut self) -> Piece {
        let index = self.reader.index();
        let mut taken: Vec<BlobRef> = Vec::new();
        let mut plain = 0;
        while let Some(&next) = self.blobs.front() {
            let length = u64::from(index.plaintext_length(next));
            let follows = taken.last().is_none_or(|&last| {
                let end = |blob| {
                    let at = index.location(blob);
                    at.offset.saturating_add(at.length)
                };
                plain + length <= PIECE
                    && index.pack_of(last) == index.pack_of(next)
                    && end(last) == index.location(next).offset
            });
            if !follows {
                break;
            }
            plain += length;
            taken.push(next);
            self.blobs.pop_front();
        }
        let work = fetch(Arc::clone(&self.reader), taken, Arc::clone(&self.fetched));
        Piece(self.runtime.spawn(work))
    }
}

/// Fetches and opens blobs that are said to lie one behind the other; when one
/// of them does not, each from wherever it lies.
async fn fetch(
    reader: Arc<Reader>,
    blobs: Vec<BlobRef>,
    fetched: Arc<AtomicU64>,
) -> Result<Vec<u8>, ReadError> {
    let together = fetch_together(Arc::clone(&reader), blobs.clone(), Arc::clone(&fetched));
    match together.await {
        Err(error) if error.is_of_one_place() => {}
        done => return done,
    }
    let mut plain = Vec::new();
    for blob in blobs {
        let (_, plaintext) = reader.blob_from(blob).await?;
        fetched.fetch_add(plaintext.len() as u64, Relaxed);
        plain.extend_from_slice(&plaintext);
    }
    Ok(plain)
}

async fn fetch_together(
    reader: Arc<Reader>,
    blobs: Vec<BlobRef>,
    fetched: Arc<AtomicU64>,
) -> Result<Vec<u8>, ReadError> {
    let (Some(&first), Some(&last)) = (blobs.first(), blobs.last()) else {
        return Ok(Vec::new());
    };
    let start = reader.index().location(first).offset;
    let at = reader.index().location(last);
    let range = start..at.offset.saturating_add(at.length);
    let sealed = reader.fetch(reader.index().pack_name(first), range).await?;
    fetched.fetch_add(sealed.len() as u64, Relaxed);
    // Opening takes CPU: not on a thread that serves the network.
    let open = move || {
        let mut plain = Vec::new();
        reader.with_codec(|codec| {
            for blob in blobs {
                let at = reader.index().location(blob);
                let from = (at.offset - start) as usize;
                let bytes = sealed.get(from..from + at.length as usize);
                reader.open_blob(codec, blob, bytes.unwrap_or_default(), &mut plain)?;
            }
            Ok(())
        })?;
        Ok(plain)
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
