//! An error with its causes, each said once.

use std::error::Error;

/// The error and what it came from, in one line. Most messages quote their cause: one
/// that stands in what was said already is not said again.
pub fn said(error: &(dyn Error + 'static)) -> String {
    behind(error.to_string(), error)
}

/// `text`, which says something of the error, and what it came from.
pub fn behind(mut text: String, error: &(dyn Error + 'static)) -> String {
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot open the door: {0}")]
        Quotes(#[source] io::Error),
        #[error("cannot open the door")]
        Hides(#[source] io::Error),
        #[error(transparent)]
        Is(#[from] Box<Sample>),
    }

    #[test]
    fn each_cause_is_said_once() {
        let jammed = || io::Error::other("it is jammed");
        let expected = "cannot open the door: it is jammed";
        let quotes = Sample::Quotes(jammed());
        assert_eq!(said(&quotes), expected);
        assert_eq!(said(&Sample::Hides(jammed())), expected);
        assert_eq!(said(&Sample::Is(Box::new(quotes))), expected);
    }
}
