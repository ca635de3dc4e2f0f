//! Whom what was restored belongs to, and who may do what with it, where the server
//! lacks some of the roles.
//!
//! `pg_restore` gives owners and privileges to all or to nobody. So it makes
//! everything for the connection's role there, and behind that its own statements
//! about roles are run one by one: what names a role that is not there is left out,
//! by name, and all else holds, such as what is taken from everybody.
//!
//! What lends its owner's rights to others and belongs to the connection's role, which
//! may be a superuser, lends nothing unless the dump says that it was this role's. Of a
//! dump that was uploaded everything belongs to that role, and nothing was its own.

use std::collections::{BTreeMap, HashSet};

use strongroom_postgres::{
    connection::{SEARCH_PATH, ServerError, Session},
    logical::{
        acting::{Acting, Key, acting},
        lent::{Lent, functions, lent},
        script::{Statement, StatementKind},
        subject::Given,
    },
};
use strongroom_spec::WarningCode;

use super::{
    PostgresRestoreError, Restore,
    fill::{Filling, Script},
    script::LOCK,
};

/// Bytes of SQL that are looked through at most.
const MAX_SCRIPT: usize = 256 << 20;
/// What is named of a role, or of what failed.
const NAMED: usize = 20;
/// SQLSTATEs of what is not there itself, and has been named: a relation, a
/// function, a schema. That of a type is a role's, too.
const NOT_THERE: [&str; 3] = ["42P01", "42883", "3F000"];
const SAVE: &str = "set a savepoint";
const GRANTOR: &str = "SET SESSION AUTHORIZATION";
const GRANTOR_ENDS: &str = "RESET SESSION AUTHORIZATION";
/// A superuser's session does not run what event triggers of the database do.
const UNHEARD: &str = "SELECT pg_catalog.set_config('session_replication_role', 'replica', false) \
    FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user AND rolsuper";

/// What was there before a restore.
#[derive(Debug, Default)]
pub(super) struct There {
    /// What acted with the rights of the connection's role.
    acting: HashSet<Key>,
    /// All functions: others use them, whatever the restore makes of them.
    functions: HashSet<Key>,
}

/// What was not given.
#[derive(Debug, Default)]
struct LeftOut {
    /// By role.
    of_roles: BTreeMap<String, Vec<String>>,
    /// For another reason.
    failed: Vec<String>,
    /// What nobody but its owner may use now.
    closed: Vec<Acting>,
    /// What nobody but the connection's role may change now.
    withheld: Vec<Lent>,
    /// What was there before and would be in one of these: its name, and what it does.
    kept: Vec<(String, String)>,
}

impl Restore<'_> {
    /// Closes whatever a script made in a database of its own.
    pub(super) fn close_all(&self, database: &str) -> Result<(), PostgresRestoreError> {
        let left_out = self.wait(async {
            let session = Session::open(self.connection, Some(database)).await?;
            session.unhurried(LOCK).await?;
            session.run("pass over event triggers", UNHEARD).await?;
            let mut left_out = LeftOut::default();
            let nothing = Given::to(session.role().await?);
            close(&session, false, &There::default(), &nothing, &mut left_out).await?;
            session.close().await;
            Ok(left_out)
        })?;
        left_out.name(self);
        Ok(())
    }
}

