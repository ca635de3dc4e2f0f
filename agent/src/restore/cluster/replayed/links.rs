//! The links in a restored cluster: none leads out of it but to its
//! tablespaces, and to files that a server only reads.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat, unlinkat},
    io::Errno,
};
use strongroom_compare::beneath;
use strongroom_postgres::physical::DEEPEST;

use crate::{
    allowed::AllowedDirectory,
    restore::{cluster::ClusterRestoreError, entries::is_only_read},
};

/// Where the links to tablespaces are.
const TABLESPACES: &str = "pg_tblspc";

/// A link that leads where nobody was asked about.
#[derive(Debug)]
struct Stray {
    link: PathBuf,
    to: String,
}

/// Verifies that all links in a data directory lead where they may: each in
/// `pg_tblspc` to where the tablespace of its number goes; at the top those of
/// configuration; none elsewhere, nor in the directories of tablespaces. A server
/// may be at work in them.
pub(super) fn verify<'t>(
    target: &AllowedDirectory,
    allowed: &BTreeMap<u32, &str>,
    tablespaces: impl Iterator<Item = &'t AllowedDirectory>,
) -> Result<(), ClusterRestoreError> {
    let in_data = |directory: &Path, name: &[u8], to: &[u8]| {
        if directory == Path::new(TABLESPACES) {
            let oid = std::str::from_utf8(name).ok();
            let wanted = oid.and_then(|oid| allowed.get(&oid.parse().ok()?));
            return wanted.is_some_and(|wanted| wanted.as_bytes() == to);
        }
        directory == Path::new("") && is_only_read(name)
    };
    verify_tree(target, &in_data)?;
    for directory in tablespaces {
        verify_tree(directory, &|_, _, _| false)?;
    }
    Ok(())
}

/// Whether a link may be: the directory it is in, below the tree's top; its
/// name; where it leads.
type May<'m> = &'m dyn Fn(&Path, &[u8], &[u8]) -> bool;

fn verify_tree(tree: &AllowedDirectory, may: May<'_>) -> Result<(), ClusterRestoreError> {
    let look = || -> io::Result<Option<Stray>> {
        let Some(root) = tree.open()? else {
            return Ok(None);
        };
        stray(&beneath::open_dir(&root, b"")?, Path::new(""), may, DEEPEST)
    };
    let found = look().map_err(ClusterRestoreError::file("look for links in", tree.path()))?;
    found.map_or(Ok(()), |Stray { link, to }| {
        Err(ClusterRestoreError::StrayLink {
            link: tree.path().join(link),
            to,
        })
    })
}

/// The first link in and below a directory that may not be.
fn stray(
    directory: &OwnedFd,
    path: &Path,
    may: May<'_>,
    levels: usize,
) -> io::Result<Option<Stray>> {
    let Some(levels) = levels.checked_sub(1) else {
        let cause = format!("{} lies too deep for a cluster", path.display());
        return Err(io::Error::other(cause));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(directory, c".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let Some(kind) = kind(directory, name, entry.file_type())? else {
            continue;
        };
        let below = || path.join(os(name));
        let found = match kind {
            FileType::Directory => match beneath::open_child(directory, name) {
                Ok(opened) => stray(&opened, &below(), may, levels)?,
                Err(error) if is_gone(&error) => None,
                Err(error) => return Err(error),
            },
            FileType::Symlink => match readlinkat(directory, name, Vec::new()) {
                Ok(to) if !may(path, name, to.as_bytes()) => Some(Stray {
                    link: below(),
                    to: String::from_utf8_lossy(to.as_bytes()).into_owned(),
                }),
                // Gone, or no link any more.
                Ok(_) | Err(Errno::NOENT | Errno::INVAL) => None,
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Of an entry; `None`: it is gone. Not every file system says it with the name.
fn kind(directory: impl AsFd, name: &[u8], said: FileType) -> io::Result<Option<FileType>> {
    if said != FileType::Unknown {
        return Ok(Some(said));
    }
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

/// Removes the link of a tablespace, if there is one.
pub(super) fn forget(target: &AllowedDirectory, oid: u32) {
    let directory = target.descriptor();
    let directory = directory.and_then(|it| beneath::open_child(it, TABLESPACES.as_bytes()));
    if let Ok(directory) = directory {
        let _gone = unlinkat(directory, oid.to_string(), AtFlags::empty());
    }
}
