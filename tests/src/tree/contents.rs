//! Regular files: sizes around every limit of the engine, repeated contents,
//! holes.

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use rand::{Rng as _, RngExt as _, rngs::StdRng};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub(super) fn write(directory: &Path, large: usize, random: &mut StdRng) {
    let file = |name: &str, contents: &[u8]| {
        fs::write(directory.join(name), contents).expect("a file can be written");
    };
    file("empty", b"");
    file("one-byte", b"x");
    file("text", prose(random, 300 * KIB).as_bytes());
    // Around the size up to which a file is one blob.
    for size in [512 * KIB - 1, 512 * KIB, 512 * KIB + 1] {
        file(&format!("random-{size}"), &bytes(random, size));
    }
    let random_bytes = bytes(random, large);
    file("large.random", &random_bytes);
    file("large.again", &random_bytes);
    // The same contents behind a few other bytes: found again by content.
    let mut shifted = b"a few bytes in front".to_vec();
    shifted.extend_from_slice(&random_bytes);
    file("large.shifted", &shifted);
    file("large.text", prose(random, large / 2).as_bytes());
    file("zeros", &vec![0; 2 * MIB]);
}

/// Small files with a few empty directories among them.
pub(super) fn write_many(directory: &Path, count: usize, random: &mut StdRng) {
    for number in 0..count {
        let parent = directory.join(format!("{:03}", number / 100));
        fs::create_dir_all(&parent).expect("a directory can be made");
        let size = random.random_range(0..6 * KIB);
        let contents = if number % 3 == 0 {
            bytes(random, size)
        } else {
            prose(random, size).into_bytes()
        };
        fs::write(parent.join(format!("file-{number:05}.txt")), contents)
            .expect("a file can be written");
    }
    for name in ["empty", "nested/empty/directories"] {
        fs::create_dir_all(directory.join(name)).expect("a directory can be made");
    }
}

/// Files with holes at the start, in the middle and at the end.
pub(super) fn write_sparse(directory: &Path, random: &mut StdRng) {
    let sparse = |name: &str, size: u64, extents: &[(u64, Vec<u8>)]| {
        let file = File::create(directory.join(name)).expect("a file can be made");
        for (offset, contents) in extents {
            file.write_all_at(contents, *offset).expect("a write");
        }
        file.set_len(size).expect("a length can be set");
    };
    let block = bytes(random, 64 * KIB);
    let mib = MIB as u64;
    sparse("only-a-hole", 5 * mib, &[]);
    sparse("ends-in-a-hole", 8 * mib, &[(0, block.clone())]);
    sparse("begins-with-a-hole", 8 * mib, &[(7 * mib, block.clone())]);
    sparse(
        "holes",
        40 * mib,
        &[
            (mib, block.clone()),
            (20 * mib + 4096, block),
            (39 * mib, vec![7; 100]),
        ],
    );
}

/// Bytes that do not compress.
pub fn bytes(random: &mut StdRng, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Text that compresses about as well as logs and source code do.
pub fn prose(random: &mut StdRng, size: usize) -> String {
    const WORDS: [&str; 16] = [
        "backup", "restore", "snapshot", "the", "store", "of", "agent", "policy", "a", "fn",
        "return", "while", "error", "lease", "objects", "in",
    ];
    let mut text = String::with_capacity(size + 32);
    while text.len() < size {
        let word = WORDS[random.random_range(0..WORDS.len())];
        let _infallible = match random.random_range(0..12) {
            0 => writeln!(text, "{word}"),
            1 => write!(text, "{:x} ", random.next_u32()),
            _ => write!(text, "{word} "),
        };
    }
    text.truncate(size);
    text
}
