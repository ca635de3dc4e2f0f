//! The agent's own consent: what `agent.toml` does not allow is refused here,
//! whatever the coordinator says.
//!
//! Paths are compared twice: as they are spelled, and with the symbolic links
//! in them resolved, so that a link inside an allowed directory does not lead
//! out of it. What is used afterwards is not the path but the place that it led
//! to (see [`crate::allowed`]): [`check`] only says no early, and whoever does
//! the work asks again for [`paths`] or a [`target`].

use std::{path::Path, sync::Arc};

use strongroom_compare::beneath::Walker;
use strongroom_spec::{Failure, FailureCode, JobSpec, Source, SourceKind, Target};

use crate::{
    allowed::{AllowedDirectory, AllowedPaths, OffLimits, Prefixes, Problem},
    config::{AgentConfig, LiveConfig},
};

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
pub fn check(config: &AgentConfig, work: &JobSpec) -> Result<(), NotAllowed> {
    match work {
        JobSpec::Backup(backup) => check_source(config, &backup.source),
        JobSpec::Restore(restore) => check_target(config, &restore.target),
        JobSpec::Wal(work) => check_kind(
            config,
            SourceKind::Postgres,
            check_postgres(config, &work.connection),
        ),
        // Reads nothing of this host and writes nothing to it.
        // What a download shows an operator may show in a restore elsewhere.
        JobSpec::List(_) | JobSpec::Upload(_) | JobSpec::Download(_) => Ok(()),
    }
}

fn check_target(config: &AgentConfig, to: &Target) -> Result<(), NotAllowed> {
    match to {
        Target::Directory(to) => target(config, &to.directory).map(drop),
        Target::Cluster(to) => {
            let moved = to.tablespaces.iter().map(|it| &it.to);
            std::iter::once(&to.directory)
                .chain(moved)
                .try_for_each(|path| target(config, path).map(drop))
        }
        Target::Postgres(to) => {
            let defined = config.postgres.get(&to.connection);
            let allowed = defined.map(|it| it.allow_restore);
            check_server("postgres", &to.connection, allowed)
        }
        Target::Redis(to) => {
            let defined = config.redis.get(&to.connection);
            let allowed = defined.map(|it| it.allow_restore);
            check_server("redis", &to.connection, allowed)
        }
    }
}

