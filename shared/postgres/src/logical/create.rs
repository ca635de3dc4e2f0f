//! Makes, drops and exchanges databases.

use std::{fmt::Write as _, time::Duration};

use super::{manifest::Properties, properties, roles::Membership};
use crate::{
    connection::{Connection, ServerError, Session},
    inventory::Locale,
    name::{self, Text},
    sql,
};

/// Bytes of a name on a server with the usual `NAMEDATALEN`.
pub const MAX_NAME: usize = 63;

/// Begins the comment of a database that a restore is filling.
const UNFINISHED: &str = "unfinished restore by strongroom, job ";

/// How often others are shown the door while a database changes its name.
const KNOCK: Duration = Duration::from_millis(100);
/// How often a name's change is tried; the server waits five seconds each time
/// for others to leave.
const ATTEMPTS: usize = 6;

/// `name` with `suffix`, cut in between where it would be too long.
pub fn derived_name(name: &str, suffix: &str) -> String {
    let room = MAX_NAME.saturating_sub(suffix.len());
    let mut length = 0;
    let mut derived: String = name
        .chars()
        .take_while(|it| {
            length += name::encode(it.encode_utf8(&mut [0; 4])).len();
            length <= room
        })
        .collect();
    derived.push_str(suffix);
    derived
}

/// A session in a database that is none of `not`: one cannot rename the
/// database that one is in.
pub async fn elsewhere(connection: &Connection, not: &[&str]) -> Result<Session, ServerError> {
    let own = connection.address.database.as_str();
    let database = [own, "postgres", "template1"]
        .into_iter()
        .find(|name| !not.contains(name))
        .unwrap_or("template1");
    Session::open(connection, Some(database)).await
}

/// `CREATE DATABASE` from `template0`, with `locale`, and the owner and
/// tablespace of `properties` where the server knows them; `None`: the
/// connection's role, the default tablespace.
pub fn statement(
    name: &str,
    locale: &Locale,
    owner: Option<&str>,
    tablespace: Option<&str>,
    major: u32,
) -> String {
    let mut statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        sql::identifier(name),
        sql::literal(&locale.encoding),
        sql::literal(&locale.collate),
        sql::literal(&locale.ctype),
    );
    if major >= 15 {
        let (provider, key) = match locale.provider.as_str() {
            "icu" => ("icu", "ICU_LOCALE"),
            "builtin" => ("builtin", "BUILTIN_LOCALE"),
            _ => ("libc", ""),
        };
        let _infallible = write!(statement, " LOCALE_PROVIDER {provider}");
        if let (false, Some(locale)) = (key.is_empty(), &locale.name) {
            let _infallible = write!(statement, " {key} {}", sql::literal(locale));
        }
        if let (16.., Some(rules)) = (major, &locale.icu_rules) {
            let _infallible = write!(statement, " ICU_RULES {}", sql::literal(rules));
        }
    }
    if let Some(owner) = owner {
        let _infallible = write!(statement, " OWNER {}", sql::identifier(owner));
    }
    if let Some(tablespace) = tablespace {
        let _infallible = write!(statement, " TABLESPACE {}", sql::identifier(tablespace));
    }
    // Until nobody may whom it is not for: see `create`.
    statement.push_str(" ALLOW_CONNECTIONS false");
    statement
}

/// Runs [`statement`]'s statement. `job` marks the database as unfinished until
/// [`rename`], [`exchange`] or [`finished`]. Nobody but its owner and superusers may
/// connect to it, before [`properties::give`]: what lends its owner's rights is open
/// while it is made.
pub async fn create(
    session: &Session,
    name: &str,
    statement: &str,
    job: &str,
) -> Result<(), ServerError> {
    session.unhurried(Duration::from_mins(1)).await?;
    let what = format!("create the database {name:?}");
    session.run(&what, statement).await?;
    let database = sql::identifier(name);
    let comment = sql::literal(&format!("{UNFINISHED}{job}"));
    let mut prepared = Ok(());
    for statement in [
        format!("COMMENT ON DATABASE {database} IS {comment}"),
        format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
        format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true"),
    ] {
        prepared = session.run(&what, &statement).await;
        if prepared.is_err() {
            // Nobody would know whose it is.
            discard(session, name).await?;
            break;
        }
    }
    prepared
}

/// Takes the mark of [`create`] away from a database that keeps its name:
/// `comment` instead.
pub async fn finished(
    session: &Session,
    name: &str,
    comment: Option<&str>,
) -> Result<(), ServerError> {
    let statement = comment_on(name, comment);
    session.run("comment on the database", &statement).await
}

