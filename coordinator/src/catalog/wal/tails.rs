//! From where on a dataset goes on with the log of each timeline.
//!
//! It is told the end of what its own agent has entered, and of what whose timeline it
//! is. What others put behind that is not taken for the log because it touches it: who
//! goes on there stores it once more, and so compares it, or leaves (decision 0053).

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AnyConnection;
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_wire::wal::UNIT;

use super::{
    super::{
        Catalog, CatalogError,
        row::{Columns, int, read_all},
    },
    line::lines_in,
    lines::WalLines,
    stretch,
};
use crate::model::{DatasetName, WalArchive, WalStretch};

/// Where what a dataset has entered of a timeline ends, but for what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    timeline: TimelineId,
    dataset: DatasetName,
    at: Lsn,
}

impl Catalog {
    /// Where the log of each timeline ends that a dataset goes on with. Timelines of
    /// which neither it nor their owners have anything are left out.
    pub async fn wal_tails(
        &self,
        archive: &WalArchive,
        dataset: &DatasetName,
    ) -> Result<BTreeMap<TimelineId, Lsn>, CatalogError> {
        let mut connection = self.pool().acquire().await?;
        let lines = lines_in(&mut connection, &archive.repository, archive.system).await?;
        tails_in(&mut connection, archive, (dataset, &lines)).await
    }
}

/// See [`Catalog::wal_tails`].
pub(super) async fn tails_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    (dataset, lines): (&DatasetName, &WalLines),
) -> Result<BTreeMap<TimelineId, Lsn>, CatalogError> {
    let mut ends = ends_in(connection, archive).await?;
    let stretches = stretch::all_in(connection, archive).await?;
    let owner = |timeline| lines.owner(archive.line, timeline);
    let bounds = bounds(&ends, &stretches, owner);
    for end in ends
        .iter_mut()
        .filter(|it| it.dataset.agent == dataset.agent)
    {
        // What it has behind a gap, too, says nothing of what lies before that.
        if let Some((base, goes_on)) = bounds.get(&end.timeline).copied()
            && goes_on < end.at
        {
            let within = end_within(connection, archive, end, goes_on).await?;
            end.at = within.unwrap_or(base);
        }
    }
    Ok(tails(&ends, &bounds, dataset))
}

/// Where a dataset's parts of a timeline end that end no later than this.
async fn end_within(
    connection: &mut AnyConnection,
    archive: &WalArchive,
    of: &End,
    limit: Lsn,
) -> Result<Option<Lsn>, CatalogError> {
    let row = sqlx::query(
        "SELECT MAX(p.end_lsn) AS end_lsn FROM wal_parts p
         WHERE p.repository = $1 AND p.system = $2 AND p.line = $3 AND p.dataset = $4
           AND p.timeline = $5 AND p.lost_at IS NULL
           AND p.start_lsn < $6 AND p.end_lsn <= $6
           AND p.start_lsn > (
               SELECT q.start_lsn FROM wal_parts q
               WHERE q.repository = $1 AND q.system = $2 AND q.line = $3 AND q.dataset = $4
                 AND q.timeline = $5 AND q.lost_at IS NULL
                 AND q.start_lsn < $6 AND q.end_lsn <= $6
               ORDER BY q.start_lsn DESC LIMIT 1) - $7",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(of.dataset.to_string())
    .bind(i64::from(of.timeline.0))
    .bind(int(limit.0))
    .bind(int(UNIT))
    .fetch_one(connection)
    .await?;
    let end: Option<u64> = Columns::new("wal_parts", &row).opt_number("end_lsn")?;
    Ok(end.map(Lsn))
}

/// Reads of each dataset's parts of a timeline only those of the last unit: what ends
/// last begins in that.
async fn ends_in(
    connection: &mut AnyConnection,
    archive: &WalArchive,
) -> Result<Vec<End>, CatalogError> {
    let rows = sqlx::query(
        "SELECT s.timeline AS timeline, s.dataset AS dataset,
                (SELECT MAX(p.end_lsn) FROM wal_parts p
                 WHERE p.repository = s.repository AND p.system = s.system AND p.line = s.line
                   AND p.dataset = s.dataset AND p.timeline = s.timeline AND p.lost_at IS NULL
                   AND p.start_lsn > (
                       SELECT q.start_lsn FROM wal_parts q
                       WHERE q.repository = s.repository AND q.system = s.system
                         AND q.line = s.line AND q.dataset = s.dataset
                         AND q.timeline = s.timeline AND q.lost_at IS NULL
                       ORDER BY q.start_lsn DESC LIMIT 1) - $4) AS end_lsn
         FROM wal_shares s
         WHERE s.repository = $1 AND s.system = $2 AND s.line = $3",
    )
    .bind(archive.repository.clone())
    .bind(archive.system.to_string())
    .bind(i64::from(archive.line))
    .bind(int(UNIT))
    .fetch_all(connection)
    .await?;
    let ends = read_all(&rows, |row| {
        let row = Columns::new("wal_shares", row);
        let end: Option<u64> = row.opt_number("end_lsn")?;
        let of = (row.timeline("timeline")?, row.parse("dataset")?);
        Ok(end.map(|end| End {
            timeline: of.0,
            dataset: of.1,
            at: Lsn(end),
        }))
    })?;
    Ok(ends.into_iter().flatten().collect())
}

/// Of each timeline whose owner has something: where that ends, and how far the log
/// goes on from there without a gap, whoever entered it.
type Bounds = BTreeMap<TimelineId, (Lsn, Lsn)>;

fn bounds<'a>(
    ends: &[End],
    stretches: &[WalStretch],
    owner: impl Fn(TimelineId) -> Option<&'a DatasetName>,
) -> Bounds {
    let is_owners = |it: &&End| owner(it.timeline) == Some(&it.dataset);
    let bound = |base: &End| {
        let holds = |it: &&WalStretch| {
            it.timeline == base.timeline && it.start < base.at && base.at <= it.end
        };
        let goes_on = stretches.iter().find(holds).map_or(base.at, |it| it.end);
        (base.timeline, (base.at, goes_on))
    };
    ends.iter().filter(is_owners).map(bound).collect()
}

