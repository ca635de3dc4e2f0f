//! One long stream, such as a database's dump through a pipe, and the ceiling:
//! what the cores can do with the same bytes when nothing is read, joined or
//! stored (`shared/repository/examples/ceiling.rs`).

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    data::{self, Input},
    measure::{self, Usage},
};

/// Bytes that are prepared; the stream repeats them with other numbers in it.
const PATTERN: usize = 64 << 20;
/// Bytes between two numbers; the ceiling has the same.
const STAMP_EVERY: usize = 4096;
/// Text, then noise, in turns: it compresses about as much as tables with
/// binary columns do.
const TEXT: u64 = 48 << 10;
const NOISE: usize = 16 << 10;
/// zstd's levels that the ceiling is measured at.
pub(crate) const LEVELS: [i32; 2] = [1, 3];

/// A stream of so many bytes, ready to be generated.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Under which the report lists it.
    pub(crate) input: Input,
    ceiling: PathBuf,
}

impl Stream {
    /// Writes the pattern to `scratch`; `ceiling` is the example's program.
    pub(crate) fn prepare(scratch: &Path, ceiling: &Path, bytes: u64) -> Result<Self> {
        ensure!(
            ceiling.is_file(),
            "{} is not built: cargo build --release --package strongroom-repository --example ceiling",
            ceiling.display()
        );
        let path = scratch.join("stream-pattern");
        if !path.exists() {
            write_pattern(&path)?;
        }
        Ok(Self {
            input: Input {
                name: "stream",
                path,
                bytes,
                entries: 1,
            },
            ceiling: ceiling.to_owned(),
        })
    }

    /// The program that writes the stream to its standard output.
    pub(crate) fn generator(&self) -> Result<Vec<String>> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.with_context(|| format!("{} is not UTF-8", path.display()))
        };
        Ok(vec![
            text(&std::env::current_exe()?)?,
            "generate".into(),
            text(&self.input.path)?,
            self.input.bytes.to_string(),
        ])
    }

    /// What the ceiling takes.
    pub(crate) fn ceiling(&self, level: i32) -> Result<Usage> {
        let mut command = Command::new(&self.ceiling);
        command
            .arg(&self.input.path)
            .arg(self.input.bytes.to_string())
            .arg(level.to_string());
        measure::run(&command)
    }
}

fn write_pattern(path: &Path) -> Result<()> {
    let mut random = StdRng::seed_from_u64(2);
    let mut noise = vec![0; NOISE];
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut dump = data::Dump::default();
    for _ in 0..PATTERN / (TEXT as usize + NOISE) {
        dump.write(&mut file, TEXT)?;
        random.fill(&mut noise[..]);
        file.write_all(&noise)?;
    }
    file.flush()?;
    // Lines do not end where the text does.
    let file = file.into_inner()?;
    file.set_len(PATTERN as u64)?;
    Ok(())
}

/// `peers generate`: writes the stream to standard output. No more than a
/// copy of prepared bytes, so that it is not what is measured.
pub(crate) fn generate(pattern: &Path, bytes: u64) -> Result<()> {
    let mut block = fs::read(pattern)?;
    // Not through `Stdout`, which looks for lines.
    let mut out = File::options().write(true).open("/dev/stdout")?;
    let (mut left, mut count) = (bytes, 0_u64);
    while left > 0 {
        for page in block.chunks_mut(STAMP_EVERY) {
            page[..8].copy_from_slice(&count.to_be_bytes());
            count += 1;
        }
        let length = left.min(block.len() as u64);
        out.write_all(&block[..length as usize])?;
        left -= length;
    }
    Ok(())
}
