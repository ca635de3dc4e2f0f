//! Listings, in the order of keys, a page at a time. A page reads only the
//! directories it shows. Calls block.

use std::{io, os::fd::OwnedFd, time::SystemTime};

use rustix::fs::{AtFlags, Dir, FileType};

use super::tree::open_directory;

/// Directories are not followed deeper than this: the longest key has fewer.
const MAX_DEPTH: usize = 512;

/// What to list.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// Keys begin with this.
    pub(super) prefix: String,
    /// Keys with a slash behind the prefix are folded up to it.
    pub(super) fold: bool,
    /// Only what comes behind this key or folded prefix; empty: all.
    pub(super) after: String,
    /// Entries on the page.
    pub(super) max: usize,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// An object.
    Object {
        /// Its key.
        key: String,
        /// Bytes.
        size: u64,
        /// When it was written.
        modified: SystemTime,
    },
    /// All keys that begin so; ends with a slash.
    Prefix(String),
}

impl Line {
    /// What the next page continues behind.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Object { key, .. } | Self::Prefix(key) => key,
        }
    }
}

/// A page, and whether there is more.
pub(super) fn list(bucket: &OwnedFd, query: &Query) -> io::Result<(Vec<Line>, bool)> {
    let mut walk = Walk {
        query,
        limit: query.max.saturating_add(1),
        lines: Vec::new(),
    };
    walk.directory(bucket, "", 0)?;
    let more = walk.lines.len() > query.max;
    walk.lines.truncate(query.max);
    Ok((walk.lines, more))
}

struct Walk<'a> {
    query: &'a Query,
    /// One more than the page, to know whether there is more.
    limit: usize,
    lines: Vec<Line>,
}

impl Walk<'_> {
    /// `base` is the key of the directory, with its slash.
    fn directory(&mut self, directory: &OwnedFd, base: &str, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        for key in sorted_keys(directory, base)? {
            if self.lines.len() >= self.limit {
                break;
            }
            if let Some(name) = key[base.len()..].strip_suffix('/') {
                self.subdirectory(directory, name, &key, depth)?;
            } else {
                self.file(directory, &key[base.len()..], &key)?;
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &str,
        key: &str,
        depth: usize,
    ) -> io::Result<()> {
        let Query {
            prefix,
            after,
            fold,
            ..
        } = self.query;
        let inside = key.starts_with(prefix.as_str());
        let behind_us = key <= after.as_str() && (*fold && inside || !after.starts_with(key));
        if !(inside || prefix.starts_with(key)) || behind_us && key != prefix {
            return Ok(());
        }
        let Some(directory) = unless_gone(open_directory(parent, name))? else {
            return Ok(());
        };
        if *fold && inside && key.len() > prefix.len() {
            if holds_object(&directory, depth)? {
                self.lines.push(Line::Prefix(key.to_owned()));
            }
            return Ok(());
        }
        self.directory(&directory, key, depth + 1)
    }

    fn file(&mut self, directory: &OwnedFd, name: &str, key: &str) -> io::Result<()> {
        let Query { prefix, after, .. } = self.query;
        if !key.starts_with(prefix.as_str()) || key <= after.as_str() {
            return Ok(());
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let Some(stat) = unless_gone(stat.map_err(io::Error::from))? else {
            return Ok(());
        };
        let since_epoch = std::time::Duration::new(
            u64::try_from(stat.st_mtime).unwrap_or(0),
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        );
        self.lines.push(Line::Object {
            key: key.to_owned(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: SystemTime::UNIX_EPOCH + since_epoch,
        });
        Ok(())
    }
}

/// What vanished since its directory was read is not there.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The keys of regular files and, with a slash, of directories; sorted. A
/// directory sorts as its keys do.
fn sorted_keys(directory: &OwnedFd, base: &str) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.map_or(FileType::Unknown, |stat| {
                    FileType::from_raw_mode(stat.st_mode)
                })
            }
            kind => kind,
        };
        match kind {
            FileType::RegularFile => keys.push(format!("{base}{name}")),
            FileType::Directory if !matches!(name, "." | "..") => {
                keys.push(format!("{base}{name}/"));
            }
            _ => {}
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Empty directories are nothing that S3 knows.
fn holds_object(directory: &OwnedFd, depth: usize) -> io::Result<bool> {
    if depth > MAX_DEPTH {
        return Ok(false);
    }
    let keys = sorted_keys(directory, "")?;
    if keys.iter().any(|key| !key.ends_with('/')) {
        return Ok(true);
    }
    for key in &keys {
        let name = key.trim_end_matches('/');
        if let Some(below) = unless_gone(open_directory(directory, name))?
            && holds_object(&below, depth + 1)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
