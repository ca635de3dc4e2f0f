//! Configuration files: TOML, strict. An unknown key is an error that names
//! file, line and column; a typo must never silently mean "no limit".

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use crate::{
    files::{self, FileError},
    keys::Keys,
};

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not say what it must.
    #[error("{path}:{line}:{column}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// Counts from 1.
        column: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Reads and parses a file. `T` should `deny_unknown_fields` throughout.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse(path, &files::read_text(path)?)
}

/// The keys whose values differ between two texts of one file, as `section.key`, in
/// order. Never a value: secrets may stand in them. What is no TOML differs in nothing.
pub fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let leaves = |text: &str| {
        let mut leaves = BTreeMap::new();
        if let Ok(table) = text.parse::<toml::Table>() {
            flatten("", &table, &mut leaves);
        }
        leaves
    };
    let (before, after) = (leaves(before), leaves(after));
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = all
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key));
    changed.cloned().collect()
}

fn flatten(above: &str, table: &toml::Table, leaves: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let path = match above {
            "" => key.clone(),
            above => format!("{above}.{key}"),
        };
        match value {
            toml::Value::Table(below) => flatten(&path, below, leaves),
            value => {
                leaves.insert(path, value.clone());
            }
        }
    }
}

/// Parses `text`; `path` is only for messages.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let (line, column) = position(text, start);
        ConfigError::Invalid {
            path: path.into(),
            line,
            column,
            message: with_key(text, &error, explain(error.message())),
        }
    })
}

/// Names the key whose value is wrong. An unknown key is named already.
fn with_key(text: &str, error: &toml::de::Error, message: String) -> String {
    let (Some(span), Ok(root)) = (error.span(), DeTable::parse(text)) else {
        return message;
    };
    let keys = Keys::of(root.get_ref());
    match keys.at(&span) {
        key if key.is_empty() || message.starts_with("unknown key") => message,
        key => format!("{key}: {message}"),
    }
}

/// Line and column, from 1, of a byte offset.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    (line, column)
}

/// What serde says of a configuration, in its author's words: serde's
/// "unknown field `a`, expected one of `b`, `c`" calls them keys and names the
/// nearest.
pub fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let mut quoted = rest.split('`');
    let unknown = quoted.next().unwrap_or_default();
    // Behind the unknown one, every second part stands between backquotes.
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let nearest = known
        .iter()
        .map(|key| (distance(unknown, key), *key))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let known = if known.is_empty() {
        "there are none here".to_owned()
    } else {
        known.join(", ")
    };
    match nearest {
        Some((_, key)) => {
            format!("unknown key `{unknown}`, did you mean `{key}`? (known keys: {known})")
        }
        None => format!("unknown key `{unknown}` (known keys: {known})"),
    }
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let value = (diagonal + usize::from(x != *y))
                .min(*cell + 1)
                .min(left + 1);
            diagonal = *cell;
            *cell = value;
            left = value;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        listen: String,
        #[serde(default)]
        limit: u32,
    }

    fn error(text: &str) -> String {
        parse::<Sample>(Path::new("x.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_file_line_and_the_nearest_key() {
        let message = error("listen = 'a'\nlimits = 3\n");
        assert!(
            message.starts_with("x.toml:2:1: unknown key `limits`"),
            "{message}"
        );
        assert!(message.contains("did you mean `limit`?"), "{message}");
        let message = error("listen = 'a'\ncompletely_else = 3\n");
        assert!(message.contains("known keys: listen, limit"), "{message}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let message = error("listen = 'a'\nlimit = 'b'\n");
        assert!(message.starts_with("x.toml:2:9: limit: "), "{message}");
    }

    #[test]
    fn changed_keys_are_named_without_their_values() {
        let before = "a = 1\n[limits]\nnice = 3\nkept = [1]\n[s.one]\nurl = 'x'\n";
        let after = "a = 1\nb = 2\n[limits]\nnice = 4\nkept = [1]\n[s.two]\nurl = 'x'\n";
        let changed = changed_keys(before, after);
        assert_eq!(changed, ["b", "limits.nice", "s.one.url", "s.two.url"]);
        assert_eq!(changed_keys(before, before), [""; 0]);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
