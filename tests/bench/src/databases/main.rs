//! Measures Strongroom on databases: a physical backup, the same after one
//! page in a hundred has changed, and its restore, against pgBackRest and
//! `pg_basebackup`; segments of log that are pushed, against pgBackRest; what is
//! lost with a server's disk, and what a recovery takes; a Redis backup against
//! `redis-cli --rdb`.
//!
//! Everything runs as it would in production: a coordinator with its embedded
//! store, an agent over mTLS, policies, `strongroom run --wait`. Wall time is
//! that of the operator's command. Both sides read the same cluster, taking
//! turns; its files are in the page cache after the first.

mod backrest;
mod log;
#[path = "../measure.rs"]
mod measure;
mod physical;
mod redis;
mod report;
mod strongroom;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use report::Report;

#[derive(Debug, Parser)]
#[command(about = "Measures Strongroom on PostgreSQL and Redis against their own tools")]
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
}

#[derive(Debug, Args)]
struct Options {
    /// Scale of pgbench: about 15 MB each; 0 leaves PostgreSQL out.
    #[arg(long, default_value_t = 135, value_name = "N")]
    scale: u32,
    /// Segments of log to push, 16 MiB each; 0 leaves the log out.
    #[arg(long, default_value_t = 64, value_name = "N")]
    segments: u64,
    /// Keys of a hundred random bytes in Redis; 0 leaves it out.
    #[arg(long, default_value_t = 5_000_000, value_name = "N")]
    keys: u64,
    /// Runs of each measurement, of which the median counts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
}

fn main() -> Result<()> {
    let Cli { command, options } = Cli::parse();
    if let Some(Command::Measure { figures, program }) = command {
        return measure::run_here(&figures, &program);
    }
    ensure!(options.runs > 0, "--runs must be at least 1");
    let mut report = Report::new(options.runs);
    if options.scale > 0 {
        physical::compare(&options, &mut report)?;
    }
    if options.segments > 0 {
        log::compare(&options, &mut report)?;
    }
    if options.keys > 0 {
        redis::compare(&options, &mut report)?;
    }
    println!("{report}");
    Ok(())
}
