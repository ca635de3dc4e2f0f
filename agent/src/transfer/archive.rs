//! A directory of a snapshot as a tar.
//!
//! Names, link targets and times are those of the host, byte by byte: what
//! does not fit the header comes as GNU's long names, times below the second
//! and extended attributes as pax records, as GNU tar writes and reads them
//! (`tar --xattrs`). The first of several hard links has the content, the
//! others point to it.
//!
//! A tar is written from its beginning to its end. So that its files need not
//! be fetched one after the other, the walk is ahead of the writing by as many
//! entries as it takes to have enough to fetch.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read, Write},
    sync::atomic::Ordering::Relaxed,
    vec,
};

use jiff::Timestamp;
use strongroom_repository::format::node::{Node, NodeKind};
use tar::{Builder, EntryType, Header};

use super::TransferError;
use crate::{
    monitor::Monitor,
    restore::stream::{Contents, SnapshotFiles},
};

/// Bytes of a name or a link target in a plain header.
const NAME: usize = 100;
/// Entries that the walk is ahead of the tar: their names are in memory.
const MOST_AHEAD: usize = 10_000;

/// Writes the tar of the directory, or other entry, `top`; `None`: of the
/// whole snapshot. Gives the number of entries.
pub(super) fn write(
    files: &SnapshotFiles,
    top: Option<Node>,
    out: &mut impl Write,
    monitor: &Monitor,
) -> Result<u64, TransferError> {
    let mut archive = Archive {
        tar: Builder::new(out),
        contents: files.many(),
        monitor,
        count: 0,
    };
    let mut walk = Walk::new(files, top)?;
    let mut ahead = VecDeque::new();
    // Why the walk went no further: told when the tar has come as far.
    let mut stuck = None;
    loop {
        while stuck.is_none()
            && ahead.len() < MOST_AHEAD
            && (ahead.is_empty() || archive.contents.is_hungry())
        {
            match walk.next(&mut archive.contents) {
                Ok(Some(entry)) => ahead.push_back(entry),
                Ok(None) => break,
                Err(error) => stuck = Some(error),
            }
            archive.contents.fetch_ahead();
        }
        let Some(entry) = ahead.pop_front() else {
            if let Some(error) = stuck {
                return Err(error);
            }
            break;
        };
        archive
            .entry(&entry)
            .map_err(|error| TransferError::from_io(&entry.path, error))?;
    }
    let count = archive.count;
    archive
        .tar
        .into_inner()
        .map_err(|error| TransferError::from_io(b"the end", error))?;
    Ok(count)
}

/// An entry on its way into the tar.
struct Entry {
    path: Vec<u8>,
    node: Node,
    has: Has,
}

/// What an entry has besides its header.
enum Has {
    Nothing,
    /// The path of another name of the same file, written before.
    Link(Vec<u8>),
    /// Content in so many blobs.
    Blobs(usize),
}

/// Entries in the order of the tar.
struct Walk<'a> {
    files: &'a SnapshotFiles,
    open: Vec<Directory>,
    /// Where the content of a file with several names goes.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a> Walk<'a> {
    fn new(files: &'a SnapshotFiles, top: Option<Node>) -> Result<Self, TransferError> {
        let first = match top {
            Some(node) => vec![node],
            None => files.children(None)?,
        };
        let directory = Directory {
            path: Vec::new(),
            left: first.into_iter(),
        };
        Ok(Self {
            files,
            open: vec![directory],
            links: HashMap::new(),
        })
    }

    /// The next one; its content is added to `contents`.
    fn next(&mut self, contents: &mut Contents) -> Result<Option<Entry>, TransferError> {
        let (node, mut path) = loop {
            let Some(directory) = self.open.last_mut() else {
                return Ok(None);
            };
            match directory.left.next() {
                Some(node) => break (node, directory.path.clone()),
                None => self.open.pop(),
            };
        };
        path.extend_from_slice(&node.name);
        let has = match &node.kind {
            NodeKind::Dir { .. } => {
                path.push(b'/');
                let left = self.files.children(Some(&node));
                let left = left.map_err(|error| TransferError::of_entry(&path, error))?;
                let (path, left) = (path.clone(), left.into_iter());
                self.open.push(Directory { path, left });
                Has::Nothing
            }
            NodeKind::File { content, .. } => {
                if let Some(first) = self.first_name(&node, &path) {
                    Has::Link(first)
                } else {
                    let blobs = contents.add(content);
                    Has::Blobs(blobs.map_err(|error| TransferError::of_entry(&path, error))?)
                }
            }
            NodeKind::Symlink { target } => Has::Link(target.clone()),
            _ => Has::Nothing,
        };
        Ok(Some(Entry { path, node, has }))
    }

    /// The name under which the inode came first; notes `path` if it is that.
    fn first_name(&mut self, node: &Node, path: &[u8]) -> Option<Vec<u8>> {
        if node.links <= 1 || node.inode == 0 {
            return None;
        }
        let inode = (node.device_id, node.inode);
        if let Some(first) = self.links.get(&inode) {
            return Some(first.clone());
        }
        self.links.insert(inode, path.to_vec());
        None
    }
}

