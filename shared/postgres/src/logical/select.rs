//! What of a database is dumped: a policy's patterns as exact names. Pure.
//!
//! Whoever asks for a table asks for its rows, wherever they lie: partitions and
//! tables that inherit come, or stay away, with it. `pg_dump` is given names and
//! no patterns, so that it takes exactly what is counted here.

use std::collections::{HashMap, HashSet};

use super::{
    list::{Inside, Listed, Namespace},
    manifest::{Content, RelationKind, Selection},
};

/// Bytes of one pattern at most: the server compiles each.
const LONGEST: usize = 4 << 10;

/// What is dumped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// Object ids of relations.
    pub(super) relations: HashSet<u32>,
    /// Options of `pg_dump` that say so.
    pub arguments: Vec<Vec<u8>>,
    /// The same for when those are too many: a schema of which all is meant is one
    /// pattern.
    pub fewer: Vec<Vec<u8>>,
    /// For each pattern of `schemas`, else of `tables`: whether it matched
    /// anything.
    pub matched: Vec<bool>,
}

impl Selected {
    /// How many names the options hold, about.
    pub fn named(&self) -> usize {
        let bars = self.arguments.iter().flatten().filter(|it| **it == b'|');
        bars.count() + self.arguments.len()
    }
}

/// Nothing in a database is what the selection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Empty {
    /// No pattern matches.
    #[error("no schema and no table in it matches what the policy selects")]
    Unmatched,
    /// What matches is excluded.
    #[error("everything in it that the policy selects is excluded by the policy, too")]
    Excluded,
}

/// Applies a selection.
pub(super) fn select(inside: &Inside, selection: &Selection) -> Result<Selected, Empty> {
    let dumpable = || inside.relations.iter().filter(|it| it.extension.is_none());
    if !selection.is_partial() {
        return Ok(Selected {
            relations: dumpable().map(|it| it.oid).collect(),
            ..Selected::default()
        });
    }
    let descent = Descent::new(inside);
    let any = |matches: &[bool]| matches.contains(&true);
    let excluded = descent.below(inside.relations.iter().filter(|it| any(&it.exclude_tables)));
    if !selection.tables.is_empty() {
        let asked = descent.below(inside.relations.iter().filter(|it| any(&it.tables)));
        let taken: Vec<_> = dumpable()
            .filter(|it| asked.contains(&it.oid) && !excluded.contains(&it.oid))
            .collect();
        if taken.is_empty() {
            return Err(nothing(!asked.is_empty()));
        }
        let matches = inside.relations.iter().map(|it| &it.tables);
        let whole = whole(inside, &taken);
        return Ok(Selected {
            arguments: tables("--table=", &taken, &HashSet::new()),
            fewer: tables("--table=", &taken, &whole),
            matched: matched(selection.tables.len(), matches),
            relations: taken.into_iter().map(|it| it.oid).collect(),
        });
    }
    let narrow = !selection.schemas.is_empty();
    let (mut taken, mut without) = (Vec::new(), Vec::new());
    for schema in &inside.schemas {
        if any(&schema.exclude_schemas) {
            without.push(schema);
        } else if !narrow || any(&schema.schemas) {
            taken.push(schema);
        }
    }
    let schemas: HashSet<u32> = taken.iter().map(|it| it.oid).collect();
    let relations: HashSet<u32> = dumpable()
        .filter(|it| schemas.contains(&it.namespace) && !excluded.contains(&it.oid))
        .map(|it| it.oid)
        .collect();
    // A schema may hold functions and no table, and a database may hold nothing.
    let candidates = dumpable().any(|it| !narrow || schemas.contains(&it.namespace));
    if taken.is_empty() && !inside.schemas.is_empty() {
        let matches = inside.schemas.iter().any(|it| any(&it.schemas));
        return Err(nothing(!narrow || matches));
    }
    if candidates && relations.is_empty() {
        return Err(Empty::Excluded);
    }
    let out: Vec<_> = dumpable().filter(|it| excluded.contains(&it.oid)).collect();
    let mut arguments = Vec::new();
    if narrow {
        arguments.extend(names("--schema=", taken.iter().map(|it| &*it.raw)));
    } else {
        arguments.extend(names(
            "--exclude-schema=",
            without.iter().map(|it| &*it.raw),
        ));
    }
    let excluding = |whole: &HashSet<u32>| {
        let mut all = arguments.clone();
        all.extend(tables("--exclude-table=", &out, whole));
        all
    };
    let matches = inside.schemas.iter().map(|it| &it.schemas);
    Ok(Selected {
        arguments: excluding(&HashSet::new()),
        fewer: excluding(&whole(inside, &out)),
        matched: matched(selection.schemas.len(), matches),
        relations,
    })
}

fn nothing(excluded: bool) -> Empty {
    if excluded {
        Empty::Excluded
    } else {
        Empty::Unmatched
    }
}