impl Filling<'_> {
    /// What acts with its owner's rights in the database before anything is made there,
    /// and its functions: they are not ours to close, nor to give.
    pub(super) fn acting_before(
        &self,
        within: Option<&Session>,
    ) -> Result<There, PostgresRestoreError> {
        if !self.plan.without_roles {
            return Ok(There::default());
        }
        let restore = self.restore;
        match within {
            Some(session) => restore.wait(there(session)),
            None => restore.wait(async {
                let session = Session::open(restore.connection, Some(&self.plan.fill)).await?;
                let there = there(&session).await?;
                session.close().await;
                Ok(there)
            }),
        }
    }

    /// Gives what these entries make to whom it belonged, as far as those are there;
    /// `within`: in the transaction of this session. What was `there` before stays as it
    /// is.
    pub(super) fn give(
        &self,
        within: Option<&Session>,
        numbers: &[u32],
        there: &There,
    ) -> Result<(), PostgresRestoreError> {
        if !self.plan.without_roles {
            return Ok(());
        }
        let restore = self.restore;
        let about_roles = if self.plan.lacks_roles {
            let read = self.about_roles(numbers)?;
            if read.is_none() {
                let cause = "owners and privileges could not be read from the dump, and are left \
                             out: everything belongs to the connection's role";
                restore.warn(
                    WarningCode::RightsNotGiven,
                    restore.work.target.name(),
                    cause,
                );
            }
            read
        } else {
            None
        };
        let about_roles = about_roles.unwrap_or_default();
        let left_out = match within {
            Some(session) => restore.wait(async {
                // A type of a function's argument has its schema then, as in the dump.
                let path = format!("SET LOCAL search_path = {SEARCH_PATH}");
                session.run("set up the session", &path).await?;
                give(session, &about_roles.statements, true, there).await
            })?,
            None => restore.wait(async {
                let session = Session::open(restore.connection, Some(&self.plan.fill)).await?;
                session.unhurried(LOCK).await?;
                if let Some(encoding) = &about_roles.encoding {
                    session.speak(encoding).await?;
                }
                let left_out = give(&session, &about_roles.statements, false, there).await?;
                session.close().await;
                Ok(left_out)
            })?,
        };
        left_out.name(restore);
        Ok(())
    }

    /// Statements about roles, in the dump's order; `None`: they cannot be read.
    fn about_roles(&self, numbers: &[u32]) -> Result<Option<Script>, PostgresRestoreError> {
        let script = self.statements(numbers, MAX_SCRIPT)?;
        Ok(script.map(|mut script| {
            let of_roles =
                |it: &Statement| it.kind == StatementKind::Ownership || it.text == GRANTOR_ENDS;
            script.statements.retain(of_roles);
            script
        }))
    }
}

async fn there(session: &Session) -> Result<There, ServerError> {
    let acting = acting(session).await?.into_iter().map(|it| it.key);
    let lent = lent(session).await?.into_iter().map(|it| it.key);
    Ok(There {
        acting: acting.chain(lent).collect(),
        functions: functions(session).await?.into_iter().collect(),
    })
}

async fn give(
    session: &Session,
    statements: &[Statement],
    within: bool,
    there: &There,
) -> Result<LeftOut, ServerError> {
    let mut left_out = LeftOut::default();
    let mut given = Given::to(session.role().await?);
    // Whoever granted is not there: nobody else grants in his place.
    let mut lacks_grantor: Option<String> = None;
    for statement in statements {
        if statement.text == GRANTOR_ENDS {
            if lacks_grantor.take().is_none() {
                run(session, statement, within).await?;
            }
            continue;
        }
        if let Some(role) = &lacks_grantor {
            left_out.add(role.clone(), described(statement));
            continue;
        }
        let Err(error) = run(session, statement, within).await else {
            given.note(&statement.text);
            continue;
        };
        if error.is_retryable() {
            return Err(error);
        }
        let cause = error.to_string();
        let role = lacking(&cause).map(str::to_owned);
        if statement.text.starts_with(GRANTOR) {
            lacks_grantor = Some(role.unwrap_or_default());
        } else if let Some(role) = role {
            left_out.add(role, described(statement));
        } else if !error.state().is_some_and(|it| NOT_THERE.contains(&it)) {
            let what = described(statement);
            left_out.failed.push(format!("{what} ({cause})"));
        }
    }
    close(session, within, there, &given, &mut left_out).await?;
    Ok(left_out)
}

