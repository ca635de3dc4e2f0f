//! Into a database that is there: all of it in one transaction, which is
//! compared before it is committed.
//!
//! Triggers of tables that are there would act on rows that come: they are
//! switched off, by name, and on again as they were, within the transaction.
//! Foreign keys are none of these, and are checked. Those that lead in a circle are
//! made to wait for the end, where the role may do that: rows may come in order
//! nevertheless.

use std::{collections::HashMap, rc::Rc};

use strongroom_postgres::{
    connection::{SEARCH_PATH, ServerError, Session},
    logical::{
        circles::{self, StiffKey},
        manifest::Relation,
        triggers::{self, Trigger},
        verify,
    },
};
use strongroom_spec::RestoreOutcome;

use super::{
    PostgresRestoreError, Refusal,
    fill::{Filling, make_schemas},
    objects::Objects,
    player::{Author, Player, rows::Again},
    policies,
    script::LOCK,
    unmade::Unmade,
};

impl Filling<'_> {
    /// Gives what could not be made; all rows are there.
    pub(super) fn in_transaction(
        &self,
        objects: &Objects,
        schemas: &[String],
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let restore = self.restore;
        let fill = self.plan.fill.as_str();
        let session = restore.wait(async {
            let session = Session::open_for_others(restore.connection, fill).await?;
            // Rows that policies hide are rows: rather no count than a small one.
            let begin = "BEGIN; SET LOCAL row_security = off";
            session.begin_unhurried(begin, LOCK).await?;
            Ok(session)
        })?;
        let done = self.within(&session, objects, schemas, result);
        restore.runtime.block_on(async {
            match &done {
                Ok(_) => session.close().await,
                Err(_) => session.abandon(restore.connection).await,
            }
        });
        done
    }

    fn within(
        &self,
        session: &Session,
        objects: &Objects,
        schemas: &[String],
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let restore = self.restore;
        let expected = || objects.relations(restore.database);
        let before = if restore.adds_rows() {
            let before = verify::rows(session, expected());
            Some(restore.wait(before)?)
        } else {
            None
        };
        let switched_off = match before {
            Some(_) => self.switch_off(session, expected(), result)?,
            None => Vec::new(),
        };
        let (waiting, refused) = if restore.adds_rows() {
            self.let_wait(session, expected(), result)?
        } else {
            (Vec::new(), None)
        };
        let there = self.acting_before(Some(session))?;
        restore.wait(make_schemas(session, schemas, result))?;
        if restore.adds_rows() {
            // Keys that may wait do: rows may refer to each other in a circle.
            let defer = session.run("defer constraints", "SET CONSTRAINTS ALL DEFERRED");
            restore.wait(defer)?;
        }
        let arguments = self.script_arguments()?;
        let again: Again<'_> = Rc::new(|take| {
            let mut dump = restore.files.file(&restore.database.path)?;
            self.program.script(&arguments, &mut dump, false, take)
        });
        let mut player = Player::new(restore, session, Author::PgRestore, again);
        let mut dump = restore.files.file(&restore.database.path)?;
        self.program
            .script(&arguments, &mut dump, true, |piece| player.feed(piece))?;
        let unmade = player.finish()?;
        if let Some(refused) = refused.filter(|_| unmade.iter().any(|it| it.breaks_key)) {
            return Err(refused.into());
        }
        result.notes.append(&mut player.notes);
        restore.wait(policies::close(session, &unmade, true))?;
        self.give(Some(session), &self.definitions(), &there)?;
        restore.wait(async {
            let ours =
                format!("SET LOCAL search_path = {SEARCH_PATH}; SET LOCAL row_security = off");
            session.run("set up the session", &ours).await?;
            // What is checked at the end is checked now: no trigger can be
            // switched on while anything waits for that.
            let immediate = "SET CONSTRAINTS ALL IMMEDIATE";
            session.run("check the constraints", immediate).await?;
            for key in &waiting {
                key.stiffen(session).await?;
            }
            for trigger in &switched_off {
                trigger.switch_on(session).await?;
            }
            Ok(())
        })?;
        restore.monitor.enter("verifying");
        restore.verify_within(session, &expected(), before.as_ref(), &unmade, result)?;
        restore.wait(session.run("commit what was restored", "COMMIT"))?;
        Ok(unmade)
    }

    /// Lets keys wait that no order of the rows would satisfy; gives those that do, and
    /// what is to be said of rows that others of them refuse.
    fn let_wait<'r>(
        &self,
        session: &Session,
        tables: impl Iterator<Item = &'r Relation>,
        result: &mut RestoreOutcome,
    ) -> Result<(Vec<StiffKey>, Option<Refusal>), PostgresRestoreError> {
        let restore = self.restore;
        // What has no rows is no part of a circle.
        let among = tables.filter(|it| it.rows.is_some_and(|rows| rows > 0));
        let among = among.map(|it| (it.schema.as_str(), it.name.as_str()));
        let among: Vec<_> = among.collect();
        let keys = restore.wait(circles::stiff(session, &among))?;
        let (waiting, refused) = restore.wait(soften(session, keys))?;
        if !waiting.is_empty() {
            result.notes.push(format!(
                "foreign keys that lead in a circle waited until all rows were there, and are as \
                 they were: {}",
                listed(&waiting)
            ));
        }
        let refused = refused.map(|(keys, error)| Refusal::Circle {
            names: listed(&keys),
            cause: error.to_string(),
        });
        Ok((waiting, refused))
    }

    fn switch_off<'r>(
        &self,
        session: &Session,
        tables: impl Iterator<Item = &'r Relation>,
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Trigger>, PostgresRestoreError> {
        let restore = self.restore;
        let wanted: Vec<_> = tables
            .filter(|it| it.rows.is_some())
            .map(|it| (it.schema.as_str(), it.name.as_str()))
            .collect();
        let mut all = restore.wait(triggers::list(session))?;
        all.retain(|it| wanted.contains(&(it.schema.as_str(), it.table.as_str())));
        if all.is_empty() {
            return Ok(all);
        }
        let names = all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let names = names.join(", ");
        let off = restore.wait(async {
            for trigger in &all {
                match trigger.switch_off(session).await {
                    Err(error @ ServerError::Privilege { .. }) => return Ok(Err(error)),
                    done => done?,
                }
            }
            Ok(Ok(()))
        })?;
        if let Err(error) = off {
            let cause = error.to_string();
            return Err(Refusal::Triggers { names, cause }.into());
        }
        result.notes.push(format!(
            "triggers were switched off while rows came, and are on again: {names}"
        ));
        Ok(all)
    }
}

