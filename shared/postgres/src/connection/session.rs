//! A client and the task that speaks for it.

use std::{fmt::Write as _, future::poll_fn, io, path::Path, time::Duration};

use futures::ready;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinHandle,
};
use tokio_postgres::{Client, Config, CopyInSink, CopyOutStream, NoTls, Row, config, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Connection,
    address::Host,
    error::ServerError,
    names::{Encrypted, Named, Plain},
    startup,
    tls::SslMode,
};
use crate::{name::Text, sql, version::ServerVersion};

/// What servers see of us.
pub const APPLICATION_NAME: &str = "strongroom";

/// To a server that is there, a moment; beyond that it is not.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to one database. Its task ends with it.
#[derive(Debug)]
pub struct Session {
    client: Client,
    driver: Driver,
    version: ServerVersion,
    /// Texts are bytes in the database: its encoding is `SQL_ASCII`.
    bytes: bool,
}

/// Polls the socket; aborted when dropped.
#[derive(Debug)]
struct Driver {
    task: JoinHandle<()>,
    encrypted: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Of every session of ours, where the server knows and allows it. Reading a
/// table that became a view meanwhile would run the view's functions as us
/// (CVE-2024-7348); and what is understood of messages is English.
const SET_UP: &str = "SELECT pg_catalog.set_config(name, 'view, foreign-table', false) \
    FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'restrict_nonsystem_relation_kind'; \
    SELECT pg_catalog.set_config('lc_messages', 'C', false) FROM pg_catalog.pg_roles \
    WHERE rolname OPERATOR(pg_catalog.=) current_user AND rolsuper";

/// Texts come and go as they are.
const BYTES: &str = "SET client_encoding = 'SQL_ASCII'";

impl Session {
    /// Connects to `database`, or to the connection's own. Statements have a
    /// minute and locks ten seconds, unless [`Session::unhurried`]. Whatever the
    /// database's owner has set, names are looked up in `pg_catalog` only.
    pub async fn open(
        connection: &Connection,
        database: Option<&str>,
    ) -> Result<Self, ServerError> {
        let session = Self::connect(connection, database, Some(&startup::ours())).await?;
        session.set_up(SET_UP).await?;
        Ok(session)
    }

    /// Connects for statements that others wrote, which find what any client
    /// of that database finds.
    pub async fn open_for_others(
        connection: &Connection,
        database: &str,
    ) -> Result<Self, ServerError> {
        let path = default_search_path(connection, database).await?;
        let options = startup::with_path(&path);
        let session = Self::connect(connection, Some(database), Some(&options)).await?;
        session
            .set_up(
                "SET statement_timeout = '60s'; SET lock_timeout = '10s'; \
                 SET idle_in_transaction_session_timeout = 0; \
                 SET standard_conforming_strings = on",
            )
            .await?;
        Ok(session)
    }

    /// Where texts are bytes the server would refuse those that are not in the
    /// encoding that we speak: there bytes are what we speak.
    async fn set_up(&self, statements: &str) -> Result<(), ServerError> {
        let mut statements = statements.to_owned();
        if self.bytes {
            statements.push_str("; ");
            statements.push_str(BYTES);
        }
        self.run("set up the session", &statements).await
    }

    async fn connect(
        connection: &Connection,
        database: Option<&str>,
        options: Option<&str>,
    ) -> Result<Self, ServerError> {
        let place = connection.address.to_string();
        let token = startup::token();
        let options = options.map(|options| startup::with_token(options, &token));
        let (client, driver) = dial(connection, database, options.as_deref()).await?;
        let mut session = Self {
            client,
            driver,
            version: ServerVersion::default(),
            bytes: false,
        };
        (session.version, session.bytes) = session.introduce(&place, &token).await?;
        if session.version.major() < 13 {
            return Err(ServerError::TooOld {
                place,
                found: session.version.to_string(),
            });
        }
        Ok(session)
    }

