//! What acts with its owner's rights, whoever uses it: functions that are
//! `SECURITY DEFINER`, and views that are not `security_invoker`.

use std::collections::BTreeMap;

use super::subject::{Given, Part, parts};
use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// Something of the session's role that another may use with its rights. Members of
/// extensions are not among them: whoever installs one gives it what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// The same as long as it is there.
    pub key: Key,
    /// As a statement has it: `ROUTINE public.f(integer)`.
    pub object: String,
    /// Its name as [`parts`] has it; of a function with what tells it from its
    /// namesakes.
    subject: Vec<Part>,
    /// Who may use it, besides whom a trigger calls it for; `None`: everybody.
    roles: Vec<Option<String>>,
}

/// See [`Acting::key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The object id of a function or a procedure.
    Function(u32),
    /// That of a view, or of a table that has rules.
    View(u32),
}

macro_rules! views {
    ($acl:literal, $join:literal) => {
        concat!(
            "SELECT DISTINCT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
             '', c.oid::pg_catalog.regclass::pg_catalog.text, a.grantee, \
             CASE WHEN a.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
             THEN pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid OPERATOR(pg_catalog.=) c.relnamespace ",
            $join,
            "CROSS JOIN pg_catalog.aclexplode(",
            $acl,
            ") a WHERE a.grantee OPERATOR(pg_catalog.<>) c.relowner \
             AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
             AND pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.=) current_user \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE \
             d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
             AND d.objid OPERATOR(pg_catalog.=) c.oid \
             AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\") \
             AND (EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w \
             WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid \
             AND w.ev_type OPERATOR(pg_catalog.<>) '1'::pg_catalog.\"char\") \
             OR c.relkind OPERATOR(pg_catalog.=) 'v' \
             AND NOT COALESCE(c.reloptions OPERATOR(pg_catalog.&&) \
             ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)) \
             ORDER BY 1, 6"
        )
    };
}

/// Those that nobody may call are among them: a trigger calls without being asked for
/// that right.
const FUNCTIONS: &str = "SELECT p.oid, n.nspname::pg_catalog.text, p.proname::pg_catalog.text, \
    pg_catalog.pg_get_function_identity_arguments(p.oid), \
    p.oid::pg_catalog.regprocedure::pg_catalog.text, a.grantee, \
    CASE WHEN a.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
    THEN pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n \
    ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
    LEFT JOIN pg_catalog.aclexplode(COALESCE(p.proacl, \
    pg_catalog.acldefault('f', p.proowner))) a \
    ON a.grantee OPERATOR(pg_catalog.<>) p.proowner \
    WHERE p.prosecdef AND p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND pg_catalog.pg_get_userbyid(p.proowner) OPERATOR(pg_catalog.=) current_user \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE \
    d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
    AND d.objid OPERATOR(pg_catalog.=) p.oid \
    AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog.\"char\") \
    ORDER BY 1, 6";

/// Of the view itself, or of its columns.
const VIEWS: [&str; 2] = [
    views!("c.relacl", ""),
    views!(
        "t.attacl",
        "JOIN pg_catalog.pg_attribute t ON t.attrelid OPERATOR(pg_catalog.=) c.oid "
    ),
];

/// All of them in the session's database.
pub async fn acting(session: &Session) -> Result<Vec<Acting>, ServerError> {
    // Procedures have the word since they exist.
    let routine = match session.version().major() {
        ..11 => "FUNCTION",
        _ => "ROUTINE",
    };
    let error = |error| ServerError::query("list what acts with its owner's rights", &error);
    let mut all: BTreeMap<Key, Acting> = BTreeMap::new();
    for (query, function) in [(FUNCTIONS, true), (VIEWS[0], false), (VIEWS[1], false)] {
        for row in session.query(query, &[]).await.map_err(error)? {
            let text = |at| row.try_get(at).map(|Text(text)| text).map_err(error);
            let oid: u32 = row.try_get(0).map_err(error)?;
            let granted: Option<u32> = row.try_get(5).map_err(error)?;
            let role: Option<Text> = row.try_get(6).map_err(error)?;
            let mut subject = vec![Part::Name(text(1)?), Part::Mark('.'), Part::Name(text(2)?)];
            let (key, kind) = if function {
                subject.extend(parts(&format!("({})", text(3)?)));
                (Key::Function(oid), routine)
            } else {
                (Key::View(oid), "TABLE")
            };
            let object = format!("{kind} {}", text(4)?);
            let acting = all.entry(key).or_insert_with(|| Acting {
                key,
                object,
                subject,
                roles: Vec::new(),
            });
            let role = granted.map(|_| role.map(|Text(role)| role));
            acting
                .roles
                .extend(role.filter(|it| !acting.roles.contains(it)));
        }
    }
    Ok(all.into_values().collect())
}

