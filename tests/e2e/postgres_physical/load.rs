//! A busy server's load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use strongroom_tests::operator::eventually;

/// Writes rows, each in a transaction of its own, until told to stop; and
/// whatever else a busy server does.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    rows: Arc<AtomicU64>,
    /// The number of each row, and a position behind its commit.
    thread: JoinHandle<Vec<(i64, u64)>>,
}

impl Load {
    pub(crate) fn start(url: String) -> Self {
        let (stop, rows) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&rows));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(write(&url, &stopping, &counting))
        });
        Self { stop, rows, thread }
    }

    pub(crate) fn wait_for(&self, rows: u64) {
        eventually("rows", || {
            assert!(!self.thread.is_finished(), "the writer failed");
            (self.rows() >= rows).then_some(())
        });
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    pub(crate) fn finish(self) -> Vec<(i64, u64)> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the writer did not fail")
    }
}

async fn write(url: &str, stop: &AtomicBool, rows: &AtomicU64) -> Vec<(i64, u64)> {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let mut committed = Vec::new();
    let mut number = 0;
    while !stop.load(Relaxed) {
        number += 1;
        let mut statements = format!(
            "INSERT INTO ledger VALUES ({number}, repeat(md5('{number}'), 5 + {number} % 100));\
             UPDATE churn SET value = value + 1 WHERE id % 50 = {number} % 50;"
        );
        if number % 10 == 0 {
            statements.push_str(
                "CREATE TABLE fleeting AS SELECT * FROM churn; DROP TABLE fleeting;\
                 TRUNCATE truncated; INSERT INTO truncated SELECT generate_series(1, 1000);\
                 INSERT INTO unlogged VALUES (1); VACUUM churn",
            );
            for statement in statements.split(';') {
                run(&mut connection, statement).await;
            }
        } else {
            run(&mut connection, &format!("BEGIN; {statements} COMMIT")).await;
        }
        let row = connection
            .fetch_one("SELECT pg_current_wal_lsn()::text")
            .await
            .expect("a position");
        committed.push((number, position(&row.get::<String, _>(0))));
        rows.fetch_add(1, Relaxed);
    }
    committed
}

async fn run(connection: &mut PgConnection, statements: &str) {
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statements)))
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// A position in the log as a number.
pub(crate) fn position(text: &str) -> u64 {
    let (high, low) = text.split_once('/').expect("a position");
    let part = |digits| u64::from_str_radix(digits, 16).expect("hexadecimal digits");
    part(high) << 32 | part(low)
}
