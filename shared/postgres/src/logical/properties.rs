//! Owner, settings, privileges and comment of a database: read from one, given
//! to another.

use tokio_postgres::Row;

use super::manifest::{Privilege, Properties, Setting};
use crate::{
    connection::{ServerError, Session},
    name::Text,
    sql,
};

/// Those of a database by name, asked in any.
pub async fn of(session: &Session, database: &str) -> Result<Properties, ServerError> {
    let what = format!("describe the database {database:?}");
    let error = |error: tokio_postgres::Error| ServerError::query(&what, &error);
    let row = session
        .query_one(
            "SELECT oid FROM pg_catalog.pg_database \
             WHERE datname OPERATOR(pg_catalog.=) $1::pg_catalog.text",
            &[&database],
        )
        .await
        .map_err(error)?;
    of_oid(session, row.try_get(0).map_err(error)?).await
}

/// Those of a database by its object id: its name may have other bytes where
/// another encoding is spoken.
pub(super) async fn of_oid(session: &Session, oid: u32) -> Result<Properties, ServerError> {
    let what = "describe the database";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let row = session
        .query_one(
            "SELECT pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, d.datconnlimit, \
             pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL, \
             CASE WHEN t.spcname OPERATOR(pg_catalog.<>) 'pg_default' \
             THEN t.spcname::pg_catalog.text END, d.datistemplate \
             FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t \
             ON t.oid OPERATOR(pg_catalog.=) d.dattablespace \
             WHERE d.oid OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
            &[&oid],
        )
        .await
        .map_err(error)?;
    let default: bool = row.try_get(3).map_err(error)?;
    let privileges = if default {
        None
    } else {
        Some(privileges(session, oid).await.map_err(error)?)
    };
    Ok(Properties {
        owner: text(&row, 0).map_err(error)?,
        connection_limit: row.try_get(1).map_err(error)?,
        comment: optional_text(&row, 2).map_err(error)?,
        settings: settings(session, oid).await.map_err(error)?,
        privileges,
        tablespace: optional_text(&row, 4).map_err(error)?,
        template: row.try_get(5).map_err(error)?,
    })
}

fn text(row: &Row, at: usize) -> Result<String, tokio_postgres::Error> {
    row.try_get(at).map(|Text(text)| text)
}

fn optional_text(row: &Row, at: usize) -> Result<Option<String>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<Text>>(at)?.map(|Text(text)| text))
}

async fn privileges(
    session: &Session,
    database: u32,
) -> Result<Vec<Privilege>, tokio_postgres::Error> {
    let query = "SELECT CASE WHEN a.grantee OPERATOR(pg_catalog.<>) 0 \
        THEN pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END, \
        a.privilege_type, pg_catalog.bool_or(a.is_grantable) \
        FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a \
        WHERE d.oid OPERATOR(pg_catalog.=) $1::pg_catalog.oid \
        GROUP BY 1, 2 ORDER BY 1, 2";
    let rows = session.query(query, &[&database]).await?;
    rows.iter()
        .map(|row| {
            Ok(Privilege {
                role: optional_text(row, 0)?,
                right: row.try_get(1)?,
                grantable: row.try_get(2)?,
            })
        })
        .collect()
}

