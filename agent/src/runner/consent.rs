//! The agent's own consent: what `agent.toml` does not allow is refused here,
//! whatever the coordinator says.
//!
//! Paths are compared twice: as they are spelled, and with the symbolic links
//! in them resolved, so that a link inside an allowed directory does not lead
//! out of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use strongroom_wire::job::{Failure, FailureCode, Source, Work};

use crate::config::{AbsolutePath, AgentConfig, SourceKind};

/// What is not allowed, and by which key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this agent does not allow {what}: {remedy}")]
pub struct NotAllowed {
    what: String,
    remedy: String,
}

impl NotAllowed {
    fn new(what: impl Into<String>, key: &str, value: impl std::fmt::Display) -> Self {
        Self {
            what: what.into(),
            remedy: format!("add {value} to {key} in agent.toml on the host to allow it"),
        }
    }
}

impl From<NotAllowed> for Failure {
    fn from(error: NotAllowed) -> Self {
        Self {
            code: FailureCode::NotAllowed,
            message: error.to_string(),
            retryable: false,
        }
    }
}

/// Checks a job against `agent.toml`. Blocks on the file system.
pub fn check(config: &AgentConfig, work: &Work) -> Result<(), NotAllowed> {
    match work {
        Work::Backup(backup) => check_source(config, &backup.source),
        Work::Restore(restore) => check_target(config, &restore.target),
        Work::RestoreCluster(restore) => {
            let moved = restore.tablespaces.iter().map(|it| &it.to);
            std::iter::once(&restore.target)
                .chain(moved)
                .try_for_each(|target| check_target(config, target))
        }
        Work::RestorePostgres(restore) => {
            let name = &restore.connection;
            let allowed = config.postgres.get(name).map(|it| it.allow_restore);
            check_server("postgres", name, allowed)
        }
        Work::RestoreRedis(restore) => {
            let name = &restore.connection;
            let allowed = config.redis.get(name).map(|it| it.allow_restore);
            check_server("redis", name, allowed)
        }
        Work::Wal(work) => check_kind(
            config,
            SourceKind::Postgres,
            check_postgres(config, &work.connection),
        ),
        // Reads nothing of this host and writes nothing to it.
        // What a download shows an operator may show in a restore elsewhere.
        Work::List(_) | Work::Upload(_) | Work::Download(_) => Ok(()),
    }
}

fn check_source(config: &AgentConfig, source: &Source) -> Result<(), NotAllowed> {
    let (kind, checked) = match source {
        Source::Files(files) => (
            SourceKind::Files,
            files.paths.iter().try_for_each(|path| {
                let allowed = &config.allow.read_paths;
                // A link as the last part is backed up, not followed.
                check_path(path, allowed, resolve_parent)
                    .map_err(|what| refusal(&what, "reading", "allow.read_paths", path))
            }),
        ),
        Source::Command(command) => (
            SourceKind::Command,
            if config.commands.contains_key(&command.name) {
                Ok(())
            } else {
                Err(NotAllowed {
                    what: format!("the command {:?}", command.name),
                    remedy: format!(
                        "define it as [commands.{}] in agent.toml on the host",
                        command.name
                    ),
                })
            },
        ),
        Source::Postgres(postgres) => (
            SourceKind::Postgres,
            check_postgres(config, postgres.connection()),
        ),
        Source::Redis(redis) => {
            let name = &redis.connection;
            let defined = config.redis.contains_key(name);
            let kind = SourceKind::Redis;
            (kind, check_connection(kind.as_str(), name, defined))
        }
    };
    check_kind(config, kind, checked)
}

fn check_postgres(config: &AgentConfig, name: &str) -> Result<(), NotAllowed> {
    let defined = config.postgres.contains_key(name);
    check_connection(SourceKind::Postgres.as_str(), name, defined)
}

/// A kind that is not allowed goes before what else is wrong.
fn check_kind(
    config: &AgentConfig,
    kind: SourceKind,
    checked: Result<(), NotAllowed>,
) -> Result<(), NotAllowed> {
    if !config.allow.sources.contains(&kind) {
        let word = kind.as_str();
        let what = format!("sources of kind {word:?}");
        let value = format!("{word:?}");
        return Err(NotAllowed::new(what, "allow.sources", value));
    }
    checked
}

/// Whether something may be restored into a directory.
pub(super) fn check_target(config: &AgentConfig, target: &str) -> Result<(), NotAllowed> {
    let allowed = &config.allow.restore_paths;
    check_path(target, allowed, resolve_existing)
        .map_err(|what| refusal(&what, "restoring into", "allow.restore_paths", target))
}

