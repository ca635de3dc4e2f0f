//! What a server's log says of its recovery.

use std::io::{self, BufRead, Read};

/// Longer lines are passed over: none that matters is as long.
const LONGEST_LINE: u64 = 64 << 10;

/// The last word on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Why it stopped there: `recovery stopping before commit of …`.
    pub(super) stopping: Option<String>,
    /// The last record's position.
    pub(super) redo_done: Option<String>,
    /// When the last transaction that counts was committed.
    pub(super) last_commit: Option<String>,
    /// The timeline that it is on now.
    pub(super) timeline: Option<String>,
}

/// Reads a log that was written in English.
pub(super) fn said(mut log: impl BufRead) -> io::Result<Said> {
    let mut said = Said::default();
    let mut line = Vec::new();
    let mut begins = true;
    loop {
        line.clear();
        if log
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(said);
        }
        // What goes on with a statement that was logged is somebody's words.
        let own = begins && line.first() != Some(&b'\t');
        begins = line.last() == Some(&b'\n');
        if !own {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        // Statements are logged, too: only the server's own words count.
        let Some((_, message)) = text.split_once("LOG:  ") else {
            continue;
        };
        if message.starts_with("recovery stopping ") {
            said.stopping = Some(message.to_owned());
        } else if let Some(rest) = message.strip_prefix("redo done at ") {
            said.redo_done = rest.split(' ').next().map(ToOwned::to_owned);
        } else if let Some(rest) =
            message.strip_prefix("last completed transaction was at log time ")
        {
            said.last_commit = Some(rest.to_owned());
        } else if let Some(rest) = message.strip_prefix("selected new timeline ID: ") {
            said.timeline = Some(rest.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_found() {
        let log = "\
2026-11-20 12:00:00 UTC [7] LOG:  starting point-in-time recovery to XID 742
2026-11-20 12:00:01 UTC [7] LOG:  restored log file \"000000010000000000000003\" from archive
2026-11-20 12:00:02 UTC [7] LOG:  recovery stopping after commit of transaction 742, time 2026-11-20 11:00:00.5+00
2026-11-20 12:00:02 UTC [7] LOG:  redo done at 0/3000148 system usage: CPU: user: 0.00 s
2026-11-20 12:00:02 UTC [7] LOG:  last completed transaction was at log time 2026-11-20 11:00:00.5+00
2026-11-20 12:00:02 UTC [7] LOG:  selected new timeline ID: 2
2026-11-20 12:00:03 UTC [9] STATEMENT:  select 'redo done at F/F'
";
        let said = said(log.as_bytes()).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said,
            Said {
                stopping: text(
                    "recovery stopping after commit of transaction 742, time 2026-11-20 11:00:00.5+00"
                ),
                redo_done: text("0/3000148"),
                last_commit: text("2026-11-20 11:00:00.5+00"),
                timeline: text("2"),
            }
        );
    }

    #[test]
    fn what_a_statement_goes_on_with_is_not_the_servers_word() {
        let forged = "LOG:  redo done at F/F";
        let log = format!("LOG:  statement: select '\n\t{forged}'\n");
        assert_eq!(said(log.as_bytes()).unwrap(), Said::default());
        let head = "LOG:  statement: ";
        let filled = "x".repeat(usize::try_from(LONGEST_LINE).unwrap() - head.len());
        let log = format!("{head}{filled}{forged}\n");
        assert_eq!(said(log.as_bytes()).unwrap(), Said::default());
    }

    #[test]
    fn endless_lines_take_no_memory() {
        let long = "x".repeat(3 << 20) + "\nLOG:  selected new timeline ID: 9";
        assert_eq!(said(long.as_bytes()).unwrap().timeline, Some("9".into()));
        assert_eq!(said(&b""[..]).unwrap(), Said::default());
    }
}