/// Databases that restores left unfinished, with the job of each.
pub async fn unfinished(session: &Session) -> Result<Vec<(String, String)>, ServerError> {
    let what = "look for unfinished restores";
    let rows = session
        .query(
            "SELECT datname::pg_catalog.text, \
             pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
             WHERE pg_catalog.starts_with( \
             pg_catalog.shobj_description(oid, 'pg_database'), $1::pg_catalog.text)",
            &[&UNFINISHED],
        )
        .await
        .map_err(|error| ServerError::query(what, &error))?;
    let mut found = Vec::new();
    for row in rows {
        let read = |error: tokio_postgres::Error| ServerError::query(what, &error);
        let Text(name) = row.try_get(0).map_err(read)?;
        let Text(comment) = row.try_get(1).map_err(read)?;
        found.push((name, comment[UNFINISHED.len()..].to_owned()));
    }
    Ok(found)
}

/// Drops a database that nobody else knows of.
pub async fn discard(session: &Session, name: &str) -> Result<(), ServerError> {
    let what = format!("drop the database {name:?}");
    let statement = format!(
        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        sql::identifier(name)
    );
    session.run(&what, &statement).await
}

/// What stands in the way of giving a database another name, or will surprise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    /// Prepared transactions: they forbid it.
    pub prepared: u64,
    /// Logical replication slots: they stay with the database, not the name.
    pub slots: Vec<String>,
    /// Subscriptions: as the slots.
    pub subscriptions: u64,
    /// Others that are connected.
    pub connections: u64,
}

/// Asks for a database's [`Ties`].
pub async fn ties(session: &Session, database: &str) -> Result<Ties, ServerError> {
    let what = "look who uses the database";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let row = session
        .query_one(
            "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts \
              WHERE database OPERATOR(pg_catalog.=) $1::pg_catalog.text), \
             ARRAY(SELECT slot_name::pg_catalog.text FROM pg_catalog.pg_replication_slots \
              WHERE database OPERATOR(pg_catalog.=) $1::pg_catalog.text), \
             (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_subscription s \
              JOIN pg_catalog.pg_subscription p ON p.oid OPERATOR(pg_catalog.=) s.subid \
              JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) p.subdbid \
              WHERE d.datname OPERATOR(pg_catalog.=) $1::pg_catalog.text), \
             (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity \
              WHERE datname OPERATOR(pg_catalog.=) $1::pg_catalog.text \
              AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
              AND backend_type OPERATOR(pg_catalog.=) \
              ANY (ARRAY['client backend', 'walsender']))",
            &[&database],
        )
        .await
        .map_err(error)?;
    let count = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(Ties {
        prepared: count(0).map_err(error)?,
        slots: row.try_get(1).map_err(error)?,
        subscriptions: count(2).map_err(error)?,
        connections: count(3).map_err(error)?,
    })
}

/// Gives a restored database a name that is free, and its comment instead of the
/// mark of [`create`], in one step: whoever finds the name finds a database that
/// is finished. Gives why it has no comment, if it could not have that one.
pub async fn rename(
    session: &Session,
    from: &str,
    to: &str,
    comment: Option<&str>,
) -> Result<Option<ServerError>, ServerError> {
    let what = format!("give the restored database its name, {to:?}");
    let [from, name] = [from, to].map(sql::identifier);
    let renames = [format!("ALTER DATABASE {from} RENAME TO {name}")];
    in_one_step(session, &what, &renames, to, comment).await
}

/// Runs `renames`, and gives what is called `name` then its comment.
async fn in_one_step(
    session: &Session,
    what: &str,
    renames: &[String],
    name: &str,
    comment: Option<&str>,
) -> Result<Option<ServerError>, ServerError> {
    let commented = comment_on(name, comment);
    let mut refused = None;
    session.run(what, "BEGIN").await?;
    for statement in renames {
        session.run(what, statement).await?;
    }
    session.run(what, "SAVEPOINT comment").await?;
    match session.run("comment on the database", &commented).await {
        // In an encoding that lacks its characters, for example.
        Err(error @ ServerError::Query { .. }) => {
            session.run(what, "ROLLBACK TO comment").await?;
            session.run(what, &comment_on(name, None)).await?;
            refused = Some(error);
        }
        done => done?,
    }
    session.run(what, "COMMIT").await?;
    Ok(refused)
}

fn comment_on(name: &str, comment: Option<&str>) -> String {
    let comment = comment.map_or("NULL".into(), sql::literal);
    format!("COMMENT ON DATABASE {} IS {comment}", sql::identifier(name))
}

