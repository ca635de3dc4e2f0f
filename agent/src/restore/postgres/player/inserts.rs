//! Rows that come by `INSERT … VALUES`, and that the server refuses for want of
//! something that comes later: a row that a key leads to, a table or a function that a
//! trigger or a `CHECK` asks. They are kept, and run again when that may be there:
//! before what stands behind the rows of a dump is made, before what builds on rows,
//! and at the end, past triggers that had not been there.

use strongroom_postgres::{
    connection::ServerError,
    logical::{
        script::{Effect, Statement},
        triggers::{self, Trigger},
    },
    sql,
};

use super::{
    Author, Failed, Player, PostgresRestoreError, named,
    rows::{begins_with_schema, changes_rows, makes},
};

/// Bytes of statements that are kept at most.
const MAX_HELD: usize = 64 << 20;
/// They are run again before a definition at most as often: each time all of them are.
const PASSES: usize = 10;
/// What no other row or object mends, by the SQLSTATE's beginning: values, a row that is
/// there already, a text that is no SQL, resources, and the server's end.
const FOR_GOOD: [&str; 12] = [
    "22", "23502", "23505", "40", "42501", "42601", "53", "54", "57", "58", "F0", "XX",
];
const SET_UP: &str = "set up the session";

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    all: Vec<Insert>,
    bytes: usize,
    /// How many there have been.
    count: u64,
    /// Triggers that acted on the first of them.
    triggers: Vec<Trigger>,
    /// They were run again before what stands behind them.
    behind: bool,
    /// Something succeeded since then that they may have waited for.
    helped: bool,
    /// How often they were run again before a definition.
    passes: usize,
}

struct Insert {
    failed: Failed,
    /// The search path that it was written for.
    path: String,
}

impl Held {
    /// Whether another time may do better.
    pub(super) fn takes(&self, statement: &Statement, error: &ServerError) -> bool {
        let state = error.state().unwrap_or("XX000");
        !error.is_retryable()
            && !FOR_GOOD.iter().any(|it| state.starts_with(it))
            && target_of_values(&statement.text).is_some()
            && self.bytes + statement.text.len() <= MAX_HELD
    }

    /// A statement succeeded.
    pub(super) fn helped(&mut self, statement: &Statement) {
        self.helped |= statement.effect == Effect::Rows || makes(statement);
    }

    /// Rows of a `COPY` came.
    pub(super) fn rows_came(&mut self) {
        self.helped = true;
    }

    /// Whether they are run again before what is made now. The first time nothing needs to
    /// have helped: another search path may.
    fn is_due(&mut self) -> bool {
        let due = !self.behind && self.passes < PASSES && (self.helped || self.passes == 0);
        if due {
            self.behind = true;
            self.passes += 1;
        }
        due
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// At the end: those that failed still.
    pub(super) fn take(&mut self, notes: &mut Vec<String>) -> Vec<Failed> {
        let left = std::mem::take(&mut self.all);
        let came = self.count - left.len() as u64;
        if came > 0 {
            notes.push(format!(
                "{came} INSERTs failed at first and were run again when what they needed was there"
            ));
        }
        left.into_iter().map(|it| it.failed).collect()
    }
}

impl Player<'_> {
    /// Keeps what [`Held::takes`].
    pub(super) fn hold(
        &mut self,
        statement: Statement,
        error: &ServerError,
    ) -> Result<(), PostgresRestoreError> {
        let path = self.path()?;
        if self.held.count == 0 {
            self.held.triggers = self.restore.wait(triggers::list(self.session))?;
        }
        self.held.behind = false;
        self.held.count += 1;
        self.held.bytes += statement.text.len();
        let failed = Failed::of(statement, error);
        self.held.all.push(Insert { failed, path });
        Ok(())
    }

    /// Looks whether rows that are held must come before this statement.
    pub(super) fn before_held(
        &mut self,
        statement: &Statement,
    ) -> Result<(), PostgresRestoreError> {
        if self.held.all.is_empty() || target_of_values(&statement.text).is_some() {
            return Ok(());
        }
        let builds = match statement.effect {
            Effect::Rows => true,
            Effect::Sequence => {
                statement
                    .text
                    .to_ascii_uppercase()
                    .matches("SELECT")
                    .count()
                    > 1
            }
            Effect::Definition => changes_rows(statement),
        };
        if builds {
            self.held_again()?;
            return match self.held.all.pop() {
                Some(Insert { failed, .. }) => Err(PostgresRestoreError::Lost {
                    what: named(&failed.statement),
                    cause: failed.cause,
                }),
                None => Ok(()),
            };
        }
        if makes(statement) && self.held.is_due() {
            self.held_again()?;
        }
        Ok(())
    }

    /// At the script's end.
    pub(super) fn last_held(&mut self) -> Result<(), PostgresRestoreError> {
        if self.held.all.is_empty() {
            return Ok(());
        }
        let (restore, session) = (self.restore, self.session);
        let off = restore.wait(async {
            let mut all = triggers::list(session).await?;
            all.retain(|it| !self.held.triggers.contains(it));
            for trigger in &all {
                trigger.switch_off(session).await?;
            }
            Ok(all)
        })?;
        loop {
            let count = self.held.len();
            self.held_again()?;
            if self.held.all.is_empty() || self.held.len() == count {
                break;
            }
        }
        restore.wait(async {
            for trigger in &off {
                trigger.switch_on(session).await?;
            }
            Ok(())
        })
    }

