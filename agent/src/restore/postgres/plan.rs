//! What a restore will do, from what the snapshot and the server say. Pure.

use jiff::Timestamp;
use strongroom_postgres::{
    inventory::Inventory,
    logical::{
        create::{MAX_NAME, Ties, derived_name, known_owner},
        manifest::{Content, DumpedDatabase, Manifest},
    },
    name,
};
use strongroom_spec::{PlannedAction, PostgresTarget, RestoreSpec};

/// Below this, jobs at once gain nothing that is worth the disk.
const SMALL: u64 = 64 << 20;

/// What the server says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) inventory: Inventory,
    pub(super) roles: Vec<String>,
    pub(super) tablespaces: Vec<String>,
    pub(super) extensions: Vec<String>,
    /// Of the database that would give way.
    pub(super) ties: Ties,
    /// Databases that earlier restores left, with their jobs.
    pub(super) unfinished: Vec<(String, String)>,
    /// Roles that would be made of the snapshot's globals.
    pub(super) new_roles: Vec<String>,
    /// Bytes free in the agent's state directory.
    pub(super) scratch: u64,
}

/// How the data gets where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Filled under another name, which is changed at the end.
    New,
    /// Filled beside; then the names change in one step.
    Replace {
        /// What the old one is called from then on.
        aside: String,
    },
    /// Into a database that is there, in one transaction.
    Into,
}

/// What is going to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) way: Way,
    /// The database that `pg_restore` fills.
    pub(super) fill: String,
    /// Left of an earlier attempt of this job.
    pub(super) stale: Vec<String>,
    /// Whom the database belongs to in the end; `None`: the connection's role.
    pub(super) owner: Option<String>,
    pub(super) tablespace: Option<String>,
    /// Owners and privileges are left to the connection's role.
    pub(super) without_roles: bool,
    /// Some roles are not there: what names none of those is given to whom it
    /// belonged behind all else.
    pub(super) lacks_roles: bool,
    pub(super) without_tablespaces: bool,
    pub(super) jobs: u32,
    pub(super) notes: Vec<String>,
}

/// Why it will not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is none.
    #[error(
        "{0:?} cannot be the name of a database: it must have 1 to {MAX_NAME} bytes, and \
         template0 and template1 are the server's own"
    )]
    Name(String),
    /// Standbys are read-only.
    #[error("the server is a standby and takes no writes: restore into its primary")]
    Standby,
    /// There is one of that name.
    #[error(
        "there is a database {0:?} already: choose another name with --as, or replace it with \
         --replace --confirm {0}"
    )]
    Exists(String),
    /// Parts do not make a whole.
    #[error(
        "single schemas and tables cannot replace a whole database: restore them into a new one \
         with --as, or without --replace beside what is there"
    )]
    PartialReplace,
    /// A script is run from its beginning to its end.
    #[error(
        "the snapshot holds a script of SQL, of which no single schemas or tables can be restored: \
         restore all of it into a new database with --as"
    )]
    Script,
    /// The dump has no definitions.
    #[error(
        "the snapshot holds rows without definitions (content = \"data\"): restore it into a \
         database that has the tables, without --replace"
    )]
    NoDefinitions,
    /// Prepared transactions hold the name.
    #[error(
        "the database {database:?} has {count} prepared transactions, which keep it from giving \
         way: COMMIT PREPARED or ROLLBACK PREPARED them"
    )]
    Prepared {
        /// Which.
        database: String,
        /// How many.
        count: u64,
    },
    /// The server could not make them.
    #[error(
        "the server has not installed the extensions that the database needs: {0}; install their \
         packages on the server's host"
    )]
    Extensions(String),
    /// Asked for and not there.
    #[error("the dump of {database:?} has no {what}; look at the manifest.json of the snapshot")]
    NoObject {
        /// Which database.
        database: String,
        /// `table "x"`.
        what: String,
    },
    /// A name for several.
    #[error("{name:?} stands for several tables: write SCHEMA.TABLE, one of {candidates}")]
    Ambiguous {
        /// As given.
        name: String,
        /// What it could be.
        candidates: String,
    },
    /// They would change the rows.
    #[error(
        "the triggers {names} would act on the rows that come, and cannot be switched off \
         meanwhile: {cause}; restore as the owner of their tables, or switch them off yourself \
         (ALTER TABLE … DISABLE TRIGGER …)"
    )]
    Triggers {
        /// Each with its table.
        names: String,
        /// Why not.
        cause: String,
    },
    /// No order of the rows satisfies them.
    #[error(
        "the foreign keys {names} lead in a circle, and cannot be made to wait for all rows: \
         {cause}; restore as the owner of their tables, or let them wait yourself (ALTER TABLE … \
         ALTER CONSTRAINT … DEFERRABLE)"
    )]
    Circle {
        /// Each with its table.
        names: String,
        /// Why not.
        cause: String,
    },
    /// In the way.
    #[error(
        "the database {database:?} has {} already: drop or rename them, or restore into a new \
         database with --as", present.join(", ")
    )]
    Present {
        /// Which.
        database: String,
        /// The first of them.
        present: Vec<String>,
    },
}

