//! Jobs: what the coordinator asks for and what comes back.

mod database;
mod limits;
mod offer;
pub(crate) mod recovery;
mod report;
mod result;
mod source;
mod transfer;
mod wal;
mod warning;
mod work;

pub use database::{Relocation, RestoreClusterWork, RestorePostgresWork, RestoreRedisWork};
pub use limits::ResourceLimits;
pub use offer::{JobOffer, RepositoryAccess};
pub use recovery::{ClusterPoint, Leg, Recovery, RecoveryTarget};
pub use report::{Failure, FailureCode, MAX_WARNINGS, Report, Success};
pub use result::{BackupResult, Entry, ListResult, PlannedAction, RestoreResult, StartedServer};
pub use source::{
    CommandSource, DumpContent, FilesSource, PostgresLogical, PostgresPhysical, PostgresSource,
    RedisSource, Source,
};
pub use transfer::{DownloadResult, DownloadWork, UploadFormat, UploadWork};
pub use wal::{WalMethod, WalResult, WalWork};
pub use warning::{UnknownWarningCode, Warning, WarningCode};
pub use work::{BackupWork, ListWork, Overwrite, RestoreWork, Sparse, Work};
