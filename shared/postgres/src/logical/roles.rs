//! What `pg_dumpall --globals-only` says of roles. Pure.
//!
//! Only roles that are missing are made, with all that is said of them;
//! whatever there is keeps its attributes, its password and its memberships.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a `globals.sql` that are read at most.
pub const MAX_SIZE: u64 = 64 << 20;

/// Statements that make one role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// Each alone, in order. May hold a password verifier: not for logs.
    pub statements: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRoles {
    /// By name.
    pub roles: Vec<NewRole>,
    /// `GRANT role TO new role`, once all roles are there.
    pub memberships: Vec<String>,
}

/// Reads the roles that are not in `existing`.
pub fn missing(globals: &str, existing: &[String]) -> NewRoles {
    let mut roles: BTreeMap<String, NewRole> = BTreeMap::new();
    let mut memberships = Vec::new();
    for statement in statements(globals) {
        let words = words(statement, 6);
        let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
        match (word(0), word(1)) {
            ("CREATE", "ROLE") if words.len() == 3 => {
                let name = word(2).to_owned();
                if !existing.contains(&name) {
                    let role = roles.entry(name.clone()).or_default();
                    role.name = name;
                    role.statements.push(statement.to_owned());
                }
            }
            ("ALTER", "ROLE") if matches!(word(3), "WITH" | "SET") => {
                if let Some(role) = roles.get_mut(word(2)) {
                    role.statements.push(statement.to_owned());
                }
            }
            ("COMMENT", "ON") if word(2) == "ROLE" => {
                if let Some(role) = roles.get_mut(word(3)) {
                    role.statements.push(statement.to_owned());
                }
            }
            ("GRANT", _) if word(2) == "TO" => memberships.push((word(3).to_owned(), statement)),
            _ => {}
        }
    }
    let new: BTreeSet<_> = roles.keys().cloned().collect();
    NewRoles {
        roles: roles.into_values().collect(),
        memberships: memberships
            .into_iter()
            .filter(|(member, _)| new.contains(member))
            .map(|(_, statement)| statement.to_owned())
            .collect(),
    }
}

/// A role's membership in another, by whoever granted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// What it is a member of.
    pub role: String,
    /// Who is.
    pub member: String,
    /// May grant it to others.
    pub admin: bool,
    /// Has the role's rights without asking for them; `None`: its own attribute decides,
    /// as up to PostgreSQL 15.
    pub inherit: Option<bool>,
    /// May become the role; `None`: whoever is a member may, as up to PostgreSQL 15.
    pub set: Option<bool>,
}

/// What a member lacks, or has besides, on a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// The role.
    pub role: String,
    /// Its member.
    pub member: String,
    /// Options that are others, as `ADMIN true`: what they were; none: it is no member.
    pub options: Vec<String>,
}

/// Memberships that `globals` has of roles that are in `existing`, and that
/// `memberships` of the server lacks, or has with other options: those are left to
/// whoever administers the server.
pub fn left_out(globals: &str, existing: &[String], memberships: &[Membership]) -> Vec<LeftOut> {
    let mut all: BTreeMap<(String, String), Membership> = BTreeMap::new();
    for it in statements(globals).into_iter().filter_map(membership) {
        if existing.contains(&it.member) {
            let key = (it.role.clone(), it.member.clone());
            all.entry(key).and_modify(|all| all.add(&it)).or_insert(it);
        }
    }
    let mut left_out = BTreeSet::new();
    for was in all.into_values() {
        let mut here = memberships
            .iter()
            .filter(|it| it.role == was.role && it.member == was.member);
        let here = here.next().cloned().map(|first| {
            here.fold(first, |mut all, it| {
                all.add(it);
                all
            })
        });
        let options = match &here {
            None => Vec::new(),
            Some(here) => was.other_options(here),
        };
        if here.is_none() || !options.is_empty() {
            left_out.insert(LeftOut {
                role: was.role,
                member: was.member,
                options,
            });
        }
    }
    left_out.into_iter().collect()
}

impl Membership {
    /// Of the same roles, granted by somebody else: what either gives.
    fn add(&mut self, other: &Self) {
        self.admin |= other.admin;
        let either = |one: Option<bool>, other: Option<bool>| Some(one? || other?);
        self.inherit = either(self.inherit, other.inherit);
        self.set = either(self.set, other.set);
    }

