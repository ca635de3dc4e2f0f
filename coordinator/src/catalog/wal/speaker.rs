//! Who enters log, and into which line.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{SystemId, position::TimelineId};

use super::{
    super::CatalogError,
    line::{line_in, lines_in, share_in},
    lines::{Share, WalLines},
    record::RecordError,
};
use crate::model::{DatasetName, WalArchive};

/// The line of each cluster that is spoken of, which must not have ended for the
/// dataset.
pub(super) struct Lines<'a> {
    repository: &'a str,
    pub(super) dataset: &'a DatasetName,
    archive: Option<WalArchive>,
    /// Of that cluster.
    pub(super) known: WalLines,
}

impl<'a> Lines<'a> {
    pub(super) fn new(repository: &'a str, dataset: &'a DatasetName) -> Self {
        Self {
            repository,
            dataset,
            archive: None,
            known: WalLines::default(),
        }
    }

    pub(super) async fn of(
        &mut self,
        connection: &mut AnyConnection,
        system: SystemId,
    ) -> Result<WalArchive, RecordError> {
        if let Some(known) = self.archive.as_ref().filter(|it| it.system == system) {
            return Ok(known.clone());
        }
        self.known = lines_in(connection, self.repository, system).await?;
        let of = (self.dataset, &self.known);
        let line = line_in(connection, self.repository, system, of).await?;
        if let Some(broken) = line.broken {
            return Err(RecordError::Conflict(broken));
        }
        self.archive = Some(line.archive.clone());
        Ok(line.archive)
    }

    /// Something of a timeline is the dataset's.
    pub(super) async fn share(
        &mut self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        timeline: TimelineId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let share = Share {
            line: archive.line,
            timeline,
            dataset: self.dataset.clone(),
            since: now,
        };
        if !self.known.has(&share) {
            share_in(connection, archive, &share).await?;
            self.known.shares.push(share);
        }
        Ok(())
    }
}
