//! Every message comes back from the wire as it went, and whatever does not
//! say what its type requires is refused with its name and field.

mod refusals;
mod round_trips;
pub(crate) mod samples;
mod values;
