//! What a reader found wrong and could do without.

use std::{fmt, sync::Arc};

/// Something is wrong with the repository that does not keep a job from going
/// on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The path of the object at fault, or of its directory.
    pub object: String,
    /// What is wrong with it, and what was done instead.
    pub cause: String,
}

/// Is told of [`Trouble`], from any thread.
#[derive(Clone)]
pub struct OnTrouble(pub Arc<dyn Fn(Trouble) + Send + Sync>);

impl OnTrouble {
    pub(crate) fn tell(&self, object: impl fmt::Display, cause: String) {
        let object = object.to_string();
        (self.0)(Trouble { object, cause });
    }
}

impl Default for OnTrouble {
    /// Writes it to the log.
    fn default() -> Self {
        Self(Arc::new(|Trouble { object, cause }| {
            tracing::warn!(%object, %cause, "the repository is damaged");
        }))
    }
}

impl fmt::Debug for OnTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnTrouble(…)")
    }
}
