//! Losses: what a store held and holds no more.
//!
//! A lifecycle rule or a foreign hand removes objects, and every backup that counts
//! on them is green. So each repository is compared with the catalog once a day:
//! what a success relied on must be there, with the length that it was written with.
//! What is not is noted, audited and an alarm in `status` until an operator accepts
//! it. Agents compare for themselves before they trust what they find
//! ([`losses`](strongroom_spec::WarningCode::ObjectsLost)): a backup stores again
//! what live data still has.

mod compare;
mod task;

pub use compare::compare;
pub use task::Comparer;
