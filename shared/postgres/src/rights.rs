//! Which rights a role lacks: asked before any work is begun, and told all at
//! once, with the statements that grant them.

use std::fmt;

use tokio_postgres::Row;

use crate::connection::{ServerError, Session};

/// What the rights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A physical backup.
    BaseBackup,
    /// Following the log by the replication protocol.
    Stream,
    /// Taking the log that the server's `archive_command` pushes.
    Push,
}

/// What a job is allowed by.
struct Needs {
    /// Settings that only superusers see, `data_directory` among them.
    settings: bool,
    /// Replication slots, and connections for replication.
    replication: bool,
    functions: &'static [&'static str],
}

const CONTROL: &str = "pg_catalog.pg_control_system()";
const CREATE_SLOT: &str =
    "pg_catalog.pg_create_physical_replication_slot(pg_catalog.name, boolean, boolean)";

impl Purpose {
    /// On a server of a major version.
    fn needs(self, major: u32) -> Needs {
        match self {
            Self::BaseBackup => Needs {
                settings: true,
                replication: true,
                functions: if major >= 15 {
                    &[
                        "pg_catalog.pg_backup_start(pg_catalog.text, boolean)",
                        "pg_catalog.pg_backup_stop(boolean)",
                        CONTROL,
                        CREATE_SLOT,
                    ]
                } else {
                    &[
                        "pg_catalog.pg_start_backup(pg_catalog.text, boolean, boolean)",
                        "pg_catalog.pg_stop_backup(boolean, boolean)",
                        CONTROL,
                        CREATE_SLOT,
                    ]
                },
            },
            Self::Stream => Needs {
                settings: false,
                replication: true,
                functions: &[
                    CONTROL,
                    CREATE_SLOT,
                    "pg_catalog.pg_drop_replication_slot(pg_catalog.name)",
                    "pg_catalog.pg_replication_slot_advance(pg_catalog.name, pg_catalog.pg_lsn)",
                ],
            },
            Self::Push => Needs {
                settings: true,
                replication: false,
                functions: &[CONTROL],
            },
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BaseBackup => "a physical backup",
            Self::Stream => "streaming the log",
            Self::Push => "taking the pushed log",
        })
    }
}

/// A role that may not do what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection's role {role} lacks rights that {purpose} needs; run as a superuser in the \
     database {database}: {}",
    statements.join("; ")
)]
pub struct MissingRights {
    /// The role, quoted as SQL wants it.
    pub role: String,
    /// The connection's database, quoted likewise: functions belong to one.
    pub database: String,
    /// What for.
    pub purpose: Purpose,
    /// What to run, without semicolons; at least one.
    pub statements: Vec<String>,
}

const QUESTION: &str = "SELECT pg_catalog.quote_ident(current_user), \
    pg_catalog.quote_ident(pg_catalog.current_database()), \
    (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles \
     WHERE rolname OPERATOR(pg_catalog.=) current_user), \
    pg_catalog.pg_has_role(current_user, 'pg_read_all_settings', 'USAGE'), \
    ARRAY(SELECT signature FROM pg_catalog.unnest($1::pg_catalog.text[]) AS signature \
     WHERE NOT pg_catalog.has_function_privilege(current_user, signature, 'EXECUTE'))";

/// Asks for everything that the connection's role needs; `None`: it has it all.
pub async fn missing(
    session: &Session,
    purpose: Purpose,
) -> Result<Option<MissingRights>, ServerError> {
    let needs = purpose.needs(session.version().major());
    let failed = |error| ServerError::query("tell the role's rights", &error);
    let row = session.query_one(QUESTION, &[&needs.functions]).await;
    row.and_then(|row| lacking(&row, &needs, purpose))
        .map_err(failed)
}

fn lacking(
    row: &Row,
    needs: &Needs,
    purpose: Purpose,
) -> Result<Option<MissingRights>, tokio_postgres::Error> {
    let (role, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    // A role that no longer exists has no rights.
    let replication: bool = row.try_get::<_, Option<bool>>(2)?.unwrap_or(false);
    let settings: bool = row.try_get(3)?;
    let functions: Vec<String> = row.try_get(4)?;
    let mut statements = Vec::new();
    if needs.replication && !replication {
        statements.push(format!("ALTER ROLE {role} REPLICATION"));
    }
    if needs.settings && !settings {
        statements.push(format!("GRANT pg_read_all_settings TO {role}"));
    }
    statements.extend(
        functions
            .iter()
            .map(|function| format!("GRANT EXECUTE ON FUNCTION {function} TO {role}")),
    );
    Ok((!statements.is_empty()).then_some(MissingRights {
        role,
        database,
        purpose,
        statements,
    }))
}
