//! Jobs on their way: the offer of an attempt, and the report of its end.

mod offer;
mod report;

pub use offer::{JobOffer, RepositoryAccess};
pub use report::Report;
