//! Names and texts inside statements, and statements that can mean only one
//! thing.

mod tokens;
mod unqualified;

pub use unqualified::unqualified;

/// A name as the server takes it literally.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both literally.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A text, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// An array of texts. As a parameter it would go to the server in a form in which
/// nobody finds the names that are no UTF-8 ([`crate::name`]).
pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let literals: Vec<_> = texts.into_iter().map(literal).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", literals.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_hold_any_text() {
        let none: [&str; 0] = [];
        assert_eq!(texts(none), "ARRAY[]::pg_catalog.text[]");
        assert_eq!(
            texts(["it's", r"a\b"]),
            r"ARRAY['it''s',  E'a\\b']::pg_catalog.text[]"
        );
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(qualified("s", "t t"), "\"s\".\"t t\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), " E'a\\\\'''");
    }
}
