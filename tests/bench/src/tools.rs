//! How each tool makes a repository, backs up and restores.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    data,
    measure::{self, Usage},
    s3::Store,
};

/// A tool and where its repositories lie.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    kind: Kind,
    program: String,
    /// `None`: a directory.
    s3: Option<Store>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strongroom,
    Restic,
    Rustic,
    Borg,
}

const PASSWORD: &str = "benchmark";

/// The tools that are installed, on local directories.
pub(crate) fn local(programs: &Path) -> Result<Vec<Tool>> {
    let mut tools = vec![strongroom(programs, None)?];
    for (kind, program) in [
        (Kind::Restic, "restic"),
        (Kind::Rustic, "rustic"),
        (Kind::Borg, "borg"),
    ] {
        if let Some(version) = version(program) {
            tools.push(Tool {
                name: version,
                kind,
                program: program.into(),
                s3: None,
            });
        } else {
            eprintln!("{program} is not installed");
        }
    }
    Ok(tools)
}

/// Those that speak S3, on the embedded store.
pub(crate) fn on_s3(programs: &Path, store: &Store) -> Result<Vec<Tool>> {
    let mut tools = vec![strongroom(programs, Some(store))?];
    for (kind, program) in [(Kind::Restic, "restic"), (Kind::Rustic, "rustic")] {
        if let Some(version) = version(program) {
            tools.push(Tool {
                name: format!("{version} (S3)"),
                kind,
                program: program.into(),
                s3: Some(store.clone()),
            });
        }
    }
    Ok(tools)
}

/// Ours alone, on a local directory.
pub(crate) fn ours(programs: &Path) -> Result<Tool> {
    strongroom(programs, None)
}

fn strongroom(programs: &Path, s3: Option<&Store>) -> Result<Tool> {
    let program = programs.join("strongroom-agent");
    ensure!(program.is_file(), "{} is not built", program.display());
    Ok(Tool {
        name: if s3.is_some() {
            "strongroom (S3)"
        } else {
            "strongroom"
        }
        .into(),
        kind: Kind::Strongroom,
        program: program.to_str().context("a path that is not UTF-8")?.into(),
        s3: s3.cloned(),
    })
}

/// Name and number, as in `restic 0.14.0`; `None` when it is not installed.
fn version(program: &str) -> Option<String> {
    let argument = if program == "restic" {
        "version"
    } else {
        "--version"
    };
    let output = Command::new(program)
        .arg(argument)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().nth(1)?;
    Some(format!("{program} {number}"))
}

impl Tool {
    /// Makes the repository; not measured.
    pub(crate) fn init(&self, place: &Path) -> Result<()> {
        fs::write(place.join("password"), PASSWORD)?;
        let mut command = self.command(place)?;
        match self.kind {
            Kind::Strongroom => self.offline(&mut command, place, "init")?,
            Kind::Restic => command.args(["init", "--repository-version", "2"]),
            Kind::Rustic => command.arg("init"),
            Kind::Borg => command.args(["init", "--encryption", "repokey"]),
        };
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Backs `path` up.
    pub(crate) fn backup(&self, place: &Path, path: &Path) -> Result<Usage> {
        let mut command = self.command(place)?;
        match self.kind {
            Kind::Strongroom => self.offline(&mut command, place, "backup")?.arg(path),
            Kind::Restic | Kind::Rustic => command.arg("backup").arg(path),
            Kind::Borg => command
                .args(["create", "--compression", "zstd,3", "::{now:%s-%f}"])
                .arg(path),
        };
        measure::run(&command)
    }

    /// Backs up what a program writes to its standard output; ours only.
    pub(crate) fn backup_output(&self, place: &Path, program: &[String]) -> Result<Usage> {
        let mut command = self.command(place)?;
        self.offline(&mut command, place, "backup")?
            .args(["--command", "stream", "--"])
            .args(program);
        measure::run(&command)
    }

    /// Bytes of the repository.
    pub(crate) fn repository_size(&self, place: &Path) -> Result<u64> {
        data::size(&self.objects(place)?)
    }

    /// Removes the repository and all else in `place`.
    pub(crate) fn discard(&self, place: &Path) -> Result<()> {
        fs::remove_dir_all(self.objects(place)?)?;
        Ok(fs::remove_dir_all(place)?)
    }

    /// Restores the newest snapshot below `target`.
    pub(crate) fn restore(&self, place: &Path, target: &Path) -> Result<Usage> {
        let mut command = self.command(place)?;
        match self.kind {
            Kind::Strongroom => self
                .offline(&mut command, place, "restore")?
                .arg("latest")
                .arg("--target")
                .arg(target),
            Kind::Restic => command.args(["restore", "latest", "--target"]).arg(target),
            Kind::Rustic => command.args(["restore", "latest"]).arg(target),
            Kind::Borg => {
                let mut list = self.command(place)?;
                let output = list.args(["list", "--short", "--last", "1"]).output()?;
                let archive = String::from_utf8(output.stdout)?;
                command
                    .args(["extract", &format!("::{}", archive.trim())])
                    .current_dir(target)
            }
        };
        measure::run(&command)
    }

    /// The program with its repository, password and caches in `place`.
    fn command(&self, place: &Path) -> Result<Command> {
        let mut command = Command::new(&self.program);
        let repository = self.repository(place)?;
        let password_file = place.join("password");
        match self.kind {
            Kind::Strongroom => &mut command,
            Kind::Restic => command
                .arg("--quiet")
                .arg("--cache-dir")
                .arg(place.join("cache"))
                .env("RESTIC_REPOSITORY", repository)
                .env("RESTIC_PASSWORD_FILE", password_file),
            Kind::Rustic => command
                .args(["--log-level", "error", "--no-progress"])
                .arg("--cache-dir")
                .arg(place.join("cache"))
                .env("RUSTIC_REPOSITORY", repository)
                .env("RUSTIC_PASSWORD_FILE", password_file),
            Kind::Borg => command
                .env("BORG_REPO", repository)
                .env("BORG_PASSPHRASE", PASSWORD)
                .env("BORG_BASE_DIR", place.join("borg")),
        };
        if let Some(store) = &self.s3 {
            command.envs(store.environment());
            if self.kind == Kind::Rustic {
                command.envs(store.opendal(&name(place)?));
            }
        }
        Ok(command)
    }

    fn offline<'a>(
        &self,
        command: &'a mut Command,
        place: &Path,
        name: &str,
    ) -> Result<&'a mut Command> {
        Ok(command
            .args(["offline", name, "--repository", &self.repository(place)?])
            .arg("--password-file")
            .arg(place.join("password")))
    }

    /// As the tool is told.
    fn repository(&self, place: &Path) -> Result<String> {
        match &self.s3 {
            Some(_) if self.kind == Kind::Rustic => Ok("opendal:s3".into()),
            Some(store) => Ok(store.repository(&name(place)?)),
            None => {
                let path = self.objects(place)?;
                let path = path.to_str().context("a path that is not UTF-8")?;
                Ok(path.to_owned())
            }
        }
    }

    /// The directory that holds the repository's objects.
    fn objects(&self, place: &Path) -> Result<PathBuf> {
        Ok(match &self.s3 {
            Some(store) => store.objects(&name(place)?),
            None => place.join("repository"),
        })
    }
}

/// A repository's name in the store.
fn name(place: &Path) -> Result<String> {
    let name = place.file_name().and_then(|name| name.to_str());
    Ok(name.context("no name")?.replace([' ', '(', ')'], ""))
}