/// Takes from everybody what would lend them the rights of the connection's role,
/// which may be a superuser's, in place of those of its owner: all but what was `there`
/// and what a statement of those has `given` to that very role. What is misread stays
/// closed. A function that was there is named, and stays as it is.
async fn close(
    session: &Session,
    within: bool,
    there: &There,
    given: &Given,
    left_out: &mut LeftOut,
) -> Result<(), ServerError> {
    for lent in lent(session).await? {
        if lent.is_given(given) || there.acting.contains(&lent.key) {
            continue;
        }
        if there.functions.contains(&lent.key) {
            let does = format!(
                "{} calls it with the rights of whom its table belongs to, which is the \
                 connection's role, and {:?} may change it",
                lent.by, lent.owner
            );
            left_out.kept.push((lent.object, does));
            continue;
        }
        // Several may call it.
        if !left_out.withheld.iter().any(|it| it.key == lent.key) {
            match saved(session, within, lent.withhold(session)).await {
                Err(error @ ServerError::Privilege { .. }) => {
                    left_out.refused(&lent, &error);
                    continue;
                }
                done => done?,
            }
        }
        left_out.withheld.push(lent);
    }
    for acting in acting(session).await? {
        if acting.is_given(given) || there.acting.contains(&acting.key) {
            continue;
        }
        if there.functions.contains(&acting.key) {
            let does = "it acts with its owner's rights now, and belongs to the connection's role";
            left_out.kept.push((acting.object, does.into()));
            continue;
        }
        acting.close(session).await?;
        left_out.closed.push(acting);
    }
    Ok(())
}

async fn run(session: &Session, statement: &Statement, within: bool) -> Result<(), ServerError> {
    let what = format!("give the {}", described(statement));
    let run = session.run_foreign(&what, &statement.text);
    saved(session, within, run).await
}

/// `within` a transaction, which goes on when it fails, unless the connection broke.
async fn saved(
    session: &Session,
    within: bool,
    run: impl Future<Output = Result<(), ServerError>>,
) -> Result<(), ServerError> {
    if !within {
        return run.await;
    }
    session.run(SAVE, "SAVEPOINT strongroom").await?;
    let ran = run.await;
    let then = match &ran {
        Ok(()) => "RELEASE strongroom",
        Err(error) if error.is_retryable() => return ran,
        Err(_) => "ROLLBACK TO strongroom",
    };
    session.run(SAVE, then).await?;
    ran
}

/// The role that is not there, of the server's words.
fn lacking(cause: &str) -> Option<&str> {
    let (_, role) = cause.split_once("role \"")?;
    role.split_once("\" does not exist").map(|it| it.0)
}

/// What it gives: `owner of TABLE public.t`, by what `pg_dump` says in front of it.
fn described(statement: &Statement) -> String {
    let mut parts = statement.about.split("; ");
    let name = parts.next().unwrap_or_default();
    let mut part = |key: &str| {
        let value = parts.next().and_then(|it| it.strip_prefix(key));
        value.unwrap_or_default().to_owned()
    };
    let (kind, schema) = (part("Type: "), part("Schema: "));
    if name.is_empty() {
        return format!("privileges of line {}", statement.line);
    }
    let gives_owner = statement.text.starts_with("ALTER ") && kind != "DEFAULT ACL";
    let schema = match schema.as_str() {
        "" | "-" => String::new(),
        schema => format!("{schema}."),
    };
    match kind.as_str() {
        _ if gives_owner => format!("owner of {kind} {schema}{name}"),
        "DEFAULT ACL" => format!("{name} of schema {}", schema.trim_end_matches('.')),
        // Its name has the kind in front.
        _ => match name.split_once(' ') {
            Some((kind, name)) => format!("privileges of {kind} {schema}{name}"),
            None => format!("privileges of {schema}{name}"),
        },
    }
}

impl LeftOut {
    fn add(&mut self, role: String, what: String) {
        let all = self.of_roles.entry(role).or_default();
        // Each grant is a statement.
        if !all.contains(&what) {
            all.push(what);
        }
    }

    /// Several may call it.
    fn refused(&mut self, lent: &Lent, error: &ServerError) {
        let what = format!(
            "{} to the connection's role, with whose rights {} calls what {:?} may change ({error})",
            lent.object, lent.by, lent.owner
        );
        if !self.failed.contains(&what) {
            self.failed.push(what);
        }
    }

