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
        let words = words(statement);
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

/// Memberships that `globals` has of roles that are in `existing`, and that
/// `memberships` of the server lacks, as role and member: those are left to
/// whoever administers the server.
pub fn left_out(
    globals: &str,
    existing: &[String],
    memberships: &[(String, String)],
) -> Vec<(String, String)> {
    let mut left_out = BTreeSet::new();
    for statement in statements(globals) {
        let words = words(statement);
        if let [grant, role, to, member, ..] = words.as_slice()
            && grant == "GRANT"
            && to == "TO"
        {
            let pair = (role.clone(), member.clone());
            if existing.contains(member) && !memberships.contains(&pair) {
                left_out.insert(pair);
            }
        }
    }
    left_out.into_iter().collect()
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

/// The first few words; quoted identifiers are one word, without the quotes.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement.trim_start();
    while !rest.is_empty() && words.len() < 6 {
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

    #[test]
    fn memberships_of_roles_that_are_there_are_named() {
        let existing = ["app".to_owned(), "postgres".into()];
        let none = left_out(GLOBALS, &existing, &[]);
        let app = ("o\"dd; role".to_owned(), "app".to_owned());
        let admin = ("app".to_owned(), "postgres".to_owned());
        assert_eq!(none, [admin.clone(), app.clone()]);
        assert_eq!(left_out(GLOBALS, &existing, &[admin]), [app]);
        assert_eq!(left_out(GLOBALS, &[], &[]), []);
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
