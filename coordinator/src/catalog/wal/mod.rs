//! PostgreSQL's write-ahead log: what agents have stored of it.
//!
//! `record` enters what [`compare`] finds to be of the log that is archived,
//! [`line`] and [`lines`] know which log that is and for whom another ended,
//! [`speaker`] who enters something, [`conflict`] what differs, [`ended`] what a
//! restore to the end of such a log says, [`lost`] takes out what the store has no
//! more, [`points`] says whose names count for whom, [`stretch`] keeps sums so that
//! nobody has to read every part in order to find gaps, [`tails`] says where to go on,
//! `read` answers.

mod compare;
mod conflict;
mod ended;
mod line;
mod lines;
mod lost;
mod points;
mod read;
mod record;
mod speaker;
mod stretch;
mod tails;

pub(super) use ended::warn_of_end_in;
pub use lines::WalLines;
pub(super) use lost::mark_wal_in;
pub use read::WalPage;
pub use record::RecordError;
