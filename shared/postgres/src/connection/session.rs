//! A client and the task that speaks for it.

use std::{ops::Deref, time::Duration};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Connection, address::Host, error::ServerError, tls::SslMode};
use crate::version::ServerVersion;

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
}

/// Polls the socket; aborted when dropped.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    /// Connects to `database`, or to the connection's own. Statements have a
    /// minute and locks ten seconds, unless [`Session::unhurried`].
    pub async fn open(
        connection: &Connection,
        database: Option<&str>,
    ) -> Result<Self, ServerError> {
        let database = database.unwrap_or(&connection.address.database);
        let place = connection.address.to_string();
        let mut config = configure(connection, database);
        let connecting = connect(connection, &config);
        let (client, driver) = match connecting.await {
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
            Attempt::Late => ServerError::Unreachable {
                place: place.clone(),
                cause: format!("no answer in {} seconds", CONNECT_TIMEOUT.as_secs()),
            },
            Attempt::Failed(error) => error,
        })?;
        let mut session = Self {
            client,
            driver,
            version: ServerVersion::default(),
        };
        session.version = session.ask_version().await?;
        if session.version.major() < 13 {
            return Err(ServerError::TooOld {
                place,
                found: session.version.to_string(),
            });
        }
        session
            .run(
                "set up the session",
                "SET statement_timeout = '60s'; SET lock_timeout = '10s'; \
                 SET idle_in_transaction_session_timeout = 0; SET search_path = pg_catalog; \
                 SET standard_conforming_strings = on",
            )
            .await?;
        Ok(session)
    }

    /// Lifts the time limits on statements; locks are waited for as long as
    /// given.
    pub async fn unhurried(&self, lock: Duration) -> Result<(), ServerError> {
        let milliseconds = lock.as_millis().min(i32::MAX as u128);
        let mut statements =
            format!("SET statement_timeout = 0; SET lock_timeout = {milliseconds}");
        if self.version.major() >= 17 {
            statements.push_str("; SET transaction_timeout = 0");
        }
        self.run("set up the session", &statements).await
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// Runs statements without parameters; `what` completes "cannot …".
    pub async fn run(&self, what: &str, statements: &str) -> Result<(), ServerError> {
        self.client
            .batch_execute(statements)
            .await
            .map_err(|error| ServerError::query(what, &error))
    }

    /// Runs exactly one statement, whatever is in the text.
    pub async fn one(&self, what: &str, statement: &str) -> Result<(), ServerError> {
        self.client
            .execute(statement, &[])
            .await
            .map(drop)
            .map_err(|error| ServerError::query(what, &error))
    }

    /// Asks the server to give up the statement that runs, and says goodbye.
    /// A server that only loses its client reads on to the statement's end.
    pub async fn abandon(self, connection: &Connection) {
        let token = self.client.cancel_token();
        let cancel = async {
            let encrypted = connection.tls.mode != SslMode::Disable
                && matches!(connection.address.host, Host::Tcp(_));
            match connection.tls.client_config() {
                Ok(tls) if encrypted => token.cancel_query(MakeRustlsConnect::new(tls)).await,
                _ => token.cancel_query(NoTls).await,
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
        let _ = (&mut driver.0).await;
    }

    async fn ask_version(&self) -> Result<ServerVersion, ServerError> {
        let what = "say its version";
        let row = self
            .client
            .query_one("SELECT current_setting('server_version_num')::int4", &[])
            .await
            .map_err(|error| ServerError::query(what, &error))?;
        Ok(ServerVersion(
            row.try_get::<_, i32>(0)
                .map_err(|error| ServerError::query(what, &error))?,
        ))
    }
}

enum Attempt {
    Driver(tokio_postgres::Error),
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
        let local = matches!(connection.address.host, Host::Unix(_));
        if local || config.get_ssl_mode() == config::SslMode::Disable {
            let mut config = config.clone();
            config.ssl_mode(config::SslMode::Disable);
            let (client, driver) = config.connect(NoTls).await.map_err(Attempt::Driver)?;
            return Ok((client, drive(driver)));
        }
        let tls = connection
            .tls
            .client_config()
            .map_err(|error| Attempt::Failed(error.into()))?;
        let connecting = config.connect(MakeRustlsConnect::new(tls));
        let (client, driver) = connecting.await.map_err(Attempt::Driver)?;
        Ok((client, drive(driver)))
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt)
        .await
        .unwrap_or(Err(Attempt::Late))
}

fn drive<S, T>(connection: tokio_postgres::Connection<S, T>) -> Driver
where
    tokio_postgres::Connection<S, T>: Future<Output = Result<(), tokio_postgres::Error>> + Send,
    S: Send + 'static,
    T: Send + 'static,
{
    Driver(tokio::spawn(async move {
        // Whoever waits for an answer is told.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL broke");
        }
    }))
}
