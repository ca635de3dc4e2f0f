//! What a connection is told before anything runs on it.
//!
//! `ALTER DATABASE … SET` and `ALTER ROLE … SET` decide over a session before
//! its first statement, and a database's owner may say the former. Only what
//! stands in the startup packet outranks them (PostgreSQL manual, 20.1.3). So
//! what our statements depend on stands there, and not in a `SET`.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Where names that are not qualified are looked for: nowhere but in the
/// server's own catalog. Temporary tables would come before it, if they were
/// not named behind it.
pub const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// What holds for every statement of ours.
const OURS: [(&str, &str); 6] = [
    ("search_path", SEARCH_PATH),
    // What a policy hides would be missing without a word, as `pg_dump` knows;
    // and its functions would run as us.
    ("row_security", "off"),
    ("statement_timeout", "60s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "0"),
    ("standard_conforming_strings", "on"),
];

/// What a session must have set for the texts of rows to be comparable, besides the
/// encoding and what `pg_dump` sets itself.
pub const TEXTS: [(&str, &str); 6] = [
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    // As `pg_dump` has it: names of relations and types are texts of rows, too.
    ("quote_all_identifiers", "on"),
];

/// A setting that means nothing to a server, and comes back only in the very
/// session that was told it.
pub(super) const TOKEN: &str = "strongroom.session";

/// A value of [`TOKEN`] that no other session has.
pub(super) fn token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    // Keys of a hasher are random, and it is enough to be rare.
    let random = RandomState::new().hash_one(count);
    format!("{}-{random:016x}-{count}", process::id())
}

/// Options that say a token besides.
pub(super) fn with_token(settings: &str, token: &str) -> String {
    format!("{settings} {}", options(&[(TOKEN, token)]))
}

/// For statements of ours.
pub(crate) fn ours() -> String {
    options(&OURS)
}

/// For statements of others, and for programs that look out for themselves:
/// the path only.
pub(crate) fn with_path(search_path: &str) -> String {
    options(&[("search_path", search_path)])
}

/// As the server splits it: at white space that has no backslash before it.
pub(super) fn options(settings: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in settings {
        let _infallible = write!(text, "{}-c ", if text.is_empty() { "" } else { " " });
        for character in format!("{name}={value}").chars() {
            if character == '\\' || character.is_ascii_whitespace() || character == '\x0b' {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_word() {
        assert_eq!(
            with_path("\"$user\", public"),
            "-c search_path=\"$user\",\\ public"
        );
        assert_eq!(with_path("\"a\\b\tc\""), "-c search_path=\"a\\\\b\\\tc\"");
        assert!(ours().starts_with("-c search_path=pg_catalog,\\ pg_temp -c row_security=off -c "));
    }
}
