//! `postgresql.auto.conf` of a restored cluster: what stands at its end wins
//! over all other settings but those of a command line.
//!
//! What we put there stands in blocks, between two lines that say so, and can
//! be taken away again.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use super::{owner::Owner, recovery::RecoveryError, single::read_single};
use crate::allowed::AllowedDirectory;

/// The file's name.
pub(super) const FILE: &str = "postgresql.auto.conf";
/// Under what name it is written anew.
pub(super) const NEW: &str = "postgresql.auto.conf.strongroom";

/// Larger files are none.
const LARGEST: u64 = 16 << 20;

/// The lines that frame settings of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The first begins so.
    pub(super) begin: &'static str,
    /// The last.
    pub(super) end: &'static str,
}

impl Block {
    /// Settings with the lines that frame them; the first says more.
    pub(super) fn lines(self, more: &str, settings: &[(&str, String)]) -> String {
        let mut lines = format!("{} {more}\n", self.begin);
        for (name, value) in settings {
            let _infallible = writeln!(lines, "{name} = '{}'", quoted(value));
        }
        lines.push_str(self.end);
        lines.push('\n');
        lines
    }
}

/// As it stands between single quotes in a file of settings.
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => {}
            other => text.push(other),
        }
    }
    text
}

/// Without what lies between a block's lines. Of whatever encoding. A block
/// whose end somebody removed is none: its settings stay.
pub(super) fn without(text: &[u8], block: Block) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    // Where a block begins in what is kept.
    let mut begun = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(block.begin.as_bytes()) {
            begun = Some(kept.len());
            continue;
        }
        match begun {
            Some(start) if line.trim_ascii_end() == block.end.as_bytes() => {
                kept.truncate(start);
                begun = None;
            }
            _ => kept.extend_from_slice(line),
        }
    }
    if kept.last().is_some_and(|byte| *byte != b'\n') {
        kept.push(b'\n');
    }
    kept
}

/// Puts these lines in the place of a block's, at the file's end. The file came
/// from a snapshot, or is the server's user's: no link is followed.
pub(super) fn edit(
    target: &AllowedDirectory,
    owner: Option<&Owner>,
    block: Block,
    lines: &str,
) -> Result<(), RecoveryError> {
    let path = target.path().join(FILE);
    let root = target.descriptor();
    let root = root.map_err(RecoveryError::file("open", target.path()))?;
    let old = read(&root, FILE).map_err(RecoveryError::file("read", &path))?;
    let edited = replace(&root, (FILE, NEW), owner, &with(&old, block, lines));
    edited.map_err(RecoveryError::file("write", path))
}

/// A text with these lines in the place of a block's, at its end.
pub(super) fn with(text: &[u8], block: Block, lines: &str) -> Vec<u8> {
    let mut new = without(text, block);
    new.extend_from_slice(lines.as_bytes());
    new
}

/// Puts a file with this content in the place of another, or of a link; until it
/// is written it has another name.
pub(super) fn replace(
    root: &OwnedFd,
    (name, unfinished): (&str, &str),
    owner: Option<&Owner>,
    content: &[u8],
) -> io::Result<()> {
    remove(root, unfinished)?;
    let mut file = create(root, unfinished, owner)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(renameat(root, unfinished, root, name)?)
}

/// Reads a file of settings; one that is not there is empty.
pub(super) fn read(root: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    match read_single(root, name, LARGEST + 1) {
        Ok(text) if text.len() as u64 > LARGEST => Err(io::Error::other("it has more than 16 MiB")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Makes a file anew.
pub(super) fn create(root: &OwnedFd, name: &str, owner: Option<&Owner>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = File::from(openat(root, name, flags, Mode::RUSR | Mode::WUSR)?);
    if let Some(owner) = owner {
        owner.take_one(&file, b"")?;
    }
    Ok(file)
}

/// Removes a file, if it is there.
pub(super) fn remove(root: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(root, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
