//! A dump's table of contents, and which of its entries single schemas and
//! tables need. Pure.
//!
//! `pg_restore --table` leaves out indexes, constraints and triggers, and
//! `--schema` the schema itself. So the entries are chosen here, along the
//! dependencies that `pg_restore --list --verbose` shows, and given back with
//! `--use-list`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

/// Bytes of a listing that are read at most.
pub const MAX_SIZE: usize = 256 << 20;

/// Kinds of more than one word.
const LONG_KINDS: [&str; 28] = [
    "MATERIALIZED VIEW DATA",
    "MATERIALIZED VIEW",
    "PUBLICATION TABLES IN SCHEMA",
    "PUBLICATION TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH TEMPLATE",
    "TEXT SEARCH PARSER",
    "FOREIGN DATA WRAPPER",
    "DATABASE PROPERTIES",
    "PROCEDURAL LANGUAGE",
    "SUBSCRIPTION TABLE",
    "SEQUENCE OWNED BY",
    "CHECK CONSTRAINT",
    "STATISTICS DATA",
    "OPERATOR FAMILY",
    "OPERATOR CLASS",
    "SECURITY LABEL",
    "FK CONSTRAINT",
    "FOREIGN TABLE",
    "ACCESS METHOD",
    "EVENT TRIGGER",
    "USER MAPPING",
    "TABLE ATTACH",
    "INDEX ATTACH",
    "SEQUENCE SET",
    "ROW SECURITY",
    "TABLE DATA",
];
/// Have rows or look like it.
const RELATIONS: [&str; 5] = [
    "TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "FOREIGN TABLE",
    "SEQUENCE",
];
/// Belong to what they depend on.
const PARTS: [&str; 19] = [
    // Of a serial or identity column: others depend on no table.
    "SEQUENCE",
    "TABLE DATA",
    "MATERIALIZED VIEW DATA",
    "INDEX",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "TRIGGER",
    "DEFAULT",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "COMMENT",
    "ACL",
    "SECURITY LABEL",
    "STATISTICS",
    "STATISTICS DATA",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "DEFAULT ACL",
];
/// Belong to several, and are taken only when all of those are.
const TIES: [&str; 3] = ["FK CONSTRAINT", "TABLE ATTACH", "INDEX ATTACH"];

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the dump.
    pub id: u32,
    /// `TABLE`, `TABLE DATA`, ….
    pub kind: String,
    /// `SCHEMA NAME OWNER`; `-` for none. Line breaks are spaces.
    pub rest: String,
    /// What it cannot be made without.
    pub needs: Vec<u32>,
}

