//! The databases of a restored server that cannot be used.
//!
//! `DROP DATABASE` marks a database as invalid, removes its files, and only then
//! commits. Log that ends within that, or a base backup that was taken then, gives a
//! server that starts, and a database in it that is invalid or has no directory. So
//! the server is asked, by `psql` as the user that runs it: nobody else may connect
//! before us, and nobody's password is needed where that user may.

use std::{process::Stdio, time::Duration};

use rustix::process::geteuid;
use strongroom_postgres::{
    programs::{Program, Programs},
    server_words::Listener,
};
use strongroom_spec::{RestoreOutcome, WarningCode};

use super::{owner::Owner, recovery::Inputs, server::Running};

/// By oid: the name in hexadecimal digits, whether it is valid, whether its files are
/// there. 1663 is `pg_default`.
const QUESTION: &str = "SELECT pg_catalog.encode(pg_catalog.namesend(d.datname), 'hex'), \
    d.datconnlimit OPERATOR(pg_catalog.<>) '-2'::pg_catalog.int4, \
    EXISTS (SELECT p.place FROM (\
        SELECT 'base'::pg_catalog.text AS place \
        WHERE d.dattablespace OPERATOR(pg_catalog.=) '1663'::pg_catalog.oid \
        UNION ALL \
        SELECT pg_catalog.concat('pg_tblspc/', d.dattablespace, '/', f.name) AS place \
        FROM pg_catalog.pg_ls_dir(\
            pg_catalog.concat('pg_tblspc/', d.dattablespace), true, false) AS f(name) \
        WHERE d.dattablespace OPERATOR(pg_catalog.<>) '1663'::pg_catalog.oid\
    ) AS p WHERE (pg_catalog.pg_stat_file(\
        pg_catalog.concat(p.place, '/', d.oid, '/PG_VERSION'), true)).size IS NOT NULL) \
    FROM pg_catalog.pg_database AS d ORDER BY d.oid";

/// Databases that are there in any cluster, and to which one can connect.
const ASKED_IN: [&str; 2] = ["postgres", "template1"];

/// A server that has just come up answers at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server's word on one of its databases.
#[derive(Debug, PartialEq, Eq)]
struct Database {
    name: Vec<u8>,
    is_valid: bool,
    has_files: bool,
}

/// Warns of each database that cannot be used. Where the server cannot be asked, a
/// note says so.
pub(super) fn check(
    inputs: Inputs<'_>,
    running: &Running,
    owner: &Owner,
    result: &mut RestoreOutcome,
) {
    let said = ask(inputs, running, owner);
    match said.and_then(|text| parse(&text).ok_or_else(|| "its answer is none".to_owned())) {
        Ok(databases) => {
            for database in databases {
                if let Some(cause) = problem(&database) {
                    inputs
                        .monitor
                        .warn(WarningCode::DatabaseUnusable, database.name, cause);
                }
            }
        }
        Err(cause) => result.notes.push(format!(
            "whether each of its databases is whole was not found out ({cause}): look for invalid \
             ones with SELECT datname FROM pg_database WHERE datconnlimit = -2"
        )),
    }
}

fn problem(database: &Database) -> Option<&'static str> {
    if !database.is_valid {
        Some(
            "it is invalid: a DROP DATABASE of it was under way or had been interrupted, and some \
             of its files may be gone. Drop it, or restore to a moment before that",
        )
    } else if !database.has_files {
        Some(
            "its directory is not there: a DROP DATABASE of it was under way, or the original \
             had lost it. Drop it, or restore to a moment before that",
        )
    } else {
        None
    }
}

/// Of a session in which nothing runs but our question, whatever its database or role
/// would have run: only a superuser may say so.
fn options(major: u32) -> String {
    let mut options = String::from(
        "-c search_path=pg_catalog -c session_preload_libraries= -c local_preload_libraries=",
    );
    if major >= 17 {
        // Those of a login.
        options.push_str(" -c event_triggers=off");
    }
    options
}

fn ask(inputs: Inputs<'_>, running: &Running, owner: &Owner) -> Result<String, String> {
    let major = inputs.manifest.major;
    let beside = running.pg_ctl.parent();
    let psql = Programs::new(beside)
        .find(Program::Psql, major, "a server")
        .or_else(|_| Programs::new(None).find(Program::Psql, major, "a server"));
    let psql = psql.map_err(|error| error.to_string())?.path;
    let mut failure = String::new();
    for database in ASKED_IN {
        let mut command = tokio::process::Command::new(&psql);
        command
            .args(["-X", "-w", "-A", "-t", "-F", ",", "-v", "ON_ERROR_STOP=1"])
            .arg("-h")
            .arg(running.directory.sockets())
            .args(["-p", &running.port.to_string(), "-d", database])
            .args(["-c", QUESTION])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("PGCLIENTENCODING", "SQL_ASCII")
            .env("PGOPTIONS", options(major))
            .env("PGPASSFILE", "/dev/null")
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if geteuid().is_root() {
            command.uid(owner.uid).gid(owner.gid);
        }
        let cancel = &inputs.monitor.cancel;
        let output = inputs.runtime.block_on(async {
            tokio::select! {
                () = cancel.cancelled() => None,
                output = tokio::time::timeout(PATIENCE, command.output()) => output.ok(),
            }
        });
        failure = match output {
            None => return Err("it did not answer in time".into()),
            Some(Err(error)) => format!("cannot run {}: {error}", psql.display()),
            Some(Ok(output)) if output.status.success() => {
                return String::from_utf8(output.stdout).map_err(|error| error.to_string());
            }
            Some(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let mut listener = Listener::default();
                let shown = said.lines().find_map(|line| listener.hear(line));
                shown.unwrap_or_else(|| format!("psql ended with {}", output.status))
            }
        };
    }
    Err(failure)
}

/// `None`: it is no answer to the question.
fn parse(text: &str) -> Option<Vec<Database>> {
    let flag = |text: &str| match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    };
    let databases: Option<Vec<_>> = text
        .lines()
        .map(|line| {
            let mut fields = line.split(',');
            let database = Database {
                name: bytes(fields.next()?)?,
                is_valid: flag(fields.next()?)?,
                has_files: flag(fields.next()?)?,
            };
            fields.next().is_none().then_some(database)
        })
        .collect();
    // No cluster is without any.
    databases.filter(|databases| !databases.is_empty())
}

/// Of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_cannot_be_used_is_a_problem() {
        // The second name is no UTF-8.
        let answer = "706f737467726573,t,t\nff0a,f,t\n61,t,f\n62,f,f\n";
        let databases = parse(answer).unwrap();
        let names: Vec<&[u8]> = databases.iter().map(|it| &*it.name).collect();
        assert_eq!(names, [&b"postgres"[..], b"\xff\n", b"a", b"b"]);
        let problems: Vec<_> = databases.iter().map(problem).collect();
        assert_eq!(problems[0], None);
        assert!(problems[1].unwrap().contains("invalid"));
        assert!(problems[2].unwrap().contains("directory"));
        assert!(problems[3].unwrap().contains("invalid"));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for text in [
            "", "x,t,t", "61,t", "61,t,t,t", "61,yes,t", "6,t,t", "é,t,t",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
