//! A database from a script of SQL that an operator uploaded: sent to the
//! server statement by statement. `psql` would run on this host what the
//! script asks it to run.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use strongroom_postgres::{
    connection::{RowsIn, Session},
    logical::script::{Item, Splitter, Statement, StatementKind},
};
use strongroom_wire::job::WarningCode;

use super::{PostgresRestoreError, Restore, plan::Plan};

/// For locks in a database that only we know: longer than none should take.
const LOCK: Duration = Duration::from_mins(1);

impl Restore<'_> {
    /// Fills what was created.
    pub(super) fn play(&self, plan: &Plan) -> Result<(), PostgresRestoreError> {
        let session = self.wait(async {
            // A script expects what every client gets.
            let session = Session::open_for_others(self.connection, &plan.fill).await?;
            session.unhurried(LOCK).await?;
            Ok(session)
        })?;
        let played = self.play_into(&session, &plan.fill);
        self.runtime.block_on(async {
            match &played {
                Ok(()) => session.close().await,
                // It may be at a statement that takes hours.
                Err(_) => session.abandon(self.connection).await,
            }
        });
        played
    }

    fn play_into(&self, session: &Session, database: &str) -> Result<(), PostgresRestoreError> {
        let mut script = self.files.file(&self.database.path)?;
        let mut splitter = Splitter::default();
        let mut rows: Option<RowsIn> = None;
        let mut subscriptions = 0;
        while let Some(piece) = script.next_piece()? {
            for item in splitter.feed(&piece)? {
                match item {
                    Item::Statement(statement) => match statement.kind {
                        StatementKind::Plain => self.run_statement(session, &statement)?,
                        StatementKind::CopyIn => rows = Some(self.begin(session, &statement)?),
                        StatementKind::Ownership => {}
                        StatementKind::Subscription => subscriptions += 1,
                    },
                    Item::Rows(more) => {
                        if let Some(rows) = &mut rows {
                            self.wait(rows.send(more.into()))?;
                        }
                    }
                    Item::RowsEnd => {
                        if let Some(rows) = rows.take() {
                            self.wait(rows.finish())?;
                        }
                    }
                }
            }
            self.monitor.bytes.fetch_add(piece.len() as u64, Relaxed);
        }
        splitter.finish()?;
        if subscriptions > 0 {
            self.monitor.warn(
                WarningCode::SubscriptionsLeftOut,
                database,
                "subscriptions were left out: a copy must not begin to replicate by itself",
            );
        }
        Ok(())
    }

    fn run_statement(
        &self,
        session: &Session,
        statement: &Statement,
    ) -> Result<(), PostgresRestoreError> {
        self.wait(session.run_foreign(&named(statement), &statement.text))
    }

    fn begin(
        &self,
        session: &Session,
        statement: &Statement,
    ) -> Result<RowsIn, PostgresRestoreError> {
        self.wait(session.rows_in(&named(statement), &statement.text))
    }
}

/// Completes "cannot …". The statement itself is not shown: there may be a
/// secret in it.
fn named(statement: &Statement) -> String {
    format!("run the statement of line {} of the script", statement.line)
}
