//! The certificate authority, join tokens and enrolment.
//!
//! - `authority`: certificates for the coordinator and its agents,
//! - `enrol`: the one service that needs no client certificate,
//! - `throttle`: slows down whoever guesses tokens, of agents and of operators,
//! - `caller`: who speaks, by the certificate of the connection.

mod authority;
mod caller;
mod enrol;
mod throttle;

pub use authority::{Authority, Lifetimes};
#[cfg(test)]
pub(crate) use caller::ANSWERED_AT_ONCE;
pub use caller::{Caller, Peer};
pub(crate) use caller::{Known, authenticate, contest_of_waste, contested, revoked};
pub use enrol::EnrolmentService;
pub(crate) use throttle::{Throttle, report};
