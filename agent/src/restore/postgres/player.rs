//! SQL that is sent to a server statement by statement. What fails and holds no
//! rows is kept, and tried again behind the last one. Rows that fail are read once
//! more (`rows`), or kept (`inserts`).

mod inserts;
pub(super) mod rows;

use std::collections::BTreeMap;

use strongroom_postgres::{
    connection::{ServerError, Session},
    logical::script::{Effect, Item, Splitter, Statement, StatementKind},
};

use self::{
    inserts::Held,
    rows::{Again, Copying},
};
use super::{
    PostgresRestoreError, Restore,
    unmade::{Policy, Unmade},
};

/// Statements that failed are tried again at most as often.
const ROUNDS: usize = 5;
/// SQLSTATEs: a parameter that the server does not know, a schema that is
/// there, a transaction that failed before.
const UNKNOWN: &str = "42704";
const SCHEMA_THERE: &str = "42P06";
const FAILED_BEFORE: &str = "25P02";
const KEY_BROKEN: &str = "23503";
/// Whose statements they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// An operator's script: each statement stands for itself, and what gives
    /// to roles is left out.
    Operator,
    /// `pg_restore`: all of it in the transaction that is open.
    PgRestore,
}

pub(super) struct Player<'a> {
    restore: &'a Restore<'a>,
    session: &'a Session,
    author: Author,
    splitter: Splitter,
    rows: Option<Copying>,
    again: Again<'a>,
    /// Tables whose rows came so far, by their `COPY`.
    copies: u64,
    /// Those of them that failed, by their number.
    lost: BTreeMap<u64, Failed>,
    /// The definitions that come behind rows have begun.
    behind_rows: bool,
    failed: Vec<Failed>,
    held: Held,
    /// What a reader may want to know.
    pub(super) notes: Vec<String>,
    pub(super) subscriptions: u64,
}

struct Failed {
    statement: Statement,
    cause: String,
    /// A row leads nowhere by a foreign key.
    breaks_key: bool,
}

impl<'a> Player<'a> {
    pub(super) fn new(
        restore: &'a Restore<'a>,
        session: &'a Session,
        author: Author,
        again: Again<'a>,
    ) -> Self {
        Self {
            restore,
            session,
            author,
            splitter: Splitter::default(),
            rows: None,
            again,
            copies: 0,
            lost: BTreeMap::new(),
            behind_rows: false,
            failed: Vec::new(),
            held: Held::default(),
            notes: Vec::new(),
            subscriptions: 0,
        }
    }