    /// Lifts the time limits on statements; locks are waited for as long as
    /// given.
    pub async fn unhurried(&self, lock: Duration) -> Result<(), ServerError> {
        let statements = self.limits("SET", lock);
        self.run("set up the session", &statements).await
    }

    /// Begins a transaction by these statements of ours, and lifts the time limits
    /// as [`Session::unhurried`] does, until its end.
    pub async fn begin_unhurried(&self, begin: &str, lock: Duration) -> Result<(), ServerError> {
        let statements = format!("{begin}; {}", self.limits("SET LOCAL", lock));
        self.run("begin a transaction", &statements).await
    }

    fn limits(&self, set: &str, lock: Duration) -> String {
        let milliseconds = lock.as_millis().min(i32::MAX as u128);
        let mut statements =
            format!("{set} statement_timeout = 0; {set} lock_timeout = {milliseconds}");
        if self.version.major() >= 17 {
            let _infallible = write!(statements, "; {set} transaction_timeout = 0");
        }
        statements
    }

    /// Speaks this encoding from here on: what is no UTF-8 in statements and texts is
    /// its bytes ([`crate::name`]).
    pub async fn speak(&self, encoding: &str) -> Result<(), ServerError> {
        let statement = format!("SET client_encoding = {}", sql::literal(encoding));
        self.run("set the encoding", &statement).await
    }

    /// The name of its role.
    pub async fn role(&self) -> Result<String, ServerError> {
        let failed = |error| ServerError::query("say whose session this is", &error);
        let question = "SELECT current_user::pg_catalog.text";
        let row = self.query_one(question, &[]).await.map_err(failed)?;
        row.try_get(0).map(|Text(role)| role).map_err(failed)
    }

