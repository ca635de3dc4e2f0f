//! The snapshot file.

use jiff::Timestamp;
use rustix::process::{getegid, geteuid};
use strongroom_layout::{ObjectKind, ObjectName};
use strongroom_postgres::physical::manifest::PGDATA;
use strongroom_repository::{
    Repository, RepositoryError,
    format::{blob::BlobId, snapshot::Snapshot},
    store::Body,
};

use super::{BackupRequest, BackupSource};
use crate::sources::{files::owners::Owners, redis};

/// What the snapshot says.
pub(super) fn describe(request: &BackupRequest, time: Timestamp, tree: BlobId) -> Snapshot {
    let (paths, excludes) = match &request.source {
        BackupSource::Files(source) => (source.paths.clone(), source.exclude.clone()),
        BackupSource::Command(command) => (vec![command.path()], Vec::new()),
        BackupSource::Upload(source) => (source.paths(), Vec::new()),
        BackupSource::Logical(source) => (source.paths(), Vec::new()),
        BackupSource::Redis(_) => (vec![redis::DUMP.into()], Vec::new()),
        BackupSource::Cluster(_) => (vec![format!("/{PGDATA}")], Vec::new()),
    };
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    Snapshot {
        time,
        tree,
        parent: request.parent,
        paths,
        hostname: request.hostname.clone(),
        username: Owners::of_host().user(uid).to_owned(),
        uid,
        gid,
        excludes,
        tags: request.tags.clone(),
        original: None,
        program_version: concat!("strongroom ", env!("CARGO_PKG_VERSION")).into(),
    }
}

/// Its stored form and its name.
pub(super) fn seal(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(ObjectName, Body), RepositoryError> {
    let json = snapshot
        .encode()
        .map_err(|source| RepositoryError::Format {
            object: "new snapshot".into(),
            source,
        })?;
    repository.seal_unpacked(ObjectKind::Snapshot, &json)
}
