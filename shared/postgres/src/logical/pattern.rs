//! `pg_dump`'s patterns as the server's regular expressions, by the rules of
//! the PostgreSQL manual, psql, "Patterns": what is unquoted is folded to lower
//! case, `*` and `?` are wild, a dot separates schema and name, double quotes
//! stop all of that. Pure.
//!
//! `pg_dump` does the selection; this only foresees it, to count the same
//! tables.

/// A pattern for a name, or for a schema and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Anchored; absent: whatever can be seen without a schema.
    pub schema: Option<String>,
    /// Anchored.
    pub name: String,
}

/// Reads a pattern. Parts before a schema (a database's name) are ignored.
pub fn pattern(text: &str) -> Pattern {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let Some(part) = parts.last_mut() else {
            break; // there is always one
        };
        match next {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            '*' if !quoted => part.push_str(".*"),
            '?' if !quoted => part.push('.'),
            '$' => part.push_str("\\$"),
            special if quoted && "|*+?()[]{}.^\\".contains(special) => {
                part.push('\\');
                part.push(special);
            }
            // The name of an array type, not an empty set.
            '[' if rest.peek() == Some(&']') => part.push_str("\\["),
            other if quoted => part.push(other),
            other => part.extend(other.to_lowercase()),
        }
    }
    let anchored = |part: String| format!("^({part})$");
    let name = parts.pop().map(anchored).unwrap_or_default();
    Pattern {
        schema: parts.pop().map(anchored),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_psql_means() {
        for (text, schema, name) in [
            ("Orders", None, "^(orders)$"),
            ("\"Orders\"", None, "^(Orders)$"),
            ("app.ord*", Some("^(app)$"), "^(ord.*)$"),
            ("*.log_?", Some("^(.*)$"), "^(log_.)$"),
            ("\"a.b\".\"c\"\"*\"", Some("^(a\\.b)$"), "^(c\"\\*)$"),
            ("a$b", None, "^(a\\$b)$"),
            ("db.app.t", Some("^(app)$"), "^(t)$"),
            ("t[0-9]", None, "^(t[0-9])$"),
            ("a|b", None, "^(a|b)$"),
            ("\"\u{fc}ber\"", None, "^(\u{fc}ber)$"),
        ] {
            let expected = Pattern {
                schema: schema.map(str::to_owned),
                name: name.into(),
            };
            assert_eq!(pattern(text), expected, "{text}");
        }
    }
}
