//! What is backed up.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

/// How much of what; bytes.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) random: u64,
    pub(crate) dump: u64,
    pub(crate) tree: Option<PathBuf>,
}

/// Something to back up.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Makes or finds the inputs.
pub(crate) fn prepare(scratch: &Path, sizes: &Sizes) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    if sizes.random > 0 {
        inputs.push(random(scratch, sizes.random)?);
    }
    if let Some(path) = tree(sizes)? {
        inputs.push(input("tree", path)?);
    }
    if sizes.dump > 0 {
        inputs.push(dump(scratch, sizes.dump)?);
    }
    Ok(inputs)
}

/// Bytes that neither repeat nor compress.
pub(crate) fn random(scratch: &Path, bytes: u64) -> Result<Input> {
    let path = scratch.join(format!("input-random-{bytes}"));
    fs::create_dir_all(&path)?;
    let mut source = File::open("/dev/urandom")?.take(bytes);
    io::copy(&mut source, &mut File::create(path.join("random"))?)?;
    input("random", path)
}

/// A database's dump.
pub(crate) fn dump(scratch: &Path, bytes: u64) -> Result<Input> {
    let path = scratch.join(format!("input-dump-{bytes}"));
    fs::create_dir_all(&path)?;
    let file = File::create(path.join("orders.sql"))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    Dump::default().write(&mut file, bytes)?;
    file.flush()?;
    input("dump", path)
}

fn tree(sizes: &Sizes) -> Result<Option<PathBuf>> {
    let path = match &sizes.tree {
        Some(path) if path.as_os_str() == "none" => return Ok(None),
        Some(path) => path.clone(),
        None => {
            let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
            let home =
                home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
            home.context("no HOME")?.join("registry/src")
        }
    };
    let path = fs::canonicalize(&path)
        .with_context(|| format!("no tree {}: name one with --tree", path.display()))?;
    Ok(Some(path))
}

fn input(name: &'static str, path: PathBuf) -> Result<Input> {
    let (mut bytes, mut entries) = (0, 0);
    walk(&path, &mut |_, metadata| {
        entries += 1;
        if metadata.is_file() {
            bytes += metadata.len();
        }
        Ok(())
    })?;
    Ok(Input {
        name,
        path,
        bytes,
        entries,
    })
}

/// Text as `pg_dump` writes it for tables of orders: mostly regular, with
/// values that do not repeat.
#[derive(Debug)]
pub(crate) struct Dump {
    random: StdRng,
    id: u64,
}

impl Default for Dump {
    fn default() -> Self {
        Self {
            random: StdRng::seed_from_u64(1),
            id: 0,
        }
    }
}

impl Dump {
    /// Goes on for so many bytes, and to the end of the line.
    pub(crate) fn write(&mut self, out: &mut impl Write, bytes: u64) -> Result<()> {
        const TOWNS: [&str; 8] = [
            "Aachen", "Bremen", "Chemnitz", "Dresden", "Erfurt", "Freiburg", "Görlitz", "Hamburg",
        ];
        let random = &mut self.random;
        let mut written = 0;
        while written < bytes {
            if self.id.is_multiple_of(200_000) {
                let table = self.id / 200_000;
                writeln!(
                    out,
                    "\n--\n-- Data for Name: orders_{table}; Type: TABLE DATA; Schema: public\n--\n\n\
                     COPY public.orders_{table} (id, customer, town, amount, reference, noted) FROM stdin;"
                )?;
            }
            self.id += 1;
            let line = format!(
                "{}\t{}\t{}\t{}.{:02}\t{:016x}\t2026-{:02}-{:02} {:02}:{:02}:{:02}.{:06}+00\n",
                self.id,
                random.random_range(1..50_000),
                TOWNS[random.random_range(0..TOWNS.len())],
                random.random_range(1..2_000),
                random.random_range(0..100),
                random.next_u64(),
                random.random_range(1..13),
                random.random_range(1..29),
                random.random_range(0..24),
                random.random_range(0..60),
                random.random_range(0..60),
                random.random_range(0..1_000_000),
            );
            out.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
        Ok(())
    }
}

/// Reads everything once, so that no tool pays for a cold cache.
pub(crate) fn warm(path: &Path) -> Result<()> {
    walk(path, &mut |path, metadata| {
        if metadata.is_file() {
            io::copy(&mut File::open(path)?, &mut io::sink())?;
        }
        Ok(())
    })
}

/// Counts what came back: a tool that restores less is not faster.
pub(crate) fn assert_complete(input: &Input, restored: &Path) -> Result<()> {
    let bytes = size(restored)?;
    ensure!(
        bytes == input.bytes,
        "{} bytes were restored of {}, not {}",
        bytes,
        input.name,
        input.bytes
    );
    Ok(())
}

/// Bytes of all files below.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    walk(path, &mut |_, metadata| {
        if metadata.is_file() {
            bytes += metadata.len();
        }
        Ok(())
    })?;
    Ok(bytes)
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    visit(path, &metadata)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
