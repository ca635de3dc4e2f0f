//! What acts with its owner's rights, whoever uses it: functions that are
//! `SECURITY DEFINER`, and views that are not `security_invoker`.

use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// Something of the session's role that another may use with its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// Its schema and name, without quotes: `public.f`.
    pub name: String,
    /// As a statement has it: `FUNCTION public.f(integer)`.
    pub object: String,
    /// Whether it is a function.
    pub function: bool,
    /// Who may; `None`: everybody.
    pub role: Option<String>,
}

macro_rules! views {
    ($acl:literal, $join:literal) => {
        concat!(
            "SELECT DISTINCT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
             c.oid::pg_catalog.regclass::pg_catalog.text, \
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
             AND (EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w \
             WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid \
             AND w.ev_type OPERATOR(pg_catalog.<>) '1'::pg_catalog.\"char\") \
             OR c.relkind OPERATOR(pg_catalog.=) 'v' \
             AND NOT COALESCE(c.reloptions OPERATOR(pg_catalog.&&) \
             ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)) \
             ORDER BY 1, 2, 3, 4"
        )
    };
}

const FUNCTIONS: &str = "SELECT n.nspname::pg_catalog.text, p.proname::pg_catalog.text, \
    p.oid::pg_catalog.regprocedure::pg_catalog.text, \
    CASE WHEN a.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
    THEN pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n \
    ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
    CROSS JOIN pg_catalog.aclexplode(COALESCE(p.proacl, \
    pg_catalog.acldefault('f', p.proowner))) a \
    WHERE p.prosecdef AND a.grantee OPERATOR(pg_catalog.<>) p.proowner \
    AND p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND pg_catalog.pg_get_userbyid(p.proowner) OPERATOR(pg_catalog.=) current_user \
    ORDER BY 1, 2, 3, 4";

/// Of the view itself, or of its columns.
const VIEWS: [&str; 2] = [
    views!("c.relacl", ""),
    views!(
        "t.attacl",
        "JOIN pg_catalog.pg_attribute t ON t.attrelid OPERATOR(pg_catalog.=) c.oid "
    ),
];

/// All of them in the session's database, once for each role that may use one.
pub async fn acting(session: &Session) -> Result<Vec<Acting>, ServerError> {
    // Procedures have the word since they exist.
    let routine = match session.version().major() {
        ..11 => "FUNCTION",
        _ => "ROUTINE",
    };
    let error = |error| ServerError::query("list what acts with its owner's rights", &error);
    let mut all = Vec::new();
    for (query, kind) in [
        (FUNCTIONS, routine),
        (VIEWS[0], "TABLE"),
        (VIEWS[1], "TABLE"),
    ] {
        for row in session.query(query, &[]).await.map_err(error)? {
            let text = |at| row.try_get(at).map(|Text(text)| text).map_err(error);
            let role: Option<Text> = row.try_get(3).map_err(error)?;
            all.push(Acting {
                name: format!("{}.{}", text(0)?, text(1)?),
                object: format!("{kind} {}", text(2)?),
                function: kind == routine,
                role: role.map(|Text(role)| role),
            });
        }
    }
    Ok(all)
}

impl Acting {
    /// Takes from the role what it may do with it.
    pub async fn close(&self, session: &Session) -> Result<(), ServerError> {
        let role = self.role.as_deref().map(sql::identifier);
        let role = role.as_deref().unwrap_or("PUBLIC");
        let what = format!("take {} from {role}", self.object);
        let statement = format!("REVOKE ALL ON {} FROM {role} CASCADE", self.object);
        // The names in it are the server's own words.
        session.run_foreign(&what, &statement).await?;
        if !self.function {
            return Ok(());
        }
        // A trigger or an aggregate calls it without being asked for that right.
        let what = format!("have {} run with its caller's rights", self.object);
        let statement = format!("ALTER {} SECURITY INVOKER", self.object);
        session.run_foreign(&what, &statement).await
    }

    /// Whether `ALTER … OWNER TO …`, without quotes, is about it.
    pub fn is_of(&self, statement: &str) -> bool {
        let kinds: &[&str] = if self.function {
            &["FUNCTION ", "PROCEDURE "]
        } else {
            &["TABLE ", "VIEW "]
        };
        let behind = if self.function { "(" } else { " OWNER TO " };
        let name = self.name.replace('"', "");
        let rest = statement.strip_prefix("ALTER ").unwrap_or_default();
        kinds.iter().any(|kind| {
            let rest = rest
                .strip_prefix(kind)
                .and_then(|it| it.strip_prefix(&name));
            rest.is_some_and(|rest| rest.starts_with(behind))
        })
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

    #[test]
    fn a_statement_is_of_what_it_names() {
        let acting = |name: &str, function| Acting {
            name: name.into(),
            object: String::new(),
            function,
            role: None,
        };
        let f = acting("public.f", true);
        assert!(f.is_of("ALTER FUNCTION public.f(a integer) OWNER TO x"));
        assert!(f.is_of("ALTER PROCEDURE public.f() OWNER TO x"));
        assert!(!f.is_of("ALTER FUNCTION public.ff() OWNER TO x"));
        assert!(!f.is_of("ALTER TABLE public.f OWNER TO x"));
        let v = acting("a b.v", false);
        assert!(v.is_of("ALTER VIEW a b.v OWNER TO x") && v.is_of("ALTER TABLE a b.v OWNER TO x"));
        assert!(!v.is_of("ALTER VIEW a b.v2 OWNER TO x"));
    }
}
