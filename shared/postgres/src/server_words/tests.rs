//! Texts that real servers and programs have said. No value may pass.

use super::*;

/// Stands for every value in them.
const SECRET: &str = "4111-hush";

#[test]
fn messages_of_servers_lose_their_values_and_keep_their_names() {
    for (state, said, shown) in [
        (
            "22P02",
            "invalid input syntax for type integer: \"4111-hush\"",
            "invalid input syntax for type integer: …",
        ),
        (
            "22P02",
            "invalid input syntax for type json",
            "invalid input syntax for type json",
        ),
        (
            "22P02",
            "invalid input value for enum mood: \"4111-hush\"",
            "invalid input value for enum mood: …",
        ),
        (
            "22003",
            "value \"4111-hush\" is out of range for type integer",
            "value \"…\" is out of range for type integer",
        ),
        (
            "22008",
            "date/time field value out of range: \"4111-hush\"",
            "date/time field value out of range: …",
        ),
        (
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0xff",
            "invalid byte sequence for encoding \"UTF8\": …",
        ),
        (
            "22001",
            "value too long for type character varying(5)",
            "value too long for type character varying(5)",
        ),
        (
            "23505",
            "duplicate key value violates unique constraint \"t_pkey\"",
            "duplicate key value violates unique constraint \"t_pkey\"",
        ),
        (
            "23514",
            "new row for relation \"t\" violates check constraint \"c\"",
            "new row for relation \"t\" violates check constraint \"c\"",
        ),
        (
            "23502",
            "null value in column \"a\" of relation \"t\" violates not-null constraint",
            "null value in column \"a\" of relation \"t\" violates not-null constraint",
        ),
        (
            "42P01",
            "relation \"public.orders\" does not exist",
            "relation \"public.orders\" does not exist",
        ),
        (
            "42704",
            "role \"app user\" does not exist",
            "role \"app user\" does not exist",
        ),
        (
            "0A000",
            "extension \"postgis\" is not available",
            "extension \"postgis\" is not available",
        ),
        (
            "42883",
            "function shop.f(integer, \"char\") does not exist",
            "function shop.f(integer, \"char\") does not exist",
        ),
        (
            "42501",
            "permission denied for table orders",
            "permission denied for table orders",
        ),
        (
            "42703",
            "column \"4111-hush\" does not exist",
            "column … does not exist",
        ),
        (
            "42601",
            "syntax error at or near \"4111-hush\"",
            "syntax error at or near …",
        ),
        (
            "42601",
            "unterminated quoted string at or near \"'4111-hush\nmore\"",
            "unterminated quoted string at or near …",
        ),
        (
            "22023",
            "invalid value for parameter \"DateStyle\": \"4111-hush\"",
            "invalid value for parameter \"DateStyle\": …",
        ),
        (
            "57014",
            "canceling statement due to conflict with recovery",
            "canceling statement due to conflict with recovery",
        ),
        (
            "XX001",
            "missing chunk number 0 for toast value 16390 in pg_toast_16384",
            "missing chunk number 0 for toast value 16390 in pg_toast_16384",
        ),
        (
            "58P01",
            "could not open file \"base/5/16384\": No such file or directory",
            "could not open file \"base/5/16384\": No such file or directory",
        ),
    ] {
        let cleaned = message(state, said);
        assert_eq!(cleaned, shown);
        assert!(!cleaned.contains(SECRET), "{cleaned}");
    }
}

#[test]
fn what_functions_raise_is_not_shown() {
    for (state, said, condition) in [
        (
            "P0001",
            "card 4111-hush of Bob Smith is blocked",
            "raise exception",
        ),
        (
            "23505",
            "customer \"4111-hush\" exists already",
            "unique violation",
        ),
        (
            "42501",
            "4111-hush may not do that",
            "insufficient privilege",
        ),
        (
            "57014",
            "customer \"4111-hush\" does not exist",
            "query canceled",
        ),
        ("ZZ001", "4111-hush", "an error"),
        (
            "22P02",
            "ung\u{fc}ltige Eingabesyntax f\u{fc}r Typ integer: \u{bb}4111-hush\u{ab}",
            "invalid text representation",
        ),
    ] {
        let cleaned = message(state, said);
        assert!(cleaned.starts_with(condition), "{cleaned}");
        assert!(
            cleaned.contains(state) && !cleaned.contains(SECRET),
            "{cleaned}"
        );
        assert!(!cleaned.contains("Bob"), "{cleaned}");
    }
}

#[test]
fn details_pass_only_when_they_are_known() {
    assert_eq!(added("Key (card)=(4111-hush) already exists."), None);
    assert_eq!(added("Failing row contains (1, 4111-hush)."), None);
    assert!(added("There are 2 other sessions using the database.").is_some());
}