    /// Those that are not so `here`, as they were; what only one side says is none.
    fn other_options(&self, here: &Self) -> Vec<String> {
        let options = [
            ("ADMIN", Some(self.admin), Some(here.admin)),
            ("INHERIT", self.inherit, here.inherit),
            ("SET", self.set, here.set),
        ];
        let others = options.into_iter().filter_map(|(name, was, is)| {
            let (was, is) = (was?, is?);
            (was != is).then(|| format!("{name} {was}"))
        });
        others.collect()
    }
}

/// `GRANT role TO member WITH ADMIN OPTION, INHERIT TRUE, SET FALSE GRANTED BY grantor`:
/// from PostgreSQL 16 on `INHERIT` is always said, and `SET` where it is not so.
fn membership(statement: &str) -> Option<Membership> {
    let words = words(statement, 16);
    let [grant, role, to, member, rest @ ..] = words.as_slice() else {
        return None;
    };
    if grant != "GRANT" || to != "TO" {
        return None;
    }
    let mut found = Membership {
        role: role.clone(),
        member: member.clone(),
        ..Membership::default()
    };
    let options = rest.iter().take_while(|it| *it != "GRANTED");
    let options: Vec<_> = options.map(|it| it.trim_end_matches(',')).collect();
    for pair in options.windows(2) {
        match pair {
            ["ADMIN", value] => found.admin = matches!(*value, "OPTION" | "TRUE"),
            ["INHERIT", value] => {
                found.inherit = Some(*value == "TRUE");
                found.set.get_or_insert(true);
            }
            ["SET", value] => found.set = Some(*value == "TRUE"),
            _ => {}
        }
    }
    Some(found)
}

/// A membership without its grantor, who may not be there.
pub fn without_grantor(membership: &str) -> &str {
    match membership.rfind(" GRANTED BY ") {
        Some(at) => &membership[..at],
        None => membership,
    }
}

/// Splits at semicolons that stand in no quotes; drops comments and the
/// commands of psql.
fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    let line_end = |from: usize| {
        text[from..]
            .find('\n')
            .map_or(text.len(), |end| from + end + 1)
    };
    // Nothing but white space since `start`.
    let mut blank = true;
    while at < bytes.len() {
        match bytes[at] {
            b'-' if blank && bytes.get(at + 1) == Some(&b'-') => {
                at = line_end(at);
                start = at;
                continue;
            }
            b'\\' if blank => {
                at = line_end(at);
                start = at;
                continue;
            }
            quote @ (b'\'' | b'"') => {
                // A doubled one ends and begins again: the same thing.
                let end = bytes[at + 1..].iter().position(|byte| *byte == quote);
                at = end.map_or(bytes.len(), |end| at + 1 + end);
                blank = false;
            }
            b';' => {
                found.push(text[start..at].trim());
                start = at + 1;
                blank = true;
            }
            byte => blank &= byte.is_ascii_whitespace(),
        }
        at += 1;
    }
    found
}