/// Makes the plan, or refuses. `job` is the job's short id; `threads` what the
/// attempt may use.
pub(super) fn plan(
    work: &RestoreSpec<PostgresTarget>,
    manifest: &Manifest,
    database: &DumpedDatabase,
    facts: &Facts,
    job: &str,
    threads: u32,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let to = work.target.name();
    let length = name::encode(to).len();
    let impossible = !(1..=MAX_NAME).contains(&length) || to.contains('\0');
    if impossible || to == "template0" || to == "template1" {
        return Err(Refusal::Name(to.to_owned()));
    }
    if facts.inventory.standby {
        return Err(Refusal::Standby);
    }
    let mut notes = Vec::new();
    let narrow = !work.target.schemas.is_empty() || !work.target.tables.is_empty();
    let exists = facts.inventory.database(to).is_some();
    if narrow && manifest.is_script() {
        return Err(Refusal::Script);
    }
    let data_only = manifest.selection.content == Content::Data;
    let way = match (exists, work.target.replace) {
        (_, true) if narrow => return Err(Refusal::PartialReplace),
        (false, _) | (true, true) if data_only => return Err(Refusal::NoDefinitions),
        (true, true) => Way::Replace {
            aside: aside(to, now),
        },
        (true, false) if narrow || data_only => Way::Into,
        (true, false) => return Err(Refusal::Exists(to.to_owned())),
        (false, _) => Way::New,
    };
    let missing = |wanted: &[String], there: &[String]| -> Vec<String> {
        let missing = wanted.iter().filter(|it| !there.contains(it));
        missing.map(|it| format!("{it:?}")).collect()
    };
    let names = database.extensions.iter().map(|it| it.name.clone());
    let names: Vec<_> = names.collect();
    let extensions = missing(&names, &facts.extensions);
    if !extensions.is_empty() && way != Way::Into {
        return Err(Refusal::Extensions(extensions.join(", ")));
    }
    if let Way::Replace { .. } = way {
        replacing(to, &facts.ties, &mut notes)?;
    }
    let mut roles = facts.roles.clone();
    roles.extend(facts.new_roles.iter().cloned());
    let absent = missing(&database.roles, &roles);
    if !absent.is_empty() {
        notes.push(format!(
            "the server has no roles {}: what belonged to them will belong to the connection's \
             role, and privileges that name them are left out; create the roles first, or restore \
             with --roles",
            absent.join(", ")
        ));
    }
    let elsewhere = missing(&database.tablespaces, &facts.tablespaces);
    if !elsewhere.is_empty() {
        notes.push(format!(
            "the server has no tablespaces {}: everything will lie in the default one",
            elsewhere.join(", ")
        ));
    }
    if facts.inventory.version.major() < manifest.server_major {
        notes.push(format!(
            "the server is version {}, older than the dump's, {}: what is new there may fail",
            facts.inventory.version, manifest.server_version
        ));
    }
    if manifest.foreign {
        notes.push(
            "the dump was uploaded: its rows were not counted, so nothing is compared, and \
             everything in it will belong to the connection's role"
                .into(),
        );
    }
    if manifest.selection.is_partial() {
        notes.push("the snapshot was told to leave out some schemas or tables".into());
    }
    let fill = match way {
        Way::Into => to.to_owned(),
        Way::New | Way::Replace { .. } => derived_name(to, &format!("_strongroom_{job}")),
    };
    // What bears another name is no leftover, whatever its comment says: it may be
    // a database that this job has just finished.
    let is_left = |name: &String, of: &str| of == job && *name == fill && way != Way::Into;
    let stale = facts
        .unfinished
        .iter()
        .filter(|(name, of)| is_left(name, of));
    let others = facts.unfinished.iter().filter(|(_, of)| of != job);
    for (name, of) in others {
        notes.push(format!(
            "the database {name:?} was left unfinished by the restore of job {of}; unless that \
             runs still, drop it"
        ));
    }
    let stale = stale.map(|(name, _)| name.clone()).collect();
    Ok(Plan {
        jobs: if manifest.is_script() {
            1
        } else {
            jobs(
                work.target.jobs,
                &way,
                database.bytes,
                facts.scratch,
                threads,
            )
        },
        fill,
        stale,
        owner: known_owner(&database.properties, &roles).map(str::to_owned),
        tablespace: database
            .properties
            .tablespace
            .clone()
            .filter(|it| facts.tablespaces.contains(it)),
        without_roles: !absent.is_empty() || manifest.foreign,
        lacks_roles: !absent.is_empty() && !manifest.foreign,
        without_tablespaces: !elsewhere.is_empty(),
        way,
        notes,
    })
}

