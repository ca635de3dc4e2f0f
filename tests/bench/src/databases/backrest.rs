//! pgBackRest, set up as its guide says, with what we do by default: all
//! cores, zstd 3, encryption, a repository on the local disk.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;
use strongroom_tests::{
    cluster::{Cluster, as_postgres, directory_for_postgres},
    scratch::Scratch,
};

use crate::measure::{self, Usage};

/// What its configuration calls the cluster.
const STANZA: &str = "bench";

/// A configuration.
pub(crate) struct BackRest {
    directory: PathBuf,
}

impl BackRest {
    /// Makes the directories; [`Self::configure`] follows once the cluster is
    /// there.
    pub(crate) fn prepare(scratch: &Scratch) -> Self {
        let directory = scratch.join("backrest");
        for name in ["", "repository", "log", "lock", "spool", "socket"] {
            directory_for_postgres(&directory.join(name));
        }
        Self { directory }
    }

    /// Lines of `postgresql.conf`.
    pub(crate) fn settings(&self) -> String {
        format!(
            "unix_socket_directories = '{}/socket'\narchive_mode = on\narchive_command = '{}'",
            self.directory.display(),
            self.archive_command()
        )
    }

    /// What archives a segment.
    pub(crate) fn archive_command(&self) -> String {
        format!(
            "pgbackrest --config={}/backrest.conf --stanza={STANZA} archive-push %p",
            self.directory.display()
        )
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, cluster: &Cluster) -> Result<()> {
        let here = self.directory.display();
        let text = format!(
            "[global]\nrepo1-path={here}/repository\nrepo1-cipher-type=aes-256-cbc\n\
             repo1-cipher-pass=correct-horse-battery-staple\nrepo1-retention-full=2\n\
             compress-type=zst\ncompress-level=3\nprocess-max=2\nstart-fast=y\narchive-async=y\n\
             log-path={here}/log\nlock-path={here}/lock\nspool-path={here}/spool\n\
             log-level-console=warn\nlog-level-file=off\n\n\
             [{STANZA}]\npg1-path={}\npg1-port={}\npg1-socket-path={here}/socket\npg1-user=postgres\n",
            cluster.data().display(),
            cluster.port()
        );
        fs::write(self.directory.join("backrest.conf"), text)?;
        Ok(())
    }

    /// Runs one of its commands.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Usage> {
        let mut command = as_postgres("pgbackrest");
        let config = self.directory.join("backrest.conf");
        command
            .arg(format!("--config={}", config.display()))
            .arg(format!("--stanza={STANZA}"))
            .args(arguments);
        measure::run(&plain(&command))
    }
}

/// What the harness runs knows no directory of its own.
fn plain(command: &Command) -> Command {
    let mut plain = Command::new(command.get_program());
    plain.args(command.get_args()).current_dir("/");
    plain
}
