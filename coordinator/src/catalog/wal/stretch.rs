//! What parts of a timeline cover together.

use sqlx::AnyConnection;
use strongroom_layout::position::{Lsn, TimelineId};

use super::super::{
    CatalogError,
    row::{Columns, int, read_all},
};
use crate::model::{WalArchive, WalStretch};

/// Adds a part to the stretches that it touches or overlaps. Pure: gives the
/// stretch that they make, and the starts of those that it replaces.
pub(super) fn add(stretches: &[WalStretch], part: WalStretch) -> (WalStretch, Vec<Lsn>) {
    let mut whole = part;
    let mut replaced = Vec::new();
    for stretch in stretches {
        let touches = stretch.timeline == part.timeline
            && stretch.start <= part.end
            && part.start <= stretch.end;
        if touches {
            whole.start = whole.start.min(stretch.start);
            whole.end = whole.end.max(stretch.end);
            replaced.push(stretch.start);
        }
    }
    (whole, replaced)
}

/// Enters a part, in a transaction that is the only one to write.
pub(super) async fn add_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    part: WalStretch,
) -> Result<(), CatalogError> {
    let rows = sqlx::query(
        "SELECT * FROM wal_stretches
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
           AND start_lsn <= $6 AND end_lsn >= $5",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(part.timeline.0))
    .bind(int(part.start.0))
    .bind(int(part.end.0))
    .fetch_all(&mut *connection)
    .await?;
    let touched = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (whole, replaced) = add(&touched, part);
    if touched == [whole] {
        return Ok(());
    }
    for start in replaced {
        sqlx::query(
            "DELETE FROM wal_stretches
             WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
               AND start_lsn = $5",
        )
        .bind(archive.repository.clone())
        .bind(archive.system.to_string())
        .bind(i64::from(archive.line))
        .bind(i64::from(part.timeline.0))
        .bind(int(start.0))
        .execute(&mut *connection)
        .await?;
    }
    insert_in(connection, archive, whole).await
}

/// All of a line, by timeline and position.
pub(super) async fn all_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
) -> Result<Vec<WalStretch>, CatalogError> {
    let rows = sqlx::query(
        "SELECT * FROM wal_stretches WHERE repository = $1 AND system = $2 AND line = $3
         ORDER BY timeline, start_lsn",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .fetch_all(connection)
    .await?;
    read_all(&rows, read)
}

/// Makes the stretches of a timeline anew, from those of its parts that are not lost.
/// What gave way lies in others.
pub(super) async fn remake_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    timeline: TimelineId,
) -> Result<(), CatalogError> {
    let rows = sqlx::query(
        "SELECT timeline, start_lsn, end_lsn FROM wal_parts
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4
           AND lost_at IS NULL AND superseded_at IS NULL
         ORDER BY start_lsn",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(timeline.0))
    .fetch_all(&mut *connection)
    .await?;
    let mut stretches: Vec<WalStretch> = Vec::new();
    for row in &rows {
        let part = read(row)?;
        match stretches.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => stretches.push(part),
        }
    }
    sqlx::query(
        "DELETE FROM wal_stretches
         WHERE repository = $1 AND system = $2 AND line = $3 AND timeline = $4",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(timeline.0))
    .execute(&mut *connection)
    .await?;
    for stretch in stretches {
        insert_in(connection, archive, stretch).await?;
    }
    Ok(())
}

async fn insert_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    stretch: WalStretch,
) -> Result<(), CatalogError> {
    sqlx::query(
        "INSERT INTO wal_stretches (repository, system, line, timeline, start_lsn, end_lsn)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(i64::from(stretch.timeline.0))
    .bind(int(stretch.start.0))
    .bind(int(stretch.end.0))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn read(row: &sqlx::any::AnyRow) -> Result<WalStretch, CatalogError> {
    let row = Columns::new("wal_stretches", row);
    Ok(WalStretch {
        timeline: row.timeline("timeline")?,
        start: row.lsn("start_lsn")?,
        end: row.lsn("end_lsn")?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn stretch(start: u64, end: u64) -> WalStretch {
        WalStretch {
            timeline: TimelineId(1),
            start: Lsn(start),
            end: Lsn(end),
        }
    }

    proptest! {
        /// The same bytes as in a set of single bytes, in as few stretches as
        /// there can be.
        #[test]
        fn they_cover_what_their_parts_cover(
            parts in prop::collection::vec((0..60u64, 1..10u64), 1..30),
        ) {
            let mut stretches: Vec<WalStretch> = Vec::new();
            let mut bytes = BTreeSet::new();
            for (start, length) in parts {
                let (whole, replaced) = add(&stretches, stretch(start, start + length));
                stretches.retain(|it| !replaced.contains(&it.start));
                stretches.push(whole);
                bytes.extend(start..start + length);
            }
            stretches.sort();
            let covered: Vec<u64> = stretches.iter().flat_map(|it| it.start.0..it.end.0).collect();
            prop_assert_eq!(covered, bytes.into_iter().collect::<Vec<_>>());
            for pair in stretches.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
        }
    }

    #[test]
    fn another_timeline_is_another_log() {
        let other = WalStretch {
            timeline: TimelineId(2),
            ..stretch(0, 10)
        };
        assert_eq!(add(&[other], stretch(10, 20)), (stretch(10, 20), vec![]));
    }
}
