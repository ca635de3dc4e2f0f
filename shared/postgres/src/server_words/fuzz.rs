//! Fuzz target: servers and programs say what they like.

use super::{Listener, added, log, message};

/// A text of a server, and line by line one of a program. What is shown of it
/// is short, and one line.
pub fn server_words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    shown(&message("22P02", &text));
    if let Some(added) = added(&text) {
        shown(&added);
    }
    let mut listener = Listener::default();
    for line in text.lines() {
        if let Some(line) = listener.hear(line) {
            shown(&line);
        }
    }
    for line in log(&text).lines() {
        let (label, words) = line.split_once(":  ").expect("each has a label");
        assert!(label.bytes().all(|it| it.is_ascii_uppercase()), "{label}");
        shown(words);
    }
}

fn shown(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "{text:?}");
}

#[cfg(test)]
pub(crate) mod seeds {
    pub(crate) fn words() -> Vec<Vec<u8>> {
        [
            "invalid input syntax for type integer: \"4111\"",
            "relation \"shop\" already exists",
            "pg_restore: error: could not execute query: ERROR:  relation \"a\" does not exist\n\
             DETAIL:  Key (id)=(4111) already exists.\n\
             pg_restore: from TOC entry 215; 1259 16400 TABLE orders shop\n\
             Command was: INSERT INTO a VALUES (4111);",
            "2026-01-01 12:00:00 UTC [7] FATAL:  database \"shop\" does not exist\n\
             2026-01-01 12:00:00 UTC [7] LOG:  statement: select 4111",
        ]
        .map(Into::into)
        .to_vec()
    }
}
