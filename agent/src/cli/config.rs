//! `strongroom-agent config …`

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use strongroom_runtime::{printable, telemetry};
use strongroom_spec::SourceKind;

use crate::{config::AgentConfig, enrol::Identity};

/// Look at agent.toml
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Whether an agent would start with this file, and what it would refuse
    ///
    /// Parses it, reads what it names, and says what is wrong with it or with what it
    /// names. Starts nothing and asks no server. Ends with 1 if an agent would not start
    /// or something that the file allows could not be done.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// What to look at
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(super) fn main(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check(args) = command;
    let config = AgentConfig::load(&args.config)?;
    let path = args.config.display().to_string();
    let path = printable::line(&path);
    let problems = problems(&config);
    if problems.is_empty() {
        printable::out(&format!("{path} is good. {}\n", summary(&config)))?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in problems {
        printable::out(&format!("{path}: {}\n", printable::line(&problem)))?;
    }
    Ok(ExitCode::FAILURE)
}

/// What it allows, in a sentence.
fn summary(config: &AgentConfig) -> String {
    let consent = config.consent();
    let list = |words: &[String]| match words {
        [] => "nothing".to_owned(),
        words => words.join(", "),
    };
    format!(
        "It allows sources: {}; reading: {}; restoring to: {}; commands: {}.",
        list(&consent.sources),
        list(&consent.read_paths),
        list(&consent.restore_paths),
        list(&consent.commands),
    )
}

/// What is wrong with what the file says, or names.
fn problems(config: &AgentConfig) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = telemetry::check(&config.telemetry) {
        problems.push(error.to_string());
    }
    if let Err(error) = Identity::load(&config.state_dir) {
        problems.push(format!("state_dir: {error}"));
    }
    let allow = &config.allow;
    let missing = allow.read_paths.iter().filter(|it| !it.as_path().exists());
    problems.extend(missing.map(|it| format!("allow.read_paths: {it} is not there")));
    for (name, command) in &config.commands {
        let program = command.argv.first().map_or("", String::as_str);
        if !is_program(program) {
            problems.push(format!(
                "commands.{name}: {program:?} is no program that this user may run here"
            ));
        }
    }
    for (name, connection) in &config.postgres {
        if let Err(error) = connection.resolve() {
            problems.push(format!("postgres.{name}: {error}"));
        }
    }
    for (name, connection) in &config.redis {
        if let Err(error) = connection.resolve() {
            problems.push(format!("redis.{name}: {error}"));
        }
    }
    let defined = [
        (SourceKind::Command, "commands", !config.commands.is_empty()),
        (
            SourceKind::Postgres,
            "postgres",
            !config.postgres.is_empty(),
        ),
        (SourceKind::Redis, "redis", !config.redis.is_empty()),
        (
            SourceKind::Files,
            "allow.read_paths",
            !allow.read_paths.is_empty(),
        ),
    ];
    for (kind, table, defined) in defined {
        let word = kind.as_str();
        if defined && !allow.sources.contains(&kind) {
            problems.push(format!(
                "{table} is there, but allow.sources lacks {word:?}: every backup of it would be \
                 refused"
            ));
        }
    }
    problems
}

/// Whether a command's program can be run: a path, or a name on PATH.
fn is_program(program: &str) -> bool {
    let executable = |path: &Path| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| executable(&directory.join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_the_shell_does() {
        for good in ["sh", "/bin/sh"] {
            assert!(is_program(good), "{good}");
        }
        for bad in ["", "no-such-program", "/etc/passwd", "/etc"] {
            assert!(!is_program(bad), "{bad}");
        }
    }

    #[test]
    fn what_would_be_refused_is_said_with_its_key() {
        let scratch = tempfile::tempdir().unwrap();
        let text = format!(
            "state_dir = '{state}'\n[allow]\nsources = ['command']\nread_paths = ['/no/such']\n\
             [commands.a]\nargv = ['no-such-program']\n\
             [redis.b]\nurl = 'redis://127.0.0.1:1'\npassword_file = '/no/password'\n\
             [telemetry]\nlog_level = 'loud=louder'\n",
            state = scratch.path().display()
        );
        let path = scratch.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        let said = problems(&AgentConfig::load(&path).unwrap()).join("\n");
        for expected in [
            "telemetry.log_level",
            "state_dir: ",
            "allow.read_paths: /no/such",
            "commands.a: \"no-such-program\"",
            "redis.b: password_file: ",
            "allow.sources lacks \"redis\"",
            "allow.sources lacks \"files\"",
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }
}