/// `allowed` is what the connection's table says of restores; `None`: there is
/// no such table.
fn check_server(kind: &str, name: &str, allowed: Option<bool>) -> Result<(), NotAllowed> {
    match allowed {
        Some(true) => Ok(()),
        Some(false) => Err(NotAllowed {
            what: format!("restoring into the {kind} connection {name:?}"),
            remedy: format!(
                "set allow_restore = true in [{kind}.{name}] in agent.toml on the host to allow it"
            ),
        }),
        None => Err(no_connection(kind, name)),
    }
}

fn no_connection(kind: &str, name: &str) -> NotAllowed {
    NotAllowed {
        what: format!("the {kind} connection {name:?}"),
        remedy: format!("define it as [{kind}.{name}] in agent.toml on the host"),
    }
}

fn check_connection(kind: &str, name: &str, defined: bool) -> Result<(), NotAllowed> {
    if defined {
        Ok(())
    } else {
        Err(no_connection(kind, name))
    }
}

/// What is wrong with a path.
enum Problem {
    /// Relative, or with `..`.
    Spelling,
    /// Not below an allowed prefix.
    Outside,
    /// Below one by its spelling, but links lead elsewhere.
    LeadsTo(PathBuf),
    /// The links in it cannot be resolved.
    Unresolved(io::Error),
}

fn refusal(problem: &Problem, doing: &str, key: &str, path: &str) -> NotAllowed {
    let value = |path: &Path| format!("\"{}\" or a directory above it", path.display());
    match problem {
        Problem::Spelling => NotAllowed {
            what: format!("{doing} {path:?}"),
            remedy: "write an absolute path without `..`".into(),
        },
        Problem::Outside => NotAllowed::new(format!("{doing} {path}"), key, value(Path::new(path))),
        Problem::LeadsTo(place) => NotAllowed::new(
            format!("{doing} {path}, which leads to {}", place.display()),
            key,
            value(place),
        ),
        Problem::Unresolved(error) => NotAllowed {
            what: format!("{doing} {path}, whose symbolic links cannot be resolved ({error})"),
            remedy: "name a path that can be reached".into(),
        },
    }
}

fn check_path(
    path: &str,
    allowed: &[AbsolutePath],
    resolve: impl Fn(&Path) -> io::Result<PathBuf>,
) -> Result<(), Problem> {
    let spelled = AbsolutePath::new(path).ok_or(Problem::Spelling)?;
    if !allowed.iter().any(|prefix| spelled.is_within(prefix)) {
        return Err(Problem::Outside);
    }
    let resolved = resolve(spelled.as_path()).map_err(Problem::Unresolved)?;
    let within = allowed.iter().any(|prefix| {
        // The allowed directory may itself be reached through links.
        let real = prefix.as_path().canonicalize();
        let real = real.as_deref().unwrap_or(prefix.as_path());
        resolved.starts_with(real)
    });
    if within {
        Ok(())
    } else {
        Err(Problem::LeadsTo(resolved))
    }
}

/// Resolves everything but the last component. A path that is not there is
/// the source's to report.
fn resolve_parent(path: &Path) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_owned());
    };
    Ok(resolve_existing(parent)?.join(name))
}

