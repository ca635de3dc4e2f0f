//! Databases on the server that `tests/run` starts.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use sqlx::{Connection, Executor, PgConnection};
use tokio::runtime::Builder;
use url::Url;
use uuid::Uuid;

use crate::cluster::{programs, succeed};

/// A database of a test's own, dropped at its end.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// Creates an empty database.
    ///
    /// # Panics
    /// When there is no server: the suite is run by `tests/run`.
    pub fn create() -> Self {
        let server = env::var("STRONGROOM_TEST_POSTGRES_URL").expect(
            "STRONGROOM_TEST_POSTGRES_URL names the PostgreSQL server; `tests/run` starts one",
        );
        let name = format!("strongroom_{}", Uuid::new_v4().simple());
        execute(&server, &format!("CREATE DATABASE {name}"));
        let mut url = Url::parse(&server).expect("STRONGROOM_TEST_POSTGRES_URL is a URL");
        url.set_path(&name);
        Self {
            server,
            name,
            url: url.into(),
        }
    }

    /// Its URL, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs one statement in it.
    pub fn execute(&self, statement: &str) {
        execute(&self.url, statement);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if std::thread::panicking() {
            return; // the server is thrown away; do not hide the panic
        }
        execute(&self.server, &drop);
    }
}

fn execute(url: &str, statement: &str) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let mut connection = PgConnection::connect(url)
            .await
            .expect("the PostgreSQL server answers");
        connection
            .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    });
}

/// The server that `tests/run` starts: every test makes databases of its own
/// in it. The role is a superuser with a password.
#[derive(Debug, Clone)]
pub struct Server {
    url: Url,
}

impl Server {
    /// The one of `tests/run`.
    ///
    /// # Panics
    /// When there is none.
    pub fn shared() -> Self {
        let url = env::var("STRONGROOM_TEST_POSTGRES_URL").expect(
            "STRONGROOM_TEST_POSTGRES_URL names the PostgreSQL server; `tests/run` starts one",
        );
        let url = Url::parse(&url).expect("STRONGROOM_TEST_POSTGRES_URL is a URL");
        Self { url }
    }

    /// One that listens on this port and asks the role `postgres` for nothing.
    pub fn on(port: u16) -> Self {
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let url = Url::parse(&url).expect("a URL");
        Self { url }
    }

    /// A name that no other test has.
    pub fn unique(name: &str) -> String {
        let random = Uuid::new_v4().simple().to_string();
        // Short enough for what is made of it.
        format!("{name}_{}", &random[..12])
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(5432)
    }

    /// For `agent.toml`: the URL without the password, as this role.
    pub fn url_as(&self, role: &str) -> String {
        let host = self.url.host_str().unwrap_or("127.0.0.1");
        format!("postgres://{role}@{host}:{}/postgres", self.port())
    }

    /// For `agent.toml`: the URL without the password.
    pub fn url(&self) -> String {
        self.url_as(self.url.username())
    }

    /// The role's password.
    pub fn password(&self) -> &str {
        self.url.password().unwrap_or_default()
    }

    /// One of the server's programs, told where to connect to.
    pub fn program(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command
            .env("PGHOST", self.url.host_str().unwrap_or("127.0.0.1"))
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", self.url.username())
            .env("PGPASSWORD", self.password())
            .env("PGDATABASE", database)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Runs statements, which must succeed, one transaction each; gives what
    /// they say, a line per row, columns separated by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut command = self.program("psql", database);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let output = succeed(&mut command);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.trim_end().to_owned()
    }

    /// Runs a script, which must succeed.
    pub fn script(&self, database: &str, script: &Path) {
        let mut command = self.program("psql", database);
        command
            .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(script);
        succeed(&mut command);
    }

    /// A database as SQL: definitions and rows, without what changes from one
    /// dump to the next.
    pub fn dump(&self, database: &str, arguments: &[&str]) -> String {
        let output = succeed(self.program("pg_dump", database).args(arguments));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let random = ["\\restrict ", "\\unrestrict "];
        text.lines()
            .filter(|line| !random.iter().any(|word| line.starts_with(word)))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Names of databases that begin so.
    pub fn databases(&self, prefix: &str) -> Vec<String> {
        let names = self.sql(
            "postgres",
            "SELECT datname FROM pg_database ORDER BY datname COLLATE \"C\"",
        );
        let ours = names.lines().filter(|name| name.starts_with(prefix));
        ours.map(ToOwned::to_owned).collect()
    }
}
