//! Which databases of a server are dumped. Pure.

use globset::GlobBuilder;

use super::loss::{self, Loss};
use crate::{
    inventory::{Database, Inventory},
    name, sql,
};

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
    /// A pattern that matches nothing, and nothing else is asked for.
    #[error("no database that could be dumped matches {pattern:?}; the server has {known}")]
    Unmatched {
        /// The pattern.
        pattern: String,
        /// Those that could be dumped, the most alike first.
        known: String,
    },
    /// None of what is asked for can be dumped.
    #[error("nothing is left to dump: {}", lost(.0))]
    Lost(Vec<Missing>),
    /// Nothing is left to dump.
    #[error(
        "no database is left to dump: all that allow connections are templates or excluded; \
         name one in databases, or exclude less"
    )]
    Nothing,
}

/// Names in full up to here.
const LISTED: usize = 10;

fn lost(missing: &[Missing]) -> String {
    let mut shown: Vec<_> = missing
        .iter()
        .take(LISTED)
        .map(|it| format!("database {:?}: {}", it.name, it.cause))
        .collect();
    if missing.len() > LISTED {
        shown.push(format!("and {} more", missing.len() - LISTED));
    }
    shown.join("; ")
}

/// What is dumped, and what a reader of the policy would not expect to miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Those to be dumped, never none, in the server's order.
    pub taken: Vec<Taken<'a>>,
    /// Those that were asked for and cannot be dumped.
    pub missing: Vec<Missing>,
    /// Those that only their own marks keep out, in the server's order.
    pub left_out: Vec<LeftOut<'a>>,
    /// Patterns that matched no database, with those that there are.
    pub unmatched: Vec<(String, String)>,
}

/// A database to be dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Which.
    pub database: &'a Database,
    /// The policy has its exact name, and not only a pattern.
    pub named: bool,
}

/// A database that was asked for and cannot be dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What kind of loss it is.
    pub loss: Loss,
    /// Why, and what to do.
    pub cause: String,
    /// The policy has its exact name.
    pub named: bool,
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
    /// The cause of what is missing of the database of this name, and what to do.
    pub fn cause(self, name: &str) -> String {
        match self {
            Self::NoConnections => format!(
                "the database allows no connections, so that nothing can read it, and is not in \
                 the snapshot: let it allow them (ALTER DATABASE {} ALLOW_CONNECTIONS true), or \
                 list it in exclude_databases",
                sql::identifier(name)
            ),
            Self::Template => "the database is marked as a template and is not in the snapshot: \
                               list it in databases to have it dumped, or in exclude_databases"
                .into(),
        }
    }
}

/// Every server has these two, and they are left out without a word, unless
/// there is more in them than `initdb` put there.
const EVERYWHERE: [&str; 2] = ["template0", "template1"];

