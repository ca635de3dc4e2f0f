//! Where the keys of a TOML document stand, so that an error can name the key
//! and not only the line.

use std::{fmt::Write as _, ops::Range};

use toml::de::{DeTable, DeValue};

/// Byte ranges of all keys with their values, by paths such as
/// `policy[0].limits.upload`; elements of lists count from 0.
///
/// Paths are put together only when one is asked for: a document of a long key
/// and many elements below it would else take its size squared.
#[derive(Debug, Clone, Default)]
pub struct Keys<'a>(Vec<Entry<'a>>);

#[derive(Debug, Clone)]
struct Entry<'a> {
    /// Index of what it stands in.
    parent: Option<usize>,
    step: Step<'a>,
    span: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Element(usize),
}

impl<'a> Keys<'a> {
    /// Those of a document.
    pub fn of(root: &'a DeTable<'_>) -> Self {
        let mut found = Self::default();
        found.table(None, root);
        found
    }

    /// Where a key and its value stand.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        let entry = self.0.iter().find(|entry| self.is(entry, key))?;
        Some(entry.span.clone())
    }

    /// The innermost key that stands around the beginning of `span`; empty
    /// for the document itself.
    pub fn at(&self, span: &Range<usize>) -> String {
        let innermost = self
            .0
            .iter()
            .filter(|it| it.span.start <= span.start && span.start < it.span.end)
            .min_by_key(|it| it.span.len());
        innermost.map_or_else(String::new, |entry| self.path(entry))
    }

    fn path(&self, entry: &Entry<'_>) -> String {
        let mut path = match entry.parent.and_then(|parent| self.0.get(parent)) {
            Some(parent) => self.path(parent),
            None => String::new(),
        };
        match entry.step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            // Writing into a string cannot fail.
            Step::Key(key) => drop(write!(path, ".{key}")),
            Step::Element(index) => drop(write!(path, "[{index}]")),
        }
        path
    }

    /// Whether the entry's path is this one: compared from its end, without
    /// putting it together.
    fn is(&self, entry: &Entry<'_>, path: &str) -> bool {
        let rest = match entry.step {
            Step::Key(key) => path.strip_suffix(key),
            Step::Element(index) => path.strip_suffix(&format!("[{index}]")),
        };
        match (rest, entry.parent.and_then(|parent| self.0.get(parent))) {
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(parent)) => match entry.step {
                Step::Key(_) => rest
                    .strip_suffix('.')
                    .is_some_and(|rest| self.is(parent, rest)),
                Step::Element(_) => self.is(parent, rest),
            },
            (None, _) => false,
        }
    }

    fn table(&mut self, parent: Option<usize>, table: &'a DeTable<'_>) {
        for (key, value) in table {
            let span = key.span().start..value.span().end.max(key.span().end);
            self.enter(parent, Step::Key(key.get_ref()), span, value.get_ref());
        }
    }

    fn enter(
        &mut self,
        parent: Option<usize>,
        step: Step<'a>,
        span: Range<usize>,
        value: &'a DeValue<'_>,
    ) {
        let index = self.0.len();
        self.0.push(Entry { parent, step, span });
        match value {
            DeValue::Table(table) => self.table(Some(index), table),
            DeValue::Array(elements) => {
                for (number, element) in elements.iter().enumerate() {
                    let step = Step::Element(number);
                    self.enter(Some(index), step, element.span(), element.get_ref());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_takes_no_more_than_its_own_size() {
        let key = "k".repeat(100_000);
        let text = format!("{key} = [{}]\n", "0,".repeat(50_000));
        let root = DeTable::parse(&text).unwrap();
        let keys = Keys::of(root.get_ref());
        assert_eq!(keys.0.len(), 50_001);
        let held: usize = keys
            .0
            .iter()
            .map(|entry| match entry.step {
                Step::Key(key) => key.len(),
                Step::Element(_) => 0,
            })
            .sum();
        assert_eq!(held, key.len(), "no path is kept");
        let last = text.rfind("0,").unwrap();
        assert_eq!(keys.at(&(last..last)), format!("{key}[49999]"));
    }

    #[test]
    fn the_innermost_key_is_named() {
        let text = "[limits]\nmemory = '1MiB'\n[[rule]]\npaths = ['a', 'b']\n";
        let root = DeTable::parse(text).unwrap();
        let keys = Keys::of(root.get_ref());
        for (at, key) in [
            ("'1MiB'", "limits.memory"),
            ("'b'", "rule[0].paths[1]"),
            ("paths", "rule[0].paths"),
        ] {
            let start = text.find(at).unwrap();
            assert_eq!(keys.at(&(start..text.len())), key);
        }
        assert_eq!(keys.at(&(text.len()..text.len())), "");
        assert!(keys.span("limits.memory").is_some());
        assert!(keys.span("limits.nothing").is_none());
        let second = keys.span("rule[0].paths[1]").unwrap();
        assert_eq!(&text[second], "'b'");
        for wrong in ["", "rule[0].paths[2]", "rule[0]paths", "xlimits.memory"] {
            assert!(keys.span(wrong).is_none(), "{wrong}");
        }
    }
}