/// In one step: what is called `name` is called `aside`, and what is called
/// `restored` is called `name` and has its comment, instead of the mark of
/// [`create`]. Whoever is connected to `name` is cut off; who connects meanwhile
/// waits, and is told to try again. On an error nothing has changed. Gives what
/// [`rename`] gives.
pub async fn exchange(
    connection: &Connection,
    name: &str,
    aside: &str,
    restored: &str,
) -> Result<Option<ServerError>, ServerError> {
    let session = elsewhere(connection, &[name, aside, restored]).await?;
    let bouncer = elsewhere(connection, &[name, aside, restored]).await?;
    session.unhurried(Duration::from_secs(30)).await?;
    let comment = properties::of(&session, name).await?.comment;
    let what = format!("exchange the database {name:?} for the restored one");
    let renames = {
        let [name, aside, restored] = [name, aside, restored].map(sql::identifier);
        [
            // Takes the lock that new connections wait for.
            format!("ALTER DATABASE {name} RENAME TO {aside}"),
            format!("ALTER DATABASE {restored} RENAME TO {name}"),
        ]
    };
    let mut attempt = 1;
    let refused = loop {
        let outcome = {
            let renaming = in_one_step(&session, &what, &renames, name, comment.as_deref());
            while_asking_to_leave(&bouncer, &[name, restored], renaming).await
        };
        match outcome {
            // Object in use: somebody does not leave.
            Err(error) if error.state() == Some("55006") && attempt < ATTEMPTS => {
                session.run("start over", "ROLLBACK").await?;
                attempt += 1;
            }
            // Dropped with an open transaction, which ends with it.
            outcome => break outcome?,
        }
    };
    bouncer.close().await;
    session.close().await;
    Ok(refused)
}

async fn while_asking_to_leave<T>(
    bouncer: &Session,
    databases: &[&str],
    work: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = tokio::time::sleep(KNOCK) => ask_to_leave(bouncer, databases).await?,
        }
    }
}

async fn ask_to_leave(session: &Session, databases: &[&str]) -> Result<(), ServerError> {
    let names = sql::texts(databases.iter().copied());
    let ask = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({names}) \
         AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
    );
    session
        .query(&ask, &[])
        .await
        .map(drop)
        .map_err(|error| ServerError::query("end other connections to the database", &error))
}

/// The roles of the server.
pub async fn roles(session: &Session) -> Result<Vec<String>, ServerError> {
    names(
        session,
        "list its roles",
        "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles",
    )
    .await
}

/// Memberships of the server.
pub async fn memberships(session: &Session) -> Result<Vec<Membership>, ServerError> {
    let of_both = "SELECT pg_catalog.pg_get_userbyid(roleid)::pg_catalog.text, \
        pg_catalog.pg_get_userbyid(member)::pg_catalog.text, admin_option";
    let from = "FROM pg_catalog.pg_auth_members";
    let query = match session.version().major() {
        ..16 => format!("{of_both}, NULL::pg_catalog.bool, NULL::pg_catalog.bool {from}"),
        _ => format!("{of_both}, inherit_option, set_option {from}"),
    };
    let failed = |error| ServerError::query("list the memberships of roles", &error);
    let rows = session.query(&query, &[]).await.map_err(failed)?;
    let read = |row: &tokio_postgres::Row| {
        let Text(role) = row.try_get(0)?;
        let Text(member) = row.try_get(1)?;
        Ok(Membership {
            role,
            member,
            admin: row.try_get(2)?,
            inherit: row.try_get(3)?,
            set: row.try_get(4)?,
        })
    };
    let all: Result<_, tokio_postgres::Error> = rows.iter().map(read).collect();
    all.map_err(failed)
}

/// User mappings of the session's database that have no options, as server and
/// user.
pub async fn bare_user_mappings(session: &Session) -> Result<Vec<(String, String)>, ServerError> {
    let query = "SELECT srvname::pg_catalog.text, usename::pg_catalog.text \
        FROM pg_catalog.pg_user_mappings WHERE umoptions IS NULL \
        ORDER BY srvname COLLATE pg_catalog.\"C\", usename COLLATE pg_catalog.\"C\"";
    pairs(session, "list the user mappings", query).await
}

async fn pairs(
    session: &Session,
    what: &'static str,
    query: &str,
) -> Result<Vec<(String, String)>, ServerError> {
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session.query(query, &[]).await.map_err(error)?;
    rows.iter()
        .map(|row| {
            let Text(first) = row.try_get(0).map_err(error)?;
            let Text(second) = row.try_get(1).map_err(error)?;
            Ok((first, second))
        })
        .collect()
}

