//! A database from a script of SQL that an operator uploaded: sent to the
//! server statement by statement. `psql` would run on this host what the
//! script asks it to run.

use std::{rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use strongroom_postgres::connection::Session;
use strongroom_spec::{RestoreOutcome, WarningCode};

use super::{
    PostgresRestoreError, Restore,
    plan::Plan,
    player::{Author, Player, rows::Again},
    policies,
    unmade::Unmade,
};

/// For locks in a database that only we know: longer than none should take.
pub(super) const LOCK: Duration = Duration::from_mins(1);

impl Restore<'_> {
    /// Fills what was created; gives what could not be made.
    pub(super) fn play(
        &self,
        plan: &Plan,
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let session = self.wait(async {
            // A script expects what every client gets.
            let session = Session::open_for_others(self.connection, &plan.fill).await?;
            session.unhurried(LOCK).await?;
            Ok(session)
        })?;
        let played = self.play_into(&session, &plan.fill, result);
        self.runtime.block_on(async {
            match &played {
                Ok(_) => session.close().await,
                // It may be at a statement that takes hours.
                Err(_) => session.abandon(self.connection).await,
            }
        });
        // Another session may have had to wait for a transaction that was left open.
        let unmade = played?;
        self.close_all(&plan.fill)?;
        Ok(unmade)
    }

    fn play_into(
        &self,
        session: &Session,
        database: &str,
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let mut script = self.files.file(&self.database.path)?;
        let again: Again<'_> = Rc::new(|take| {
            let mut script = self.files.file(&self.database.path)?;
            while let Some(piece) = script.next_piece()? {
                take(&piece)?;
            }
            Ok(())
        });
        let mut player = Player::new(self, session, Author::Operator, again);
        while let Some(piece) = script.next_piece()? {
            player.feed(&piece)?;
            self.monitor.bytes.fetch_add(piece.len() as u64, Relaxed);
        }
        let unmade = player.finish()?;
        self.wait(policies::close(session, &unmade, false))?;
        result.notes.append(&mut player.notes);
        if player.subscriptions > 0 {
            self.monitor.warn(
                WarningCode::SubscriptionsLeftOut,
                database,
                "subscriptions were left out: a copy must not begin to replicate by itself",
            );
        }
        Ok(unmade)
    }
}
