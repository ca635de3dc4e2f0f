//! A line of half a million parts: what questions about it take. It asserts nothing:
//! `tests/run unit long_log -- --ignored --nocapture` prints.

use std::time::Instant;

use strongroom_layout::{
    SystemId,
    position::{Lsn, TimelineId},
};
use strongroom_spec::Leg;
use strongroom_wire::wal::{RecordWalRequest, WalBehind, WalPosition};

use super::Fixture;
use crate::{
    model::{DatasetName, WalArchive},
    recovery,
};

const SYSTEM: SystemId = SystemId(7);
const PARTS: i64 = 500_000;
/// Timelines that were left in the one stretch that there is.
const TIMELINES: u32 = 20;
const TIMES: u32 = 5;

async fn fill(fixture: &Fixture, archive: &WalArchive, dataset: &DatasetName) {
    let writers = fixture.catalog.0.backend.writers();
    let parts = format!(
        "INSERT INTO wal_parts (repository, system, line, timeline, start_lsn, end_lsn, id, length,
                                digest, commits, last_commit, first_xid, last_xid, dataset,
                                stored_at)
         WITH RECURSIVE n(i) AS (SELECT CAST(0 AS BIGINT)
                                 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {PARTS})
         SELECT '{}', '{SYSTEM}', 0, 1, i * 16777216, (i + 1) * 16777216, 'id' || i, 1, 'd' || i, 9,
                1000000 + i, 3, 900, '{dataset}', 5 FROM n",
        archive.repository
    );
    let stretch = format!(
        "INSERT INTO wal_stretches (repository, system, line, timeline, start_lsn, end_lsn)
         VALUES ('{}', '{SYSTEM}', 0, 1, 0, CAST({PARTS} AS BIGINT) * 16777216)",
        archive.repository
    );
    let share = format!(
        "INSERT INTO wal_shares (repository, system, line, timeline, dataset, since)
         VALUES ('{}', '{SYSTEM}', 0, 1, '{dataset}', 5)",
        archive.repository
    );
    for sql in [parts, stretch, share] {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(writers)
            .await
            .unwrap();
    }
    // As PostgreSQL does by itself within a minute.
    sqlx::query("ANALYZE wal_parts")
        .execute(writers)
        .await
        .unwrap();
    for left in 0..TIMELINES {
        let until = u64::from(left + 1) * 20_000 * 16_777_216 + 9;
        let legs = [Leg {
            timeline: TimelineId(1),
            until: Some(Lsn(until)),
        }];
        sqlx::query(
            "INSERT INTO wal_histories (repository, system, line, timeline, id, length, legs)
             VALUES ($1, $2, 0, $3, $4, 1, $5)",
        )
        .bind(archive.repository.clone())
        .bind(SYSTEM.to_string())
        .bind(i64::from(left) + 2)
        .bind(format!("{left:064x}"))
        .bind(serde_json::to_string(&legs).unwrap())
        .execute(writers)
        .await
        .unwrap();
    }
}

async fn timed<T>(what: &str, mut ask: impl AsyncFnMut() -> T) {
    ask().await;
    let began = Instant::now();
    for _ in 0..TIMES {
        ask().await;
    }
    println!("{what}: {:.2?}", began.elapsed() / TIMES);
}

async fn measure(fixture: Fixture, name: &str) {
    let agent = fixture.agent("db-1").await;
    let repository = fixture.repository(&agent).await;
    let attempt = fixture.started(&agent, "orders").await;
    let dataset = DatasetName::new("orders", "db-1");
    let archive = WalArchive {
        repository: repository.name.clone(),
        system: SYSTEM,
        line: 0,
    };
    fill(&fixture, &archive, &dataset).await;
    let catalog = &fixture.catalog;
    let behind = RecordWalRequest {
        attempt,
        stored: vec![],
        histories: vec![],
        position: Some(WalPosition {
            system: SYSTEM,
            timeline: TimelineId(1),
            lsn: Lsn(9),
            as_of: None,
            waiting: 0,
            problem: None,
        }),
        behind: Some(WalBehind {
            system: SYSTEM,
            timeline: TimelineId(1),
            flushed: Lsn(1 << 62),
            archived: Lsn(9),
        }),
    };
    timed(&format!("{name}: wal_tails, the owner"), async || {
        catalog.wal_tails(&archive, &dataset).await.unwrap()
    })
    .await;
    let other = DatasetName::new("orders", "db-2");
    timed(&format!("{name}: wal_tails, another"), async || {
        catalog.wal_tails(&archive, &other).await.unwrap()
    })
    .await;
    timed(&format!("{name}: check_behind"), async || {
        let record = catalog.record_wal(&repository.name, &dataset, &behind, 9);
        record.await.unwrap()
    })
    .await;
    timed(&format!("{name}: last commits"), async || {
        let load = recovery::load(catalog, &dataset);
        load.await.unwrap()
    })
    .await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn long_log_sqlite() {
    measure(Fixture::sqlite().await, "sqlite").await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn long_log_postgres() {
    measure(Fixture::postgres().await, "postgres").await;
}
