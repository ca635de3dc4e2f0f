use std::{fs, path::Path};

use super::*;

#[test]
fn what_is_looked_up_along_the_search_path_is_found() {
    for (statement, found) in [
        ("SELECT current_setting('a')", Some("current_setting")),
        ("SELECT pg_catalog.count(*) FROM ONLY \"s\".\"t\"", None),
        (
            "SELECT pg_catalog.count(*) FROM ONLY \"t\"",
            Some("what follows FROM"),
        ),
        ("SELECT a FROM pg_catalog.c WHERE a = 1", Some("=")),
        (
            "SELECT a FROM pg_catalog.c WHERE a OPERATOR(pg_catalog.=) ANY ($1)",
            None,
        ),
        (
            "SELECT a FROM pg_catalog.c WHERE a OPERATOR(x.=) 1",
            Some("OPERATOR(…)"),
        ),
        (
            "SELECT a FROM pg_catalog.c, d",
            Some("what follows a comma"),
        ),
        (
            "SELECT a FROM pg_catalog.c JOIN d ON true",
            Some("what follows JOIN"),
        ),
        ("SELECT a, b FROM (SELECT 1, 2) AS c (a, b)", None),
        ("SELECT 1::text", Some("::")),
        ("SELECT 'pg_class'::pg_catalog.regclass", Some("pg_class")),
        ("SELECT a COLLATE \"C\"", Some("COLLATE")),
        ("SELECT CASE a WHEN 1 THEN 2 END", Some("CASE")),
        ("SELECT CASE WHEN true THEN 2 END", None),
        ("SELECT a IS DISTINCT FROM b", Some("DISTINCT")),
        ("SELECT DISTINCT a FROM pg_catalog.b", None),
        ("SELECT a IN (1)", Some("IN")),
        ("SELECT a LIKE 'x'", Some("LIKE")),
        ("SELECT evil.f(1)", Some("f")),
        ("BEGIN; SELECT f(1); COMMIT", Some("f")),
        ("SET search_path = 'f(a) = b'", None),
        ("LOCK TABLE ONLY \"s\".\"t\" IN ACCESS SHARE MODE", None),
        (
            "SELECT pg_catalog.set_config('it''s = f(1)', '', true)",
            None,
        ),
    ] {
        assert_eq!(unqualified(statement).as_deref(), found, "{statement}");
    }
}

/// Also those of versions that no test has a server of.
#[test]
fn every_question_in_our_source_says_where_things_are() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for source in ["shared/postgres/src", "agent/src"] {
        visit(&crates.join(source), &mut |path, text| {
            for literal in literals(text) {
                if COMPUTE.iter().any(|word| begins_with(&literal, word)) {
                    seen += 1;
                    let found = unqualified(&literal);
                    assert_eq!(found, None, "{}: {literal}", path.display());
                }
            }
        });
    }
    assert!(seen > 30, "only {seen} statements were found");
}

fn begins_with(literal: &str, word: &str) -> bool {
    let upper = word.to_uppercase();
    let rest = literal.trim_start().strip_prefix(&upper);
    rest.is_some_and(|rest| rest.starts_with(' '))
}

fn visit(directory: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir()
            && path
                .file_name()
                .is_some_and(|it| it != "tests" && it != "server_words")
        {
            visit(&path, each);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            // Tests stand at the end of a file.
            let code = text.split("#[cfg(test)]").next().unwrap();
            each(&path, code);
        }
    }
}

/// The texts in Rust source, as they are when the program runs; what a
/// placeholder stands for is a name.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in joined(source).lines() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let mut rest = code;
        while let Some(start) = rest.find('"') {
            let mut text = String::new();
            let mut characters = rest[start + 1..].char_indices();
            let mut end = rest.len();
            while let Some((at, next)) = characters.next() {
                match next {
                    '"' => {
                        end = start + 1 + at + 1;
                        break;
                    }
                    '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                    '{' => {
                        text.push_str("\"x\".\"x\"");
                        for (_, inside) in characters.by_ref() {
                            if inside == '}' {
                                break;
                            }
                        }
                    }
                    other => text.push(other),
                }
            }
            found.push(text);
            rest = &rest[end..];
        }
    }
    found
}

/// Lines that a backslash continues are one.
fn joined(source: &str) -> String {
    let mut text = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(line) = line.strip_suffix('\\') {
            text.push_str(line);
            if let Some(next) = lines.peek_mut() {
                *next = next.trim_start();
            }
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
