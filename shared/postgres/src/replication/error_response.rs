//! What a server says when it does not do something.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorFields;
use tokio_postgres::error::{DbError, SqlState};

use crate::server_words;

/// Of a server's words, in characters: they go into logs.
const LONGEST: usize = 1000;

/// An error or a notice.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) state: SqlState,
    message: String,
    pub(super) detail: Option<String>,
    hint: Option<String>,
    /// The function in the server's source: unlike the message, it is not
    /// translated.
    pub(super) routine: String,
}

impl Said {
    pub(super) fn read(mut fields: ErrorFields<'_>) -> Self {
        let mut said = Self {
            state: SqlState::INTERNAL_ERROR,
            message: String::new(),
            detail: None,
            hint: None,
            routine: String::new(),
        };
        // What cannot be read is left out: the rest says enough.
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes());
            let value = value.chars().take(LONGEST).collect::<String>();
            match field.type_() {
                b'C' => said.state = SqlState::from_code(&value),
                b'M' => said.message = value,
                b'D' => said.detail = Some(value),
                b'H' => said.hint = Some(value),
                b'R' => said.routine = value,
                _ => {}
            }
        }
        said
    }

    /// What may be shown of it.
    pub(super) fn words(&self) -> String {
        let mut text = server_words::message(self.state.code(), &self.message);
        let added = [&self.detail, &self.hint].into_iter().flatten();
        for added in added.filter_map(|added| server_words::added(added)) {
            text.push_str("; ");
            text.push_str(&added);
        }
        text
    }

    /// Whether a server that says no more than its message speaks of a slot
    /// that it has given up.
    pub(super) fn gives_up_slot(&self) -> bool {
        self.message.contains("can no longer")
    }
}

impl From<&DbError> for Said {
    fn from(error: &DbError) -> Self {
        Self {
            state: error.code().clone(),
            message: error.message().to_owned(),
            detail: error.detail().map(ToOwned::to_owned),
            hint: error.hint().map(ToOwned::to_owned),
            routine: error.routine().unwrap_or_default().to_owned(),
        }
    }
}