/// The tablespaces of the server.
pub async fn tablespaces(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT spcname::pg_catalog.text FROM pg_catalog.pg_tablespace";
    names(session, "list its tablespaces", query).await
}

/// Extensions that could be installed.
pub async fn available_extensions(session: &Session) -> Result<Vec<String>, ServerError> {
    let query = "SELECT name::pg_catalog.text FROM pg_catalog.pg_available_extensions";
    names(session, "list the extensions there are", query).await
}

async fn names(session: &Session, what: &str, query: &str) -> Result<Vec<String>, ServerError> {
    let rows = session
        .query(query, &[])
        .await
        .map_err(|error| ServerError::query(what, &error))?;
    rows.iter()
        .map(|row| row.try_get(0).map(|Text(name)| name))
        .collect::<Result<_, _>>()
        .map_err(|error| ServerError::query(what, &error))
}

/// What these bytes are in an encoding, as the server knows it; `None` for all of
/// them if it cannot say that in the session's database.
pub async fn texts(
    session: &Session,
    encoding: &str,
    bytes: &[&[u8]],
) -> Result<Vec<Option<String>>, ServerError> {
    let what = "tell names in another encoding";
    let question = "SELECT pg_catalog.convert_from(x.bytes, $2::pg_catalog.text::pg_catalog.name) \
        FROM pg_catalog.unnest($1::pg_catalog.bytea[]) WITH ORDINALITY AS x (bytes, place) \
        ORDER BY x.place";
    let rows = match session.query(question, &[&bytes, &encoding]).await {
        Ok(rows) => rows,
        // Of the database's own encoding, which lacks a character.
        Err(error) if error.code().is_some() => return Ok(vec![None; bytes.len()]),
        Err(error) => return Err(ServerError::query(what, &error)),
    };
    rows.iter()
        .map(|row| row.try_get::<_, String>(0).map(Some))
        .collect::<Result<_, _>>()
        .map_err(|error| ServerError::query(what, &error))
}

/// Collects the statistics that the planner needs; a restored database has
/// none. Where a function in an index finds its tables along the database's own
/// path only, that is used. The inner error: the server could not collect all.
pub async fn analyze(
    connection: &Connection,
    database: &str,
) -> Result<Result<(), ServerError>, ServerError> {
    let session = Session::open(connection, Some(database)).await?;
    session.unhurried(Duration::from_mins(1)).await?;
    let mut analyzed = session.run("analyze the database", "ANALYZE").await;
    session.close().await;
    if let Err(ServerError::Query { .. }) = analyzed {
        let session = Session::open_for_others(connection, database).await?;
        session.unhurried(Duration::from_mins(1)).await?;
        analyzed = session.run("analyze the database", "ANALYZE").await;
        session.close().await;
    }
    match analyzed {
        Err(error) if error.is_retryable() => Err(error),
        analyzed => Ok(analyzed),
    }
}

/// The owner of `properties`, if the server knows the role.
pub fn known_owner<'a>(properties: &'a Properties, roles: &[String]) -> Option<&'a str> {
    let owner = &properties.owner;
    roles.contains(owner).then_some(owner.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_fit_and_keep_whole_characters() {
        assert_eq!(derived_name("orders", "_x"), "orders_x");
        let long = derived_name(&"a".repeat(63), "_before_20261120_120307");
        assert_eq!(long.len(), MAX_NAME);
        assert!(long.ends_with("a_before_20261120_120307"));
        let umlauts = derived_name(&"\u{fc}".repeat(31), "_before_20261120_120307");
        assert!(umlauts.len() <= MAX_NAME && umlauts.starts_with('\u{fc}'));
    }

    #[test]
    fn statements_have_what_the_version_knows() {
        let locale = Locale {
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            provider: "icu".into(),
            name: Some("de-DE".into()),
            icu_rules: None,
        };
        let old = statement("a\"b", &locale, None, None, 14);
        assert!(old.starts_with("CREATE DATABASE \"a\"\"b\" TEMPLATE template0"));
        assert!(!old.contains("LOCALE_PROVIDER"), "{old}");
        let new = statement("a", &locale, Some("o"), Some("t"), 15);
        assert!(
            new.ends_with(
                "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' OWNER \"o\" TABLESPACE \"t\" \
                 ALLOW_CONNECTIONS false"
            ),
            "{new}"
        );
    }
}
