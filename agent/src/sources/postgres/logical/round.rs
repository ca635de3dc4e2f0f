//! All databases, one after the other: each has its own outcome.
//!
//! One that cannot be dumped costs none of the others. What may pass (a lock, a
//! conflict on a standby, a limit on sessions) is tried once more at the end,
//! when the others have taken their time. Only where the server itself is away
//! does all of it end.

use strongroom_postgres::{
    logical::{
        choose::Taken,
        loss::{self, Loss},
        manifest::{DumpedDatabase, MissingDatabase},
    },
    programs::Found,
};

use super::{LogicalError, dump::Dumper, look, tree::Saved};
use strongroom_spec::WarningCode;

/// A database that was not dumped.
struct Lost<'a> {
    at: usize,
    taken: Taken<'a>,
    loss: Loss,
    error: LogicalError,
}

impl Dumper<'_> {
    /// Dumps what can be dumped, in the given order, and says what cannot. An
    /// error only where nothing could be.
    pub(super) fn round(
        &self,
        pg_dump: &Found,
        taken: &[Taken<'_>],
        saved: &mut Saved,
    ) -> Result<(Vec<DumpedDatabase>, Vec<MissingDatabase>), LogicalError> {
        let mut matched = self.unmatched();
        let mut dumped = Vec::with_capacity(taken.len());
        let mut lost = Vec::new();
        for (at, taken) in taken.iter().enumerate() {
            match self.database(pg_dump, taken.database, saved, &mut matched) {
                Ok(database) => dumped.push((at, database)),
                Err(error) => lost.push(self.judge(at, *taken, error)?),
            }
        }
        let (again, mut gone): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|it| it.loss.may_pass());
        for lost in again {
            tracing::info!(
                database = lost.taken.database.name,
                error = %lost.error,
                "a database could not be dumped and is tried once more"
            );
            match self.database(pg_dump, lost.taken.database, saved, &mut matched) {
                Ok(database) => dumped.push((lost.at, database)),
                Err(error) => gone.push(self.judge(lost.at, lost.taken, error)?),
            }
        }
        gone.sort_by_key(|it| it.at);
        if dumped.is_empty() {
            let mut errors: Vec<_> = gone.into_iter().map(|it| it.error).collect();
            return Err(match errors.pop() {
                Some(only) if errors.is_empty() => only,
                Some(last) => {
                    errors.push(last);
                    LogicalError::All(errors)
                }
                None => LogicalError::All(Vec::new()),
            });
        }
        self.warn_of_patterns(&matched);
        dumped.sort_by_key(|(at, _)| *at);
        let dumped = dumped.into_iter().map(|(_, database)| database).collect();
        Ok((dumped, gone.iter().map(missing).collect()))
    }

    /// The patterns by which schemas or tables are asked for.
    fn patterns(&self) -> &[String] {
        let selection = &self.selection;
        if selection.tables.is_empty() {
            &selection.schemas
        } else {
            &selection.tables
        }
    }

    fn unmatched(&self) -> Vec<bool> {
        vec![false; self.patterns().len()]
    }

    /// Names the patterns that matched nothing in any database.
    fn warn_of_patterns(&self, matched: &[bool]) {
        let patterns = self.patterns().iter().zip(matched);
        for (pattern, _) in patterns.filter(|(_, matched)| !**matched) {
            let cause = "no schema or table in any database matches the pattern";
            let code = WarningCode::PatternUnmatched;
            self.options.monitor.warn(code, pattern.as_str(), cause);
        }
    }

    /// What an error cost: one database, or everything.
    fn judge<'a>(
        &self,
        at: usize,
        taken: Taken<'a>,
        error: LogicalError,
    ) -> Result<Lost<'a>, LogicalError> {
        let Some(said) = error.loss() else {
            return Err(error);
        };
        if let Loss::Empty = said {
            return Ok(Lost {
                at,
                taken,
                loss: said,
                error,
            });
        }
        // A server that is away is no database's fault, and one that is there
        // tells what became of the database.
        let inventory = self.wait(look(self.connection))?;
        let connection = &self.options.source.asked.connection;
        let inventory = inventory.map_err(|source| LogicalError::server(connection, source))?;
        let loss = Loss::found(&inventory, taken.database).unwrap_or(match said {
            // It is there, whatever was said.
            Loss::Vanished => Loss::Failed,
            said => said,
        });
        Ok(Lost {
            at,
            taken,
            loss,
            error,
        })
    }
}

fn missing(lost: &Lost<'_>) -> MissingDatabase {
    let name = &lost.taken.database.name;
    let cause = match lost.loss {
        Loss::Vanished => format!(
            "the database was on the server when the backup began, and was dropped or renamed \
             before it was dumped ({})",
            lost.error
        ),
        Loss::Invalid => loss::invalid(name),
        _ => lost.error.to_string(),
    };
    MissingDatabase {
        name: name.clone(),
        code: lost.loss.to_string(),
        cause,
        part: lost.loss.is_of_a_part(lost.taken.named),
    }
}
