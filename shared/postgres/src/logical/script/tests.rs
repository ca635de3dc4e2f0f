//! Tests of how scripts are cut.

use proptest::prelude::*;

use super::*;

fn items(script: &[u8]) -> Result<Vec<Item>, ScriptError> {
    let mut splitter = Splitter::default();
    let items = splitter.feed(script)?;
    splitter.finish()?;
    Ok(items)
}

fn texts(script: &str) -> Vec<String> {
    items(script.as_bytes())
        .unwrap()
        .into_iter()
        .filter_map(|item| match item {
            Item::Statement(statement) => Some(statement.text),
            _ => None,
        })
        .collect()
}

fn error(script: &[u8]) -> String {
    items(script).unwrap_err().to_string()
}

fn kind(statement: &str) -> StatementKind {
    match &items(format!("{statement};\n\\.\n").as_bytes()) {
        Ok(items) => match &items[0] {
            Item::Statement(statement) => statement.kind,
            other => panic!("{other:?}"),
        },
        // The rows' end belongs to a COPY only.
        Err(_) => match &items(format!("{statement};").as_bytes()).unwrap()[0] {
            Item::Statement(statement) => statement.kind,
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn statements_end_where_psql_ends_them() {
    for (script, expected) in [
        ("SELECT 1; SELECT 2;", &["SELECT 1", "SELECT 2"][..]),
        ("SELECT ';' || 'it''s; ';", &["SELECT ';' || 'it''s; '"]),
        (r"SELECT 'a\'; SELECT 'b';", &[r"SELECT 'a\'", "SELECT 'b'"]),
        (r"SELECT E'a\';b''\\';", &[r"SELECT E'a\';b''\\'"]),
        (r"SELECT e'\';' , some'x';", &[r"SELECT e'\';' , some'x'"]),
        (
            r#"SELECT "a;""b" FROM "c;";"#,
            &[r#"SELECT "a;""b" FROM "c;""#],
        ),
        ("SELECT $$;'$$;", &["SELECT $$;'$$"]),
        ("SELECT $a$ ;$$ $a $a$;", &["SELECT $a$ ;$$ $a $a$"]),
        ("SELECT a$b$c; SELECT $1;", &["SELECT a$b$c", "SELECT $1"]),
        ("SELECT $$$x;$$;", &["SELECT $$$x;$$"]),
        (
            "-- a; comment\nSELECT 1 -- ; '\n + 1;",
            &["SELECT 1 \n + 1"],
        ),
        (
            "/* ; /* nested; */ ' */ SELECT/* ; */2 /*/ ; */;",
            &["SELECT 2"],
        ),
        ("SELECT 3 - -1 / 2 * 1;", &["SELECT 3 - -1 / 2 * 1"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
            &["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"],
        ),
        (
            "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 0 \
             THEN 1 ELSE 2 END; SELECT 2; END; SELECT 1;",
            &[
                "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a \
                 > 0 THEN 1 ELSE 2 END; SELECT 2; END",
                "SELECT 1",
            ],
        ),
        ("BEGIN; COMMIT;", &["BEGIN", "COMMIT"]),
        (";; ;\n", &[]),
        ("\u{feff}SELECT 1;", &["SELECT 1"]),
        ("SELECT 'ä', \"ö\", ü;", &["SELECT 'ä', \"ö\", ü"]),
        (
            "SET standard_conforming_strings = off;SELECT 'a\\';b';",
            &["SET standard_conforming_strings = off", "SELECT 'a\\';b'"],
        ),
        (
            "\\restrict x9\n\nSELECT 1;\n\\unrestrict x9\n",
            &["SELECT 1"],
        ),
    ] {
        assert_eq!(texts(script), expected, "{script}");
    }
}

#[test]
fn rows_are_what_lies_between_copy_and_its_end() {
    let script = "COPY public.t (a, b) FROM stdin;\n1\ta;'b\n\\\\.\n\\.x\n\\N\t--\n\\.\n\
                  COPY u FROM stdin WITH (FORMAT csv);\r\n\\.\r\nSELECT 1;\n";
    let all = items(script.as_bytes()).unwrap();
    let short: Vec<_> = all
        .iter()
        .map(|item| match item {
            Item::Statement(it) => format!("{}: {}", it.line, it.text),
            Item::Rows(rows) => String::from_utf8_lossy(rows).into_owned(),
            Item::RowsEnd => "end".into(),
        })
        .collect();
    assert_eq!(
        short,
        [
            "1: COPY public.t (a, b) FROM stdin",
            "1\ta;'b\n\\\\.\n\\.x\n\\N\t--\n",
            "end",
            "7: COPY u FROM stdin WITH (FORMAT csv)",
            "end",
            "9: SELECT 1",
        ]
    );
}

#[test]
fn kinds_are_told_apart() {
    use StatementKind::{CopyIn, Ownership, Plain, Subscription};
    for (statement, expected) in [
        ("copy t from STDIN", CopyIn),
        ("COPY t TO stdout", Plain),
        ("COPY t FROM '/tmp/stdin'", Plain),
        ("COPY t (\"from\", stdin) FROM stdin NULL 'x'", CopyIn),
        ("SELECT 1 FROM stdin", Plain),
        ("ALTER TABLE public.t OWNER TO bob", Ownership),
        (
            "ALTER FUNCTION public.f(a integer) OWNER TO \"B\"",
            Ownership,
        ),
        ("ALTER TABLE t RENAME owner TO holder", Plain),
        ("ALTER TABLE t ADD COLUMN owner text", Plain),
        ("GRANT ALL ON t TO bob", Ownership),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC", Ownership),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT ALL ON TABLES TO x",
            Ownership,
        ),
        ("SET SESSION AUTHORIZATION 'bob'", Ownership),
        ("SET search_path = ''", Plain),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
            Subscription,
        ),
        ("CREATE TABLE owner (\"to\" int)", Plain),
    ] {
        assert_eq!(kind(statement), expected, "{statement}");
    }
}

#[test]
fn statements_that_make_rows_are_known_however_they_are_written() {
    let effect = |script: &str| {
        let items = items(script.as_bytes()).unwrap();
        let mut effects = items.into_iter().filter_map(|it| match it {
            Item::Statement(it) => Some(it.effect),
            _ => None,
        });
        effects.next_back().unwrap()
    };
    for script in [
        "insert\ninto t values (1);",
        "INSERT/* x */INTO t VALUES (1);",
        "  Update\tt SET a = 1;",
        "-- Name: t\nDELETE\nFROM t;",
        "WITH x AS (INSERT INTO t VALUES (1)) SELECT 1;",
        "DO $$ BEGIN INSERT INTO t VALUES (1); END $$;",
        "CALL fill();",
        "EXECUTE fill;",
        "TRUNCATE\nt;",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE;",
        "CREATE TABLE t AS SELECT 1;",
        "create unlogged\ntable if not exists t (a) as table s;",
        "CREATE GLOBAL TEMPORARY TABLE t AS EXECUTE q;",
        "SELECT 1 INTO t;",
        "SELECT fill();",
        "(SELECT fill());",
        "SELECT pg_catalog.lo_create('1');",
        "SELECT pg_catalog.lowrite(0, 'x');",
    ] {
        assert_eq!(effect(script), Effect::Rows, "{script}");
    }
    for script in [
        "SELECT pg_catalog.setval('public.s', 3, true);",
        "select\nsetval('s', 3);",
    ] {
        assert_eq!(effect(script), Effect::Sequence, "{script}");
    }
    for script in [
        "CREATE TABLE t (a int GENERATED ALWAYS AS (1) STORED);",
        "CREATE MATERIALIZED VIEW v AS SELECT 1;",
        "CREATE VIEW v AS TABLE t;",
        "CREATE PUBLICATION p FOR TABLE t;",
        "CREATE FUNCTION f() RETURNS TABLE (a int) LANGUAGE sql AS 'SELECT 1';",
        "SELECT pg_catalog.set_config('search_path', '', false);",
        "SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180000');",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY;",
        "SET a.b = 'insert';",
    ] {
        assert_eq!(effect(script), Effect::Definition, "{script}");
    }
}

#[test]
fn what_cannot_be_run_is_named_with_its_line() {
    for (script, says) in [
        (&b"SELECT 1;\n\\connect other\n"[..], "line 2: \\connect"),
        (b"\\! rm -rf /hush\n", "line 1: \\! is a command"),
        (b"\n\n\\i hush.sql", "line 3: \\i is a command"),
        (b"\\4111hush\n", "line 1: \\\u{2026} is a command"),
        (b"SELECT 1 \\gset\n;", "line 1: a backslash"),
        (b"\\.\n", "line 1: \\\u{2026} is a command"),
        (
            b"COPY t FROM stdin; SELECT 1;\n",
            "line 1: rows must follow",
        ),
        (b"\nSELECT 'a;\n", "the statement of line 2"),
        (b"SELECT 1", "the statement of line 1"),
        (b"SELECT $a$;$b$;", "the statement of line 1"),
        (b"COPY t FROM stdin;\n1\n\\", "rows of the COPY"),
        (b"SELECT '\xff';", "line 1 is not UTF-8"),
        (b"SELECT '\0';", "zero byte"),
        (b"SET client_encoding = 'LATIN1';", "encoding is \"latin1\""),
        (b"SET client_encoding TO sjis;", "encoding is \"sjis\""),
        (
            b"SET client_encoding = 'hush, hush';",
            "encoding is \"\u{2026}\"",
        ),
        (
            b"--\n-- PostgreSQL database dump\n--\nSELECT 1;\n",
            "last line of pg_dump is missing",
        ),
    ] {
        let error = error(script);
        assert!(error.contains(says) && !error.contains("hush"), "{error}");
    }
    let whole = b"--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n\
                  --\n-- PostgreSQL database dump complete\n--\n";
    assert_eq!(items(whole).unwrap().len(), 1);
    assert_eq!(items(b"").unwrap(), []);
}

#[test]
fn a_statement_without_end_is_given_up() {
    let mut splitter = Splitter::default();
    splitter.feed(b"SELECT '").unwrap();
    let piece = vec![b'x'; 1 << 20];
    let failed = (0..65).find_map(|_| splitter.feed(&piece).err());
    assert_eq!(failed, Some(ScriptError::TooLong { line: 1 }));
}

#[test]
fn rows_are_passed_on_however_short_their_lines_are() {
    for line in ["\n", "\\\n", "\\.\r\r\n", "x\n"] {
        let mut splitter = Splitter::default();
        splitter.feed(b"COPY t FROM stdin;\n").unwrap();
        let rows = line.repeat(4 * PIECE / line.len());
        let passed: usize = splitter
            .feed(rows.as_bytes())
            .unwrap()
            .iter()
            .map(|item| match item {
                Item::Rows(rows) => rows.len(),
                _ => 0,
            })
            .sum();
        assert!(passed > 3 * PIECE, "{line:?}");
        assert!(splitter.rows.len() < PIECE, "{line:?}");
    }
}

/// Rows that were cut differently are the same.
fn joined(items: Vec<Item>) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        match (joined.last_mut(), item) {
            (Some(Item::Rows(before)), Item::Rows(more)) => before.extend(more),
            (_, item) => joined.push(item),
        }
    }
    joined
}

fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "SELECT 1",
        ";",
        "\n",
        "'",
        "''",
        "\"",
        "$$",
        "$a$",
        "$",
        "--",
        "/*",
        "*/",
        "E'",
        "\\",
        "\\.",
        "(",
        ")",
        "COPY t FROM stdin;\n",
        "\\.\n",
        "1\t2\n",
        "begin",
        "end",
        "create function",
        "x",
        " ",
        "\r\n",
        "ä",
    ]);
    prop::collection::vec(fragment, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn where_pieces_are_cut_does_not_matter(script in fragments(), sizes in prop::collection::vec(1usize..9, 1..9)) {
        let whole = items(script.as_bytes()).map(joined);
        let mut splitter = Splitter::default();
        let mut left = script.as_bytes();
        let mut found = Ok(Vec::new());
        for size in sizes.iter().cycle() {
            let (piece, rest) = left.split_at((*size).min(left.len()));
            left = rest;
            match (splitter.feed(piece), &mut found) {
                (Ok(more), Ok(all)) => all.extend(more),
                (Err(error), _) => {
                    found = Err(error);
                    break;
                }
                _ => {}
            }
            if left.is_empty() {
                break;
            }
        }
        let found = found.and_then(|all| splitter.finish().map(|()| joined(all)));
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn nothing_makes_it_panic(script: Vec<u8>) {
        let _ = items(&script);
    }

    #[test]
    fn texts_and_rows_survive(text in "[a-z;'\\\\$\n-]{0,40}", rows in prop::collection::vec("[a-z;'$ -]{1,20}", 0..9)) {
        let quoted = format!("SELECT '{}'", text.replace('\'', "''"));
        let all = rows.iter().fold(String::new(), |all, row| all + row + "\n");
        let script = format!("{quoted};\nCOPY t FROM stdin;\n{all}\\.\n{quoted};\n");
        let found = joined(items(script.as_bytes()).unwrap());
        let statement = |item: &Item| match item {
            Item::Statement(statement) => statement.text.clone(),
            _ => String::new(),
        };
        prop_assert_eq!(statement(&found[0]), quoted.clone());
        prop_assert_eq!(statement(found.last().unwrap()), quoted);
        let expected: Vec<_> = (!all.is_empty()).then(|| Item::Rows(all.into_bytes())).into_iter().collect();
        prop_assert_eq!(&found[2..found.len() - 2], expected);
    }
}
