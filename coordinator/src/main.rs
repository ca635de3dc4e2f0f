//! The coordinator's entry point.

fn main() -> std::process::ExitCode {
    strongroom::program::main()
}
