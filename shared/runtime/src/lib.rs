//! What both processes do alike: clock, backoff, limits of speed, large buffers,
//! shutdown, files and secrets, configuration and its units, PKI and TLS, telemetry,
//! what is printed, errors with their causes. No product logic.

pub mod backoff;
pub mod buffers;
pub mod causes;
pub mod checksum;
pub mod clock;
pub mod config;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod keys;
pub mod pki;
pub mod printable;
pub mod rate_limiter;
pub mod shutdown;
pub mod telemetry;
pub mod units;