    /// Whether its role is a superuser.
    pub async fn is_superuser(&self) -> Result<bool, ServerError> {
        let failed = |error| ServerError::query("tell the role's rights", &error);
        let question = "SELECT COALESCE((SELECT rolsuper FROM pg_catalog.pg_roles \
            WHERE rolname OPERATOR(pg_catalog.=) current_user), false)";
        let row = self.query_one(question, &[]).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// Runs statements of ours without parameters; `what` completes "cannot …".
    pub async fn run(&self, what: &str, statements: &str) -> Result<(), ServerError> {
        self.run_foreign(what, vouch(statements)).await
    }

    /// The same, with the driver's error.
    pub(crate) async fn batch(&self, statements: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(vouch(statements)).await
    }

    /// Runs statements that somebody else wrote.
    pub async fn run_foreign(&self, what: &str, statements: &str) -> Result<(), ServerError> {
        self.client
            .batch_execute(statements)
            .await
            .map_err(|error| ServerError::query(what, &error))
    }

    /// Runs exactly one statement that somebody else wrote, whatever is in the
    /// text.
    pub async fn one(&self, what: &str, statement: &str) -> Result<(), ServerError> {
        self.client
            .execute(statement, &[])
            .await
            .map(drop)
            .map_err(|error| ServerError::query(what, &error))
    }

    /// Asks a question of ours.
    pub async fn query(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(vouch(statement), parameters).await
    }

    /// Asks a question of ours that has one row for an answer.
    pub async fn query_one(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, tokio_postgres::Error> {
        self.client.query_one(vouch(statement), parameters).await
    }

    /// Asks a question of ours that has at most one row for an answer.
    pub async fn query_opt(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        self.client.query_opt(vouch(statement), parameters).await
    }

    /// Runs a statement of ours; gives the number of rows.
    pub async fn execute(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, tokio_postgres::Error> {
        self.client.execute(vouch(statement), parameters).await
    }

    /// Has a statement that somebody else wrote parsed, and no more.
    pub(crate) async fn parse(&self, statement: &str) -> Result<(), tokio_postgres::Error> {
        self.client.prepare(statement).await.map(drop)
    }

    /// Begins a `COPY … FROM stdin` that somebody else wrote.
    pub(super) async fn copy_in<T: bytes::Buf + Send + 'static>(
        &self,
        statement: &str,
    ) -> Result<CopyInSink<T>, tokio_postgres::Error> {
        self.client.copy_in(statement).await
    }

    pub(super) async fn copy_out(
        &self,
        statement: &str,
    ) -> Result<CopyOutStream, tokio_postgres::Error> {
        self.client.copy_out(statement).await
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks the server to give up the statement that runs, and says goodbye.
    /// A server that only loses its client reads on to the statement's end.
    pub async fn abandon(self, connection: &Connection) {
        let token = self.client.cancel_token();
        let cancel = async {
            if let Host::Unix(directory) = &connection.address.host {
                return match unix(directory, connection.address.port).await {
                    Ok(socket) => token.cancel_query_raw(socket, NoTls).await,
                    Err(_) => Ok(()), // nobody is there any more
                };
            }
            match connection.tls.client_config() {
                Ok(tls) if self.driver.encrypted => {
                    token.cancel_query(MakeRustlsConnect::new(tls)).await
                }
                _ => token.cancel_query(Plain).await,
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, cancel).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a statement could not be cancelled"),
            Err(_) => tracing::debug!("a statement could not be cancelled in time"),
        }
    }

    /// Says goodbye and waits until it is said.
    pub async fn close(self) {
        let Self {
            client, mut driver, ..
        } = self;
        drop(client);
        // It ends when there is no client left; if it panicked, it has ended.
        let _ = (&mut driver.task).await;
    }

    /// The version of whoever answers, if that is the server itself, and whether
    /// texts are bytes in the database. Says so
    /// before anything is set or prepared: behind a pooler the session is not
    /// ours alone, and others would find in it what we leave there.
    async fn introduce(
        &self,
        place: &str,
        token: &str,
    ) -> Result<(ServerVersion, bool), ServerError> {
        let what = "say its version";
        let question = format!(
            "SELECT pg_catalog.current_setting('server_version_num'), \
             pg_catalog.current_setting('{}', true), \
             pg_catalog.current_setting('server_encoding')",
            startup::TOKEN
        );
        let answer = self
            .client
            .simple_query(vouch(&question))
            .await
            .map_err(|error| ServerError::query(what, &error))?;
        let row = answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let get = |at| row.and_then(|row| row.get(at)).unwrap_or_default();
        if get(1) != token {
            return Err(ServerError::Pooler {
                place: place.to_owned(),
            });
        }
        let version = get(0).parse().map_err(|_| ServerError::Query {
            what: what.into(),
            cause: "it says no number".into(),
            state: None,
        })?;
        Ok((ServerVersion(version), get(2) == "SQL_ASCII"))
    }
}

/// A statement of ours, which names nothing that the search path decides.
/// Every test that runs it makes sure.
fn vouch(statement: &str) -> &str {
    debug_assert_eq!(sql::unqualified(statement), None, "{statement}");
    statement
}

/// The search path that clients of a database get who say nothing of it. This
/// one connection says nothing of it either: all it does is `SHOW`, and `SET` how
/// that is written, for which nothing is looked up.
pub async fn default_search_path(
    connection: &Connection,
    database: &str,
) -> Result<String, ServerError> {
    let what = "show its search_path";
    let (client, driver) = dial(connection, Some(database), None).await?;
    let shown = async {
        let encoding = client.query_one("SHOW server_encoding", &[]).await?;
        if encoding.try_get::<_, &str>(0)? == "SQL_ASCII" {
            // Names of schemas are bytes there.
            client.batch_execute(BYTES).await?;
        }
        client.query_one("SHOW search_path", &[]).await?.try_get(0)
    };
    let shown = shown.await;
    drop((client, driver));
    let Text(path) = shown.map_err(|error| ServerError::query(what, &error))?;
    Ok(path)
}

async fn dial(
    connection: &Connection,
    database: Option<&str>,
    options: Option<&str>,
) -> Result<(Client, Driver), ServerError> {
    let database = database.unwrap_or(&connection.address.database);
    let place = connection.address.to_string();
    let mut config = configure(connection, database);
    if let Some(options) = options {
        config.options(options);
    }
    let connecting = connect(connection, &config);
    match connecting.await {
        // As libpq does it: `prefer` falls back when TLS fails.
        Err(Attempt::Driver(error))
            if connection.tls.mode == SslMode::Prefer
                && error.code().is_none()
                && error.to_string().contains("TLS") =>
        {
            config.ssl_mode(config::SslMode::Disable);
            connect(connection, &config).await
        }
        attempt => attempt,
    }
    .map_err(|attempt| match attempt {
        Attempt::Driver(error) => ServerError::connecting(&place, database, &error),
        Attempt::Socket(error) => ServerError::Unreachable {
            place: place.clone(),
            cause: error.to_string(),
        },
        Attempt::Late => ServerError::Unreachable {
            place: place.clone(),
            cause: format!("no answer in {} seconds", CONNECT_TIMEOUT.as_secs()),
        },
        Attempt::Failed(error) => error,
    })
}

enum Attempt {
    Driver(tokio_postgres::Error),
    Socket(io::Error),
    Late,
    Failed(ServerError),
}

fn configure(connection: &Connection, database: &str) -> Config {
    let mut config = Config::new();
    match &connection.address.host {
        Host::Tcp(host) => config.host(host),
        Host::Unix(directory) => config.host_path(directory),
    };
    config
        .port(connection.address.port)
        .user(&connection.address.user)
        .dbname(database)
        .application_name(APPLICATION_NAME)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(Duration::from_mins(1))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(6)
        .ssl_mode(match connection.tls.mode {
            SslMode::Disable => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
        });
    if let Some(password) = &connection.password {
        config.password(password.as_bytes());
    }
    config
}

async fn connect(connection: &Connection, config: &Config) -> Result<(Client, Driver), Attempt> {
    // A server may accept and then say nothing.
    let attempt = async {
        if let Host::Unix(directory) = &connection.address.host {
            let mut config = config.clone();
            config.ssl_mode(config::SslMode::Disable);
            let socket = unix(directory, connection.address.port).await?;
            let connecting = config.connect_raw(Named::new(socket), NoTls);
            let (client, driver) = connecting.await.map_err(Attempt::Driver)?;
            return Ok((client, drive(driver, false)));
        }
        if config.get_ssl_mode() == config::SslMode::Disable {
            let config = without_tls(config.clone());
            let (client, driver) = config.connect(Plain).await.map_err(Attempt::Driver)?;
            return Ok((client, drive(driver, false)));
        }
        let tls = connection
            .tls
            .client_config()
            .map_err(|error| Attempt::Failed(error.into()))?;
        let mut config = config.clone();
        // Whether to do without is for the caller to say.
        config.ssl_mode(config::SslMode::Require);
        let connecting = config.connect(Encrypted(MakeRustlsConnect::new(tls)));
        let (client, driver) = connecting.await.map_err(Attempt::Driver)?;
        Ok((client, drive(driver, true)))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt)
        .await
        .unwrap_or(Err(Attempt::Late))
}

/// For [`Plain`], which the driver takes for TLS.
fn without_tls(mut config: Config) -> Config {
    config
        .ssl_mode(config::SslMode::Require)
        .ssl_negotiation(config::SslNegotiation::Direct);
    config
}

async fn unix(directory: &Path, port: u16) -> Result<UnixStream, Attempt> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    UnixStream::connect(path).await.map_err(Attempt::Socket)
}

/// What the server remarks meanwhile is not heard: the driver would log it,
/// and a function may remark what it likes, rows too.
fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, encrypted: bool) -> Driver
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let driving = poll_fn(move |context| {
        while let Some(_remark) = ready!(connection.poll_message(context)).transpose()? {}
        std::task::Poll::Ready(Ok::<_, tokio_postgres::Error>(()))
    });
    let task = tokio::spawn(async move {
        // Whoever waits for an answer is told.
        if let Err(error) = driving.await {
            tracing::debug!(%error, "a connection to PostgreSQL broke");
        }
    });
    Driver { task, encrypted }
}
