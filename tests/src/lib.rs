//! What the end-to-end tests and the benchmarks share.
//!
//! The tests are plain blocking functions; what needs a runtime (the proxy,
//! the trace receiver, the hostile agent) brings its own and is awaited by
//! condition variables, so that a test reads from top to bottom.
//!
//! - [`scratch`], [`port`]: places for a test to live in,
//! - [`program`]: a running program, its log, its end,
//! - [`coordinator`], [`agent`], [`operator`], [`offline`]: Strongroom's
//!   programs,
//! - [`hostile_agent`]: an agent played by the test,
//! - [`planted`]: a database whose owner is after its server,
//! - [`tree`]: directories with every kind of entry,
//! - [`proxy`], [`cable`], [`pooler`]: connections with faults,
//! - [`small_disk`], [`odd_disk`]: file systems with faults,
//! - [`gullible`]: an S3 service that believes what nobody signed,
//! - [`traces`]: an OpenTelemetry receiver,
//! - [`restic`], [`postgres`], [`redis`], [`http`]: foreign programs and plain
//!   requests.

pub mod agent;
pub mod cable;
pub mod cluster;
pub mod coordinator;
pub mod gullible;
pub mod hostile_agent;
pub mod http;
pub mod odd_disk;
pub mod offline;
pub mod operator;
pub mod planted;
pub mod pooler;
pub mod port;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod restic;
pub mod scratch;
pub mod small_disk;
pub mod traces;
pub mod tree;

/// The time, for tests that wait for a moment of the programs' own.
pub fn now() -> jiff::Timestamp {
    use strongroom_runtime::clock::Clock as _;
    strongroom_runtime::clock::SystemClock.now()
}

/// Bytes that neither compress nor repeat; the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
