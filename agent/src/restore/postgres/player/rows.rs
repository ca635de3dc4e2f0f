//! Rows that a server refuses are passed over, and the script is read once more for
//! them: a `CHECK` may look into a table whose rows come later, and a key lead
//! there. That is done before what stands behind the rows of a dump is made, because
//! triggers would change them.

use std::rc::Rc;

use strongroom_postgres::{
    connection::{RowsIn, ServerError},
    logical::{
        script::{Effect, Item, Splitter, Statement, StatementKind},
        triggers,
    },
    sql,
};

use super::{Author, FAILED_BEFORE, Failed, Player, PostgresRestoreError, named};

/// Reads the whole script once more, and passes it on in pieces.
pub(in super::super) type Again<'a> =
    Rc<dyn Fn(&mut Take<'_>) -> Result<(), PostgresRestoreError> + 'a>;
type Take<'t> = dyn FnMut(&[u8]) -> Result<(), PostgresRestoreError> + 't;

/// SQLSTATE: no transaction is open.
const NO_TRANSACTION: &str = "25P01";
const SAVE: &str = "set a savepoint";

/// A `COPY` that is under way.
pub(super) struct Copying {
    rows: RowsIn,
    statement: Statement,
    number: u64,
    /// There is a savepoint before it.
    saved: bool,
}

impl Player<'_> {
    /// Looks whether the rows end before this statement.
    pub(super) fn before(&mut self, statement: &Statement) -> Result<(), PostgresRestoreError> {
        // What may build on the rows must not find them missing, nor be undone before
        // they come.
        let builds = statement.effect != Effect::Definition || changes_rows(statement);
        if !self.lost.is_empty() && builds {
            self.rows_again()?;
            if self.author == Author::Operator
                && let Some((_, lost)) = self.lost.pop_first()
            {
                return Err(PostgresRestoreError::Lost {
                    what: named(&lost.statement),
                    cause: lost.cause,
                });
            }
        }
        if !self.behind_rows && !self.lost.is_empty() && makes(statement) {
            self.behind_rows = true;
            self.rows_again()?;
        }
        Ok(())
    }

    /// At the script's end.
    pub(super) fn last_rows(&mut self) -> Result<(), PostgresRestoreError> {
        if self.lost.is_empty() || (self.author == Author::PgRestore && self.behind_rows) {
            return Ok(());
        }
        if self.author == Author::PgRestore {
            // Triggers of tables that are there are off already.
            return self.rows_again();
        }
        let (restore, session) = (self.restore, self.session);
        let off = restore.wait(async {
            let all = triggers::list(session).await?;
            for trigger in &all {
                trigger.switch_off(session).await?;
            }
            Ok(all)
        })?;
        self.rows_again()?;
        restore.wait(async {
            for trigger in &off {
                trigger.switch_on(session).await?;
            }
            Ok(())
        })
    }

    pub(super) fn begin(
        &mut self,
        statement: Statement,
        number: u64,
    ) -> Result<(), PostgresRestoreError> {
        let saved = self.save(&statement)?;
        let what = named(&statement);
        let begun = self.session.rows_in(&what, &statement.text);
        match self.restore.wait(async { Ok(begun.await) })? {
            Ok(rows) => {
                self.rows = Some(Copying {
                    rows,
                    statement,
                    number,
                    saved,
                });
                Ok(())
            }
            Err(error) => self.lose(statement, number, saved, error),
        }
    }

    /// Rows of what was begun; of what failed they are passed over.
    pub(super) fn send(&mut self, rows: Vec<u8>) -> Result<(), PostgresRestoreError> {
        match &mut self.rows {
            Some(copying) => self.restore.wait(copying.rows.send(rows.into())),
            None => Ok(()),
        }
    }

    pub(super) fn end(&mut self) -> Result<(), PostgresRestoreError> {
        let Some(copying) = self.rows.take() else {
            return Ok(());
        };
        let Copying {
            rows,
            statement,
            number,
            saved,
        } = copying;
        match self.restore.wait(async { Ok(rows.finish().await) })? {
            Ok(_) => {
                self.lost.remove(&number);
                self.held.rows_came();
                if saved {
                    let release = self.session.run(SAVE, "RELEASE strongroom");
                    self.restore.wait(release)?;
                }
                Ok(())
            }
            Err(error) => self.lose(statement, number, saved, error),
        }
    }

    /// A savepoint, where a transaction is open.
    fn save(&self, statement: &Statement) -> Result<bool, PostgresRestoreError> {
        // That asks for the very transaction that made the table.
        if statement.text.to_ascii_uppercase().contains("FREEZE") {
            return Ok(false);
        }
        let saved = self.session.run(SAVE, "SAVEPOINT strongroom");
        match self.restore.wait(async { Ok(saved.await) })? {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.state(), Some(NO_TRANSACTION | FAILED_BEFORE)) => {
                Ok(false)
            }
            Err(error) => Err(self.restore.server(error)),
        }
    }

    /// Keeps what failed for another time, if there can be one.
    fn lose(
        &mut self,
        statement: Statement,
        number: u64,
        saved: bool,
        error: ServerError,
    ) -> Result<(), PostgresRestoreError> {
        if error.is_retryable() || error.state() == Some(FAILED_BEFORE) {
            return Err(self.because(self.restore.server(error)));
        }
        if saved {
            let back = "ROLLBACK TO strongroom; RELEASE strongroom";
            self.restore.wait(self.session.run(SAVE, back))?;
        } else if self.author == Author::PgRestore || self.is_lost()? {
            return Err(self.because(self.restore.server(error)));
        }
        // Read again, it would go where the search path leads then.
        if self.author == Author::Operator && !names_its_schema(&statement.text) {
            return Err(self.because(self.restore.server(error)));
        }
        let mut lost = Failed::of(statement, &error);
        if let Some(first) = self.failed.first() {
            lost.cause = format!("{error}; before that: {}", first.cause);
        }
        self.lost.insert(number, lost);
        Ok(())
    }

    /// Reads the script for what failed: with the search path of now, then with
    /// that of every client.
    fn rows_again(&mut self) -> Result<(), PostgresRestoreError> {
        self.read_again()?;
        if self.lost.is_empty() {
            return Ok(());
        }
        let (restore, session) = (self.restore, self.session);
        let what = "set up the session";
        let path: String = restore.wait(async {
            let question = "SELECT pg_catalog.current_setting('search_path')";
            let failed = |error| ServerError::query(what, &error);
            let row = session.query_one(question, &[]).await.map_err(failed)?;
            session.run(what, "RESET search_path").await?;
            row.try_get(0).map_err(failed)
        })?;
        self.read_again()?;
        let path = sql::literal(&path);
        let set = format!("SELECT pg_catalog.set_config('search_path', {path}, false)");
        restore.wait(session.run(what, &set))
    }

    fn read_again(&mut self) -> Result<(), PostgresRestoreError> {
        let again = self.again.clone();
        let mut splitter = Splitter::default();
        let mut number = 0;
        again(&mut |piece| {
            for item in splitter.feed(piece)? {
                match item {
                    Item::Statement(it) if it.kind == StatementKind::CopyIn => {
                        number += 1;
                        if self.lost.contains_key(&number) {
                            self.begin(it, number)?;
                        }
                    }
                    Item::Statement(_) => {}
                    Item::Rows(rows) => self.send(rows)?,
                    Item::RowsEnd => self.end()?,
                }
            }
            Ok(())
        })
    }
}

