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
    #[command(after_help = "\
Exit codes:
  0  safe
  1  unsafe, or it could not be checked
  2  the command line is wrong
  3  safe but for risks that the configuration accepts
  4  there is no such store
  5  the coordinator cannot be reached, or refuses this operator")]
    Check {
        /// The store's name.
        store: String,
    },
}
