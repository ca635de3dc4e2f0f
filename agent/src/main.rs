//! The agent's entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    strongroom_agent::heap::configure();
    strongroom_agent::cli::main()
}
