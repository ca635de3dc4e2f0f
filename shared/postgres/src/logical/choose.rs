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
    /// Nothing is left to dump.
    #[error(
        "no database is left to dump: all that allow connections are templates or excluded; \
         name one in databases, or exclude less"
    )]
    Nothing,
}

/// What is dumped, and what a reader of the policy would not expect to miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Those to be dumped, never none, in the server's order.
    pub taken: Vec<&'a Database>,
    /// Those that only their own marks keep out, in the server's order.
    pub left_out: Vec<LeftOut<'a>>,
}

/// A database that is not dumped though nobody excluded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// Which.
    pub database: &'a Database,
    /// Why.
    pub mark: Mark,
}

/// What keeps a database out of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It allows no connections, so that nothing can read it.
    NoConnections,
    /// It is a template, and was not asked for.
    Template,
}

impl Mark {
    /// The cause and what to do, for a warning.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::NoConnections => {
                "the database allows no connections and is not in the snapshot: let it allow \
                 them (ALTER DATABASE … ALLOW_CONNECTIONS true), or list it in exclude_databases"
            }
            Self::Template => {
                "the database is marked as a template and is not in the snapshot: list it in \
                 databases to have it dumped, or in exclude_databases"
            }
        }
    }
}

/// Every server has these two, and they are left out without a word.
const EVERYWHERE: [&str; 2] = ["template0", "template1"];

/// Chooses among `databases`. Without
/// `wanted`: all that allow connections and are no templates. A name is taken
/// literally where there is a database of that name, else as a glob. Each of
/// `wanted` must match something; none of `unwanted` has to. An empty choice is
/// an error.
pub fn choose<'a>(
    databases: &'a [Database],
    wanted: &[String],
    unwanted: &[String],
) -> Result<Choice<'a>, ChoiceError> {
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
    let asked = |database: &Database| included.iter().any(|matches| matches(database));
    let mut taken = Vec::new();
    let mut left_out = Vec::new();
    for database in databases {
        if excluded.iter().any(|matches| matches(database))
            || !(included.is_empty() || asked(database))
        {
            continue;
        }
        let mark = if !database.connectable {
            Mark::NoConnections
        } else if included.is_empty() && database.template {
            Mark::Template
        } else {
            taken.push(database);
            continue;
        };
        if !EVERYWHERE.contains(&database.name.as_str()) {
            left_out.push(LeftOut { database, mark });
        }
    }
    if taken.is_empty() {
        return Err(ChoiceError::Nothing);
    }
    Ok(Choice { taken, left_out })
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
            .map(|choice| choice.taken.into_iter().map(|it| it.name.clone()).collect())
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
    fn an_empty_choice_is_an_error() {
        assert_eq!(chosen(&[], &["*"]), Err(ChoiceError::Nothing));
        assert_eq!(chosen(&["orders"], &["ord*"]), Err(ChoiceError::Nothing));
        assert_eq!(choose(&[], &[], &[]), Err(ChoiceError::Nothing));
    }

    #[test]
    fn what_only_its_marks_keep_out_is_named() {
        let mut all: Vec<_> = ["closed", "model", "shop", "template0", "template1"]
            .map(database)
            .into();
        all[0].connectable = false;
        all[1].template = true;
        let left_out = |wanted: &[&str], unwanted: &[&str]| {
            let owned = |it: &[&str]| it.iter().map(ToString::to_string).collect::<Vec<_>>();
            let choice = choose(&all, &owned(wanted), &owned(unwanted)).unwrap();
            let named = choice.left_out.iter();
            named
                .map(|it| (it.database.name.clone(), it.mark))
                .collect::<Vec<_>>()
        };
        let closed = ("closed".to_owned(), Mark::NoConnections);
        let model = ("model".to_owned(), Mark::Template);
        assert_eq!(left_out(&[], &[]), [closed.clone(), model]);
        // A template that is asked for is taken; what is closed cannot be.
        assert_eq!(left_out(&["*"], &[]), [closed]);
        assert_eq!(left_out(&["shop"], &[]), []);
        assert_eq!(left_out(&[], &["closed", "model"]), []);
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
