//! The order in which the entries of a dump are restored. Pure.
//!
//! Rows come when all definitions are there that rows need, and before any that
//! acts on rows: a trigger that is there already would change or swallow them.
//! `pg_restore` keeps to that as long as one job goes through a dump from its
//! beginning to its end, and with several only where the dump says where the
//! rows of each table lie, which one that was written into a pipe does not.
//! So each section of a dump is a run of its own.
//!
//! Privileges come behind everything, as in a run of `pg_restore` over all of
//! it: a role may have taken from itself what its rows need. Behind those come
//! materialized views, which need them, and event triggers: that much is done
//! by `pg_restore` within the last run.

use std::collections::HashSet;

use super::toc::{Chosen, Entry};

/// Given when everything else is there.
const PRIVILEGES: [&str; 3] = ["ACL", "ACL LANGUAGE", "DEFAULT ACL"];
/// Not restored: a copy must not begin to replicate by itself, and statistics
/// are collected anew.
const LEFT_OUT: [&str; 3] = ["SUBSCRIPTION", "SUBSCRIPTION TABLE", "STATISTICS DATA"];

/// How the search path is fixed in a dump, as `pg_dump` writes it.
const FIXED_PATH: &[u8] = b"SELECT pg_catalog.set_config('search_path', '', false);";
/// What gives a session the path back that it was opened with.
const OWN_PATH: &[u8] = b"RESET search_path;";
/// The path is the third entry of a dump.
const HEAD: usize = 64 << 10;

/// Numbers of entries by section, as `pg_restore --list --section` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    /// Definitions.
    pub pre_data: Vec<u32>,
    /// Rows.
    pub data: Vec<u32>,
    /// Indexes, constraints, triggers and the like.
    pub post_data: Vec<u32>,
}

/// Runs of `pg_restore`: numbers of entries, in the dump's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phases {
    /// Definitions that rows need.
    pub definitions: Vec<u32>,
    /// Rows.
    pub rows: Vec<u32>,
    /// All that acts on rows, and privileges.
    pub rest: Vec<u32>,
}

/// Sorts the entries, or those that are `chosen`.
pub fn phases(entries: &[Entry], sections: &Sections, chosen: Option<&Chosen>) -> Phases {
    let chosen: Option<HashSet<u32>> = chosen.map(|it| it.ids.iter().copied().collect());
    let set = |numbers: &[u32]| numbers.iter().copied().collect::<HashSet<_>>();
    let (pre_data, data) = (set(&sections.pre_data), set(&sections.data));
    let post_data = set(&sections.post_data);
    let mut left_out = HashSet::new();
    let mut phases = Phases::default();
    for entry in entries {
        let of_left_out = is_remark(entry) && entry.needs.iter().any(|it| left_out.contains(it));
        if LEFT_OUT.contains(&entry.kind.as_str()) || of_left_out {
            left_out.insert(entry.id);
            continue;
        }
        if chosen.as_ref().is_some_and(|it| !it.contains(&entry.id)) {
            continue;
        }
        let known = [&pre_data, &data, &post_data];
        let privilege = PRIVILEGES.contains(&entry.kind.as_str());
        if privilege && known.iter().any(|it| it.contains(&entry.id)) {
            phases.rest.push(entry.id);
        } else if pre_data.contains(&entry.id) {
            phases.definitions.push(entry.id);
        } else if data.contains(&entry.id) {
            phases.rows.push(entry.id);
        } else if post_data.contains(&entry.id) {
            phases.rest.push(entry.id);
        }
    }
    phases
}

/// The entries of subscriptions.
pub fn subscriptions<'a>(
    entries: &'a [Entry],
    chosen: Option<&Chosen>,
) -> impl Iterator<Item = &'a Entry> {
    let chosen: Option<HashSet<u32>> = chosen.map(|it| it.ids.iter().copied().collect());
    entries.iter().filter(move |entry| {
        let wanted = chosen.as_ref().is_none_or(|it| it.contains(&entry.id));
        entry.kind == "SUBSCRIPTION" && wanted
    })
}

