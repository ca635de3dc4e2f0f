//! Visits without a connection.

use std::{net::SocketAddr, sync::Arc};

use super::{Limits, Visit, places::Places};

/// A visit from an address, at a port of these limits.
pub(crate) fn visit(address: &str, limits: Limits) -> Visit {
    let address = SocketAddr::new(address.parse().unwrap(), 1);
    Visit::begin(&Arc::new(Places::new(limits)), address)
}