    /// More of the script, cut anywhere.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), PostgresRestoreError> {
        for item in self.splitter.feed(piece)? {
            match item {
                Item::Statement(statement) => match statement.kind {
                    StatementKind::CopyIn => {
                        self.copies += 1;
                        self.begin(statement, self.copies)?;
                    }
                    StatementKind::Subscription => self.subscriptions += 1,
                    StatementKind::Ownership if self.author == Author::Operator => {}
                    StatementKind::Ownership => self.play(statement)?,
                    StatementKind::Plain => {
                        self.before(&statement)?;
                        self.before_held(&statement)?;
                        self.play(statement)?;
                    }
                },
                Item::Rows(more) => self.send(more)?,
                Item::RowsEnd => self.end()?,
            }
        }
        Ok(())
    }

    /// At the script's end: tries again what failed; gives what fails still.
    pub(super) fn finish(&mut self) -> Result<Vec<Unmade>, PostgresRestoreError> {
        std::mem::take(&mut self.splitter).finish()?;
        self.last_rows()?;
        self.last_held()?;
        if !self.failed.is_empty() {
            // That of every client: the script may have emptied it.
            let session = self.session;
            let path = session.run("set up the session", "RESET search_path");
            self.restore.wait(path)?;
        }
        for _ in 0..ROUNDS {
            let count = self.failed.len() + self.held.len();
            self.failed_again()?;
            // A table that could not be made before may be there now.
            self.last_held()?;
            let left = self.failed.len() + self.held.len();
            if left == 0 || left == count {
                break;
            }
        }
        let lost = std::mem::take(&mut self.lost).into_values();
        let lost = lost.chain(self.held.take(&mut self.notes));
        let lost = lost.map(|it| Unmade {
            kind: "TABLE DATA".into(),
            ..it.unmade()
        });
        let failed = std::mem::take(&mut self.failed).into_iter();
        Ok(lost.chain(failed.map(Failed::unmade)).collect())
    }

    fn failed_again(&mut self) -> Result<(), PostgresRestoreError> {
        let mut left = Vec::new();
        for mut it in std::mem::take(&mut self.failed) {
            if let Err(error) = self.run(&it.statement)? {
                it.fails(&error);
                left.push(it);
            }
        }
        self.failed = left;
        Ok(())
    }

    fn play(&mut self, statement: Statement) -> Result<(), PostgresRestoreError> {
        // Its own transaction is ours.
        let transaction = ["BEGIN", "COMMIT"].contains(&statement.text.as_str());
        if transaction && self.author == Author::PgRestore {
            return Ok(());
        }
        let error = match self.run(&statement)? {
            Ok(()) => {
                self.held.helped(&statement);
                return Ok(());
            }
            Err(error) => error,
        };
        let text = statement.text.as_str();
        let begins = |words: &str| {
            let head = text.get(..words.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(words))
        };
        match error.state() {
            Some(UNKNOWN) if begins("SET ") => {
                let mut words = text[4..].split(|it: char| it.is_whitespace() || it == '=');
                let name = words.find(|it| !it.is_empty()).unwrap_or_default();
                let note = format!(
                    "the server does not know the setting {name:?}, which the dump sets: it was \
                     passed over"
                );
                self.notes.push(note);
                return Ok(());
            }
            Some(SCHEMA_THERE) if is_public(text) => return Ok(()),
            _ => {}
        }
        let rows = statement.effect == Effect::Rows;
        if error.state() == Some(FAILED_BEFORE)
            || (rows && !self.held.takes(&statement, &error))
            || self.is_lost()?
        {
            return Err(self.because(self.restore.server(error)));
        }
        if rows {
            return self.hold(statement, &error);
        }
        self.failed.push(Failed::of(statement, &error));
        Ok(())
    }

    /// Whether a transaction of the script's own has failed: whatever it holds is
    /// undone at its end, and the server does not call that an error.
    fn is_lost(&self) -> Result<bool, PostgresRestoreError> {
        if self.author == Author::PgRestore {
            return Ok(false);
        }
        let looked = self.session.run("look at the transaction", "SELECT");
        match self.restore.wait(async { Ok(looked.await) })? {
            Ok(()) => Ok(false),
            Err(error) if error.state() == Some(FAILED_BEFORE) => Ok(true),
            Err(error) => Err(self.restore.server(error)),
        }
    }

    /// Runs it; in a transaction of several in a savepoint. The outer error: not
    /// of the statement.
    fn run(&self, statement: &Statement) -> Result<Result<(), ServerError>, PostgresRestoreError> {
        let together = self.author == Author::PgRestore;
        let what = "set a savepoint";
        let run = async {
            if together {
                self.session.run(what, "SAVEPOINT strongroom").await?;
            }
            let ran = self
                .session
                .run_foreign(&named(statement), &statement.text)
                .await;
            match &ran {
                Err(error) if error.is_retryable() => return Ok(ran),
                _ if !together => {}
                Ok(()) => self.session.run(what, "RELEASE strongroom").await?,
                Err(_) => self.session.run(what, "ROLLBACK TO strongroom").await?,
            }
            Ok(ran)
        };
        let ran = self.restore.wait(run)?;
        match ran {
            Err(error) if error.is_retryable() => Err(self.restore.server(error)),
            ran => Ok(ran),
        }
    }

    /// With what failed first, of which this comes as a rule.
    fn because(&self, error: PostgresRestoreError) -> PostgresRestoreError {
        match self.failed.first() {
            Some(first) => PostgresRestoreError::After {
                cause: Box::new(error),
                first: first.cause.clone(),
            },
            None => error,
        }
    }
}

impl Failed {
    fn of(statement: Statement, error: &ServerError) -> Self {
        Self {
            statement,
            cause: error.to_string(),
            breaks_key: error.state() == Some(KEY_BROKEN),
        }
    }

    /// Once more.
    fn fails(&mut self, error: &ServerError) {
        self.cause = error.to_string();
        self.breaks_key = error.state() == Some(KEY_BROKEN);
    }

    fn unmade(self) -> Unmade {
        let Self {
            statement,
            cause,
            breaks_key,
        } = self;
        let text = &statement.text;
        let words: Vec<_> = text
            .split_ascii_whitespace()
            .map(str::to_ascii_uppercase)
            .collect();
        let is_policy = words.starts_with(&["CREATE", "POLICY"].map(String::from));
        let secures = words.ends_with(&["ENABLE", "ROW", "LEVEL", "SECURITY"].map(String::from));
        Unmade {
            kind: if is_policy {
                "POLICY".into()
            } else if secures {
                "ROW SECURITY".into()
            } else if statement.effect == Effect::Sequence {
                "SEQUENCE SET".into()
            } else {
                String::new()
            },
            policy: is_policy.then(|| Policy {
                statement: text.clone(),
                encoding: None,
            }),
            rest: match statement.about.as_str() {
                "" => format!("line {}", statement.line),
                about => about.to_owned(),
            },
            cause,
            breaks_key,
        }
    }
}

fn is_public(text: &str) -> bool {
    let mut words = text.split_whitespace().map(|it| it.trim_matches('"'));
    let head: Vec<_> = words.by_ref().take(3).collect();
    head.len() == 3
        && head[0].eq_ignore_ascii_case("CREATE")
        && head[1].eq_ignore_ascii_case("SCHEMA")
        && head[2] == "public"
        && words.next().is_none()
}

/// Completes "cannot …". The statement itself is not shown: there may be a
/// secret in it.
fn named(statement: &Statement) -> String {
    match statement.about.as_str() {
        "" => format!("run the statement of line {} of the script", statement.line),
        about => format!(
            "run the statement of line {} of the script ({about})",
            statement.line
        ),
    }
}
