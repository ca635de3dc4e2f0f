//! `strongroom stores …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum StoresCommand {
    /// Every store, and whether anything is signed for it.
    List,
    /// Forge requests to a store, as a stolen agent could, and say what came of
    /// each. Audited.
    ///
    /// The coordinator does so by itself when it starts and each day, and signs
    /// nothing for a store that accepts a forgery, unless accept_risks in its
    /// configuration names that. docs/stores.md tells which store does what.
    Check {
        /// The store's name.
        store: String,
    },
}
