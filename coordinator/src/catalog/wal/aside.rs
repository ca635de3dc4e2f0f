//! Taking out of a line what others put on a timeline that is not theirs.

use sqlx::AnyConnection;

use super::{
    super::{Catalog, CatalogError},
    line::share_in,
    lines::{Share, WalLines},
    stretch,
};
use crate::model::{DatasetName, WalArchive, WalConflict};

impl Catalog {
    /// Takes a dataset out of a line: what it entered of the conflict's timeline is
    /// moved to its next line, where it is kept, and it has to begin that with a base
    /// backup. Whatever it had superseded counts again.
    pub(super) async fn set_aside(
        &self,
        connection: &mut AnyConnection,
        archive: &WalArchive,
        (dataset, lines): (&DatasetName, &mut WalLines),
        conflict: &WalConflict,
    ) -> Result<(), CatalogError> {
        let timeline = conflict.timeline;
        let next = WalArchive {
            line: fresh_in(connection, archive, lines).await?,
            ..archive.clone()
        };
        if lines.has_left(dataset, archive.line) {
            // It has gone on elsewhere long since.
            self.audit_conflict(connection, archive, dataset, conflict)
                .await?;
        } else {
            let broken = self
                .end_line(connection, archive, (dataset, next.line), conflict)
                .await?;
            let share = Share {
                line: next.line,
                timeline,
                dataset: dataset.clone(),
                since: broken.at,
            };
            share_in(connection, archive, &share).await?;
            lines.breaks.push(broken);
            lines.shares.push(share);
        }
        sqlx::query(
            "UPDATE wal_parts SET line = $6
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND dataset = $5",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(timeline.0))
        .bind(dataset.to_string())
        .bind(i64::from(next.line))
        .execute(&mut *connection)
        .await?;
        for sql in [
            "UPDATE wal_parts SET superseded_at = NULL
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND superseded_at IS NOT NULL",
            "DELETE FROM wal_restore_points
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND NOT EXISTS (
                   SELECT 1 FROM wal_parts p
                   WHERE p.repository = $1 AND p.system = $2 AND p.line = $3 AND p.timeline = $4
                     AND p.start_lsn < wal_restore_points.lsn
                     AND p.end_lsn >= wal_restore_points.lsn)",
        ] {
            sqlx::query(sql)
                .bind(archive.repository.clone())
                .bind(archive.system.to_string())
                .bind(i64::from(archive.line))
                .bind(i64::from(timeline.0))
                .execute(&mut *connection)
                .await?;
        }
        for of in [archive, &next] {
            stretch::remake_in(connection, of, timeline).await?;
        }
        Ok(())
    }
}

/// The number of a line in which there is nothing.
pub(super) async fn fresh_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    lines: &WalLines,
) -> Result<u32, CatalogError> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(line) FROM wal_parts WHERE repository = $1 AND system = $2")
            .bind(archive.repository.clone())
            .bind(archive.system.to_string())
            .fetch_one(connection)
            .await?;
    let last = last.and_then(|line| u32::try_from(line).ok());
    let behind = last.map_or(0, |line| line.saturating_add(1));
    Ok(lines.next().max(behind))
}
