//! Whether a server understands the definitions that a newer `pg_dump` writes.
//!
//! A newer one reads an older server well, and may write what that server's own
//! grammar does not know: a dump that can be restored nowhere but into a newer
//! server. So the server is asked to parse each statement, and no more than that: the
//! protocol's `Parse` goes on to analyse what it has parsed, and analysing a constant
//! of a database owner's type may run his functions. In a transaction that has failed
//! the server parses, and then refuses: that is where they are asked. What else may be
//! wrong with a statement (a parameter that is not known, a table that went away
//! meanwhile) is a restore's to see: it passes over the one and names the other.

use super::{
    hold::Held,
    script::{Item, ScriptError, Splitter, StatementKind},
};
use crate::connection::ServerError;

/// SQLSTATE of what does not parse.
const SYNTAX: &str = "42601";
/// SQLSTATE of what parses, in a transaction that has failed.
const UNDERSTOOD: &str = "25P02";

/// Definitions on trial, in the session of a held snapshot.
#[derive(Debug)]
pub struct Trial<'h> {
    held: &'h Held,
    splitter: Splitter,
}

/// Why definitions are not known to be understood.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The server does not know what a statement says.
    #[error("{about}: {cause}")]
    NotUnderstood {
        /// Which: as `pg_dump` calls it, or its line.
        about: String,
        /// The server's words.
        cause: String,
    },
    /// The server cannot be asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The script cannot be taken apart.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

impl<'h> Trial<'h> {
    /// Of a script that is to come: in a transaction that has failed, see the module.
    pub async fn begin(held: &'h Held) -> Result<Self, ServerError> {
        held.session
            .run("set a savepoint", "SAVEPOINT strongroom")
            .await?;
        let trial = Self {
            held,
            splitter: Splitter::default(),
        };
        let action = "have what is no statement parsed";
        match held.session.parse("strongroom").await {
            Err(error) if error.code().is_some_and(|code| code.code() == SYNTAX) => Ok(trial),
            Err(error) => Err(ServerError::query(action, &error)),
            // Whatever this server is, nothing of others is parsed there.
            Ok(()) => Err(ServerError::Query {
                what: action.into(),
                cause: "it was taken for one".into(),
                state: None,
            }),
        }
    }

    /// More of the script, cut anywhere. The transaction goes on when it fails.
    pub async fn feed(&mut self, piece: &[u8]) -> Result<(), TrialError> {
        let fed = self.ask(piece).await;
        if fed.is_err() && !self.held.session.is_closed() {
            self.go_on().await?;
        }
        fed
    }

    async fn ask(&mut self, piece: &[u8]) -> Result<(), TrialError> {
        for item in self.splitter.feed(piece)? {
            let Item::Statement(statement) = item else {
                continue;
            };
            if statement.kind == StatementKind::CopyIn {
                continue;
            }
            // What ends a transaction parses here.
            let Err(error) = self.held.session.parse(&statement.text).await else {
                continue;
            };
            match error.code().map(tokio_postgres::error::SqlState::code) {
                Some(UNDERSTOOD) => {}
                Some(SYNTAX) => {
                    let about = match statement.about.as_str() {
                        "" => format!("line {}", statement.line),
                        about => about.to_owned(),
                    };
                    let error = ServerError::query("have it parsed", &error);
                    return Err(TrialError::NotUnderstood {
                        about,
                        cause: error.to_string(),
                    });
                }
                _ => return Err(ServerError::query("have a statement parsed", &error).into()),
            }
        }
        Ok(())
    }

    /// At the script's end.
    pub async fn end(self) -> Result<(), TrialError> {
        self.go_on().await?;
        self.splitter.finish()?;
        Ok(())
    }

    async fn go_on(&self) -> Result<(), ServerError> {
        let back = "ROLLBACK TO strongroom";
        self.held.session.run("go back to a savepoint", back).await
    }
}
