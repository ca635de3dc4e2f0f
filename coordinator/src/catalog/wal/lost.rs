//! Parts of the log that the store has lost, and that are back.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::{
    ObjectId,
    position::{Lsn, TimelineId},
};

use super::{
    super::{
        CatalogError,
        row::{Columns, int, micros, read_all},
    },
    stretch,
};
use crate::model::{Comparison, WalArchive};

/// These parts are lost, and those are there: what is covered is found anew, so that
/// no window spans what is gone.
pub(in crate::catalog) async fn mark_wal_in(
    connection: &mut AnyConnection,
    repository: &str,
    found: &Comparison,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let rows = sqlx::query(
        "SELECT DISTINCT id FROM wal_parts WHERE repository = $1 AND lost_at IS NOT NULL",
    )
    .bind(repository)
    .fetch_all(&mut *connection)
    .await?;
    let before = read_all(&rows, |row| Columns::new("wal_parts", row).parse("id"))?;
    let before: HashSet<ObjectId> = before.into_iter().collect();
    let (mut changed, mut again) = (BTreeSet::new(), false);
    for id in before.intersection(&found.found_log) {
        for part in mark_in(connection, repository, *id, None).await? {
            changed.insert((part.archive, part.timeline));
        }
    }
    for id in found.lost_log.difference(&before) {
        for part in mark_in(connection, repository, *id, Some(now)).await? {
            again |= count_again_in(connection, &part).await?;
            changed.insert((part.archive, part.timeline));
        }
    }
    for (archive, timeline) in changed {
        stretch::remake_in(connection, &archive, timeline).await?;
    }
    if again {
        // Nobody has looked for what counts again.
        sqlx::query("UPDATE repositories SET compared_at = NULL WHERE name = $1")
            .bind(repository)
            .execute(connection)
            .await?;
    }
    Ok(())
}

struct Part {
    archive: WalArchive,
    timeline: TimelineId,
    start: Lsn,
    end: Lsn,
}

async fn mark_in(
    connection: &mut AnyConnection,
    repository: &str,
    id: ObjectId,
    lost_at: Option<Timestamp>,
) -> Result<Vec<Part>, CatalogError> {
    let rows = sqlx::query(
        "UPDATE wal_parts SET lost_at = $3 WHERE repository = $1 AND id = $2 RETURNING *",
    )
    .bind(repository)
    .bind(id.to_string())
    .bind(lost_at.map(micros))
    .fetch_all(connection)
    .await?;
    read_all(&rows, |row| {
        let row = Columns::new("wal_parts", row);
        Ok(Part {
            archive: WalArchive {
                repository: repository.to_owned(),
                system: row.parse("system")?,
                line: row.number("line")?,
            },
            timeline: row.timeline("timeline")?,
            start: row.lsn("start_lsn")?,
            end: row.lsn("end_lsn")?,
        })
    })
}

/// What gave way to a part that is lost counts again; gives whether there is something.
async fn count_again_in(connection: &mut AnyConnection, part: &Part) -> Result<bool, CatalogError> {
    let again = sqlx::query(
        "UPDATE wal_parts SET superseded_at = NULL
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
           AND start_lsn >= $5 AND start_lsn < $6 AND end_lsn <= $6
           AND superseded_at IS NOT NULL AND lost_at IS NULL",
    )
    .bind(part.archive.repository.clone())
    .bind(part.archive.system.to_string())
    .bind(i64::from(part.archive.line))
    .bind(i64::from(part.timeline.0))
    .bind(int(part.start.0))
    .bind(int(part.end.0))
    .execute(connection)
    .await?;
    Ok(again.rows_affected() > 0)
}
