//! Where SQLite and Postgres differ: connections, how a writing transaction gets
//! to be alone, and how other processes are told of it (`listen.rs` hears them).

use std::{fmt, fs::File, time::Duration};

use sqlx::{
    Any, AnyConnection, AnyPool, Connection, Executor, Transaction,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::PgConnectOptions,
};
use uuid::Uuid;

use super::{CatalogError, listen::CHANNEL};

/// The database behind the catalog.
pub(super) enum Backend {
    /// One file, one coordinator.
    Sqlite {
        /// WAL: they never wait for the writer.
        readers: AnyPool,
        /// One connection: writers queue here, in order, and not in SQLite's
        /// busy handler.
        writer: AnyPool,
        /// Held for as long as the process lives; `None`: beside a coordinator.
        _lock: Option<File>,
    },
    /// A server, any number of coordinators.
    Postgres {
        pool: AnyPool,
        /// How it is reached, for the one connection that listens.
        server: Box<PgConnectOptions>,
    },
}

/// The key of the advisory lock that writing transactions hold: the letters
/// `strgroom`.
const WRITER_LOCK: i64 = 0x7374_7267_726f_6f6d;

/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Without how it is reached, of which a password is part.
impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite { .. } => "Sqlite",
            Self::Postgres { .. } => "Postgres",
        })
    }
}

impl Backend {
    /// Opens an SQLite database by its URL; makes the file if it is missing.
    pub(super) async fn sqlite(
        url: AnyConnectOptions,
        lock: Option<File>,
    ) -> Result<Self, sqlx::Error> {
        let mut connection = connect(&url).await?;
        prepare_sqlite(&mut connection).await?;
        connection.close().await?;
        let writer = sqlite_pool(1).connect_with(url.clone()).await?;
        let readers = sqlite_pool(4).connect_with(url).await?;
        Ok(Self::Sqlite {
            readers,
            writer,
            _lock: lock,
        })
    }

    /// Connects to a Postgres server.
    pub(super) async fn postgres(url: AnyConnectOptions) -> Result<Self, sqlx::Error> {
        connect(&url).await?.close().await?;
        let server = Box::new(PgConnectOptions::try_from(&url)?);
        let pool = AnyPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(PATIENCE)
            .after_release(|connection, _| Box::pin(is_whole(connection)))
            .connect_lazy_with(url);
        Ok(Self::Postgres { pool, server })
    }

    /// Whether other coordinators may have it open.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    pub(super) fn readers(&self) -> &AnyPool {
        match self {
            Self::Sqlite { readers, .. } => readers,
            Self::Postgres { pool, .. } => pool,
        }
    }

    /// For single statements that write.
    pub(super) fn writers(&self) -> &AnyPool {
        match self {
            Self::Sqlite { writer, .. } => writer,
            Self::Postgres { pool, .. } => pool,
        }
    }

    /// Begins a transaction that only adds or removes rows whose keys decide
    /// everything; on Postgres several of them run at once.
    pub(super) async fn begin_appending(&self) -> Result<Transaction<'static, Any>, CatalogError> {
        match self {
            Self::Sqlite { .. } => self.begin().await,
            Self::Postgres { pool, .. } => Ok(pool.begin().await?),
        }
    }

    /// Tells other processes of a transaction, once it commits; `by` is this process.
    pub(super) async fn announce(
        &self,
        transaction: &mut Transaction<'static, Any>,
        by: Uuid,
    ) -> Result<(), CatalogError> {
        if let Self::Postgres { .. } = self {
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(by.to_string())
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }

    /// Begins a transaction that is the only one to write, in any process.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, CatalogError> {
        match self {
            Self::Sqlite { writer, .. } => Ok(writer.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres { pool, .. } => {
                let mut transaction = pool.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(WRITER_LOCK)
                    .execute(&mut *transaction)
                    .await?;
                Ok(transaction)
            }
        }
    }
}

/// A first connection, to see whether there can be one: a pool would go on
/// trying a server that refuses us or a file that is no database, and then
/// only say that time is over.
async fn connect(url: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    tokio::time::timeout(PATIENCE, AnyConnection::connect_with(url))
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)?
}

fn sqlite_pool(connections: u32) -> sqlx::pool::PoolOptions<Any> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| Box::pin(prepare_sqlite(connection)))
        .after_release(|connection, _| Box::pin(is_whole(connection)))
}

/// Whether a connection that comes back can be used again. A transaction that the
/// database ended by itself (SQLite does, when its disk is full) is one that sqlx
/// takes for open: nothing could be begun on that connection any more.
async fn is_whole(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    // Behind the rollback that a dropped transaction asks for.
    connection.ping().await?;
    let whole = !connection.is_in_transaction();
    if !whole {
        tracing::warn!("a connection to the catalog is stuck in a transaction: thrown away");
    }
    Ok(whole)
}

/// `synchronous = FULL`: an agent forgets a report once it is acknowledged,
/// so what was committed must outlive a power cut.
async fn prepare_sqlite(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(
            "PRAGMA busy_timeout = 10000;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;",
        )
        .await?;
    Ok(())
}
