//! Where the keys of a TOML document stand, so that an error can name the key
//! and not only the line.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

/// Byte ranges of all keys with their values, by paths such as
/// `policy[0].limits.upload`; elements of lists count from 0.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<String, Range<usize>>);

impl Keys {
    /// Those of a document.
    pub fn of(root: &DeTable<'_>) -> Self {
        let mut found = Self::default();
        found.table("", root);
        found
    }

    /// Where a key and its value stand.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.0.get(key).cloned()
    }

    /// The innermost key that stands around the beginning of `span`; empty
    /// for the document itself.
    pub fn at(&self, span: &Range<usize>) -> &str {
        self.0
            .iter()
            .filter(|(_, it)| it.start <= span.start && span.start < it.end)
            .min_by_key(|(_, it)| it.len())
            .map_or("", |(key, _)| key.as_str())
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if path.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{path}.{}", key.get_ref())
            };
            let span = key.span().start..value.span().end.max(key.span().end);
            self.value(&path, value.get_ref());
            self.0.insert(path, span);
        }
    }

    fn value(&mut self, path: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.table(path, table),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.value(&path, element.get_ref());
                    self.0.insert(path, element.span());
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
    }
}