fn is_remark(entry: &Entry) -> bool {
    ["COMMENT", "SECURITY LABEL", "ACL"].contains(&entry.kind.as_str())
}

/// A list for `--use-list`.
pub fn list(numbers: &[u32]) -> String {
    use std::fmt::Write as _;
    let mut list = String::new();
    for number in numbers {
        let _infallible = writeln!(list, "{number};");
    }
    list
}

/// Changes the beginning of a dump so that its entries are made with the
/// session's search path, instead of an empty one. Gives whether it could.
///
/// `pg_restore` says to the server what the dump has it say, in a text whose
/// length stays the same here.
pub fn with_own_path(head: &mut [u8]) -> bool {
    let end = head.len().min(HEAD);
    let Some(at) = memchr::memmem::find(&head[..end], FIXED_PATH) else {
        return false;
    };
    let text = &mut head[at..at + FIXED_PATH.len()];
    text.fill(b' ');
    text[..OWN_PATH.len()].copy_from_slice(OWN_PATH);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical::toc::{self, Wanted, tests::LISTING};

    fn sections() -> Sections {
        Sections {
            pre_data: vec![
                6, 2, 700, 800, 215, 216, 217, 3000, 218, 219, 3001, 3002, 9, 220,
            ],
            data: vec![3003, 3004, 3005],
            post_data: vec![3006, 3007, 3008, 3009],
        }
    }

    #[test]
    fn rows_come_before_all_that_acts_on_them() {
        let entries = toc::parse(LISTING);
        let phases = phases(&entries, &sections(), None);
        assert_eq!(phases.rows, [3003, 3004, 3005]);
        assert!(phases.definitions.contains(&215) && phases.definitions.contains(&3001));
        assert_eq!(phases.rest, [3006, 3007, 3008, 3009]);
    }

    #[test]
    fn privileges_come_last_and_subscriptions_never() {
        let listing = format!(
            "{LISTING}9; 0 0 ACL app TABLE orders me\n;\tdepends on: 215\n\
             90; 6100 7 SUBSCRIPTION - news me\n\
             91; 0 0 COMMENT - SUBSCRIPTION news me\n;\tdepends on: 90\n"
        );
        let entries = toc::parse(&listing);
        let mut sections = sections();
        sections.post_data.extend([90, 91]);
        let phases = phases(&entries, &sections, None);
        assert!(!phases.definitions.contains(&9));
        assert_eq!(phases.rest, [3006, 3007, 3008, 3009, 9]);
        let named: Vec<_> = subscriptions(&entries, None).map(|it| it.id).collect();
        assert_eq!(named, [90]);
    }

    #[test]
    fn only_what_is_chosen() {
        let entries = toc::parse(LISTING);
        let wanted = Wanted {
            schema: "app",
            name: "parts_1",
            owner: "me",
        };
        let chosen = toc::choose(&entries, &[wanted], &[], false);
        let phases = phases(&entries, &sections(), Some(&chosen));
        assert_eq!(phases.definitions, [219]);
        assert_eq!(phases.rows, [3004]);
        assert_eq!(list(&phases.rows), "3004;\n");
    }

    #[test]
    fn a_dump_may_be_told_to_use_the_sessions_path() {
        let mut head = b"PGDMP..".to_vec();
        head.extend_from_slice(FIXED_PATH);
        head.extend_from_slice(b"\n..");
        let length = head.len();
        assert!(with_own_path(&mut head));
        let text = String::from_utf8(head).unwrap();
        assert_eq!(text.len(), length);
        assert!(text.starts_with("PGDMP..RESET search_path;   "), "{text}");
        assert!(text.ends_with(" \n.."), "{text}");
        assert!(!with_own_path(&mut b"PGDMP".to_vec()));
    }
}
