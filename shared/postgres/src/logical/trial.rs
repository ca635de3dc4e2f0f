//! Whether a server understands the definitions that a newer `pg_dump` writes.
//!
//! A newer one reads an older server well, and may write what that server's own
//! grammar does not know: a dump that can be restored nowhere but into a newer
//! server. So the server is asked to parse each statement, which makes nothing and
//! takes no right. What is wrong with a statement otherwise (a parameter that is not
//! known, a table that went away meanwhile) is a restore's to see: it passes over
//! the one and names the other.

use super::{
    hold::Held,
    script::{Item, ScriptError, Splitter, StatementKind},
};
use crate::connection::ServerError;

/// SQLSTATE of what does not parse.
const SYNTAX: &str = "42601";

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
    /// Of a script that is to come. What parsing locks is let go in [`Trial::end`].
    pub async fn begin(held: &'h Held) -> Result<Self, ServerError> {
        held.session
            .run("set a savepoint", "SAVEPOINT strongroom")
            .await?;
        Ok(Self {
            held,
            splitter: Splitter::default(),
        })
    }

    /// More of the script, cut anywhere.
    pub async fn feed(&mut self, piece: &[u8]) -> Result<(), TrialError> {
        for item in self.splitter.feed(piece)? {
            let Item::Statement(statement) = item else {
                continue;
            };
            if statement.kind == StatementKind::CopyIn {
                continue;
            }
            let Err(error) = self.held.session.parse(&statement.text).await else {
                continue;
            };
            if error.is_closed() || error.code().is_none() {
                return Err(ServerError::query("have a statement parsed", &error).into());
            }
            if error.code().is_some_and(|code| code.code() == SYNTAX) {
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
            self.go_on().await?;
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