    fn name(&self, restore: &Restore<'_>) {
        let to = restore.work.target.name();
        for (role, what) in &self.of_roles {
            let role = match role.as_str() {
                "" => "who granted them".into(),
                role => format!("{role:?}"),
            };
            let cause = format!(
                "left out, because the server has no role {role}: {}; create it (restore with \
                 --roles does), then give them by hand or restore again",
                listed(what)
            );
            let object = format!("{to}: role {role}");
            restore.warn(WarningCode::RoleMissing, &object, &cause);
        }
        for acting in &self.closed {
            let cause = if acting.is_function() {
                "it acted with its owner's rights and belongs to the connection's role, so it acts \
                 with its caller's now, and nobody else may call it: give it its owner, then make \
                 it SECURITY DEFINER and grant again what was granted"
            } else {
                "it acts with its owner's rights and belongs to the connection's role, so nobody \
                 else may use it: give it its owner, then grant again what was granted"
            };
            let object = format!("{to}: {}", acting.object);
            restore.warn(WarningCode::RightsWithheld, &object, cause);
        }
        for lent in &self.withheld {
            let cause = format!(
                "{} calls it with the rights of whom its table belongs to, which is the \
                 connection's role: so it belongs to that role, and {:?} may call it, but not \
                 change it; give the table its owner, then the function, and look at what it \
                 calls in turn",
                lent.by, lent.owner
            );
            let object = format!("{to}: {}", lent.object);
            restore.warn(WarningCode::RightsWithheld, &object, &cause);
        }
        for (object, does) in &self.kept {
            let cause = format!(
                "{does}; it was in the database before, so it was left as it is: give the table, \
                 or the function, its owner"
            );
            let object = format!("{to}: {object}");
            restore.warn(WarningCode::RightsWithheld, &object, &cause);
        }
        if !self.failed.is_empty() {
            let cause = format!("could not be given: {}", listed(&self.failed));
            restore.warn(WarningCode::RightsNotGiven, to, &cause);
        }
    }
}

fn listed(all: &[String]) -> String {
    let mut shown: Vec<_> = all.iter().take(NAMED).cloned().collect();
    if all.len() > NAMED {
        shown.push(format!("and {} more", all.len() - NAMED));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use strongroom_postgres::logical::script::Effect;

    use super::*;

    #[test]
    fn what_is_left_out_has_a_name() {
        let described = |text: &str, about: &str| {
            described(&Statement {
                text: text.into(),
                line: 7,
                kind: StatementKind::Ownership,
                effect: Effect::Definition,
                about: about.into(),
            })
        };
        let owner = described(
            "ALTER TABLE \"public\".\"t\" OWNER TO \"x\"",
            "t; Type: TABLE; Schema: public; Owner: x",
        );
        assert_eq!(owner, "owner of TABLE public.t");
        let granted = described(
            "GRANT SELECT ON TABLE \"public\".\"t\" TO \"x\"",
            "TABLE t; Type: ACL; Schema: public; Owner: me",
        );
        assert_eq!(granted, "privileges of TABLE public.t");
        let schema = described(
            "GRANT ALL ON SCHEMA s TO x",
            "SCHEMA s; Type: ACL; Schema: -; Owner: me",
        );
        assert_eq!(schema, "privileges of SCHEMA s");
        let default = described(
            "ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT ALL ON TABLES TO y",
            "DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: s; Owner: x",
        );
        assert_eq!(default, "DEFAULT PRIVILEGES FOR TABLES of schema s");
        assert_eq!(described("GRANT x TO y", ""), "privileges of line 7");
    }

    #[test]
    fn a_role_that_is_not_there_is_told_by_the_server() {
        let cause = "PostgreSQL cannot x: role \"a b\" does not exist";
        assert_eq!(lacking(cause), Some("a b"));
        assert_eq!(lacking("relation \"t\" does not exist"), None);
    }
}