/// Resolves as much of the path as exists; what does not exist has no links.
fn resolve_existing(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(mut resolved) => {
                resolved.extend(missing.iter().rev());
                return Ok(resolved);
            }
            // A dangling link is there, but leads to nothing we could check.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && existing.symlink_metadata().is_err() =>
            {
                let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
                    return Err(error);
                };
                missing.push(name);
                existing = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use strongroom_layout::ObjectId;
    use strongroom_wire::job::{
        BackupWork, CommandSource, FilesSource, ListWork, Overwrite, RedisSource, Relocation,
        RestoreClusterWork, RestoreRedisWork, RestoreWork,
    };

    use super::*;

    fn config(text: &str) -> AgentConfig {
        strongroom_runtime::config::parse(Path::new("agent.toml"), text).unwrap()
    }

    fn backup(source: Source) -> Work {
        Work::Backup(BackupWork {
            dataset: "web@a".into(),
            source,
            parent: None,
            tags: vec![],
        })
    }

    fn files(paths: &[&str]) -> Work {
        backup(Source::Files(FilesSource {
            paths: paths.iter().map(ToString::to_string).collect(),
            include: vec![],
            exclude: vec![],
            one_file_system: false,
            exclude_caches: false,
        }))
    }

    fn restore(target: impl Into<String>) -> Work {
        Work::Restore(RestoreWork {
            snapshot: ObjectId([0; 32]),
            target: target.into(),
            paths: vec![],
            overwrite: Overwrite::Never,
            dry_run: true,
        })
    }

    fn command(name: &str) -> Work {
        backup(Source::Command(CommandSource { name: name.into() }))
    }

    #[track_caller]
    fn refused(config: &AgentConfig, work: &Work, wanted: &str) {
        let failure = Failure::from(check(config, work).unwrap_err());
        assert_eq!(failure.code, FailureCode::NotAllowed);
        assert!(!failure.retryable);
        assert!(failure.message.contains(wanted), "{}", failure.message);
    }

    #[test]
    fn nothing_is_allowed_by_default_but_listing() {
        let config = config("");
        refused(&config, &files(&["/srv"]), "allow.sources");
        refused(&config, &command("dump"), "allow.sources");
        refused(&config, &restore("/srv"), "allow.restore_paths");
        let list = Work::List(ListWork {
            snapshot: ObjectId([0; 32]),
            path: "/".into(),
            recursive: false,
            limit: 1,
            after: None,
        });
        assert_eq!(check(&config, &list), Ok(()));
    }

    #[test]
    fn paths_are_allowed_by_whole_components() {
        let config = config("[allow]\nsources=['files']\nread_paths=['/srv/www','/etc']");
        assert_eq!(check(&config, &files(&["/srv/www", "/etc/"])), Ok(()));
        assert_eq!(check(&config, &files(&["/srv//www/./a"])), Ok(()));
        refused(&config, &files(&["/etc", "/srv"]), "reading /srv");
        refused(&config, &files(&["/srv/www2"]), "allow.read_paths");
        refused(&config, &files(&["/srv/www/../.."]), "without `..`");
        refused(&config, &files(&["srv/www"]), "absolute");
    }

    #[test]
    fn commands_are_allowed_by_name() {
        let both = config("[allow]\nsources=['command']\n[commands.dump]\nargv=['true']");
        assert_eq!(check(&both, &command("dump")), Ok(()));
        refused(&both, &command("rm"), "[commands.rm]");
        refused(&both, &files(&["/srv"]), "allow.sources");
    }

    #[test]
    fn servers_are_allowed_by_connection() {
        let redis = |connection: &str| {
            backup(Source::Redis(RedisSource {
                connection: connection.into(),
            }))
        };
        let fill = |connection: &str| {
            Work::RestoreRedis(RestoreRedisWork {
                snapshot: ObjectId([0; 32]),
                connection: connection.into(),
                keys: vec![],
                dry_run: true,
            })
        };
        let tables = "[redis.a]\nurl='redis://h'\n[redis.b]\nurl='redis://h'\nallow_restore=true";
        let none = config(tables);
        refused(&none, &redis("a"), "allow.sources");
        let both = config(&format!("allow.sources=['redis']\n{tables}"));
        assert_eq!(check(&both, &redis("a")), Ok(()));
        refused(&both, &redis("c"), "[redis.c]");
        refused(&both, &fill("a"), "allow_restore = true in [redis.a]");
        refused(&both, &fill("c"), "[redis.c]");
        assert_eq!(check(&both, &fill("b")), Ok(()));
    }

    #[test]
    fn a_cluster_and_its_tablespaces_stay_below_allowed_paths() {
        let config = config("[allow]\nrestore_paths=['/srv']");
        let cluster = |target: &str, moved: &str| {
            Work::RestoreCluster(RestoreClusterWork {
                recovery: None,
                snapshot: ObjectId([0; 32]),
                target: target.into(),
                tablespaces: vec![Relocation {
                    from: "/old".into(),
                    to: moved.into(),
                }],
                start: false,
                keep_settings: false,
                dry_run: true,
            })
        };
        assert_eq!(check(&config, &cluster("/srv/a", "/srv/b")), Ok(()));
        refused(&config, &cluster("/a", "/srv/b"), "restoring into /a");
        refused(&config, &cluster("/srv/a", "/b"), "restoring into /b");
    }

    #[test]
    fn links_do_not_lead_out() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(root.join("allowed/deep")).unwrap();
        fs::create_dir(root.join("secret")).unwrap();
        symlink(root.join("secret"), root.join("allowed/out")).unwrap();
        symlink("deep", root.join("allowed/in")).unwrap();
        symlink(root.join("nowhere"), root.join("allowed/dangling")).unwrap();
        symlink(root.join("allowed"), root.join("alias")).unwrap();
        let config = config(&format!(
            "[allow]\nsources=['files']\nread_paths=['{0}']\nrestore_paths=['{0}','{1}']",
            path("allowed"),
            path("alias"),
        ));

        for target in ["allowed", "allowed/new/dir", "allowed/in/x", "alias/x"] {
            assert_eq!(check(&config, &restore(path(target))), Ok(()), "{target}");
        }
        refused(&config, &restore(path("allowed/out")), "which leads to");
        refused(&config, &restore(path("allowed/out/x")), "which leads to");
        refused(&config, &restore(path("allowed/dangling/x")), "resolved");
        refused(&config, &restore(path("secret")), "restoring into");

        // A backup takes the link itself, but does not walk through it.
        assert_eq!(check(&config, &files(&[&path("allowed/out")])), Ok(()));
        refused(&config, &files(&[&path("allowed/out/x")]), "which leads to");
        assert_eq!(check(&config, &files(&[&path("allowed/gone")])), Ok(()));
    }
}
