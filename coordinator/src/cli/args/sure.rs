//! What cannot be undone is asked about.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use strongroom_runtime::printable;

use crate::cli::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct SureArgs {
    /// Do not ask. Without a terminal nothing is asked.
    #[arg(short, long)]
    yes: bool,
}

impl SureArgs {
    /// Asks, if somebody is there to answer: only `y` and `yes` mean yes.
    pub(crate) fn ask(&self, question: &str) -> Result<(), CliError> {
        if self.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(());
        }
        printable::prompt(&format!("{question} [y/N] "));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) {
            return Ok(());
        }
        Err(CliError::NotSure)
    }
}

fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y", "yes\r\n", " YES "] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "yes please", "ye", "ja"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
