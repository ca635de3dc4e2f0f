//! A dump's table of contents, and which of its entries single schemas and
//! tables need. Pure.
//!
//! `pg_restore --table` leaves out indexes, constraints and triggers, and
//! `--schema` the schema itself. So the entries are chosen here, along the
//! dependencies that `pg_restore --list --verbose` shows, and given back with
//! `--use-list`.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
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
    /// `SCHEMA NAME OWNER`; `-` for none. Line breaks are spaces. For people: it
    /// does not say where one ends.
    pub rest: String,
    /// Schema and name, as the dump itself has them; `None`: not known.
    pub names: Option<Names>,
    /// What it cannot be made without.
    pub needs: Vec<u32>,
}

/// See [`Entry::names`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Names {
    /// The schema that it is in.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

impl Entry {
    /// Whether it is the definition of this schema.
    pub fn makes_schema(&self, schema: &str) -> bool {
        self.kind == "SCHEMA"
            && match &self.names {
                Some(names) => names.name == schema,
                None => self.rest.starts_with(&format!("- {schema} ")),
            }
    }

    fn is_in(&self, schema: &str) -> bool {
        match &self.names {
            Some(names) => names.schema.as_deref() == Some(schema),
            None => self.rest.starts_with(&format!("{schema} ")),
        }
    }

    fn has_name_of(&self, other: &Self) -> bool {
        match (&self.names, &other.names) {
            (Some(one), Some(other)) => one == other,
            _ => self.rest == other.rest,
        }
    }
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
            rest: rest.trim_start().replace('\r', " "),
            names: None,
            needs: Vec::new(),
        });
    }
    entries
}

/// A relation that is wanted, or a schema's relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its owner.
    pub owner: &'a str,
}

impl Wanted<'_> {
    fn names(&self) -> Names {
        Names {
            schema: Some(self.schema.to_owned()),
            name: self.name.to_owned(),
        }
    }

    /// The [`Entry::rest`] of its definition.
    pub fn rest(&self) -> String {
        format!("{} {} {}", self.schema, self.name, self.owner).replace(['\n', '\r'], " ")
    }
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Numbers of entries, in the dump's order.
    pub ids: Vec<u32>,
    /// Of chosen relations.
    names: BTreeSet<Names>,
    /// `SCHEMA NAME OWNER` of those whose names are not known.
    rests: BTreeSet<String>,
    /// Foreign keys that lead to what was not chosen.
    pub cut: Vec<String>,
}

impl Chosen {
    /// Whether a relation is among them.
    pub fn has(&self, wanted: &Wanted<'_>) -> bool {
        self.names.contains(&wanted.names())
            || !self.rests.is_empty() && self.rests.contains(&wanted.rest())
    }
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
    let rests: BTreeSet<_> = tables.iter().map(Wanted::rest).collect();
    let names: BTreeSet<_> = tables.iter().map(Wanted::names).collect();
    let is_wanted = |entry: &Entry| match &entry.names {
        Some(it) => names.contains(it),
        None => rests.contains(&entry.rest),
    };
    let wanted_at = |entry: &Entry| {
        if TIES.contains(&entry.kind.as_str()) {
            return false;
        }
        match entry.kind.as_str() {
            "SCHEMA" => schemas.iter().any(|it| entry.makes_schema(it)),
            kind if RELATIONS.contains(&kind) && is_wanted(entry) => true,
            _ => schemas.iter().any(|it| entry.is_in(it)),
        }
    };
    let mut growth = Growth::new(entries, &position, needs);
    for (at, entry) in entries.iter().enumerate() {
        if wanted_at(entry) {
            growth.take(at);
        }
    }
    growth.grow();
    let taken = growth.taken;
    let mut chosen = Chosen::default();
    for (at, entry) in entries.iter().enumerate() {
        let any = entry.needs.iter().filter_map(|id| position.get(id));
        if taken[at] {
            chosen.ids.push(entry.id);
            if RELATIONS.contains(&entry.kind.as_str()) {
                match &entry.names {
                    Some(names) => chosen.names.insert(names.clone()),
                    None => chosen.rests.insert(entry.rest.clone()),
                };
            }
        } else if entry.kind == "FK CONSTRAINT" && any.clone().any(|it| taken[*it]) {
            chosen.cut.push(entry.rest.clone());
        }
    }
    chosen
}