    /// Runs what is held once more, in order, each with its search path, then with that
    /// of every client.
    fn held_again(&mut self) -> Result<(), PostgresRestoreError> {
        if self.author == Author::Operator && self.is_within()? {
            // What fails takes the script's own transaction with it.
            return Ok(());
        }
        let path = self.path()?;
        // `None`: that of every client.
        let mut current = Some(path.clone());
        let mut left = Vec::new();
        let all = std::mem::take(&mut self.held.all);
        let count = all.len();
        for mut it in all {
            if current.as_ref() != Some(&it.path) {
                self.set_path(&it.path)?;
                current = Some(it.path.clone());
            }
            let statement = &it.failed.statement;
            let mut ran = self.run(statement)?;
            let target = target_of_values(&statement.text).unwrap_or_default();
            if ran.is_err() && begins_with_schema(target) {
                let reset = self.session.run(SET_UP, "RESET search_path");
                self.restore.wait(reset)?;
                current = None;
                ran = self.run(statement)?;
            }
            match ran {
                Ok(()) => self.held.bytes -= statement.text.len(),
                Err(error) => {
                    it.failed.fails(&error);
                    left.push(it);
                }
            }
        }
        // One of these may have waited for another.
        self.held.helped = left.len() < count;
        self.held.all = left;
        if current.as_ref() == Some(&path) {
            return Ok(());
        }
        self.set_path(&path)
    }

    /// Whether a transaction of the script's own is open.
    fn is_within(&self) -> Result<bool, PostgresRestoreError> {
        let saved = self.session.run("set a savepoint", "SAVEPOINT strongroom");
        let saved = self.restore.wait(async { Ok(saved.await) })?;
        match saved {
            Ok(()) => {
                let back = "ROLLBACK TO strongroom; RELEASE strongroom";
                let back = self.session.run("go back to a savepoint", back);
                self.restore.wait(back).map(|()| true)
            }
            Err(error) if error.is_retryable() => Err(self.restore.server(error)),
            Err(_) => Ok(false),
        }
    }

    fn path(&self) -> Result<String, PostgresRestoreError> {
        self.restore.wait(async {
            let failed = |error| ServerError::query(SET_UP, &error);
            let question = "SELECT pg_catalog.current_setting('search_path')";
            let row = self.session.query_one(question, &[]).await;
            row.and_then(|it| it.try_get(0)).map_err(failed)
        })
    }

    fn set_path(&self, path: &str) -> Result<(), PostgresRestoreError> {
        let path = sql::literal(path);
        let set = format!("SELECT pg_catalog.set_config('search_path', {path}, false)");
        self.restore.wait(self.session.run(SET_UP, &set))
    }
}

/// What follows `INSERT INTO`, if the statement inserts the values that stand in it: rows
/// of a query are those that it finds at its time.
fn target_of_values(statement: &str) -> Option<&str> {
    let behind = |text: &'static str, rest: &str| {
        let head = rest.get(..text.len())?;
        let is_word = rest[text.len()..].starts_with(|it: char| it.is_whitespace());
        (is_word && head.eq_ignore_ascii_case(text)).then_some(text.len())
    };
    let rest = &statement[behind("INSERT", statement)?..].trim_start();
    let target = rest[behind("INTO", rest)?..].trim_start();
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut word_at = None;
    for (at, character) in target.char_indices() {
        match character {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '\'' | '$' if depth == 0 && word_at.is_none() => return None,
            _ => {}
        }
        let letter = character.is_alphanumeric() || character == '_' || character == '.';
        if letter && !quoted && depth == 0 {
            word_at.get_or_insert(at);
            continue;
        }
        let word = word_at.take().map(|start| &target[start..at]);
        match word.map(str::to_ascii_uppercase).as_deref() {
            Some("VALUES") => return Some(target),
            Some("SELECT" | "WITH" | "TABLE") => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use strongroom_postgres::logical::script::StatementKind;

    use super::*;

    fn statement(text: &str, effect: Effect) -> Statement {
        Statement {
            text: text.into(),
            line: 1,
            kind: StatementKind::Plain,
            effect,
            about: String::new(),
        }
    }

    #[test]
    fn what_is_held_is_run_again_only_when_something_helped_and_not_for_ever() {
        let mut held = Held::default();
        // As when one more is held.
        let mut hold = |helps: Option<(&str, Effect)>| {
            held.behind = false;
            if let Some((text, effect)) = helps {
                held.helped(&statement(text, effect));
            }
            let due = held.is_due();
            held.helped &= !due;
            due
        };
        assert!(hold(None), "another search path may help");
        assert!(!hold(None));
        assert!(!hold(Some(("SET search_path = a", Effect::Definition))));
        assert!(hold(Some(("INSERT INTO t VALUES (1)", Effect::Rows))));
        assert!(hold(Some(("CREATE TABLE t ()", Effect::Definition))));
        assert!(!hold(None));
        let more = (0..100).filter(|_| hold(Some(("INSERT INTO t VALUES (1)", Effect::Rows))));
        assert_eq!(more.count(), PASSES - 3);
    }

    #[test]
    fn only_values_that_stand_there_are_kept() {
        for values in [
            "INSERT INTO public.t VALUES (1, 'select')",
            "insert into t values (1)",
            "INSERT INTO t (a, \"select\") VALUES (1, 2), (3, 4)",
            "INSERT INTO \"a select \"\" b\".t(a) OVERRIDING SYSTEM VALUE VALUES(1)",
            "INSERT INTO\n  t AS x\tVALUES\n(1) ON CONFLICT DO NOTHING",
        ] {
            assert!(target_of_values(values).is_some(), "{values}");
        }
        for other in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t (a) WITH x AS (VALUES (1)) TABLE x",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t DEFAULT",
            "INSERT",
            "INSERTINTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "",
        ] {
            assert!(target_of_values(other).is_none(), "{other}");
        }
        let target = target_of_values("INSERT INTO a.t VALUES (1)").unwrap();
        assert!(begins_with_schema(target));
    }
}
