//! Opening the catalog: the URL, the lock, the migrations.

use std::{
    cmp::Ordering,
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use sqlx::{
    AnyPool,
    any::AnyConnectOptions,
    migrate::{MigrateError, Migrator},
};
use strongroom_runtime::clock::SharedClock;
use tokio::sync::watch;
use url::Url;
use uuid::{ContextV7, Uuid};

use super::{Catalog, CatalogError, Inner, backend::Backend, health::Health};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Catalog {
    /// Opens the catalog and brings its schema up to date.
    ///
    /// `url` is `sqlite:PATH` (made if missing; locked against a second
    /// coordinator for as long as this process lives) or `postgres://…`.
    pub async fn open(url: &str, clock: SharedClock) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let place = Place::parse(url)?;
        let shown = place.shown();
        let unreachable = |source| CatalogError::Unreachable {
            catalog: shown.clone(),
            source,
        };
        let backend = match &place {
            Place::Sqlite(path) => {
                let lock = lock_beside(path)?;
                open_private(path).map_err(|source| CatalogError::File {
                    path: path.clone(),
                    source,
                })?;
                let options = sqlite_options(path).map_err(unreachable)?;
                let backend = Backend::sqlite(options, Some(lock)).await;
                backend.map_err(unreachable)?
            }
            Place::Postgres(url) => {
                let options = url.as_str().parse().map_err(unreachable)?;
                Backend::postgres(options).await.map_err(unreachable)?
            }
        };
        migrate(backend.writers(), &shown).await?;
        Ok(Self::on(backend, clock, shown))
    }

    /// Opens a catalog beside the coordinator that may be running on it: takes no
    /// lock, and neither makes it nor changes its schema, which must be ours. For
    /// single transactions.
    pub async fn attach(url: &str, clock: SharedClock) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let place = Place::parse(url)?;
        let shown = place.shown();
        let unreachable = |source| CatalogError::Unreachable {
            catalog: shown.clone(),
            source,
        };
        let backend = match &place {
            Place::Sqlite(path) => {
                // SQLite would make it.
                path.metadata().map_err(|source| CatalogError::File {
                    path: path.clone(),
                    source,
                })?;
                let options = sqlite_options(path).map_err(unreachable)?;
                Backend::sqlite(options, None).await.map_err(unreachable)?
            }
            Place::Postgres(url) => {
                let options = url.as_str().parse().map_err(unreachable)?;
                Backend::postgres(options).await.map_err(unreachable)?
            }
        };
        let found: i64 = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(backend.readers())
            .await?;
        let known = newest_schema();
        match found.cmp(&known) {
            Ordering::Equal => Ok(Self::on(backend, clock, shown)),
            Ordering::Greater => Err(newer(backend.readers(), &shown, known).await?),
            Ordering::Less => Err(CatalogError::Older {
                catalog: shown,
                found,
                known,
            }),
        }
    }

    fn on(backend: Backend, clock: SharedClock, shown: String) -> Self {
        Self(Arc::new(Inner {
            backend,
            clock,
            instance: Uuid::new_v4(),
            changes: watch::Sender::new(()),
            ids: Mutex::new(ContextV7::new()),
            shown,
            health: Health::default(),
        }))
    }

    /// Waits for running statements and closes all connections.
    pub async fn close(&self) {
        self.0.backend.writers().close().await;
        self.0.backend.readers().close().await;
    }
}

enum Place {
    Sqlite(PathBuf),
    Postgres(Url),
}

impl Place {
    fn parse(url: &str) -> Result<Self, CatalogError> {
        let invalid = |url: &str, problem: &str| CatalogError::InvalidUrl {
            url: url.into(),
            problem: problem.into(),
        };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(invalid(url, "names no file")),
                ":memory:" => Err(invalid(url, "would be forgotten at the end")),
                path => Ok(Self::Sqlite(path.into())),
            };
        }
        // A URL that cannot be parsed may still hold a password: its text is
        // not repeated.
        let parsed =
            Url::parse(url).map_err(|error| invalid("…", &format!("is not a URL ({error})")))?;
        match parsed.scheme() {
            "postgres" | "postgresql" => Ok(Self::Postgres(parsed)),
            scheme => Err(invalid(
                &without_password(&parsed),
                &format!("has the unknown scheme {scheme:?}"),
            )),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => without_password(url),
        }
    }
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have them.
    let _ = url.set_password(None);
    url.set_query(None);
    url.into()
}

/// sqlx reads the path of an SQLite URL percent-decoded.
fn sqlite_options(path: &Path) -> Result<AnyConnectOptions, sqlx::Error> {
    let text = path.to_str().ok_or_else(|| {
        sqlx::Error::Configuration("the path of the SQLite file is not UTF-8".into())
    })?;
    let escaped = text
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    format!("sqlite://{escaped}?mode=rwc").parse()
}

/// The lock is a file of its own: SQLite's own locks come and go, and some
/// tools copy the database file.
fn lock_beside(database: &Path) -> Result<File, CatalogError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| CatalogError::File {
        path: path.clone(),
        source,
    };
    let mut file = open_private(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // A holder that has not written its number yet is in use as well.
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim();
            return Err(CatalogError::InUse {
                path: database.into(),
                pid: if pid.is_empty() { "unknown" } else { pid }.into(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

/// Opens a file, made if missing, that nobody else may read: the catalog
/// holds sealed passwords and hashes of secrets. SQLite's other files get the
/// mode of this one.
fn open_private(path: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The schema that this program writes.
fn newest_schema() -> i64 {
    MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0)
}

async fn migrate(pool: &AnyPool, catalog: &str) -> Result<(), CatalogError> {
    let known = newest_schema();
    match MIGRATIONS.run(pool).await {
        Ok(()) => {}
        Err(MigrateError::VersionMissing(_)) => {
            return Err(newer(pool, catalog, known).await?);
        }
        Err(source) => {
            return Err(CatalogError::Migration {
                catalog: catalog.into(),
                known,
                source,
            });
        }
    }
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('written_by', $1)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(VERSION)
    .execute(pool)
    .await?;
    Ok(())
}

async fn newer(pool: &AnyPool, catalog: &str, known: i64) -> Result<CatalogError, CatalogError> {
    let found = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await?;
    let written_by: Option<String> =
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'written_by'")
            .fetch_optional(pool)
            .await?;
    Ok(CatalogError::Newer {
        catalog: catalog.into(),
        written_by: written_by.unwrap_or_else(|| "of a later version".into()),
        found,
        ours: VERSION,
        known,
    })
}
