//! Looks at a tar of an agent's making on its way to the disk.
//!
//! The operator unpacks it, perhaps as root, with whatever is at hand. So it may
//! hold only what our agents write (`agent/src/transfer/archive.rs`), and nothing
//! that would be unpacked outside of its directory: no absolute name, no `..`,
//! nothing that lies behind a symbolic link of the same tar. An entry's header is
//! written when it was found good, together with the long names and records
//! before it.
//!
//! Source: "Basic Tar Format", GNU tar manual; pax interchange format, POSIX.

use std::{
    collections::HashSet,
    io::{self, Write},
};

#[cfg(any(test, fuzzing))]
pub mod fuzz;

const BLOCK: usize = 512;
/// Long names and records before one entry: 64 KiB for each extended attribute
/// that Linux allows, and more.
const MAX_EXTENSION: u64 = 16 << 20;

/// Passes on a tar that is harmless, and fails at the first entry that is not.
#[derive(Debug)]
pub(super) struct Guard<W> {
    out: W,
    state: State,
    /// What waits for the header that it belongs to; at least a part of a block.
    waiting: Vec<u8>,
    /// Where the block begins that is not whole yet.
    block: usize,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    symlinks: HashSet<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A header comes.
    Header,
    /// So many bytes of content come, padded to blocks.
    Content(u64),
    /// So many bytes of a long name or of records, of which so many count.
    Extension { kind: u8, left: u64, length: usize },
    /// Nothing but zeros comes.
    End,
}

/// A tar that is not written.
#[derive(Debug, thiserror::Error)]
#[error("the agent's tar is not what an agent writes, and could be unpacked elsewhere: {0}")]
pub(super) struct BadArchive(String);

impl BadArchive {
    fn at(name: &[u8], problem: &str) -> Self {
        let name = String::from_utf8_lossy(name);
        Self(format!("{name:?} {problem}"))
    }
}