fn begins(statement: &Statement, words: &[&str]) -> bool {
    let text = statement.text.as_bytes();
    words.iter().any(|word| {
        let head = text.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// Whether it makes something that may act on rows.
pub(super) fn makes(statement: &Statement) -> bool {
    statement.effect == Effect::Definition && begins(statement, &["CREATE ", "ALTER "])
}

/// Whether it depends on rows that are there, and holds none.
pub(super) fn changes_rows(statement: &Statement) -> bool {
    begins(statement, &["REFRESH", "ROLLBACK", "ABORT", "TRUNCATE"])
}

/// Whether a `COPY` says which schema its table is in.
fn names_its_schema(copy: &str) -> bool {
    let target = copy.get("COPY".len()..).unwrap_or_default();
    begins_with_schema(target)
}

/// Whether what begins with a table's name says which schema that is in.
pub(super) fn begins_with_schema(target: &str) -> bool {
    let target = target.trim_start();
    let mut quoted = false;
    for character in target.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => return true,
            '(' if !quoted => return false,
            it if it.is_whitespace() && !quoted => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::names_its_schema;

    #[test]
    fn a_dot_in_quotes_names_no_schema() {
        for named in ["COPY a.t FROM stdin", "copy \"a b\".\"t\" (x) FROM stdin"] {
            assert!(names_its_schema(named), "{named}");
        }
        for bare in [
            "COPY t FROM stdin",
            "COPY \"a.b\" FROM stdin",
            "COPY t(a) FROM s.x",
            "",
        ] {
            assert!(!names_its_schema(bare), "{bare}");
        }
    }
}
