//! PostgreSQL's write-ahead log: what agents have stored of it.
//!
//! `record` enters, [`stretch`] keeps sums so that nobody has to read every
//! part in order to find gaps, `read` answers.

mod read;
mod record;
mod stretch;

pub use read::WalPage;
pub use record::RecordError;