/// The entries that are taken, and those that come with them. Each dependency
/// is looked at when what it leads to is taken, and never again: a list may
/// hold a million entries, each depending on the one behind it.
struct Growth<'e> {
    entries: &'e [Entry],
    /// For each entry, where those are that it cannot be made without; none
    /// once they are taken.
    on: Vec<Vec<usize>>,
    /// And where those are that cannot be made without it.
    of: Vec<Vec<usize>>,
    /// How many of `on` are not taken yet.
    missing: Vec<usize>,
    /// Also what entries cannot be made without.
    needs: bool,
    taken: Vec<bool>,
    /// Taken, and not followed yet.
    fresh: Vec<usize>,
}

impl<'e> Growth<'e> {
    fn new(entries: &'e [Entry], position: &HashMap<u32, usize>, needs: bool) -> Self {
        let on: Vec<Vec<usize>> = entries
            .iter()
            .map(|entry| {
                let known = entry
                    .needs
                    .iter()
                    .filter_map(|id| position.get(id).copied());
                known.collect()
            })
            .collect();
        let mut of = vec![Vec::new(); entries.len()];
        for (at, on) in on.iter().enumerate() {
            for it in on {
                of[*it].push(at);
            }
        }
        Self {
            entries,
            missing: on.iter().map(Vec::len).collect(),
            on,
            of,
            needs,
            taken: vec![false; entries.len()],
            fresh: Vec::new(),
        }
    }

    fn take(&mut self, at: usize) {
        if !self.taken[at] {
            self.taken[at] = true;
            self.fresh.push(at);
        }
    }

    /// Takes all that comes with what is taken.
    fn grow(&mut self) {
        while let Some(at) = self.fresh.pop() {
            if self.needs && !TIES.contains(&self.entries[at].kind.as_str()) {
                for needed in mem::take(&mut self.on[at]) {
                    self.take(needed);
                }
            }
            for part in mem::take(&mut self.of[at]) {
                self.missing[part] -= 1;
                self.follow(part, at);
            }
        }
    }

    /// `on`, which the entry at `at` depends on, has been taken.
    fn follow(&mut self, at: usize, on: usize) {
        let (entry, owner) = (&self.entries[at], &self.entries[on]);
        let kind = entry.kind.as_str();
        let is_part = PARTS.contains(&kind) && owns(owner, entry);
        let is_tied = TIES.contains(&kind) && self.missing[at] == 0;
        if is_part || is_tied {
            self.take(at);
        }
        if kind == "TABLE ATTACH" && !owner.has_name_of(entry) {
            // A partitioned table without its partitions has no rows, whatever
            // else took what attaches them, and when.
            for child in mem::take(&mut self.on[at]) {
                if self.entries[child].has_name_of(entry) {
                    self.take(child);
                }
            }
        }
    }
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
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_a_carriage_return_is_found_again() {
        let entries = parse("5; 1259 16402 TABLE app or\rders me\n");
        assert_eq!(entries[0].rest, "app or ders me");
        let wanted = Wanted {
            schema: "app",
            name: "or\rders",
            owner: "me",
        };
        assert!(choose(&entries, &[wanted], &[], false).has(&wanted));
    }

    #[test]
    fn names_that_a_listing_cannot_tell_apart_are_told_apart_by_the_dump() {
        let listing = "1; 2615 1 SCHEMA - a me\n2; 2615 2 SCHEMA - a b me\n\
            3; 1259 3 TABLE a t me\n4; 1259 4 TABLE a b u me\n5; 1259 5 TABLE a b u me\n\
            6; 2615 6 SCHEMA - new line me\n7; 1259 7 TABLE new line v me\n";
        let mut entries = parse(listing);
        let names = [
            (None, "a"),
            (None, "a b"),
            (Some("a"), "t"),
            (Some("a b"), "u"),
            (Some("a"), "b u"),
            (None, "new\nline"),
            (Some("new\nline"), "v"),
        ];
        for (entry, (schema, name)) in entries.iter_mut().zip(names) {
            entry.names = Some(Names {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            });
        }
        let of_schema = |schema: &str| choose(&entries, &[], &[schema.to_owned()], false).ids;
        assert_eq!(of_schema("a"), [1, 3, 5]);
        assert_eq!(of_schema("a b"), [2, 4]);
        assert_eq!(of_schema("new\nline"), [6, 7]);
        let wanted = Wanted {
            schema: "a b",
            name: "u",
            owner: "me",
        };
        let chosen = choose(&entries, &[wanted], &[], false);
        assert_eq!(chosen.ids, [4]);
        assert!(chosen.has(&wanted));
        let other = Wanted {
            schema: "a",
            name: "b u",
            ..wanted
        };
        assert!(!chosen.has(&other));
    }

