//! PostgreSQL's write-ahead log: what agents have stored of it.
//!
//! `record` enters what [`compare`] finds to be of the log that is archived,
//! [`line`] knows which log that is and where another ended, [`stretch`] keeps
//! sums so that nobody has to read every part in order to find gaps, `read`
//! answers.

mod compare;
mod line;
mod read;
mod record;
mod stretch;

pub use read::WalPage;
pub use record::RecordError;