impl<W: Write> Guard<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            state: State::Header,
            waiting: Vec::new(),
            block: 0,
            name: None,
            link: None,
            symlinks: HashSet::new(),
        }
    }

    /// All has come: it must have ended as a tar does.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.state == State::End {
            Ok(())
        } else {
            Err(io::Error::other(BadArchive("it is cut off".into())))
        }
    }

    /// Takes some bytes; gives how many.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, io::Error> {
        match self.state {
            State::Content(left) => {
                let part = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                self.out.write_all(part)?;
                let left = left - part.len() as u64;
                self.state = if left == 0 {
                    State::Header
                } else {
                    State::Content(left)
                };
                Ok(part.len())
            }
            State::Extension { kind, left, length } => {
                let part = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                self.waiting.extend_from_slice(part);
                let left = left - part.len() as u64;
                self.state = State::Extension { kind, left, length };
                if left == 0 {
                    self.extended(kind, length).map_err(io::Error::other)?;
                }
                Ok(part.len())
            }
            State::Header | State::End => {
                let missing = BLOCK - (self.waiting.len() - self.block);
                let part = &bytes[..bytes.len().min(missing)];
                self.waiting.extend_from_slice(part);
                if part.len() == missing {
                    self.whole_block()?;
                }
                Ok(part.len())
            }
        }
    }

    fn whole_block(&mut self) -> io::Result<()> {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.waiting[self.block..]);
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
        } else if self.state == State::End {
            return Err(io::Error::other(BadArchive(
                "it goes on behind its end".into(),
            )));
        } else {
            self.state = self.header(&Header(&block)).map_err(io::Error::other)?;
        }
        if matches!(self.state, State::Extension { .. }) {
            self.block = self.waiting.len();
            return Ok(());
        }
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        self.block = 0;
        Ok(())
    }

    /// What comes behind a header, which must be good.
    fn header(&mut self, header: &Header<'_>) -> Result<State, BadArchive> {
        let kind = header.kind();
        let size = header.checked_size()?;
        let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        if matches!(kind, b'L' | b'K' | b'x') {
            if size == 0 || size + self.waiting.len() as u64 > MAX_EXTENSION {
                return Err(BadArchive(format!("a name or records of {size} bytes")));
            }
            return Ok(State::Extension {
                kind,
                left: padded,
                length: size as usize,
            });
        }
        header.is_read_alike()?;
        let name = self.name.take().unwrap_or_else(|| header.name());
        let link = self.link.take().unwrap_or_else(|| header.link());
        if kind != b'5' && name.ends_with(b"/") {
            // Some take it for a directory, and its content for entries.
            return Err(BadArchive::at(&name, "is no directory, and ends as one"));
        }
        let name = inside(&name)?;
        self.not_behind_a_link(name)?;
        match kind {
            b'0' | b'3'..=b'6' => {}
            b'1' => self.not_behind_a_link(inside(&link)?)?,
            b'2' => {
                self.symlinks.insert(name.to_vec());
            }
            _ => return Err(BadArchive::at(name, "is of a kind that no agent writes")),
        }
        if kind != b'0' && size > 0 {
            return Err(BadArchive::at(name, "has content, which its kind has not"));
        }
        Ok(match padded {
            0 => State::Header,
            padded => State::Content(padded),
        })
    }

    /// A long name, or records, are there.
    fn extended(&mut self, kind: u8, length: usize) -> Result<(), BadArchive> {
        let text = &self.waiting[self.block..self.block + length];
        match kind {
            b'x' => records(text)?,
            kind => {
                let text = text.strip_suffix(b"\0").unwrap_or(text).to_vec();
                let place = if kind == b'L' {
                    &mut self.name
                } else {
                    &mut self.link
                };
                *place = Some(text);
            }
        }
        self.block = self.waiting.len();
        self.state = State::Header;
        Ok(())
    }

    fn not_behind_a_link(&self, name: &[u8]) -> Result<(), BadArchive> {
        let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = ends.map(|(end, _)| &name[..end]).chain([name]);
        for path in above {
            if self.symlinks.contains(path) {
                return Err(BadArchive::at(name, "lies behind a symbolic link"));
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Guard<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A name that stays where it is unpacked, without the slash of a directory.
fn inside(name: &[u8]) -> Result<&[u8], BadArchive> {
    let path = name.strip_suffix(b"/").unwrap_or(name);
    let mut parts = path.split(|byte| *byte == b'/');
    let good = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if parts.all(good) {
        Ok(path)
    } else {
        Err(BadArchive::at(name, "is no relative path without '..'"))
    }
}

/// Records of ours: times and extended attributes. A name or a size in one would
/// take the place of the header's.
fn records(mut text: &[u8]) -> Result<(), BadArchive> {
    let bad = || BadArchive("its records are none".into());
    while !text.is_empty() {
        let digits = text.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = std::str::from_utf8(&text[..digits]).ok();
        let length = length.filter(|it| it.bytes().all(|digit| digit.is_ascii_digit()));
        let length: usize = length.and_then(|it| it.parse().ok()).ok_or_else(bad)?;
        if length <= digits + 1 || length > text.len() || text[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &text[digits + 1..length];
        let key = record
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        if key != b"mtime" && !key.starts_with(b"SCHILY.xattr.") {
            return Err(BadArchive::at(key, "is a record that no agent writes"));
        }
        text = &text[length..];
    }
    Ok(())
}

/// The block before an entry.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, from: usize, length: usize) -> &[u8] {
        let field = &self.0[from..from + length];
        let end = field.iter().position(|byte| *byte == 0);
        &field[..end.unwrap_or(length)]
    }

    /// Programs that unpack differ in what they go by to find a prefix of the
    /// name, which no agent writes: there must be none.
    fn is_read_alike(&self) -> Result<(), BadArchive> {
        if self.0[345..].iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(BadArchive::at(
                &self.name(),
                "has more in its header than an agent writes",
            ))
        }
    }

    fn name(&self) -> Vec<u8> {
        self.field(0, 100).to_vec()
    }

    fn link(&self) -> Vec<u8> {
        self.field(157, 100).to_vec()
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The size, of a header whose checksum is right.
    fn checked_size(&self) -> Result<u64, BadArchive> {
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        let field: u64 = self.0[148..156].iter().map(|byte| u64::from(*byte)).sum();
        let sum = sum - field + 8 * u64::from(b' ');
        if octal(self.field(148, 8)) != Some(sum) {
            return Err(BadArchive("a header's checksum is wrong".into()));
        }
        let size = &self.0[124..136];
        // Beyond 8 GiB: the number itself, behind a bit that says so.
        let size = match size[0] {
            0x80 if size[1..4] == [0; 3] => Some(
                size[4..]
                    .iter()
                    .fold(0, |size, byte| size << 8 | u64::from(*byte)),
            ),
            0x80.. => None,
            _ => octal(self.field(124, 12)),
        };
        size.filter(|size| *size < 1 << 62)
            .ok_or_else(|| BadArchive("a header's size is no size".into()))
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(' ');
    // A sign makes it another number to some.
    let digits = text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    u64::from_str_radix(text, 8).ok().filter(|_| digits)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn header(name: &[u8], kind: u8, link: &[u8], size: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar  \0");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn summed(mut block: Vec<u8>) -> Vec<u8> {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn prefixed(prefix: &[u8], name: &[u8]) -> Vec<u8> {
        let mut block = header(name, b'0', b"", 0);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        summed(block)
    }

    fn with_size(size: &[u8]) -> Vec<u8> {
        let mut block = header(b"x", b'0', b"", 0);
        block[124..136].fill(0);
        block[124..124 + size.len()].copy_from_slice(size);
        [summed(block), vec![0; BLOCK]].concat()
    }

    pub(crate) fn entry(name: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Vec<u8> {
        let mut entry = header(name, kind, link, content.len());
        entry.extend_from_slice(content);
        entry.resize(entry.len().next_multiple_of(BLOCK), 0);
        entry
    }

    /// What gets through, in writes of this many bytes.
    fn through(entries: &[Vec<u8>], at_once: usize) -> Result<Vec<u8>, (Vec<u8>, String)> {
        let mut tar = entries.concat();
        tar.resize(tar.len() + 2 * BLOCK, 0);
        let mut out = Vec::new();
        let mut guard = Guard::new(&mut out);
        let written = tar
            .chunks(at_once)
            .try_for_each(|part| guard.write_all(part))
            .and_then(|()| guard.finish());
        match written {
            Ok(()) => {
                assert_eq!(out, tar);
                Ok(out)
            }
            Err(error) => Err((out, error.to_string())),
        }
    }

    /// As agents write it.
    pub(crate) fn sample() -> Vec<Vec<u8>> {
        let long = b"a/".repeat(80);
        vec![
            entry(b"site/", b'5', b"", b""),
            entry(b"x", b'x', b"", b"22 mtime=1700000000.5\n"),
            entry(b"site/page", b'0', b"", &[7; 1000]),
            entry(b"site/again", b'1', b"site/page", b""),
            entry(b"site/away", b'2', b"/etc/passwd", b""),
            entry(b"././@LongLink", b'L', b"", &[&long[..], b"f\0"].concat()),
            entry(b"a", b'0', b"", b"x"),
            entry(b"site/pipe", b'6', b"", b""),
        ]
    }

    #[test]
    fn what_an_agent_writes_gets_through_byte_by_byte() {
        let tar = sample();
        for at_once in [1, 511, 512, 1 << 20] {
            through(&tar, at_once).unwrap();
        }
    }

    #[test]
    fn nothing_is_unpacked_elsewhere() {
        let away = entry(b"d", b'2', b"/etc", b"");
        for (problem, entries) in [
            ("relative", vec![entry(b"/etc/passwd", b'0', b"", b"x")]),
            ("relative", vec![entry(b"a/../../x", b'0', b"", b"x")]),
            ("relative", vec![entry(b"..", b'5', b"", b"")]),
            ("relative", vec![entry(b"x", b'1', b"../x", b"")]),
            (
                "behind",
                vec![away.clone(), entry(b"d/passwd", b'0', b"", b"x")],
            ),
            ("behind", vec![away.clone(), entry(b"d", b'0', b"", b"x")]),
            (
                "behind",
                vec![away.clone(), entry(b"x", b'1', b"d/passwd", b"")],
            ),
            ("behind", vec![away, entry(b"d/", b'5', b"", b"")]),
            ("record", vec![entry(b"x", b'x', b"", b"13 path=/etc\n")]),
            ("record", vec![entry(b"x", b'x', b"", b"9 size=7\n")]),
            ("none", vec![entry(b"x", b'x', b"", b"99 mtime=1\n")]),
            ("none", vec![entry(b"x", b'x', b"", b"+10 mtime=1\n")]),
            ("kind", vec![entry(b"x", 0, b"", b"x")]),
            ("ends as one", vec![entry(b"x/", b'0', b"", b"x")]),
            ("more in its", vec![prefixed(b"../..", b"x")]),
            ("size", vec![with_size(b"+1")]),
            ("kind", vec![entry(b"x", b'g', b"", b"")]),
            ("kind", vec![entry(b"x", b'S', b"", b"")]),
            ("content", vec![entry(b"x", b'2', b"y", b"z")]),
            (
                "relative",
                vec![
                    entry(b"l", b'L', b"", b"../x\0"),
                    entry(b"x", b'0', b"", b""),
                ],
            ),
            (
                "relative",
                vec![
                    entry(b"l", b'K', b"", b"/etc/x\0"),
                    entry(b"x", b'1', b"x", b""),
                ],
            ),
        ] {
            let good = entry(b"good", b'0', b"", b"good");
            let entries = [vec![good.clone()], entries].concat();
            let (out, message) = through(&entries, 700).unwrap_err();
            assert!(message.contains(problem), "{problem}: {message}");
            // Nothing of the entry that is refused.
            assert!(out.len() <= good.len() + BLOCK, "{problem}");
        }
    }

    #[test]
    fn a_tar_that_is_cut_off_or_goes_on_is_none() {
        let mut guard = Guard::new(Vec::new());
        guard.write_all(&entry(b"x", b'0', b"", b"x")).unwrap();
        assert!(guard.finish().is_err());
        let mut guard = Guard::new(Vec::new());
        guard.write_all(&[0; BLOCK]).unwrap();
        assert!(guard.write_all(&entry(b"x", b'0', b"", b"x")).is_err());
        let mut damaged = entry(b"x", b'0', b"", b"");
        damaged[0] = b'y';
        let mut guard = Guard::new(Vec::new());
        assert!(guard.write_all(&damaged).is_err());
    }
}