/// Reads what `pg_restore --list --verbose` prints. Lines that are no entries
/// are comments.
pub fn parse(listing: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in listing.lines() {
        if let Some(needs) = line.strip_prefix(";\tdepends on:") {
            if let Some(last) = entries.last_mut() {
                last.needs = needs
                    .split_whitespace()
                    .filter_map(|id| id.parse().ok())
                    .collect();
            }
            continue;
        }
        let Some((id, behind)) = line.split_once("; ") else {
            continue;
        };
        let Ok(id) = id.parse() else { continue };
        let mut words = behind.splitn(3, ' ');
        let (Some(_), Some(_), Some(described)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let long = LONG_KINDS.iter().find(|kind| {
            described
                .strip_prefix(**kind)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let length = match long {
            Some(kind) => kind.len(),
            None => described.find(' ').unwrap_or(described.len()),
        };
        let (kind, rest) = described.split_at(length);
        entries.push(Entry {
            id,
            kind: kind.to_owned(),
            rest: rest.trim_start().to_owned(),
            needs: Vec::new(),
        });
    }
    entries
}

/// A relation that is wanted, or a schema's relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its owner.
    pub owner: &'a str,
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Numbers of entries, in the dump's order.
    pub ids: Vec<u32>,
    /// `SCHEMA NAME OWNER` of chosen relations.
    relations: BTreeSet<String>,
    /// Foreign keys that lead to what was not chosen.
    pub cut: Vec<String>,
}

impl Chosen {
    /// Whether a relation is among them.
    pub fn has(&self, wanted: &Wanted<'_>) -> bool {
        self.relations.contains(&rest_of(wanted))
    }

    /// For `--use-list`.
    pub fn list(&self) -> String {
        let mut list = String::new();
        for id in &self.ids {
            let _infallible = writeln!(list, "{id};");
        }
        list
    }
}

/// As the listing shows it.
fn rest_of(wanted: &Wanted<'_>) -> String {
    format!("{} {} {}", wanted.schema, wanted.name, wanted.owner).replace(['\n', '\r'], " ")
}

/// The entries of `tables` and `schemas`, with all that belongs to them.
/// `needs`: also with what they cannot be made without, such as types,
/// functions and extensions; otherwise that must be there.
pub fn choose(entries: &[Entry], tables: &[Wanted<'_>], schemas: &[String], needs: bool) -> Chosen {
    let position: HashMap<u32, usize> = entries
        .iter()
        .enumerate()
        .map(|(position, entry)| (entry.id, position))
        .collect();
    let wanted: BTreeSet<_> = tables.iter().map(rest_of).collect();
    let prefixes: Vec<_> = schemas.iter().map(|it| format!("{it} ")).collect();
    let of_schemas: Vec<_> = schemas.iter().map(|it| format!("- {it} ")).collect();
    let mut taken: Vec<bool> = entries
        .iter()
        .map(|entry| {
            if TIES.contains(&entry.kind.as_str()) {
                return false;
            }
            let begins =
                |prefixes: &[String]| prefixes.iter().any(|prefix| entry.rest.starts_with(prefix));
            match entry.kind.as_str() {
                "SCHEMA" => begins(&of_schemas),
                kind if RELATIONS.contains(&kind) && wanted.contains(&entry.rest) => true,
                _ => begins(&prefixes),
            }
        })
        .collect();
    loop {
        let mut more = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let kind = entry.kind.as_str();
            let on = |id: &u32| position.get(id).copied();
            if taken[at] && needs && !TIES.contains(&kind) {
                more.extend(entry.needs.iter().filter_map(on).filter(|it| !taken[*it]));
            }
            if taken[at] {
                continue;
            }
            let taken_needs = entry.needs.iter().filter_map(on).filter(|it| taken[*it]);
            let count = taken_needs.clone().count();
            let all = entry.needs.iter().filter_map(on).count();
            let is_part =
                PARTS.contains(&kind) && taken_needs.clone().any(|it| owns(&entries[it], entry));
            let is_tied = TIES.contains(&kind) && count > 0 && count == all;
            if is_part || is_tied {
                more.push(at);
            } else if kind == "TABLE ATTACH" {
                // A partitioned table without its partitions has no rows.
                let is_child = |it: usize| entries[it].rest == entry.rest;
                if taken_needs.clone().any(|it| !is_child(it)) {
                    let children = entry.needs.iter().filter_map(on);
                    more.extend(children.filter(|it| is_child(*it) && !taken[*it]));
                }
            }
        }
        if more.is_empty() {
            break;
        }
        for at in more {
            taken[at] = true;
        }
    }
    let mut chosen = Chosen::default();
    for (at, entry) in entries.iter().enumerate() {
        let any = entry.needs.iter().filter_map(|id| position.get(id));
        if taken[at] {
            chosen.ids.push(entry.id);
            if RELATIONS.contains(&entry.kind.as_str()) {
                chosen.relations.insert(entry.rest.clone());
            }
        } else if entry.kind == "FK CONSTRAINT" && any.clone().any(|it| taken[*it]) {
            chosen.cut.push(entry.rest.clone());
        }
    }
    chosen
}

/// Whether a part belongs to what it depends on, rather than merely using it:
/// a trigger needs a function and belongs to a table.
fn owns(owner: &Entry, part: &Entry) -> bool {
    match part.kind.as_str() {
        "COMMENT" | "ACL" | "SECURITY LABEL" => true,
        "SEQUENCE OWNED BY" | "SEQUENCE SET" => owner.kind == "SEQUENCE",
        _ => RELATIONS.contains(&owner.kind.as_str()) && owner.kind != "SEQUENCE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = ";\n; Archive created at 2026-11-20 12:03:07 UTC\n;     dbname: shop\n;\n\
        6; 2615 16385 SCHEMA - app me\n\
        2; 3079 16386 EXTENSION - citext \n\
        700; 1247 16400 DOMAIN app price me\n;\tdepends on: 6\n\
        800; 1255 16401 FUNCTION app stamp() me\n;\tdepends on: 6\n\
        215; 1259 16402 TABLE app orders me\n;\tdepends on: 700 2 6\n\
        216; 1259 16403 TABLE app my orders me\n;\tdepends on: 6\n\
        217; 1259 16404 SEQUENCE app orders_id_seq me\n;\tdepends on: 215 6\n\
        3000; 0 0 SEQUENCE OWNED BY app orders_id_seq me\n;\tdepends on: 217\n\
        218; 1259 16405 TABLE app parts me\n;\tdepends on: 6\n\
        219; 1259 16406 TABLE app parts_1 me\n;\tdepends on: 6\n\
        3001; 0 0 TABLE ATTACH app parts_1 me\n;\tdepends on: 218 219\n\
        3002; 2604 16407 DEFAULT app orders id me\n;\tdepends on: 217 215\n\
        3003; 0 16402 TABLE DATA app orders me\n;\tdepends on: 215\n\
        3004; 0 16406 TABLE DATA app parts_1 me\n;\tdepends on: 219\n\
        3005; 0 0 SEQUENCE SET app orders_id_seq me\n;\tdepends on: 217\n\
        3006; 1259 16408 INDEX app orders_when me\n;\tdepends on: 215\n\
        3007; 2620 16409 TRIGGER app orders stamped me\n;\tdepends on: 800 215\n\
        3008; 2606 16410 FK CONSTRAINT app orders orders_my me\n;\tdepends on: 215 216\n\
        3009; 0 0 COMMENT app TABLE orders me\n;\tdepends on: 215\n\
        220; 1259 16411 VIEW app recent me\n;\tdepends on: 215 6\n";

    fn table(name: &'static str) -> Wanted<'static> {
        Wanted {
            schema: "app",
            name,
            owner: "me",
        }
    }

    #[test]
    fn entries_are_read_with_their_needs() {
        let entries = parse(LISTING);
        assert_eq!(entries.len(), 20);
        let attach = entries.iter().find(|it| it.id == 3001).unwrap();
        assert_eq!(
            (attach.kind.as_str(), attach.rest.as_str()),
            ("TABLE ATTACH", "app parts_1 me")
        );
        assert_eq!(attach.needs, [218, 219]);
    }

    #[test]
    fn a_table_comes_with_its_parts_and_needs() {
        let chosen = choose(&parse(LISTING), &[table("orders")], &[], true);
        assert_eq!(
            chosen.ids,
            [
                6, 2, 700, 800, 215, 217, 3000, 3002, 3003, 3005, 3006, 3007, 3009
            ]
        );
        assert_eq!(chosen.cut, ["app orders orders_my me"]);
        assert!(chosen.has(&table("orders")) && !chosen.has(&table("my orders")));
        let bare = choose(&parse(LISTING), &[table("orders")], &[], false);
        assert_eq!(
            bare.ids,
            [215, 217, 3000, 3002, 3003, 3005, 3006, 3007, 3009]
        );
    }

    #[test]
    fn a_foreign_key_comes_with_both_its_tables() {
        let chosen = choose(
            &parse(LISTING),
            &[table("orders"), table("my orders")],
            &[],
            true,
        );
        assert!(chosen.ids.contains(&3008) && chosen.cut.is_empty());
    }

    #[test]
    fn partitions_come_with_their_table_but_not_the_reverse() {
        let chosen = choose(&parse(LISTING), &[table("parts")], &[], true);
        assert_eq!(chosen.ids, [6, 218, 219, 3001, 3004]);
        let chosen = choose(&parse(LISTING), &[table("parts_1")], &[], true);
        assert_eq!(chosen.ids, [6, 219, 3004]);
    }

    #[test]
    fn a_schema_is_all_that_is_in_it() {
        let chosen = choose(&parse(LISTING), &[], &["app".into()], true);
        assert_eq!(chosen.ids.len(), 20);
        assert!(
            choose(&parse(LISTING), &[], &["ap".into()], true)
                .ids
                .is_empty()
        );
    }
}