fn aside(name: &str, now: Timestamp) -> String {
    let suffix = now.strftime("_before_%Y%m%d_%H%M%S").to_string();
    derived_name(name, &suffix)
}

fn replacing(name: &str, ties: &Ties, notes: &mut Vec<String>) -> Result<(), Refusal> {
    if ties.prepared > 0 {
        return Err(Refusal::Prepared {
            database: name.to_owned(),
            count: ties.prepared,
        });
    }
    if ties.connections > 0 {
        notes.push(format!(
            "{} connections to {name:?} will be cut off when the names change",
            ties.connections
        ));
    }
    if !ties.slots.is_empty() {
        notes.push(format!(
            "the logical replication slots {} stay with the old database, under its new name",
            ties.slots.join(", ")
        ));
    }
    if ties.subscriptions > 0 {
        notes.push(format!(
            "{} subscriptions stay with the old database, under its new name",
            ties.subscriptions
        ));
    }
    Ok(())
}

/// As many as asked for; otherwise as many as are of use and there is room for.
fn jobs(asked: Option<u32>, way: &Way, dump: u64, scratch: u64, threads: u32) -> u32 {
    match asked {
        // One transaction is one connection.
        _ if *way == Way::Into => 1,
        Some(jobs) => jobs.clamp(1, 64),
        // Twice: a disk that is full to the brim serves nobody.
        None if dump < SMALL || scratch / 2 < dump => 1,
        None => threads.clamp(1, 16),
    }
}

/// What a dry run shows.
pub(super) fn actions(
    plan: &Plan,
    work: &RestoreSpec<PostgresTarget>,
    database: &DumpedDatabase,
    new_roles: &[String],
    tables: usize,
) -> Vec<PlannedAction> {
    let action = |path: String, action: &str, bytes: u64| PlannedAction {
        path: path.into(),
        action: action.into(),
        bytes,
    };
    let mut all: Vec<_> = new_roles
        .iter()
        .map(|role| action(format!("role {role}"), "create", 0))
        .collect();
    let fill = &plan.fill;
    if plan.way != Way::Into {
        let size = database.size_on_server.unwrap_or(database.bytes);
        all.push(action(format!("database {fill}"), "create", size));
    }
    let how = match plan.jobs {
        1 => "streamed".to_owned(),
        jobs => format!("{jobs} jobs"),
    };
    all.push(action(
        format!("dump of {} ({how}) into {fill}", database.name),
        "restore",
        database.bytes,
    ));
    all.push(action(format!("{tables} tables of {fill}"), "verify", 0));
    let to = work.target.name();
    match &plan.way {
        Way::New => all.push(action(format!("database {fill} to {to}"), "rename", 0)),
        Way::Replace { aside } => {
            all.push(action(format!("database {to} to {aside}"), "rename", 0));
            all.push(action(format!("database {fill} to {to}"), "rename", 0));
        }
        Way::Into => {}
    }
    all
}

#[cfg(test)]
pub(super) mod tests;