fn tails(ends: &[End], bounds: &Bounds, dataset: &DatasetName) -> BTreeMap<TimelineId, Lsn> {
    let timelines: BTreeSet<_> = ends.iter().map(|it| it.timeline).collect();
    let tail = |timeline| {
        // A policy may have had another name before.
        let own = ends
            .iter()
            .filter(|it| it.timeline == timeline && it.dataset.agent == dataset.agent)
            .map(|it| it.at);
        match bounds.get(&timeline) {
            Some((base, goes_on)) => {
                let own = own.filter(|end| base < end && end <= goes_on);
                Some(own.max().unwrap_or(*base))
            }
            // All that its owner had is lost.
            None => own.max(),
        }
    };
    let tails = timelines.into_iter();
    tails.filter_map(|it| Some((it, tail(it)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TimelineId = TimelineId(1);

    fn named(policy: &str, agent: &str) -> DatasetName {
        DatasetName::new(policy, agent)
    }

    /// What `who` is told of a timeline that is `orders@db-1`'s and goes on without a
    /// gap up to 900.
    fn told(ends: &[(&str, &str, u64)], who: (&str, &str)) -> Option<u64> {
        let ends: Vec<_> = ends
            .iter()
            .map(|(policy, agent, end)| End {
                timeline: ONE,
                dataset: named(policy, agent),
                at: Lsn(*end),
            })
            .collect();
        let stretch = WalStretch {
            timeline: ONE,
            start: Lsn(0),
            end: Lsn(900),
        };
        let owner = named("orders", "db-1");
        let who = named(who.0, who.1);
        let bounds = bounds(&ends, &[stretch], |_| Some(&owner));
        let tails = tails(&ends, &bounds, &who);
        tails.get(&ONE).map(|end| end.0)
    }

    #[test]
    fn what_others_put_behind_an_owners_end_is_not_its_log() {
        let ends = [("orders", "db-1", 500), ("orders", "db-2", 900)];
        assert_eq!(told(&ends, ("orders", "db-1")), Some(500));
        // Who has entered it has compared it.
        assert_eq!(told(&ends, ("orders", "db-2")), Some(900));
        assert_eq!(told(&ends, ("orders", "db-3")), Some(500));
    }

    #[test]
    fn a_policy_with_another_name_goes_on_where_the_agent_was() {
        let ends = [("orders", "db-1", 500), ("renamed", "db-1", 800)];
        for policy in ["orders", "renamed", "again"] {
            assert_eq!(told(&ends, (policy, "db-1")), Some(800), "{policy}");
        }
        // Behind a gap nothing goes on.
        let ends = [("orders", "db-1", 500), ("renamed", "db-1", 1000)];
        assert_eq!(told(&ends, ("renamed", "db-1")), Some(500));
    }

    #[test]
    fn of_an_owner_who_has_lost_all_nobody_takes_the_place() {
        let ends = [("orders", "db-2", 900)];
        assert_eq!(told(&ends, ("orders", "db-1")), None);
        assert_eq!(told(&ends, ("orders", "db-3")), None);
        assert_eq!(told(&ends, ("orders", "db-2")), Some(900));
    }
}