fn matched<'a>(patterns: usize, matches: impl Iterator<Item = &'a Vec<bool>>) -> Vec<bool> {
    let mut matched = vec![false; patterns];
    for matches in matches {
        for (matched, matches) in matched.iter_mut().zip(matches) {
            *matched |= matches;
        }
    }
    matched
}

/// Who inherits from whom.
struct Descent(HashMap<u32, Vec<u32>>);

impl Descent {
    fn new(inside: &Inside) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (parent, child) in &inside.descent {
            children.entry(*parent).or_default().push(*child);
        }
        Self(children)
    }

    /// These and all that inherit from them.
    fn below<'a>(&self, relations: impl Iterator<Item = &'a Listed>) -> HashSet<u32> {
        let mut open: Vec<u32> = relations.map(|it| it.oid).collect();
        let mut below = HashSet::new();
        while let Some(next) = open.pop() {
            if below.insert(next) {
                open.extend(self.0.get(&next).into_iter().flatten());
            }
        }
        below
    }
}

/// Schemas of which these are all relations that a pattern could match.
fn whole(inside: &Inside, relations: &[&Listed]) -> HashSet<u32> {
    let meant: HashSet<u32> = relations.iter().map(|it| it.oid).collect();
    let mut whole: HashSet<u32> = relations.iter().map(|it| it.namespace).collect();
    for other in inside
        .relations
        .iter()
        .filter(|it| !meant.contains(&it.oid))
    {
        whole.remove(&other.namespace);
    }
    whole
}

/// Tables of one schema after the other, as `"schema".("a"|"b")`, or as `"schema".*`
/// where that is `whole`.
fn tables(option: &str, relations: &[&Listed], whole: &HashSet<u32>) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    for of_schema in relations.chunk_by(|a, b| a.raw.0 == b.raw.0) {
        let mut option = option.as_bytes().to_vec();
        option.extend(quoted(&of_schema[0].raw.0));
        option.push(b'.');
        if whole.contains(&of_schema[0].namespace) {
            option.push(b'*');
            arguments.push(option);
            continue;
        }
        arguments.extend(alternatives(&option, of_schema.iter().map(|it| &*it.raw.1)));
    }
    arguments
}

fn names<'a>(option: &str, names: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    alternatives(option.as_bytes(), names)
}

/// Each with the same beginning; as many as it takes.
fn alternatives<'a>(option: &[u8], names: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for name in names {
        let name = quoted(name);
        match all.last_mut() {
            Some(last) if last.len() + name.len() < LONGEST => last.push(b'|'),
            _ => all.push([option, b"("].concat()),
        }
        if let Some(last) = all.last_mut() {
            last.extend(name);
        }
    }
    for argument in &mut all {
        argument.push(b')');
    }
    all
}

/// As `pg_dump` takes it literally.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in name {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(b'"');
        }
    }
    quoted.push(b'"');
    quoted
}

/// Relations whose rows a dump of the selection holds.
pub(super) fn has_rows(listed: &Listed, selection: &Selection, standby: bool) -> bool {
    listed.kind == RelationKind::Table
        && selection.content != Content::Schema
        && !(standby && listed.unlogged)
}