async fn settings(session: &Session, database: u32) -> Result<Vec<Setting>, tokio_postgres::Error> {
    let query = "SELECT r.rolname::pg_catalog.text, c.entry FROM pg_catalog.pg_db_role_setting s \
        LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
        CROSS JOIN pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (entry, place) \
        WHERE s.setdatabase OPERATOR(pg_catalog.=) $1::pg_catalog.oid \
        AND (s.setrole OPERATOR(pg_catalog.=) 0 OR r.rolname IS NOT NULL) \
        ORDER BY r.rolname NULLS FIRST, c.place";
    let rows = session.query(query, &[&database]).await?;
    let mut settings = Vec::with_capacity(rows.len());
    for row in rows {
        let entry = text(&row, 1)?;
        if let Some((name, value)) = entry.split_once('=') {
            settings.push(Setting {
                role: optional_text(&row, 0)?,
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    Ok(settings)
}

/// Something that a database could not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `setting work_mem`, `privilege CONNECT`.
    pub what: String,
    /// Why, in words for people.
    pub cause: String,
    /// It is of a role that the server lacks.
    pub lacks_role: bool,
}

impl Refused {
    fn no_role(what: String, role: Option<&String>) -> Self {
        let role = role.map(String::as_str).unwrap_or_default();
        Self {
            what,
            cause: format!("there is no such role as {role:?}"),
            lacks_role: true,
        }
    }
}

/// Gives a database the properties, but for its tablespace, and says what it
/// could not have. `roles` are those that the server knows.
pub async fn give(
    session: &Session,
    database: &str,
    properties: &Properties,
    roles: &[String],
) -> Result<Vec<Refused>, ServerError> {
    let mut problems = Vec::new();
    let known = |role: &Option<String>| role.as_ref().is_none_or(|role| roles.contains(role));
    let mut attempts: Vec<(String, Vec<String>)> = Vec::new();
    let name = sql::identifier(database);
    for setting in &properties.settings {
        let what = format!("setting {}", setting.name);
        if !known(&setting.role) {
            problems.push(Refused::no_role(what, setting.role.as_ref()));
            continue;
        }
        let of = match &setting.role {
            None => format!("ALTER DATABASE {name}"),
            Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", sql::identifier(role)),
        };
        let parameter: Vec<_> = setting.name.split('.').map(sql::identifier).collect();
        let parameter = parameter.join(".");
        let value = sql::literal(&setting.value);
        attempts.push((
            what,
            vec![
                // The catalog's text is what `set_config` takes, lists and
                // all; what cannot be set in a session is taken as it is.
                format!(
                    "BEGIN; SELECT pg_catalog.set_config({}, {value}, true); \
                     {of} SET {parameter} FROM CURRENT; COMMIT",
                    sql::literal(&setting.name)
                ),
                format!("{of} SET {parameter} TO {value}"),
            ],
        ));
    }
    if let Some(comment) = &properties.comment {
        let statement = format!("COMMENT ON DATABASE {name} IS {}", sql::literal(comment));
        attempts.push(("comment".into(), vec![statement]));
    }
    if properties.connection_limit != -1 {
        let limit = properties.connection_limit;
        let statement = format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}");
        attempts.push(("connection limit".into(), vec![statement]));
    }
    if properties.template {
        let statement = format!("ALTER DATABASE {name} IS_TEMPLATE true");
        attempts.push(("template".into(), vec![statement]));
    }
    if properties.privileges.is_none() {
        // As every server does it, and as `create::create` does not.
        let statement = format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC");
        attempts.push(("privileges".into(), vec![statement]));
    }
    if let Some(privileges) = &properties.privileges {
        // Whoever its owner is: what was closed to everybody stays closed.
        let mut revoke = |of: String| {
            let statement = format!("REVOKE ALL ON DATABASE {name} FROM {of}");
            attempts.push(("privileges".into(), vec![statement]));
        };
        revoke("PUBLIC".into());
        if roles.contains(&properties.owner) {
            revoke(sql::identifier(&properties.owner));
        }
        for privilege in privileges {
            let what = format!("privilege {}", privilege.right);
            if !known(&privilege.role) {
                problems.push(Refused::no_role(what, privilege.role.as_ref()));
                continue;
            }
            if !["CREATE", "CONNECT", "TEMPORARY"].contains(&privilege.right.as_str()) {
                let cause = "no such privilege is known here".into();
                problems.push(Refused {
                    what,
                    cause,
                    lacks_role: false,
                });
                continue;
            }
            let to = match &privilege.role {
                None => "PUBLIC".into(),
                Some(role) => sql::identifier(role),
            };
            let option = if privilege.grantable {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            let right = &privilege.right;
            let statement = format!("GRANT {right} ON DATABASE {name} TO {to}{option}");
            attempts.push((what, vec![statement]));
        }
    }
    for (what, statements) in attempts {
        let mut result = Ok(());
        for statement in statements {
            result = session.run(&format!("set the {what}"), &statement).await;
            match &result {
                Ok(()) => break,
                Err(ServerError::Broken { .. }) => return result.map(|()| problems),
                // Leaves a transaction that may have failed in the middle.
                Err(_) => session.run("start over", "ROLLBACK").await?,
            }
        }
        if let Err(error) = result {
            problems.push(Refused {
                what,
                cause: error.to_string(),
                lacks_role: false,
            });
        }
    }
    Ok(problems)
}