/// A directory that is being written.
struct Directory {
    /// With a slash at its end, but for the root.
    path: Vec<u8>,
    left: vec::IntoIter<Node>,
}

struct Archive<'a, W: Write> {
    tar: Builder<W>,
    contents: Contents,
    monitor: &'a Monitor,
    count: u64,
}

impl<W: Write> Archive<'_, W> {
    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let Entry { path, node, has } = entry;
        let mut header = header(node);
        match &node.kind {
            NodeKind::File { .. } if matches!(has, Has::Link(_)) => {
                header.set_entry_type(EntryType::Link);
            }
            NodeKind::File { size, .. } => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(*size);
            }
            NodeKind::Dir { .. } => header.set_entry_type(EntryType::Directory),
            NodeKind::Symlink { .. } => header.set_entry_type(EntryType::Symlink),
            NodeKind::BlockDevice { device } => {
                header.set_entry_type(EntryType::Block);
                set_device(&mut header, *device)?;
            }
            NodeKind::CharDevice { device } => {
                header.set_entry_type(EntryType::Char);
                set_device(&mut header, *device)?;
            }
            NodeKind::Fifo => header.set_entry_type(EntryType::Fifo),
        }
        let records = records(node);
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
            self.tar.append_pax_extensions(records)?;
        }
        if let Has::Link(target) = has {
            if target.len() > NAME {
                self.long(EntryType::GNULongLink, target)?;
            }
            let field = &mut header.as_old_mut().linkname;
            let length = target.len().min(NAME);
            field[..length].copy_from_slice(&target[..length]);
        }
        if path.len() > NAME {
            self.long(EntryType::GNULongName, path)?;
        }
        let length = path.len().min(NAME);
        header.as_old_mut().name[..length].copy_from_slice(&path[..length]);
        header.set_cksum();
        match (has, &node.kind) {
            (Has::Blobs(blobs), NodeKind::File { size, .. }) => {
                let mut content = Counted {
                    inner: self.contents.file(*blobs),
                    bytes: 0,
                };
                self.tar.append(&header, &mut content)?;
                if content.bytes != *size {
                    return Err(io::Error::other(format!(
                        "the snapshot says that it has {size} bytes, and it has {}",
                        content.bytes
                    )));
                }
            }
            _ => self.tar.append(&header, io::empty())?,
        }
        self.count += 1;
        self.monitor.files.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A name that does not fit the header of the entry behind it.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let marker = b"././@LongLink";
        header.as_old_mut().name[..marker.len()].copy_from_slice(marker);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // With the NUL at its end.
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.tar.append(&header, name.chain(&b"\0"[..]))
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(out)?;
        self.bytes += length as u64;
        Ok(length)
    }
}

fn header(node: &Node) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode & 0o7777);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_size(0);
    header.set_mtime(u64::try_from(seconds(node.mtime).0).unwrap_or(0));
    // A name that does not fit is left out: the number is there.
    let _ = header.set_username(&node.user);
    let _ = header.set_groupname(&node.group);
    header
}

fn set_device(header: &mut Header, device: u64) -> io::Result<()> {
    header.set_device_major(rustix::fs::major(device))?;
    header.set_device_minor(rustix::fs::minor(device))
}

/// What the header has no room for.
fn records(node: &Node) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let (seconds, nanoseconds) = seconds(node.mtime);
    if seconds < 0 || nanoseconds != 0 {
        records.push(("mtime".to_owned(), pax_time(node.mtime).into_bytes()));
    }
    for (name, value) in &node.xattrs {
        // Keys are texts; of others Linux makes none.
        if let Ok(name) = std::str::from_utf8(name) {
            let name = name.replace('%', "%25").replace('=', "%3D");
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
    }
    records
}

/// Whole seconds, rounded down, and nanoseconds from there on.
fn seconds(time: Timestamp) -> (i64, i128) {
    let all = time.as_nanosecond();
    let seconds = all.div_euclid(1_000_000_000);
    let seconds = i64::try_from(seconds).unwrap_or_default();
    (seconds, all.rem_euclid(1_000_000_000))
}

/// Decimal seconds; the sign belongs to all of it.
fn pax_time(time: Timestamp) -> String {
    let all = time.as_nanosecond();
    let sign = if all < 0 { "-" } else { "" };
    let all = all.unsigned_abs();
    format!("{sign}{}.{:09}", all / 1_000_000_000, all % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_sign() {
        for (nanoseconds, text) in [
            (1_500_000_000_i128, "1.500000000"),
            (-500_000_000, "-0.500000000"),
            (-1_500_000_000, "-1.500000000"),
        ] {
            let time = Timestamp::from_nanosecond(nanoseconds).unwrap();
            assert_eq!(pax_time(time), text);
        }
        let early = Timestamp::from_nanosecond(-500_000_000).unwrap();
        assert_eq!(seconds(early), (-1, 500_000_000));
    }
}
