//! What a program used: wall time, CPU time, peak memory.
//!
//! The kernel tells a parent what its children used, all of them together.
//! So each program is run by a fresh copy of this harness that has no other
//! child; being small, it also does not count into the child's peak memory,
//! which begins with the parent's at the moment of the fork.

use std::{
    fmt, fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

/// What one run of a program used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds of user and system time.
    pub(crate) cpu: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.peak >> 20;
        write!(
            f,
            "{:.2} s wall, {:.2} s CPU, {mib} MiB",
            self.wall, self.cpu
        )
    }
}

/// Runs a command by a fresh copy of this harness. Its output is shown only
/// when it fails.
pub(crate) fn run(command: &Command) -> Result<Usage> {
    let figures = tempfile::NamedTempFile::new()?;
    let mut harness = Command::new(std::env::current_exe()?);
    harness
        .arg("measure")
        .arg(figures.path())
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    if let Some(directory) = command.get_current_dir() {
        harness.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => harness.env(name, value),
            None => harness.env_remove(name),
        };
    }
    let output = harness.output()?;
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&fs::read(figures.path())?).context("the harness wrote no figures")
}

/// The copy's side.
pub(crate) fn run_here(figures: &Path, program: &[String]) -> Result<()> {
    let (name, arguments) = program.split_first().context("no program")?;
    let begin = Instant::now();
    let status = Command::new(name)
        .args(arguments)
        .status()
        .with_context(|| format!("{name} does not start"))?;
    let wall = begin.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    let usage = Usage {
        wall,
        cpu: cpu.num_microseconds() as f64 / 1e6,
        peak: u64::try_from(usage.max_rss())? * 1024,
    };
    fs::write(figures, serde_json::to_vec(&usage)?)?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}
