//! Parts of the log that the store has lost, and that are back.

use jiff::Timestamp;
use sqlx::AnyConnection;
use strongroom_layout::WalName;

use super::{
    super::{
        CatalogError,
        row::{Columns, micros, read_all},
    },
    stretch,
};
use crate::model::WalArchive;

/// A part is lost since then, or there again: what is covered without it is found
/// anew, so that no window spans what is gone.
pub(in crate::catalog) async fn mark_wal_in(
    connection: &mut AnyConnection,
    repository: &str,
    path: &str,
    lost_at: Option<Timestamp>,
) -> Result<(), CatalogError> {
    let Ok(name) = path.parse::<WalName>() else {
        return Ok(());
    };
    let rows = sqlx::query(
        "UPDATE wal_parts SET lost_at = $3 WHERE repository = $1 AND id = $2 RETURNING *",
    )
    .bind(repository)
    .bind(name.id.to_string())
    .bind(lost_at.map(micros))
    .fetch_all(&mut *connection)
    .await?;
    let mut of = read_all(&rows, |row| {
        let row = Columns::new("wal_parts", row);
        let archive = WalArchive {
            repository: repository.to_owned(),
            system: row.parse("system")?,
            line: row.number("line")?,
        };
        Ok((archive, row.timeline("timeline")?))
    })?;
    of.sort();
    of.dedup();
    for (archive, timeline) in of {
        stretch::remake_in(connection, &archive, timeline).await?;
    }
    Ok(())
}