/// The first `count` words; quoted identifiers are one word, without the quotes.
fn words(statement: &str, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement.trim_start();
    while !rest.is_empty() && words.len() < count {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, next)) = chars.next() {
                match next {
                    '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    other => name.push(other),
                }
            }
            words.push(name);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
    }
    words
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const GLOBALS: &str = "--\n-- it's a dump; really\n--\n\n\\restrict abc\n\n\
        SET default_transaction_read_only = off;\n\n\
        CREATE ROLE \"app\";\nALTER ROLE \"app\" WITH NOSUPERUSER LOGIN PASSWORD 'a;b''c\\';\n\
        CREATE ROLE \"o\"\"dd; role\";\nALTER ROLE \"o\"\"dd; role\" WITH NOSUPERUSER;\n\
        CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER PASSWORD 'x';\n\
        COMMENT ON ROLE \"app\" IS 'runs\n-- the shop';\n\
        ALTER ROLE \"app\" SET \"search_path\" TO 'shop', 'public';\n\
        GRANT \"o\"\"dd; role\" TO \"app\" GRANTED BY \"postgres\";\n\
        GRANT \"app\" TO \"postgres\" GRANTED BY \"postgres\";\n\
        CREATE TABLESPACE \"fast\" OWNER \"app\" LOCATION '/x';\n\\unrestrict abc\n";

    #[test]
    fn only_missing_roles_are_made_with_all_that_is_theirs() {
        let new = missing(GLOBALS, &["postgres".into(), "o\"dd; role".into()]);
        assert_eq!(new.roles.len(), 1);
        assert_eq!(new.roles[0].name, "app");
        assert_eq!(new.roles[0].statements.len(), 4);
        assert!(new.roles[0].statements[1].ends_with("'a;b''c\\'"));
        assert_eq!(new.memberships.len(), 1);
        assert_eq!(
            without_grantor(&new.memberships[0]),
            "GRANT \"o\"\"dd; role\" TO \"app\""
        );
        let all = missing(GLOBALS, &[]);
        let names: Vec<_> = all.roles.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(names, ["app", "o\"dd; role", "postgres"]);
        assert_eq!(all.memberships.len(), 2);
    }

    fn member(role: &str, member: &str) -> Membership {
        Membership {
            role: role.into(),
            member: member.into(),
            ..Membership::default()
        }
    }

    #[test]
    fn memberships_of_roles_that_are_there_are_named() {
        let existing = ["app".to_owned(), "postgres".into()];
        let lacks = |role: &str, member: &str| LeftOut {
            role: role.into(),
            member: member.into(),
            options: Vec::new(),
        };
        let none = left_out(GLOBALS, &existing, &[]);
        let app = lacks("o\"dd; role", "app");
        assert_eq!(none, [lacks("app", "postgres"), app.clone()]);
        let admin = member("app", "postgres");
        assert_eq!(left_out(GLOBALS, &existing, &[admin]), [app]);
        assert_eq!(left_out(GLOBALS, &[], &[]), []);
    }

    #[test]
    fn options_of_memberships_are_compared_where_both_sides_have_them() {
        let here = |admin, inherit, set| Membership {
            admin,
            inherit,
            set,
            ..member("a b", "c")
        };
        let differ = |options: &str, here: &[Membership]| -> Vec<Vec<String>> {
            let globals = format!("GRANT \"a b\" TO \"c\"{options} GRANTED BY \"WITH\";\n");
            let left_out = left_out(&globals, &["c".into()], here);
            left_out.into_iter().map(|it| it.options).collect()
        };
        let same: [Vec<String>; 0] = [];
        for (options, here, wanted) in [
            ("", here(false, None, None), &[][..]),
            ("", here(false, Some(true), Some(false)), &[]),
            (" WITH ADMIN OPTION", here(true, None, None), &[]),
            (
                " WITH ADMIN OPTION",
                here(false, None, None),
                &["ADMIN true"],
            ),
            ("", here(true, None, None), &["ADMIN false"]),
            (
                " WITH INHERIT TRUE",
                here(false, Some(true), Some(true)),
                &[],
            ),
            (
                " WITH INHERIT TRUE",
                here(false, Some(false), Some(false)),
                &["INHERIT true", "SET true"],
            ),
            (
                " WITH ADMIN OPTION, INHERIT FALSE, SET FALSE",
                here(false, Some(true), Some(true)),
                &["ADMIN true", "INHERIT false", "SET false"],
            ),
            (
                " WITH ADMIN TRUE, INHERIT FALSE",
                here(true, None, None),
                &[],
            ),
        ] {
            let found = differ(options, std::slice::from_ref(&here));
            if wanted.is_empty() {
                assert_eq!(found, same, "{options:?} {here:?}");
            } else {
                assert_eq!(found, [wanted], "{options:?} {here:?}");
            }
        }
        // Of two who granted it either is enough.
        let two = [
            here(true, Some(false), Some(true)),
            here(false, Some(true), Some(false)),
        ];
        assert_eq!(differ(" WITH ADMIN OPTION, INHERIT TRUE", &two), same);
    }

    #[test]
    fn any_text_is_read_without_harm() {
        for text in [
            "",
            ";",
            "'",
            "\"",
            "CREATE ROLE \"a",
            "--",
            "\\",
            "CREATE ROLE ;",
            "\u{fc}';",
        ] {
            assert!(missing(text, &[]).memberships.is_empty());
        }
    }
}
