//! Measures Strongroom against its peers: backup, unchanged second run and
//! restore, on random bytes, a source tree and a database dump, in one go, on
//! local directories and through S3. And a long stream against what the cores
//! can do with its bytes.
//!
//! Each figure is the median of several runs, the tools taking turns so that
//! a busy moment of the machine hits all of them. Inputs are read once before
//! they are measured: the disk is not what is compared.

mod data;
mod measure;
mod report;
mod s3;
mod stream;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use data::{Input, Sizes};
use measure::Usage;
use report::Report;
use stream::Stream;
use tools::Tool;

#[derive(Debug, Parser)]
#[command(about = "Measures Strongroom against restic, borg and rustic")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one program and writes what it used: the harness starts itself so.
    #[command(hide = true)]
    Measure {
        /// Where the figures go, JSON.
        figures: PathBuf,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
    /// Writes a stream to standard output.
    #[command(hide = true)]
    Generate {
        /// What is repeated.
        pattern: PathBuf,
        /// Length of the stream.
        bytes: u64,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Directory of `strongroom` and `strongroom-agent`.
    #[arg(long, default_value = "target/release", value_name = "DIR")]
    programs: PathBuf,
    /// Where repositories and restored data go; needs several times the
    /// inputs' size.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Runs of each measurement, of which the median counts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// MiB of random bytes; 0 leaves them out.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    random: u64,
    /// MiB of a database dump; 0 leaves it out.
    #[arg(long, default_value_t = 600, value_name = "MIB")]
    dump: u64,
    /// A source tree; `none` leaves it out. Default: the crates' sources in
    /// cargo's registry.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// GiB of a command's output, held against the ceiling; 0 leaves it out.
    #[arg(long, default_value_t = 0, value_name = "GIB")]
    stream: u64,
    /// The program that measures the ceiling.
    #[arg(
        long,
        default_value = "target/release/examples/ceiling",
        value_name = "FILE"
    )]
    ceiling: PathBuf,
    /// Also back up inputs so many times as large, with Strongroom alone: its
    /// peak memory must not grow. 1 leaves it out.
    #[arg(long, default_value_t = 1, value_name = "N")]
    times: u64,
    /// Leave out the runs through the embedded S3 store.
    #[arg(long)]
    no_s3: bool,
}

fn main() -> Result<()> {
    let Cli { command, options } = Cli::parse();
    match command {
        Some(Command::Measure { figures, program }) => measure::run_here(&figures, &program),
        Some(Command::Generate { pattern, bytes }) => stream::generate(&pattern, bytes),
        None => compare(&options),
    }
}

fn compare(options: &Options) -> Result<()> {
    ensure!(options.runs > 0, "--runs must be at least 1");
    let scratch = match &options.scratch {
        Some(directory) => {
            fs::create_dir_all(directory)?;
            tempfile::tempdir_in(directory)
        }
        None => tempfile::tempdir(),
    }
    .context("cannot make a scratch directory")?;
    let programs = fs::canonicalize(&options.programs)
        .with_context(|| format!("no programs in {}", options.programs.display()))?;
    let sizes = Sizes {
        random: options.random << 20,
        dump: options.dump << 20,
        tree: options.tree.clone(),
    };
    let inputs = data::prepare(scratch.path(), &sizes)?;
    ensure!(
        !inputs.is_empty() || options.stream > 0,
        "every input was left out"
    );
    let mut bench = Bench {
        scratch: scratch.path(),
        programs: &programs,
        runs: options.runs,
        report: Report::new(options.runs),
    };
    for input in &inputs {
        bench.compare(input, &tools::local(&programs)?)?;
        if !options.no_s3 {
            let store = s3::Store::start(&programs, &scratch.path().join("s3"))?;
            bench.compare(input, &tools::on_s3(&programs, &store)?)?;
        }
    }
    bench.stream(options, 1)?;
    if options.times > 1 {
        bench.grow(options, &sizes)?;
    }
    println!("{}", bench.report);
    Ok(())
}

struct Bench<'a> {
    scratch: &'a Path,
    programs: &'a Path,
    runs: usize,
    report: Report,
}

impl Bench<'_> {
    /// All tools on one input, taking turns.
    fn compare(&mut self, input: &Input, tools: &[Tool]) -> Result<()> {
        eprintln!(
            "{}: {} in {} entries",
            input.name,
            report::mib(input.bytes),
            input.entries
        );
        data::warm(&input.path)?;
        for run in 0..self.runs {
            for tool in tools {
                let place = self.place(tool, run)?;
                for (step, usage, stored) in steps(tool, &place, input)? {
                    self.add(input, &tool.name, step, usage, stored);
                }
                tool.discard(&place)?;
            }
        }
        Ok(())
    }

    /// One long stream, so many times as long as asked for.
    fn stream(&mut self, options: &Options, times: u64) -> Result<()> {
        if options.stream == 0 {
            return Ok(());
        }
        let bytes = (options.stream * times) << 30;
        let stream = Stream::prepare(self.scratch, &options.ceiling, bytes)?;
        let tool = tools::ours(self.programs)?;
        for run in 0..self.runs {
            for level in stream::LEVELS {
                let name = format!("ceiling, zstd {level}");
                let usage = stream.ceiling(level)?;
                self.add(&stream.input, &name, "backup", usage, None);
            }
            let place = self.place(&tool, run)?;
            tool.init(&place)?;
            let usage = tool.backup_output(&place, &stream.generator()?)?;
            let stored = tool.repository_size(&place)?;
            self.add(&stream.input, &tool.name, "backup", usage, Some(stored));
            tool.discard(&place)?;
        }
        Ok(())
    }

    /// Larger inputs, for the peak memory.
    fn grow(&mut self, options: &Options, sizes: &Sizes) -> Result<()> {
        let tool = [tools::ours(self.programs)?];
        if sizes.random > 0 {
            let input = data::random(self.scratch, sizes.random * options.times)?;
            self.compare(&input, &tool)?;
            fs::remove_dir_all(&input.path)?;
        }
        if sizes.dump > 0 {
            let input = data::dump(self.scratch, sizes.dump * options.times)?;
            self.compare(&input, &tool)?;
            fs::remove_dir_all(&input.path)?;
        }
        self.stream(options, options.times)
    }

    /// A fresh directory.
    fn place(&self, tool: &Tool, run: usize) -> Result<PathBuf> {
        let place = self.scratch.join(format!("{}-{run}", tool.name));
        fs::create_dir_all(&place)?;
        Ok(place)
    }

    fn add(
        &mut self,
        input: &Input,
        tool: &str,
        step: &'static str,
        usage: Usage,
        stored: Option<u64>,
    ) {
        eprintln!("  {} {tool} {step}: {usage}", input.name);
        self.report.add(input, tool, step, usage, stored);
    }
}

/// A step, what it used, and the repository's size after it.
type Step = (&'static str, Usage, Option<u64>);

/// A fresh repository: backup, the same again, restore.
fn steps(tool: &Tool, place: &Path, input: &Input) -> Result<[Step; 3]> {
    tool.init(place)?;
    let first = tool.backup(place, &input.path)?;
    let stored = tool.repository_size(place)?;
    let second = tool.backup(place, &input.path)?;
    let restored = place.join("restored");
    fs::create_dir_all(&restored)?;
    let restore = tool.restore(place, &restored)?;
    data::assert_complete(input, &restored)?;
    Ok([
        ("backup", first, Some(stored)),
        ("unchanged", second, None),
        ("restore", restore, None),
    ])
}