fn check_source(config: &AgentConfig, source: &Source) -> Result<(), NotAllowed> {
    let (kind, checked) = match source {
        Source::Files(files) => (SourceKind::Files, paths(config, &files.paths).map(drop)),
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

/// Waits until `agent.toml`, read again, no longer allows what it allowed when the
/// job began; gives why the job ends. Jobs that archive a log go on for a day and are
/// then begun anew: of the others, what was allowed when they began holds to their end.
pub(crate) async fn withdrawn(mut live: LiveConfig, work: &JobSpec) -> Failure {
    if let JobSpec::Wal(_) = work {
        while live.changed().await.is_ok() {
            let config = Arc::clone(&live.borrow_and_update());
            // Of such work nothing is looked up in the file system.
            if let Err(error) = check(&config, work) {
                let mut failure = Failure::from(error);
                failure.message = format!(
                    "the log's archiving was ended when agent.toml was read again: {}",
                    failure.message
                );
                return failure;
            }
        }
    }
    std::future::pending().await
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

/// What a backup of these files may read. Blocks on the file system.
pub(crate) fn paths(config: &AgentConfig, paths: &[String]) -> Result<AllowedPaths, NotAllowed> {
    let prefixes = Prefixes::open(&config.allow.read_paths, Walker::default());
    let mut allowed = AllowedPaths::new(off_limits(config)?);
    for path in paths {
        let requested = allowed.request(&prefixes, path);
        requested.map_err(|what| refusal(&what, "reading", "allow.read_paths", path))?;
    }
    Ok(allowed)
}

/// A directory to restore into. Blocks on the file system.
pub(crate) fn target(config: &AgentConfig, path: &str) -> Result<AllowedDirectory, NotAllowed> {
    let prefixes = Prefixes::open(&config.allow.restore_paths, Walker::default());
    AllowedDirectory::within(&prefixes, path, off_limits(config)?)
        .map_err(|what| refusal(&what, "restoring into", "allow.restore_paths", path))
}

/// The agent's own state is nobody's to read or write, whatever the keys say.
fn off_limits(config: &AgentConfig) -> Result<OffLimits, NotAllowed> {
    let path = &config.state_dir;
    OffLimits::of_agent(path).map_err(|error| NotAllowed {
        what: "anything to be done with files".into(),
        remedy: format!(
            "its own state_dir, {}, could not be kept out of it: {error}",
            path.display()
        ),
    })
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
        Problem::OffLimits(own) => NotAllowed {
            what: format!("{doing} {path}"),
            remedy: format!(
                "it is, or lies in, the agent's own state at {}, which nothing may touch",
                own.display()
            ),
        },
        Problem::Unresolved(error) => NotAllowed {
            what: format!("{doing} {path}, whose symbolic links cannot be resolved ({error})"),
            remedy: "name a path that can be reached".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use strongroom_layout::ObjectId;
    use strongroom_spec::{
        BackupSpec, ClusterTarget, CommandSource, DirectoryTarget, FilesSource, ListSpec,
        RedisSource, RedisTarget, Relocation, RestoreSpec, WalMethod, WalSpec,
    };

    use super::*;

    fn config(text: &str) -> AgentConfig {
        strongroom_runtime::config::parse(Path::new("agent.toml"), text).unwrap()
    }

    fn backup(source: Source) -> JobSpec {
        JobSpec::Backup(BackupSpec {
            dataset: "web@a".into(),
            source,
            parent: None,
            tags: vec![],
        })
    }

    fn files(paths: &[&str]) -> JobSpec {
        backup(Source::Files(FilesSource {
            paths: paths.iter().map(ToString::to_string).collect(),
            include: vec![],
            exclude: vec![],
            one_file_system: false,
            exclude_caches: false,
        }))
    }

    fn restore_to(target: impl Into<Target>) -> JobSpec {
        RestoreSpec::new(ObjectId([0; 32]), target.into()).into()
    }

    fn restore(directory: impl Into<String>) -> JobSpec {
        restore_to(DirectoryTarget {
            directory: directory.into(),
            ..DirectoryTarget::default()
        })
    }

    fn command(name: &str) -> JobSpec {
        backup(Source::Command(CommandSource { name: name.into() }))
    }

    #[track_caller]
    fn refused(config: &AgentConfig, work: &JobSpec, wanted: &str) {
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
        let list = JobSpec::List(ListSpec {
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
            restore_to(RedisTarget {
                connection: connection.into(),
                keys: vec![],
                allow_replicas: false,
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

    #[tokio::test]
    async fn a_log_that_is_no_longer_allowed_is_no_longer_archived() {
        let parsed = |text: &str| Arc::new(config(text));
        let tables = "[postgres.a]\nurl='postgres://u@h/d'\n";
        let allowed = format!("allow.sources=['postgres']\n{tables}");
        let (live, watched) = tokio::sync::watch::channel(parsed(&allowed));
        let work = JobSpec::Wal(WalSpec {
            dataset: "a@a".into(),
            connection: "a".into(),
            method: WalMethod::Push,
            limit: None,
            drop: true,
        });
        let backup = files(&["/srv"]);
        let mut ended = std::pin::pin!(withdrawn(watched.clone(), &work));
        let mut backup = std::pin::pin!(withdrawn(watched, &backup));
        assert!(futures::poll!(&mut ended).is_pending());
        live.send_replace(parsed(&format!("{allowed}[limits]\nthreads=1")));
        assert!(
            futures::poll!(&mut ended).is_pending(),
            "it is still allowed"
        );
        live.send_replace(parsed(&format!("allow.sources=['files']\n{tables}")));
        let failure = ended.await;
        assert_eq!(failure.code, FailureCode::NotAllowed);
        for part in ["agent.toml was read again", "allow.sources"] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        // What began before goes on.
        assert!(futures::poll!(&mut backup).is_pending());
    }

    #[test]
    fn a_cluster_and_its_tablespaces_stay_below_allowed_paths() {
        let config = config("[allow]\nrestore_paths=['/srv']");
        let cluster = |target: &str, moved: &str| {
            restore_to(ClusterTarget {
                directory: target.into(),
                tablespaces: vec![Relocation {
                    from: "/old".into(),
                    to: moved.into(),
                }],
                ..ClusterTarget::default()
            })
        };
        assert_eq!(check(&config, &cluster("/srv/a", "/srv/b")), Ok(()));
        refused(&config, &cluster("/a", "/srv/b"), "restoring into /a");
        refused(&config, &cluster("/srv/a", "/b"), "restoring into /b");
    }

    #[test]
    fn the_agents_own_state_is_allowed_to_nobody() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(root.join("state/outbox")).unwrap();
        symlink(root.join("state"), root.join("link")).unwrap();
        let config = config(&format!(
            "state_dir='{1}'\n[allow]\nsources=['files']\nread_paths=['{0}']\n\
             restore_paths=['/','{0}','{1}']",
            root.display(),
            path("link"),
        ));
        for name in ["state", "state/outbox", "link", "link/new/dir"] {
            refused(&config, &restore(path(name)), "the agent's own state");
        }
        for name in ["state", "state/outbox", "link/outbox"] {
            refused(&config, &files(&[&path(name)]), "the agent's own state");
        }
        assert_eq!(check(&config, &files(&[&path("")])), Ok(()));
        assert_eq!(check(&config, &restore(path(""))), Ok(()));
        assert_eq!(check(&config, &restore(path("state2"))), Ok(()));
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

        // Later a link does not matter: see `crate::allowed`.
        let opened = target(&config, &path("allowed/in/x")).unwrap();
        assert_eq!(opened.path(), root.join("allowed/deep/x"));

        // A backup takes the link itself, but does not walk through it.
        assert_eq!(check(&config, &files(&[&path("allowed/out")])), Ok(()));
        refused(&config, &files(&[&path("allowed/out/x")]), "which leads to");
        assert_eq!(check(&config, &files(&[&path("allowed/gone")])), Ok(()));
    }
}