/// Chooses among the server's databases. Without `wanted`: all that allow
/// connections and are no templates. A name is taken literally where there is a
/// database of that name, else as a glob. What is asked for and cannot be
/// dumped is missing, and costs none of the others; an empty choice is an
/// error.
pub fn choose<'a>(
    inventory: &'a Inventory,
    wanted: &[String],
    unwanted: &[String],
) -> Result<Choice<'a>, ChoiceError> {
    let databases = &inventory.databases;
    let usable = || {
        databases
            .iter()
            .filter(|it| it.connectable && !it.is_invalid())
    };
    let named = |name: &str| {
        wanted
            .iter()
            .any(|it| it == name || name::shown(name) == *it)
    };
    let mut excluded = Vec::new();
    for pattern in unwanted {
        excluded.push(matcher(databases, pattern)?);
    }
    let mut included = Vec::new();
    let (mut missing, mut unmatched) = (Vec::new(), Vec::new());
    for pattern in wanted {
        let matches = matcher(databases, pattern)?;
        if !databases.iter().any(&matches) {
            let known = names(usable(), pattern);
            if pattern.contains(['*', '?', '[', '{']) {
                unmatched.push((pattern.clone(), known));
            } else if missing.iter().all(|it: &Missing| it.name != *pattern) {
                missing.push(Missing {
                    name: pattern.clone(),
                    loss: Loss::Missing,
                    cause: format!(
                        "there is no database {pattern:?} on the server; it has {known}"
                    ),
                    named: true,
                });
            }
        }
        included.push(matches);
    }
    let asked = |database: &Database| included.iter().any(|matches| matches(database));
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    for database in databases {
        if excluded.iter().any(|matches| matches(database))
            || !(wanted.is_empty() || asked(database))
        {
            continue;
        }
        let named = named(&database.name);
        let lost = |loss, cause| Missing {
            name: database.name.clone(),
            loss,
            cause,
            named,
        };
        if database.is_invalid() {
            missing.push(lost(Loss::Invalid, loss::invalid(&database.name)));
        } else if !database.connectable && named {
            let cause = Mark::NoConnections.cause(&database.name);
            missing.push(lost(Loss::Forbidden, cause));
        } else if !database.connectable || wanted.is_empty() && database.template {
            let mark = if database.connectable {
                Mark::Template
            } else {
                Mark::NoConnections
            };
            if !EVERYWHERE.contains(&database.name.as_str()) {
                left_out.push(LeftOut { database, mark });
            }
        } else if !database.permitted {
            let cause = loss::forbidden(&database.name, &inventory.role.name);
            missing.push(lost(Loss::Forbidden, cause));
        } else if let Some(cause) = loss::limited(database, inventory) {
            missing.push(lost(Loss::Limited, cause));
        } else {
            taken.push(Taken { database, named });
        }
    }
    if !taken.is_empty() {
        return Ok(Choice {
            taken,
            missing,
            left_out,
            unmatched,
        });
    }
    Err(match unmatched.pop() {
        _ if !missing.is_empty() => ChoiceError::Lost(missing),
        Some((pattern, known)) => ChoiceError::Unmatched { pattern, known },
        None => ChoiceError::Nothing,
    })
}

/// The `template1` that nobody asked for and nobody excluded: whoever keeps
/// objects in it will want to know that they are in no snapshot.
pub fn silent_template<'a>(
    inventory: &'a Inventory,
    wanted: &[String],
    unwanted: &[String],
) -> Result<Option<&'a Database>, ChoiceError> {
    let databases = &inventory.databases;
    let Some(template) = inventory.database("template1") else {
        return Ok(None);
    };
    let mut silent = wanted.is_empty() && template.template;
    for pattern in unwanted {
        silent &= !matcher(databases, pattern)?(template);
    }
    silent &= template.connectable && template.permitted && !template.is_invalid();
    Ok(silent.then_some(template))
}

/// How many names a message lists.
const SHOWN: usize = 20;

type Matcher = Box<dyn Fn(&Database) -> bool>;