impl Namespace {
    #[cfg(test)]
    fn test(oid: u32, name: &str) -> Self {
        Self {
            oid,
            name: name.into(),
            raw: name.into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(oid: u32, namespace: u32, name: &str) -> Listed {
        Listed {
            oid,
            schema: namespace.to_string(),
            name: name.into(),
            raw: (namespace.to_string().into(), name.into()),
            namespace,
            owner: "me".into(),
            kind: RelationKind::Table,
            unlogged: false,
            file: oid,
            extension: None,
            configuration: false,
            size: 0,
            tables: vec![],
            exclude_tables: vec![],
        }
    }

    /// Schemas 1 and 2; a parent 10 in 1 with partitions 11 in 1 and 12 in 2,
    /// below that 13 in 2; a table 20 in 2 and one of an extension, 30 in 1.
    fn inside() -> Inside {
        let mut of_extension = listed(30, 1, "queue");
        of_extension.extension = Some("jobs".into());
        Inside {
            schemas: vec![Namespace::test(1, "1"), Namespace::test(2, "2")],
            relations: vec![
                listed(10, 1, "events"),
                listed(11, 1, "p1"),
                of_extension,
                listed(12, 2, "p2"),
                listed(13, 2, "p3"),
                listed(20, 2, "o\"dd\nname"),
            ],
            descent: vec![(10, 11), (10, 12), (12, 13)],
        }
    }

    fn mark(inside: &mut Inside, tables: &[&str], exclude: &[&str]) {
        for listed in &mut inside.relations {
            listed.tables = tables.iter().map(|it| *it == listed.name).collect();
            listed.exclude_tables = exclude.iter().map(|it| *it == listed.name).collect();
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn by_tables(tables: &[&str], exclude: &[&str]) -> Result<(Vec<u32>, Vec<String>), Empty> {
        let mut inside = inside();
        mark(&mut inside, tables, exclude);
        let selection = Selection {
            tables: owned(tables),
            exclude_tables: owned(exclude),
            ..Selection::default()
        };
        let selected = select(&inside, &selection)?;
        let mut relations: Vec<_> = selected.relations.into_iter().collect();
        relations.sort_unstable();
        let arguments = selected.arguments.into_iter();
        let arguments = arguments.map(|it| String::from_utf8(it).unwrap());
        Ok((relations, arguments.collect()))
    }

    #[test]
    fn tables_come_and_stay_away_with_all_below_them() {
        let (relations, arguments) = by_tables(&["events"], &[]).unwrap();
        assert_eq!(relations, [10, 11, 12, 13]);
        assert_eq!(
            arguments,
            [
                "--table=\"1\".(\"events\"|\"p1\")",
                "--table=\"2\".(\"p2\"|\"p3\")"
            ]
        );
        let (relations, arguments) = by_tables(&[], &["events"]).unwrap();
        assert_eq!(relations, [20]);
        assert_eq!(
            arguments,
            [
                "--exclude-table=\"1\".(\"events\"|\"p1\")",
                "--exclude-table=\"2\".(\"p2\"|\"p3\")"
            ]
        );
        let (relations, _) = by_tables(&["events"], &["p2"]).unwrap();
        assert_eq!(relations, [10, 11]);
        let (relations, arguments) = by_tables(&["o\"dd\nname"], &[]).unwrap();
        assert_eq!(relations, [20]);
        assert_eq!(arguments, ["--table=\"2\".(\"o\"\"dd\nname\")"]);
    }

    #[test]
    fn a_schema_is_one_pattern_where_all_of_it_is_meant() {
        let inside = inside();
        let relations = |meant: &[u32]| {
            let relations = inside.relations.iter();
            relations
                .filter(|it| meant.contains(&it.oid))
                .collect::<Vec<_>>()
        };
        assert_eq!(whole(&inside, &relations(&[12, 13])), HashSet::new());
        let all_of_2 = relations(&[10, 12, 13, 20]);
        assert_eq!(whole(&inside, &all_of_2), HashSet::from([2]));
        // A pattern would take what belongs to an extension, too.
        assert_eq!(whole(&inside, &relations(&[10, 11])), HashSet::new());
    }

    #[test]
    fn an_empty_choice_is_an_error() {
        assert_eq!(by_tables(&["none"], &[]), Err(Empty::Unmatched));
        assert_eq!(by_tables(&["p1"], &["events"]), Err(Empty::Excluded));
        // Its rows are in no dump.
        assert_eq!(by_tables(&["queue"], &[]), Err(Empty::Excluded));
        let mut inside = inside();
        let mut by_schemas = |schemas: [bool; 2], exclude: [bool; 2]| {
            for (at, schema) in inside.schemas.iter_mut().enumerate() {
                schema.schemas = vec![schemas[at]];
                schema.exclude_schemas = vec![exclude[at]];
            }
            let given = |it: [bool; 2]| {
                if it == [false; 2] {
                    vec![]
                } else {
                    owned(&["x"])
                }
            };
            let selection = Selection {
                schemas: owned(&["x"]),
                exclude_schemas: given(exclude),
                ..Selection::default()
            };
            select(&inside, &selection).map(|it| (it.relations.len(), it.arguments))
        };
        assert_eq!(by_schemas([false; 2], [false; 2]), Err(Empty::Unmatched));
        assert_eq!(by_schemas([true; 2], [true; 2]), Err(Empty::Excluded));
        let (relations, arguments) = by_schemas([true; 2], [false, true]).unwrap();
        assert_eq!(relations, 2);
        assert_eq!(arguments, [b"--schema=(\"1\")".to_vec()]);
    }

    #[test]
    fn patterns_that_match_nothing_are_known() {
        let mut inside = inside();
        mark(&mut inside, &["events", "none"], &[]);
        let selection = Selection {
            tables: owned(&["events", "none"]),
            ..Selection::default()
        };
        let selected = select(&inside, &selection).unwrap();
        assert_eq!(selected.matched, [true, false]);
    }

    #[test]
    fn many_names_are_several_arguments_none_of_them_long() {
        let many: Vec<_> = (0..1000).map(|it| listed(it, 1, &"n".repeat(60))).collect();
        let many: Vec<_> = many.iter().collect();
        let arguments = tables("--table=", &many, &HashSet::new());
        assert!(arguments.len() > 10);
        assert!(arguments.iter().all(|it| it.len() <= LONGEST + 64));
        let names = arguments.iter().flatten().filter(|it| **it == b'|').count();
        assert_eq!(names + arguments.len(), 1000);
        // Unless all of a schema is meant.
        let whole = HashSet::from([1]);
        assert_eq!(tables("--table=", &many, &whole), [b"--table=\"1\".*"]);
    }
}
