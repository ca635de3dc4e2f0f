//! The life of a job: pure.
//!
//! - [`transition`]: each function consumes a [`Job`](crate::model::Job) and
//!   gives the next, or says why not;
//! - [`plan`](plan()): which waiting jobs go to which live agents, and what a waiting
//!   one waits for;
//! - [`request`]: jobs as they are asked for;
//! - [`Backoff`]: whether and when a failed job is tried again.
//!
//! The catalog applies them inside its transactions; nothing else changes a
//! job's state.

mod plan;
pub mod request;
mod retry;
pub mod transition;

pub use plan::{
    Assignment, Concurrency, Demand, Hindrance, LISTS_PER_AGENT, LiveAgent, Waiting, hindrance,
    plan,
};
pub use retry::Backoff;
pub use transition::{InvalidTransition, TransitionError};
