//! The one place that cleans what is printed.
//!
//! Much of what our programs print was written by others: names of files and
//! hosts, messages of agents, of stores and of database servers, repositories of
//! strangers. Printed as it is, it could move the cursor, set the terminal's
//! title, turn lines around, or look like a line of ours. So nothing is printed
//! but through here:
//!
//! - [`line`] for a text that stands within a line: a cell, a name, a message of
//!   somebody else,
//! - [`block`] for a text of our own that is made of lines,
//! - [`json`] for JSON, which stays exact: what is escaped parses to the same,
//! - [`out`] and [`err`] write, and clean once more.
//!
//! It makes no difference whether a terminal reads: what goes into a pipe or a
//! file is looked at on a terminal later. Who needs the exact bytes asks for JSON.
//!
//! The crates of the programs warn of `println!` and its like.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, Write as _},
};

/// Whether a character does something else than to be seen where it stands:
/// control characters, line separators, what changes the direction of writing,
/// and what is not seen at all.
pub fn is_treacherous(c: char) -> bool {
    matches!(c,
        // C0, DEL and C1.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Invisible, or joining what belongs to another cell.
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        // Directions, separators, joiners, and operators that are not seen.
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}'
        // Scripts' own format controls.
        | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Tags and supplementary variation selectors: text within text.
        | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A text within a line: everything treacherous is shown escaped, the ends of
/// lines and tabs included.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_treacherous, |safe, c| {
        let _infallible = write!(safe, "{}", c.escape_default());
    })
}

/// A text of our own that is made of lines. What of it came from others went
/// through [`line`]; should that have been forgotten, only ends of lines and tabs
/// get through.
pub fn block(text: &str) -> Cow<'_, str> {
    let treacherous = |c| is_treacherous(c) && !matches!(c, '\n' | '\t');
    escaped(text, treacherous, |safe, c| {
        let _infallible = write!(safe, "{}", c.escape_default());
    })
}

/// JSON that means the same: outside of its texts nothing of this stands, and
/// within them it may be escaped.
pub fn json(text: &str) -> Cow<'_, str> {
    let treacherous = |c| is_treacherous(c) && c != '\n';
    escaped(text, treacherous, |safe, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(safe, "\\u{unit:04x}");
        }
    })
}

fn escaped(
    text: &str,
    treacherous: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let Some(first) = text.find(&treacherous) else {
        return text.into();
    };
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(&text[..first]);
    for c in text[first..].chars() {
        if treacherous(c) {
            escape(&mut safe, c);
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

/// Shows what it holds as [`line`] does.
#[derive(Debug, Clone, Copy)]
pub struct Line<T>(pub T);

impl<T: fmt::Display> fmt::Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&line(&self.0.to_string()))
    }
}

/// Writes lines of our own to standard output. A reader that has gone, such as
/// `head`, is no error.
pub fn out(text: &str) -> io::Result<()> {
    write(&block(text))
}

/// Writes JSON to standard output, as [`out`] does.
pub fn out_json(text: &str) -> io::Result<()> {
    write(&json(text))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes lines of our own, without the last end, to standard error. That
/// nobody hears them is no reason to fail.
pub fn err(text: &str) {
    let _unheard = writeln!(io::stderr().lock(), "{}", block(text));
}

/// Writes a question to standard error, and stays on its line.
pub fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _unheard = write!(err, "{}", block(text)).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_harmless_stays_and_costs_nothing() {
        for text in ["a/ä", "шрифт 字 🦀", r"C:\x", ""] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
        assert!(matches!(block("a\tb\nc\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_not_is_shown() {
        assert_eq!(line("a\u{1b}[2Jb\n\t"), r"a\u{1b}[2Jb\n\t");
        assert_eq!(line("x\u{202e}gpj.exe"), r"x\u{202e}gpj.exe");
        assert_eq!(
            line("\u{9b}31m\u{7f}\u{2066}\u{feff}"),
            r"\u{9b}31m\u{7f}\u{2066}\u{feff}"
        );
        assert_eq!(block("one\ntwo\u{1b}c\r\n"), "one\ntwo\\u{1b}c\\r\n");
        assert_eq!(
            json("{\n\"\u{9b}\u{e0041}\"}"),
            "{\n\"\\u009b\\udb40\\udc41\"}"
        );
        assert_eq!(format!("{:>6}|", Line("a\n")), "   a\\n|");
    }

    fn hostile() -> impl Strategy<Value = String> {
        let nasty = prop::sample::select(vec![
            '\u{1b}',
            '\u{9b}',
            '\u{9d}',
            '\r',
            '\n',
            '\u{8}',
            '\u{7}',
            '\u{202e}',
            '\u{2066}',
            '\u{200f}',
            '\u{2028}',
            '\u{e0041}',
            '\u{7f}',
        ]);
        prop::collection::vec(prop_oneof![any::<char>(), nasty], 0..40)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn no_line_holds_anything_that_is_not_seen(text in hostile()) {
            prop_assert!(!line(&text).chars().any(is_treacherous));
            prop_assert!(!line(&text).chars().any(char::is_control));
        }

        #[test]
        fn no_block_holds_anything_but_the_ends_of_lines_and_tabs(text in hostile()) {
            let controls = block(&text);
            let mut controls = controls.chars().filter(|c| is_treacherous(*c));
            prop_assert!(controls.all(|c| matches!(c, '\n' | '\t')));
        }

        #[test]
        fn json_stays_exact(text in hostile()) {
            let value = serde_json::json!({ &*text: [&*text] });
            for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let shown = json(&written);
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&shown).unwrap(), &value);
                let mut controls = shown.chars().filter(|c| is_treacherous(*c));
                prop_assert!(controls.all(|c| c == '\n'));
            }
        }
    }
}
