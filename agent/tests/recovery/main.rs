//! Clusters rolled forward, against real servers: PostgreSQL's programs must
//! be installed, `tests/run` does it.

mod archive;
mod damage;
mod interrupted;
mod refusals;
mod serving;
mod site;
mod tablespaces;
mod targets;
mod timelines;