fn matcher(databases: &[Database], pattern: &str) -> Result<Matcher, ChoiceError> {
    let known = databases.iter().map(|it| it.name.as_str());
    if let Some(meant) = name::meant(pattern, known) {
        let meant = meant.to_owned();
        return Ok(Box::new(move |database| database.name == meant));
    }
    let pattern = pattern.to_owned();
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
    use crate::{
        inventory::{Locale, Role},
        version::ServerVersion,
    };

    fn database(name: &str) -> Database {
        Database {
            oid: 1,
            name: name.into(),
            owner: "postgres".into(),
            size: None,
            connectable: name != "template0",
            permitted: true,
            connection_limit: -1,
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

    fn server(databases: Vec<Database>) -> Inventory {
        Inventory {
            version: ServerVersion(150_000),
            system_identifier: None,
            standby: false,
            wal_level: "replica".into(),
            role: Role {
                name: "reader".into(),
                superuser: false,
                connection_limit: -1,
            },
            databases,
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
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
        let server = server(all.into_iter().map(database).collect());
        choose(&server, &owned(wanted), &owned(unwanted)).map(|choice| {
            let taken = choice.taken.into_iter();
            taken.map(|it| it.database.name.clone()).collect()
        })
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
        assert_eq!(choose(&server(vec![]), &[], &[]), Err(ChoiceError::Nothing));
        let error = chosen(&["x*"], &[]).unwrap_err().to_string();
        assert!(
            error.contains("x*") && error.contains("orders_old"),
            "{error}"
        );
    }

    #[test]
    fn what_only_its_marks_keep_out_is_named() {
        let mut all: Vec<_> = ["closed", "model", "shop", "template0", "template1"]
            .map(database)
            .into();
        all[0].connectable = false;
        all[1].template = true;
        let server = server(all);
        let left_out = |wanted: &[&str], unwanted: &[&str]| {
            let choice = choose(&server, &owned(wanted), &owned(unwanted)).unwrap();
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
    fn what_cannot_be_dumped_costs_none_of_the_others() {
        let mut all: Vec<_> = ["broken", "closed", "narrow", "secret", "shop"]
            .map(database)
            .into();
        all[0].connection_limit = -2;
        all[1].connectable = false;
        all[2].connection_limit = 1;
        all[3].permitted = false;
        let mut server = server(all);
        let lost = |server: &Inventory, wanted: &[&str]| {
            let choice = choose(server, &owned(wanted), &[]).unwrap();
            assert_eq!(choice.taken.len(), 1);
            let missing = choice.missing.into_iter();
            missing
                .map(|it| (it.name, it.loss, it.named))
                .collect::<Vec<_>>()
        };
        let all = |named| {
            vec![
                ("broken".to_owned(), Loss::Invalid, named),
                ("narrow".to_owned(), Loss::Limited, named),
                ("secret".to_owned(), Loss::Forbidden, named),
            ]
        };
        assert_eq!(lost(&server, &[]), all(false));
        // What the policy names exactly is missed whatever its marks.
        assert_eq!(
            lost(&server, &["closed", "gone", "shop"]),
            [
                ("gone".to_owned(), Loss::Missing, true),
                ("closed".to_owned(), Loss::Forbidden, true),
            ]
        );
        // A superuser has no limits.
        server.role.superuser = true;
        let taken = choose(&server, &[], &[]).unwrap().taken;
        assert!(taken.iter().any(|it| it.database.name == "narrow"));
        // A pattern that matches nothing is told, and costs nothing either.
        let choice = choose(&server, &owned(&["shop", "x*"]), &[]).unwrap();
        assert_eq!(choice.unmatched[0].0, "x*");
        assert!(choice.missing.is_empty());
        // One session is what the role may have: nothing can be dumped.
        server.role = Role {
            name: "single".into(),
            superuser: false,
            connection_limit: 1,
        };
        let error = choose(&server, &owned(&["shop"]), &[]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("ALTER ROLE \"single\" CONNECTION LIMIT 2"),
            "{message}"
        );
    }

    #[test]
    fn a_template1_that_is_passed_over_is_known() {
        let server = server(["shop", "template0", "template1"].map(database).into());
        let silent = |wanted: &[&str], unwanted: &[&str]| {
            silent_template(&server, &owned(wanted), &owned(unwanted))
                .unwrap()
                .is_some()
        };
        assert!(silent(&[], &[]));
        assert!(!silent(&["shop"], &[]));
        assert!(!silent(&["template1"], &[]));
        assert!(!silent(&[], &["template*"]));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = chosen(&["shop"], &[]).unwrap_err().to_string();
        assert!(
            error.contains("shop") && error.contains("orders_old"),
            "{error}"
        );
        let error = chosen(&["template0"], &[]).unwrap_err().to_string();
        let statement = "ALTER DATABASE \"template0\" ALLOW_CONNECTIONS true";
        assert!(error.contains(statement), "{error}");
        let error = chosen(&["[a"], &[]).unwrap_err();
        assert!(matches!(error, ChoiceError::Pattern { .. }), "{error}");
    }

    #[test]
    fn of_many_databases_those_like_a_mistyped_name_are_named() {
        let many: Vec<_> = (0..100).map(|it| database(&format!("a{it:02}"))).collect();
        let server = server([many, vec![database("warehouse")]].concat());
        let error = choose(&server, &["warehose".into()], &[]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("it has \"warehouse\", ") && message.ends_with(", and 81 more"),
            "{message}"
        );
    }
}
