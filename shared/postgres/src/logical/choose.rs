//! Which databases of a server are dumped. Pure.

use globset::GlobBuilder;

use crate::inventory::Database;

/// Why no choice could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Not a glob.
    #[error("{pattern:?} is no pattern for databases: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        cause: String,
    },
    /// Nothing of that name.
    #[error(
        "no database {pattern:?} is on the server, or it allows no connections; it has {known}"
    )]
    Unknown {
        /// The name or pattern.
        pattern: String,
        /// Those that could be dumped, the most alike first.
        known: String,
    },
}

/// Those to be dumped, in the order of `databases`. Without
/// `wanted`: all that allow connections and are no templates. A name is taken
/// literally where there is a database of that name, else as a glob. Each of
/// `wanted` must match something; none of `unwanted` has to.
pub fn choose<'a>(
    databases: &'a [Database],
    wanted: &[String],
    unwanted: &[String],
) -> Result<Vec<&'a Database>, ChoiceError> {
    let connectable = || databases.iter().filter(|database| database.connectable);
    let mut excluded = Vec::new();
    for pattern in unwanted {
        excluded.push(matcher(databases, pattern)?);
    }
    let mut included = Vec::new();
    for pattern in wanted {
        let matches = matcher(databases, pattern)?;
        if !connectable().any(&matches) {
            return Err(ChoiceError::Unknown {
                pattern: pattern.clone(),
                known: names(connectable(), pattern),
            });
        }
        included.push(matches);
    }
    let chosen = connectable().filter(|database| {
        let included = if included.is_empty() {
            !database.template
        } else {
            included.iter().any(|matches| matches(database))
        };
        included && !excluded.iter().any(|matches| matches(database))
    });
    Ok(chosen.collect())
}

/// How many names a message lists.
const SHOWN: usize = 20;

type Matcher = Box<dyn Fn(&Database) -> bool>;

fn matcher(databases: &[Database], pattern: &str) -> Result<Matcher, ChoiceError> {
    let pattern = pattern.to_owned();
    if databases.iter().any(|database| database.name == pattern) {
        return Ok(Box::new(move |database| database.name == pattern));
    }
    let glob = GlobBuilder::new(&pattern)
        .build()
        .map_err(|error| ChoiceError::Pattern {
            pattern,
            cause: error.kind().to_string(),
        })?
        .compile_matcher();
    Ok(Box::new(move |database| glob.is_match(&database.name)))
}

/// The name that was meant is likely to be among these: a server may have
/// thousands, and a mistyped one looks like what it should have been.
fn names<'a>(databases: impl Iterator<Item = &'a Database>, pattern: &str) -> String {
    let mut databases: Vec<_> = databases.collect();
    let likeness = |it: &Database| strsim::jaro_winkler(&it.name, pattern);
    databases.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    let shown = databases.iter().take(SHOWN);
    let mut names: Vec<_> = shown.map(|it| format!("{:?}", it.name)).collect();
    if databases.len() > SHOWN {
        names.push(format!("and {} more", databases.len() - SHOWN));
    }
    match names.len() {
        0 => "none".into(),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Locale;

    fn database(name: &str) -> Database {
        Database {
            oid: 1,
            name: name.into(),
            owner: "postgres".into(),
            size: None,
            connectable: name != "template0",
            template: name.starts_with("template"),
            locale: Locale {
                encoding: "UTF8".into(),
                collate: "C".into(),
                ctype: "C".into(),
                provider: "libc".into(),
                name: None,
                icu_rules: None,
            },
        }
    }

    fn chosen(wanted: &[&str], unwanted: &[&str]) -> Result<Vec<String>, ChoiceError> {
        let all = [
            "a*b",
            "orders",
            "orders_old",
            "postgres",
            "template0",
            "template1",
        ];
        let all: Vec<_> = all.into_iter().map(database).collect();
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        choose(&all, &owned(wanted), &owned(unwanted))
            .map(|chosen| chosen.into_iter().map(|it| it.name.clone()).collect())
    }

    #[test]
    fn names_globs_and_everything() {
        for (wanted, unwanted, expected) in [
            (
                &[][..],
                &[][..],
                &["a*b", "orders", "orders_old", "postgres"][..],
            ),
            (
                &[],
                &["postgres", "none*"],
                &["a*b", "orders", "orders_old"],
            ),
            (&["orders"], &[], &["orders"]),
            (&["orders*"], &["*_old"], &["orders"]),
            (&["a*b"], &[], &["a*b"]),
            (&["template1"], &[], &["template1"]),
            (&["orders", "ord*"], &[], &["orders", "orders_old"]),
        ] {
            assert_eq!(
                chosen(wanted, unwanted).unwrap(),
                expected,
                "{wanted:?} {unwanted:?}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for wanted in ["shop", "template0", "x*"] {
            let error = chosen(&[wanted], &[]).unwrap_err().to_string();
            assert!(
                error.contains(wanted) && error.contains("orders_old"),
                "{error}"
            );
        }
        let error = chosen(&["[a"], &[]).unwrap_err();
        assert!(matches!(error, ChoiceError::Pattern { .. }), "{error}");
    }

    #[test]
    fn of_many_databases_those_like_a_mistyped_name_are_named() {
        let many: Vec<_> = (0..100).map(|it| database(&format!("a{it:02}"))).collect();
        let all = [many, vec![database("warehouse")]].concat();
        let error = choose(&all, &["warehose".into()], &[]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("it has \"warehouse\", ") && message.ends_with(", and 81 more"),
            "{message}"
        );
    }
}
