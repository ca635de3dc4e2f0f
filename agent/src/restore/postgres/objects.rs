//! Which of a dump's objects are wanted.

use strongroom_postgres::{
    logical::{
        manifest::{DumpedDatabase, Relation},
        toc::{self, Chosen, Entry, Wanted},
    },
    name,
};
use strongroom_spec::{PostgresTarget, RestoreSpec};

use super::plan::{Refusal, Way};

/// All of a dump, or some entries of its table of contents.
#[derive(Debug)]
pub(super) enum Objects {
    All,
    Some(Chosen),
}

impl Objects {
    /// Chooses among the dump's entries when single schemas or tables are
    /// wanted.
    pub(super) fn choose(
        work: &RestoreSpec<PostgresTarget>,
        database: &DumpedDatabase,
        existing_schemas: &[String],
        way: &Way,
        mut entries: Vec<Entry>,
    ) -> Result<Self, Refusal> {
        if work.target.schemas.is_empty() && work.target.tables.is_empty() {
            return Ok(Self::All);
        }
        let tables = tables(&work.target.tables, database)?;
        let known = || database.schemas.iter().map(String::as_str);
        let schemas = work.target.schemas.iter().map(|asked| {
            let schema = name::meant(asked, known()).map(str::to_owned);
            schema.ok_or_else(|| no_object(database, format!("schema {asked:?}")))
        });
        let schemas = schemas.collect::<Result<Vec<_>, _>>()?;
        if *way == Way::Into {
            // A schema that is there is not made again.
            let there = |entry: &Entry| existing_schemas.iter().any(|it| entry.makes_schema(it));
            entries.retain(|entry| !there(entry));
        }
        let wanted: Vec<_> = tables.iter().map(|it| named(it)).collect();
        let needs = *way != Way::Into;
        let chosen = toc::choose(&entries, &wanted, &schemas, needs);
        for relation in &tables {
            if !chosen.has(&named(relation)) {
                let table = format!("table {:?} of {:?}", relation.name, relation.schema);
                return Err(no_object(database, table));
            }
        }
        Ok(Self::Some(chosen))
    }

    /// The entries that are wanted; `None`: all.
    pub(super) fn chosen(&self) -> Option<&Chosen> {
        match self {
            Self::All => None,
            Self::Some(chosen) => Some(chosen),
        }
    }

    /// Those of the manifest's relations that are restored.
    pub(super) fn relations<'a>(
        &'a self,
        database: &'a DumpedDatabase,
    ) -> impl Iterator<Item = &'a Relation> + Clone {
        database.relations.iter().filter(|relation| match self {
            _ if relation.left_out => false,
            Self::All => true,
            Self::Some(chosen) => chosen.has(&named(relation)),
        })
    }
}

fn named(relation: &Relation) -> Wanted<'_> {
    Wanted {
        schema: &relation.schema,
        name: &relation.name,
        owner: &relation.owner,
    }
}

/// Finds `table` and `schema.table`; quotes do not matter.
fn tables<'a>(
    asked: &[String],
    database: &'a DumpedDatabase,
) -> Result<Vec<&'a Relation>, Refusal> {
    asked
        .iter()
        .map(|asked| {
            let is_asked = |relation: &&Relation| {
                let Relation { schema, name, .. } = relation;
                asked == name
                    || *asked == format!("{schema}.{name}")
                    || *asked == strongroom_postgres::sql::identifier(name)
                    || *asked == strongroom_postgres::sql::qualified(schema, name)
            };
            let mut found: Vec<_> = database.relations.iter().filter(is_asked).collect();
            if found.is_empty() {
                // As it is shown, with `\xE9` for a byte.
                let shown = |it: &&Relation| {
                    let qualified = format!("{}.{}", it.schema, it.name);
                    [&it.name, &qualified]
                        .into_iter()
                        .any(|it| !name::is_plain(it) && name::shown(it) == *asked)
                };
                found = database.relations.iter().filter(shown).collect();
            }
            match found.as_slice() {
                [] => Err(no_object(database, format!("table {asked:?}"))),
                [one] => Ok(*one),
                several => Err(Refusal::Ambiguous {
                    name: asked.clone(),
                    candidates: several
                        .iter()
                        .map(|it| format!("{}.{}", it.schema, it.name))
                        .collect::<Vec<_>>()
                        .join(", "),
                }),
            }
        })
        .collect()
}

fn no_object(database: &DumpedDatabase, what: String) -> Refusal {
    Refusal::NoObject {
        database: database.name.clone(),
        what,
    }
}