fn heard(stderr: &str) -> String {
    let mut listener = Listener::default();
    let lines = stderr.lines().filter_map(|line| listener.hear(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn of_pg_restore_the_error_and_the_objects_name_are_heard() {
    let said = "\
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3322; 1418 16401 USER MAPPING USER MAPPING worker SERVER s postgres
pg_restore: error: could not execute query: ERROR:  role \"worker\" does not exist
Command was: CREATE USER MAPPING FOR worker SERVER s OPTIONS (
    password '4111-hush',
    \"user\" 'u'
);
pg_restore: error: could not execute query: ERROR:  card 4111-hush is blocked
CONTEXT:  PL/pgSQL function f() line 1 at RAISE
Command was: REFRESH MATERIALIZED VIEW public.m;
pg_restore: warning: errors ignored on restore: 2";
    assert_eq!(
        heard(said),
        "\
pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3322; 1418 16401 USER MAPPING USER MAPPING worker SERVER s postgres
pg_restore: error: could not execute query: ERROR:  role \"worker\" does not exist
pg_restore: error: could not execute query: ERROR:  (words that may hold values are not shown: the server's log has them)
pg_restore: warning: errors ignored on restore: 2"
    );
}

#[test]
fn of_rows_that_do_not_fit_only_the_table_is_heard() {
    for (said, shown) in [
        (
            "pg_restore: error: COPY failed for table \"t\": ERROR:  invalid input syntax for type integer: \"4111-hush\"\nCONTEXT:  COPY t, line 1, column a: \"4111-hush\"",
            "pg_restore: error: COPY failed for table \"t\": ERROR:  invalid input syntax for type integer: …",
        ),
        (
            "pg_restore: error: COPY failed for table \"t\": ERROR:  duplicate key value violates unique constraint \"t_pkey\"\nDETAIL:  Key (a)=(4111-hush) already exists.\nCONTEXT:  COPY t, line 2",
            "pg_restore: error: COPY failed for table \"t\": ERROR:  duplicate key value violates unique constraint \"t_pkey\"",
        ),
        (
            "pg_dump: error: query failed: ERROR:  permission denied for table t\npg_dump: detail: Query was: LOCK TABLE \"4111-hush\"",
            "pg_dump: error: query failed: ERROR:  permission denied for table t",
        ),
        (
            "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\npg_dump: detail: Error message from server: ERROR:  canceling statement due to conflict with recovery\nDETAIL:  User query might have needed to see row versions that must be removed.\npg_dump: detail: Command was: COPY \"4111-hush\" TO stdout;",
            "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\npg_dump: detail: Error message from server: ERROR:  canceling statement due to conflict with recovery\nDETAIL:  User query might have needed to see row versions that must be removed.",
        ),
        (
            "pg_dumpall: error: query failed: ERROR:  permission denied for table pg_authid\npg_dumpall: detail: Query was: SELECT oid, rolname, rolpassword FROM pg_authid",
            "pg_dumpall: error: query failed: ERROR:  permission denied for table pg_authid",
        ),
        (
            "pg_restore: error: connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  database \"x\" does not exist",
            "pg_restore: error: connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  database \"x\" does not exist",
        ),
        (
            "pg_dump: error: connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
            "pg_dump: error: connection to server at \"127.0.0.1\", port 1 failed: Connection refused\nIs the server running on that host and accepting TCP/IP connections?",
        ),
        (
            "pg_restore: error: 4111-hush",
            "pg_restore: error: (words that may hold values are not shown: the server's log has them)",
        ),
        (
            "DETAIL:  There are 2 other sessions using the database.",
            "",
        ),
        ("4111-hush", ""),
    ] {
        let heard = heard(said);
        assert_eq!(heard, shown);
        assert!(!heard.contains(SECRET), "{heard}");
    }
}

#[test]
fn of_a_servers_log_its_own_words_are_shown() {
    let said = "\
2026-11-20 12:00:00 UTC [7] LOG:  starting PostgreSQL 15.18
2026-11-20 12:00:00 UTC [7] bob@shop LOG:  entering standby mode
2026-11-20 12:00:01 UTC [9] STATEMENT:  ALTER ROLE bob PASSWORD '4111-hush'
2026-11-20 12:00:01 UTC [7] FATAL:  could not open file \"pg_wal/x\": Permission denied
2026-11-20 12:00:01 UTC [7] DETAIL:  The failed archive command was: s3 --key 4111-hush
2026-11-20 12:00:01 UTC [7] FATAL:  archive command failed: 4111-hush";
    assert_eq!(
        log(said),
        "LOG:  entering standby mode\n\
         FATAL:  could not open file \"pg_wal/x\": Permission denied\n\
         FATAL:  (words that may hold values are not shown: the server's log has them)"
    );
}
