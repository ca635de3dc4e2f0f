//! When datasets are due: pure ([`next_due`], [`next_run`], [`plan`]); which
//! logs are archived ([`plan_wal`]); and the task that asks ([`run`]).

mod due;
mod plan;
mod task;
mod wal;

pub use due::{Due, next_due};
pub use plan::{Plan, next_run, plan};
pub use task::run;
pub use wal::{WalJobs, WalPlan, plan_wal};