    pub(crate) const LISTING: &str = ";\n; Archive created at 2026-11-20 12:03:07 UTC\n;     dbname: shop\n;\n\
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

    #[test]
    fn a_partition_comes_even_if_its_attachment_was_needed_before() {
        let entry = |id, kind: &str, rest: &str, needs: &[u32]| Entry {
            id,
            kind: kind.into(),
            rest: rest.into(),
            names: None,
            needs: needs.into(),
        };
        let entries = [
            entry(1, "TABLE ATTACH", "app b me", &[5, 6]),
            entry(5, "TABLE", "app b me", &[]),
            entry(6, "TABLE", "app a me", &[1]),
        ];
        let chosen = choose(&entries, &[table("a")], &[], true);
        assert_eq!(chosen.ids, [1, 5, 6]);
    }

    /// Looks at all entries again and again, until nothing more is taken.
    fn chosen_slowly(entries: &[Entry], wanted: &str, needs: bool) -> Vec<u32> {
        let at = |id: &u32| entries.iter().rposition(|entry| entry.id == *id);
        let on = |entry: &Entry| entry.needs.iter().filter_map(at).collect::<Vec<_>>();
        let mut taken: Vec<bool> = entries
            .iter()
            .map(|entry| RELATIONS.contains(&entry.kind.as_str()) && entry.rest == wanted)
            .collect();
        loop {
            let before = taken.clone();
            for (place, entry) in entries.iter().enumerate() {
                let (kind, on) = (entry.kind.as_str(), on(entry));
                let is_tie = TIES.contains(&kind);
                let mut there = on.iter().filter(|it| before[**it]);
                if kind == "TABLE ATTACH" && there.clone().any(|it| entries[*it].rest != entry.rest)
                {
                    for it in on.iter().filter(|it| entries[**it].rest == entry.rest) {
                        taken[*it] = true;
                    }
                }
                if before[place] {
                    if needs && !is_tie {
                        for it in &on {
                            taken[*it] = true;
                        }
                    }
                    continue;
                }
                if PARTS.contains(&kind) {
                    taken[place] |= there.any(|it| owns(&entries[*it], entry));
                } else if is_tie && !on.is_empty() && on.iter().all(|it| before[*it]) {
                    taken[place] = true;
                }
            }
            if taken == before {
                let ids = entries.iter().zip(taken).filter(|(_, taken)| *taken);
                return ids.map(|(entry, _)| entry.id).collect();
            }
        }
    }

    fn lists() -> impl Strategy<Value = Vec<Entry>> {
        let kind = prop::sample::select(vec![
            "TABLE",
            "SEQUENCE",
            "TYPE",
            "INDEX",
            "ACL",
            "TABLE ATTACH",
            "FK CONSTRAINT",
        ]);
        let rest = prop::sample::select(vec!["app a me", "app b me"]);
        let needs = prop::collection::vec(0..14_u32, 0..4);
        let entry = (0..12_u32, kind, rest, needs).prop_map(|(id, kind, rest, needs)| Entry {
            id,
            kind: kind.into(),
            rest: rest.into(),
            names: None,
            needs,
        });
        prop::collection::vec(entry, 0..12)
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_what_the_rules_say(entries in lists(), needs: bool) {
            let wanted = Wanted { schema: "app", name: "a", owner: "me" };
            let chosen = choose(&entries, &[wanted], &[], needs);
            prop_assert_eq!(chosen.ids, chosen_slowly(&entries, "app a me", needs));
        }
    }

    #[test]
    fn a_long_chain_is_followed_at_once() {
        // Each entry needs the one behind it, so that every look at the whole
        // list finds one more. The last one needs all.
        let count = 100_000;
        let mut entries: Vec<Entry> = (0..count)
            .map(|id| Entry {
                id,
                kind: "TYPE".into(),
                rest: "other t me".into(),
                names: None,
                needs: vec![id + 1],
            })
            .collect();
        entries[0].kind = "TABLE".into();
        entries[0].rest = "app a me".into();
        let attach = Entry {
            id: count,
            kind: "TABLE ATTACH".into(),
            rest: "other p me".into(),
            names: None,
            needs: (0..count).collect(),
        };
        entries.push(attach);
        let wanted = Wanted {
            schema: "app",
            name: "a",
            owner: "me",
        };
        let chosen = choose(&entries, &[wanted], &[], true);
        assert_eq!(chosen.ids.len(), count as usize + 1);
    }
}