impl Acting {
    /// Whether it is a function or a procedure.
    pub fn is_function(&self) -> bool {
        matches!(self.key, Key::Function(_))
    }

    /// Has it lend nothing: takes it from all but its owner, and has a function run
    /// with its caller's rights.
    pub async fn close(&self, session: &Session) -> Result<(), ServerError> {
        // The names in these are the server's own words.
        if self.is_function() {
            // A trigger or an aggregate calls it without being asked for that right.
            let what = format!("have {} run with its caller's rights", self.object);
            let statement = format!("ALTER {} SECURITY INVOKER", self.object);
            session.run_foreign(&what, &statement).await?;
        }
        for role in &self.roles {
            let role = role.as_deref().map(sql::identifier);
            let role = role.as_deref().unwrap_or("PUBLIC");
            let what = format!("take {} from {role}", self.object);
            let statement = format!("REVOKE ALL ON {} FROM {role} CASCADE", self.object);
            session.run_foreign(&what, &statement).await?;
        }
        Ok(())
    }

    /// Whether it is among what was given.
    pub fn is_given(&self, given: &Given) -> bool {
        let kinds: &[&[&str]] = if self.is_function() {
            &[&["FUNCTION"], &["PROCEDURE"], &["ROUTINE"]]
        } else {
            &[&["TABLE"], &["VIEW"], &["FOREIGN", "TABLE"]]
        };
        given.has(kinds, &self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_for_along_a_search_path() {
        for query in [FUNCTIONS, VIEWS[0], VIEWS[1]] {
            assert_eq!(sql::unqualified(query), None, "{query}");
        }
    }

    fn acting(name: &str, key: Key) -> Acting {
        Acting {
            key,
            object: String::new(),
            subject: parts(name),
            roles: Vec::new(),
        }
    }

    #[test]
    fn a_statement_gives_what_it_names_to_whom_it_names() {
        let given = |it: &Acting, statement: &str| {
            let mut given = Given::to("x".into());
            given.note(statement);
            it.is_given(&given)
        };
        let f = acting("public.f(a integer)", Key::Function(1));
        for statement in [
            "ALTER FUNCTION public.f(a integer) OWNER TO x",
            "ALTER FUNCTION \"public\".\"f\"(\"a\" integer) OWNER TO \"x\"",
            "ALTER PROCEDURE public.f(IN a integer) OWNER TO x",
        ] {
            assert!(given(&f, statement), "{statement}");
        }
        for statement in [
            "ALTER FUNCTION public.f(a integer) OWNER TO y",
            "ALTER FUNCTION public.f(a integer) OWNER TO \"X\"",
            "ALTER FUNCTION public.f(a text) OWNER TO x",
            "ALTER FUNCTION public.f(a integer, b integer) OWNER TO x",
            "ALTER FUNCTION public.f() OWNER TO x",
            "ALTER FUNCTION public.ff(a integer) OWNER TO x",
            "ALTER FUNCTION \"public.f\"(a integer) OWNER TO x",
            "ALTER FUNCTION public.\"f\"\"\"(a integer) OWNER TO x",
            "ALTER TABLE public.f OWNER TO x",
            "",
        ] {
            assert!(!given(&f, statement), "{statement}");
        }
        let v = acting("\"a b\".v", Key::View(1));
        assert!(given(&v, "ALTER VIEW \"a b\".v OWNER TO x"));
        assert!(given(&v, "ALTER TABLE \"a b\".\"v\" OWNER TO x"));
        assert!(!given(&v, "ALTER VIEW \"a b\".v2 OWNER TO x"));
        assert!(!given(&v, "ALTER VIEW a.v OWNER TO x"));
    }
}
