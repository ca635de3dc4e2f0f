//! `postgresql.auto.conf` of a restored cluster: what stands at its end wins
//! over all other settings but those of a command line.
//!
//! What we put there stands in blocks, between two lines that say so, and can
//! be taken away again.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use super::{owner::Owner, recovery::RecoveryError};
use crate::allowed::AllowedDirectory;

/// The file's name.
pub(super) const FILE: &str = "postgresql.auto.conf";
const NEW: &str = "postgresql.auto.conf.strongroom";

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
fn quoted(value: &str) -> String {
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

/// Without what lies between a block's lines. Of whatever encoding.
pub(super) fn without(text: &[u8], block: Block) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut ours = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        ours |= line.starts_with(block.begin.as_bytes());
        if !ours {
            kept.extend_from_slice(line);
        }
        ours &= line.trim_ascii_end() != block.end.as_bytes();
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
    let old = read(&root).map_err(RecoveryError::file("read", &path))?;
    let mut new = without(&old, block);
    new.extend_from_slice(lines.as_bytes());
    let write = || -> io::Result<()> {
        remove(&root, NEW)?;
        let mut file = create(&root, NEW, owner)?;
        file.write_all(&new)?;
        file.sync_all()?;
        Ok(renameat(&root, NEW, &root, FILE)?)
    };
    write().map_err(RecoveryError::file("write", path))
}

fn read(root: &OwnedFd) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(root, FILE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(text)
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
