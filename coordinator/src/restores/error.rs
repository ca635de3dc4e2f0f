//! What cannot be restored, and what to do about it.

use strongroom_spec::Invalid;

use crate::catalog::CatalogError;

/// A restore that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It asks for too little, too much, or for what cannot be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// What it names is not there.
    #[error(transparent)]
    NotFound(Invalid),
    /// What it names is gone from its store.
    #[error(transparent)]
    Lost(Invalid),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}