/// Keys that the session's role may not have wait, and the last reason.
type Refused = (Vec<StiffKey>, ServerError);

/// Gives those that wait, and the others.
async fn soften(
    session: &Session,
    keys: Vec<StiffKey>,
) -> Result<(Vec<StiffKey>, Option<Refused>), ServerError> {
    const SAVE: &str = "set a savepoint";
    let (mut waiting, mut stiff, mut cause) = (Vec::new(), Vec::new(), None);
    for key in keys {
        session.run(SAVE, "SAVEPOINT strongroom").await?;
        match key.soften(session).await {
            Err(error @ ServerError::Privilege { .. }) => {
                let back = "ROLLBACK TO strongroom; RELEASE strongroom";
                session.run(SAVE, back).await?;
                stiff.push(key);
                cause = Some(error);
            }
            done => {
                done?;
                session.run(SAVE, "RELEASE strongroom").await?;
                waiting.push(key);
            }
        }
    }
    Ok((waiting, cause.map(|cause| (stiff, cause))))
}

fn listed(keys: &[StiffKey]) -> String {
    let names = keys.iter().map(ToString::to_string);
    names.collect::<Vec<_>>().join(", ")
}

/// Rows of tables before anything was added, by schema and name.
pub(super) type Before = HashMap<(String, String), u64>;
