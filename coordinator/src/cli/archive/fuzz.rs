//! Fuzz target: an agent sends a tar of its making.

use std::{collections::HashSet, io::Write as _};

use super::{BLOCK, Guard};

/// A tar, whose checksums are put right first, in writes of as many bytes as the
/// first byte says. What gets through is the same however it is cut, and by
/// another reading of it nothing lies elsewhere.
pub fn agents_tar(data: &[u8]) {
    let Some((size, tar)) = data.split_first() else {
        return;
    };
    let mut tar = tar.to_vec();
    let entries = read(&mut tar);
    let (whole, all) = through(&tar, tar.len().max(1));
    let (parts, good) = through(&tar, usize::from(*size).max(1));
    assert_eq!((&whole, all), (&parts, good));
    assert!(tar.starts_with(&whole));
    if !all {
        return;
    }
    assert_eq!(whole.len(), tar.len() / BLOCK * BLOCK);
    let mut links = HashSet::new();
    for Entry { kind, name, link } in entries {
        assert!(b"0123456".contains(&kind), "{kind}");
        let names = [&name, &link];
        for name in &names[..if kind == b'1' { 2 } else { 1 }] {
            let parts: Vec<_> = name.split(|byte| *byte == b'/').collect();
            assert!(parts.iter().all(|part| *part != b".."), "{name:?}");
            assert!(!name.starts_with(b"/"), "{name:?}");
            for end in 1..=parts.len() {
                assert!(!links.contains(&parts[..end].join(&b'/')), "{name:?}");
            }
        }
        if kind == b'2' {
            links.insert(name);
        }
    }
}

fn through(tar: &[u8], at_once: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut guard = Guard::new(&mut out);
    let written = tar
        .chunks(at_once)
        .try_for_each(|part| guard.write_all(part))
        .and_then(|()| guard.finish());
    (out, written.is_ok())
}

struct Entry {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
}

/// Reads it as Python's `tarfile` does: by whatever stands in the fields, a
/// prefix in any format, a file whose name ends with a slash as a directory
/// without content. Puts checksums right on its way.
fn read(tar: &mut [u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut at, mut name, mut link) = (0, None, None);
    while let Some(block) = tar.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let text = |from: usize, length: usize| {
            let field = &block[from..from + length];
            let end = field.iter().position(|byte| *byte == 0);
            field[..end.unwrap_or(length)].to_vec()
        };
        let kind = block[156];
        let digits = text(124, 12);
        let digits = String::from_utf8_lossy(&digits).trim().to_owned();
        let mut size = match block[124] {
            // Beyond 8 GiB.
            0x80 => block[128..136]
                .iter()
                .fold(0_usize, |size, byte| (size << 8) | usize::from(*byte)),
            _ => usize::from_str_radix(&digits, 8).unwrap_or(0),
        };
        let (mut here, target) = (text(0, 100), text(157, 100));
        let prefix = text(345, 155);
        if !prefix.is_empty() {
            here = [&prefix, &b"/"[..], &here].concat();
        }
        if matches!(kind, b'L' | b'K') {
            let content = tar.get(at..at.saturating_add(size)).unwrap_or_default();
            let end = content.iter().position(|byte| *byte == 0);
            let content = content[..end.unwrap_or(content.len())].to_vec();
            *if kind == b'L' { &mut name } else { &mut link } = Some(content);
        } else if kind != b'x' {
            let mut name = name.take().unwrap_or(here);
            let is_directory = name.ends_with(b"/");
            if is_directory {
                name.pop();
                size = 0;
            }
            entries.push(Entry {
                kind,
                name,
                link: link.take().unwrap_or(target),
            });
        }
        at = at.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    entries
}

#[cfg(test)]
pub(crate) mod seeds {
    use super::super::tests::{entry, sample};

    pub(crate) fn tars() -> Vec<Vec<u8>> {
        let links = [
            entry(b"site/away", b'2', b"/etc", b""),
            entry(b"site/again", b'1', b"site/page", b""),
        ];
        [(1, sample()), (200, links.to_vec())]
            .map(|(size, tar)| [&[size][..], &tar.concat(), &[0; 1024]].concat())
            .to_vec()
    }
}
