//! A database is made and filled, in the phases of `logical::phases`.
//!
//! An entry that fails stops nothing. Behind the last one of its phase those
//! that failed are tried again, one after the other, with the search path and
//! the settings that clients of the database get: a function that finds its
//! tables only so fails before, where `pg_dump` had the path emptied. They are
//! tried as long as that makes any more of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use strongroom_postgres::{
    connection::{SEARCH_PATH, ServerError, Session, default_search_path},
    logical::{
        arguments, create,
        manifest::Relation,
        phases::{self, Phases},
        script::{Item, Splitter, Statement},
        toc, triggers, verify,
    },
    name,
    server_words::Heard,
    sql,
};
use strongroom_spec::{RestoreOutcome, WarningCode};

use super::{
    PostgresRestoreError, Refusal, Restore,
    belongings::There,
    contents::Contents,
    objects::Objects,
    plan::{Plan, Way},
    program::{Input, PgRestore},
    unmade::{Policy, Unmade},
};

/// Failed entries are tried again at most as often.
const ROUNDS: usize = 5;
/// Those with rows: each time the whole dump is read.
const ROUNDS_OF_ROWS: usize = 3;
/// Bytes of a single entry's SQL at most.
const MAX_STATEMENT: usize = 16 << 20;

impl Restore<'_> {
    pub(super) async fn create(&self, plan: &Plan) -> Result<(), ServerError> {
        let session =
            create::elsewhere(self.connection, &[&plan.fill, self.work.target.name()]).await?;
        for stale in &plan.stale {
            create::discard(&session, stale).await?;
        }
        // Its owner could connect while it is filled. Without him only a superuser can
        // give to him what is in the schema `public`.
        let owner = if session.is_superuser().await? {
            None
        } else {
            plan.owner.as_deref()
        };
        let statement = create::statement(
            &plan.fill,
            &self.database.locale,
            owner,
            plan.tablespace.as_deref(),
            session.version().major(),
        );
        create::create(&session, &plan.fill, &statement, &self.job).await?;
        session.close().await;
        Ok(())
    }

    /// Restores into what was created, or what is there; gives what could not
    /// be made.
    pub(super) fn fill(
        &self,
        plan: &Plan,
        objects: &Objects,
        contents: Option<&Contents>,
        result: &mut RestoreOutcome,
    ) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let (Some(program), Some(contents)) = (&self.program, contents) else {
            return self.play(plan, result);
        };
        let subscriptions = phases::subscriptions(&contents.entries, objects.chosen());
        for entry in subscriptions {
            self.monitor.warn(
                WarningCode::SubscriptionsLeftOut,
                format!("{}: {} {}", self.work.target.name(), entry.kind, entry.rest),
                "it was left out: a copy must not begin to replicate by itself",
            );
        }
        let filling = Filling {
            restore: self,
            program,
            plan,
            contents,
            phases: contents.phases(objects),
        };
        let schemas = filling.absent_schemas(objects)?;
        if plan.way == Way::Into && self.database.locale.encoding == "UTF8" {
            return filling.in_transaction(objects, &schemas, result);
        }
        self.wait(async {
            let session = Session::open(self.connection, Some(&plan.fill)).await?;
            make_schemas(&session, &schemas, result).await?;
            session.close().await;
            Ok(())
        })?;
        if plan.way != Way::Into {
            return filling.by_phases(result);
        }
        let there = filling.acting_before(None)?;
        filling.at_once(objects, result)?;
        filling.give(None, &filling.definitions(), &there)?;
        if !self.adds_rows() {
            result.notes.push(format!(
                "the database's encoding is {}, not UTF8: what came was committed before its rows \
                 were compared",
                self.database.locale.encoding
            ));
            self.verify(plan, objects, &[], result).map_err(|cause| {
                if let PostgresRestoreError::Differs { .. } = cause {
                    return PostgresRestoreError::Committed {
                        cause: Box::new(cause),
                        database: plan.fill.clone(),
                        encoding: self.database.locale.encoding.clone(),
                    };
                }
                cause
            })?;
        }
        Ok(Vec::new())
    }
}

/// See [`Restore::fill`].
pub(super) struct Filling<'a> {
    pub(super) restore: &'a Restore<'a>,
    pub(super) program: &'a PgRestore<'a>,
    pub(super) plan: &'a Plan,
    contents: &'a Contents,
    phases: Phases,
}

/// Large objects whose owners are given one by one: with their statements, some 40 MiB.
const LARGE_OBJECTS: usize = 500_000;

/// SQL that `pg_restore` wrote. Names are bytes ([`name`]).
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) statements: Vec<Statement>,
    /// That the bytes are in; `None`: it does not say.
    pub(super) encoding: Option<String>,
}

impl Script {
    /// `None` if it cannot be taken apart. In every encoding that a database can have,
    /// what is ASCII stands for itself.
    fn of(sql: &[u8]) -> Option<Self> {
        const ENCODING: &[u8] = b"SET client_encoding = '";
        let mut encoding = None;
        let mut rest = Vec::with_capacity(sql.len());
        for line in sql.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(ENCODING) {
                Some(value) if encoding.is_none() => {
                    let end = value.iter().position(|byte| *byte == b'\'')?;
                    encoding = Some(name::decode(&value[..end]));
                }
                _ => rest.extend_from_slice(line),
            }
        }
        let items = Splitter::default().feed(name::decode(&rest).as_bytes());
        let statements = items.ok()?.into_iter().filter_map(|item| match item {
            Item::Statement(it) => Some(it),
            _ => None,
        });
        Some(Self {
            statements: statements.collect(),
            encoding,
        })
    }
}

/// Where entries are read from.
enum From<'a> {
    /// The beginning is enough.
    Head(&'a Path),
    /// The whole dump, in a file that jobs may share.
    File(PathBuf),
    /// The whole dump, as it comes out of the repository.
    Stream { again: bool },
}

/// Makes schemas that a dump does not define.
pub(super) async fn make_schemas(
    session: &Session,
    schemas: &[String],
    result: &mut RestoreOutcome,
) -> Result<(), ServerError> {
    for schema in schemas {
        let what = format!("make the schema {schema:?}");
        let statement = format!("CREATE SCHEMA {}", sql::identifier(schema));
        session.run(&what, &statement).await?;
        result.notes.push(format!(
            "the schema {schema:?} is not in the dump, but tables of it are: it was made, for the \
             connection's role"
        ));
    }
    Ok(())
}

impl Filling<'_> {
    /// Schemas that relations are to lie in, and that neither the dump makes nor
    /// the database has: a dump of single tables holds none. What else is not in a
    /// whole dump an extension makes, and would find made.
    fn absent_schemas(&self, objects: &Objects) -> Result<Vec<String>, PostgresRestoreError> {
        let restore = self.restore;
        let of_tables =
            matches!(objects, Objects::Some(_)) || !restore.manifest.selection.tables.is_empty();
        if restore.adds_rows() || !of_tables {
            return Ok(Vec::new());
        }
        let definitions: HashSet<u32> = self.phases.definitions.iter().copied().collect();
        let entries = self.contents.entries.iter();
        let entries = entries.filter(|it| it.kind == "SCHEMA" && definitions.contains(&it.id));
        let entries: Vec<_> = entries.collect();
        let relations = objects.relations(restore.database);
        let wanted: BTreeSet<&str> = relations.map(|it| it.schema.as_str()).collect();
        let mut absent: Vec<String> = wanted
            .into_iter()
            .filter(|schema| !entries.iter().any(|it| it.makes_schema(schema)))
            .map(str::to_owned)
            .collect();
        if !absent.is_empty() {
            let there = verify::schemas(restore.connection, &self.plan.fill);
            let there = restore.wait(there)?;
            absent.retain(|it| !there.contains(it));
        }
        Ok(absent)
    }

    /// For a `pg_restore` that writes SQL.
    pub(super) fn script_arguments(&self) -> Result<Vec<OsString>, PostgresRestoreError> {
        let mut arguments = self.arguments(&self.all())?;
        arguments.push("--file=-".into());
        Ok(arguments)
    }

    fn all(&self) -> Vec<u32> {
        let Phases {
            definitions,
            rows,
            rest,
        } = &self.phases;
        [&definitions[..], rows, rest].concat()
    }

    /// Into a database that is there, in another encoding than that of our
    /// statements: all or nothing.
    fn at_once(
        &self,
        objects: &Objects,
        result: &mut RestoreOutcome,
    ) -> Result<(), PostgresRestoreError> {
        let restore = self.restore;
        if restore.adds_rows() {
            self.refuse_triggers(objects)?;
            result.notes.push(
                "rows were added to tables that are there, so their number was not compared".into(),
            );
        }
        let mut arguments = self.arguments(&self.all())?;
        arguments.extend(self.database());
        arguments.push("--exit-on-error".into());
        arguments.push("--single-transaction".into());
        let mut dump = restore.files.file(&restore.database.path)?;
        let input = Input {
            counted: true,
            ..Input::of(&mut dump)
        };
        self.program
            .run(&arguments, &self.plan.fill, Some(input), 0)
            .map(drop)
    }

    /// Those that would act on the rows, which only their owner's session can
    /// prevent.
    fn refuse_triggers(&self, objects: &Objects) -> Result<(), PostgresRestoreError> {
        let restore = self.restore;
        let all = restore.wait(async {
            let session = Session::open(restore.connection, Some(&self.plan.fill)).await?;
            let all = triggers::list(&session).await?;
            session.close().await;
            Ok(all)
        })?;
        let names: Vec<_> = all
            .iter()
            .filter(|trigger| {
                let of = |it: &Relation| it.schema == trigger.schema && it.name == trigger.table;
                objects.relations(restore.database).any(of)
            })
            .map(ToString::to_string)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Refusal::Triggers {
            names: names.join(", "),
            cause: "that is done for databases in UTF8 only".into(),
        }
        .into())
    }

    fn by_phases(&self, result: &mut RestoreOutcome) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let of_events = self.event_triggers();
        let but_those = self.phases.rest.iter().filter(|it| !of_events.contains(it));
        let rest: Vec<u32> = but_those.copied().collect();
        let mut failed = self.make(&self.phases.definitions, false, result)?;
        failed.extend(self.make(&self.phases.rows, true, result)?);
        failed.extend(self.make(&rest, false, result)?);
        let mut unmade = self.unmade(&failed)?;
        self.restore.close_rows(&self.plan.fill, &unmade)?;
        self.give(None, &self.belongings(&of_events), &There::default())?;
        if !of_events.is_empty() {
            let there = self.acting_before(None)?;
            let failed = self.make(&of_events, false, result)?;
            unmade.extend(self.unmade(&failed)?);
            self.give(None, &of_events, &there)?;
        }
        Ok(unmade)
    }

    /// Makes entries; gives those that fail still when all are made, with the causes.
    fn make(
        &self,
        numbers: &[u32],
        rows: bool,
        result: &mut RestoreOutcome,
    ) -> Result<BTreeMap<u32, String>, PostgresRestoreError> {
        if numbers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let heard = if rows {
            self.run(numbers, &self.rows()?, self.plan.jobs, &[])?
        } else {
            let head = From::Head(&self.contents.head);
            self.run(numbers, &head, self.plan.jobs, &[])?
        };
        let left = self.heard(heard, result);
        self.try_again(left, rows, result)
    }

    fn unmade(&self, failed: &BTreeMap<u32, String>) -> Result<Vec<Unmade>, PostgresRestoreError> {
        let mut unmade = Vec::new();
        for entry in &self.contents.entries {
            let Some(cause) = failed.get(&entry.id) else {
                continue;
            };
            let policy = match entry.kind.as_str() {
                "POLICY" => self.policy(entry.id)?,
                _ => None,
            };
            unmade.push(Unmade {
                kind: entry.kind.clone(),
                rest: entry.rest.clone(),
                cause: Heard::words(cause).to_owned(),
                policy,
                breaks_key: false,
            });
        }
        Ok(unmade)
    }

    /// Event triggers, where owners and privileges are given, or taken, one by one: they
    /// would run for each of those, and come behind them. `pg_restore` makes them last, too.
    fn event_triggers(&self) -> Vec<u32> {
        if !self.plan.without_roles {
            return Vec::new();
        }
        let is_of_them = |kind: &str, rest: &str| {
            kind == "EVENT TRIGGER" || (kind == "COMMENT" && rest.contains("EVENT TRIGGER "))
        };
        let of_events = self.contents.entries.iter();
        let of_events = of_events.filter(|it| is_of_them(&it.kind, &it.rest));
        let numbers = of_events.map(|it| it.id);
        numbers
            .filter(|number| self.phases.rest.contains(number))
            .collect()
    }

    /// Entries that say whom something belongs to, but for `later`. Large objects are
    /// among the rows from PostgreSQL 17 on.
    fn belongings(&self, later: &[u32]) -> Vec<u32> {
        let mut numbers = self.definitions();
        numbers.retain(|number| !later.contains(number));
        let rows: HashSet<u32> = self.phases.rows.iter().copied().collect();
        let objects = self.contents.entries.iter();
        let objects = objects.filter(|it| it.kind == "BLOB METADATA" && rows.contains(&it.id));
        let mut objects = objects.map(|it| it.id);
        numbers.extend(objects.by_ref().take(LARGE_OBJECTS));
        let more = objects.count();
        if more > 0 {
            let cause = format!(
                "{more} large objects belong to the connection's role: owners are given one by \
                 one where roles are missing, and that of {LARGE_OBJECTS} at most"
            );
            let to = self.restore.work.target.name();
            self.restore.warn(WarningCode::RightsNotGiven, to, &cause);
        }
        numbers
    }

    /// The statement that makes a policy; `None` if it cannot be read.
    fn policy(&self, number: u32) -> Result<Option<Policy>, PostgresRestoreError> {
        let Some(script) = self.statements(&[number], MAX_STATEMENT)? else {
            return Ok(None);
        };
        let mut statements = script.statements.into_iter();
        let made = statements.find(|it| it.text.starts_with("CREATE "));
        Ok(made.map(|it| Policy {
            statement: it.text,
            encoding: script.encoding,
        }))
    }

    /// The statements of entries without rows, with all that is said about roles;
    /// `None` if they cannot be taken apart. `limit`: bytes.
    pub(super) fn statements(
        &self,
        numbers: &[u32],
        limit: usize,
    ) -> Result<Option<Script>, PostgresRestoreError> {
        let mut arguments = self.arguments_with(numbers, false)?;
        arguments.push("--file=-".into());
        arguments.push(self.contents.head.clone().into());
        let sql = self.program.run(&arguments, "", None, limit)?;
        Ok(Script::of(&sql))
    }

    /// Entries without rows.
    pub(super) fn definitions(&self) -> Vec<u32> {
        [&self.phases.definitions[..], &self.phases.rest].concat()
    }

    /// The whole dump, where as many as there are jobs can read it.
    fn rows(&self) -> Result<From<'static>, PostgresRestoreError> {
        let restore = self.restore;
        if self.plan.jobs == 1 {
            return Ok(From::Stream { again: false });
        }
        restore.monitor.enter("fetching");
        let mut dump = restore.files.file(&restore.database.path)?;
        let scratch = &self.contents.scratch;
        let path = scratch.fill("dump", &mut dump, restore.monitor)?;
        restore.monitor.enter("restoring");
        Ok(From::File(path))
    }

    /// Tries `failed` again, alone and with the database's own settings; gives
    /// those that fail still.
    fn try_again(
        &self,
        mut failed: BTreeMap<u32, String>,
        rows: bool,
        result: &mut RestoreOutcome,
    ) -> Result<BTreeMap<u32, String>, PostgresRestoreError> {
        if failed.is_empty() {
            return Ok(failed);
        }
        let head = self.contents.head_with_own_path()?;
        let from = if rows {
            From::Stream { again: true }
        } else {
            From::Head(&head)
        };
        let mut settings = self.own_settings()?;
        for _ in 0..if rows { ROUNDS_OF_ROWS } else { ROUNDS } {
            let entries = self.contents.entries.iter();
            let numbers: Vec<_> = entries
                .map(|it| it.id)
                .filter(|it| failed.contains_key(it))
                .collect();
            let ran = self.run(&numbers, &from, 1, &settings);
            let heard = match ran {
                // Perhaps the server takes no such setting from this role.
                Err(PostgresRestoreError::Failed { .. }) if settings.len() > 1 => {
                    settings.truncate(1);
                    self.run(&numbers, &from, 1, &settings)?
                }
                ran => ran?,
            };
            let mut left = self.heard(heard, result);
            let count = failed.len();
            for (number, cause) in &mut left {
                // Half of it had been made before.
                let before = failed.get(number).filter(|it| !it.is_empty());
                if let Some(before) = before.filter(|_| cause.contains("already exists")) {
                    cause.clone_from(before);
                }
            }
            failed = left;
            if failed.is_empty() || failed.len() == count {
                break;
            }
        }
        Ok(failed)
    }

    /// The search path, first, and parameters of functions, as clients of the
    /// database get them.
    fn own_settings(&self) -> Result<Vec<(String, String)>, PostgresRestoreError> {
        let restore = self.restore;
        let all = restore.database.properties.settings.iter();
        let own: Vec<_> = all.filter(|it| it.role.is_none()).collect();
        let path = own.iter().find(|it| it.name == "search_path");
        let path = match path {
            Some(path) => path.value.clone(),
            None => restore.wait(default_search_path(restore.connection, &self.plan.fill))?,
        };
        let of_functions = own.iter().filter(|it| {
            let plain = |it: u8| it.is_ascii_alphanumeric() || b"._$".contains(&it);
            it.name.contains('.') && it.name.bytes().all(plain)
        });
        let mut settings = vec![("search_path".to_owned(), path)];
        settings.extend(of_functions.map(|it| (it.name.clone(), it.value.clone())));
        Ok(settings)
    }

    /// Runs `pg_restore` on these entries; without `settings` with ours.
    fn run(
        &self,
        numbers: &[u32],
        from: &From<'_>,
        jobs: u32,
        settings: &[(String, String)],
    ) -> Result<Heard, PostgresRestoreError> {
        let restore = self.restore;
        let mut arguments = self.arguments(numbers)?;
        arguments.extend(self.database());
        arguments.push("--verbose".into());
        let ours = [("search_path", SEARCH_PATH)];
        let theirs: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let settings = if theirs.is_empty() {
            &ours
        } else {
            &theirs[..]
        };
        let environment = restore
            .connection
            .environment_with(&self.plan.fill, settings);
        let path = match from {
            From::Stream { again } => {
                let mut dump = restore.files.file(&restore.database.path)?;
                let input = Input {
                    counted: !again,
                    own_path: *again,
                    ..Input::of(&mut dump)
                };
                return self
                    .program
                    .run_entries(&arguments, &environment, Some(input));
            }
            From::Head(path) => path.to_path_buf(),
            From::File(path) => path.clone(),
        };
        if jobs > 1 {
            arguments.push(format!("--jobs={jobs}").into());
        }
        arguments.push(path.into());
        self.program.run_entries(&arguments, &environment, None)
    }

    /// Where to connect to.
    fn database(&self) -> [OsString; 2] {
        let database = arguments::database(&self.plan.fill);
        [
            name::os(&format!("--dbname={database}")),
            "--no-password".into(),
        ]
    }

    fn arguments(&self, numbers: &[u32]) -> Result<Vec<OsString>, PostgresRestoreError> {
        self.arguments_with(numbers, self.plan.without_roles)
    }

    fn arguments_with(
        &self,
        numbers: &[u32],
        without_roles: bool,
    ) -> Result<Vec<OsString>, PostgresRestoreError> {
        let plan = self.plan;
        let mut all: Vec<OsString> = vec!["--no-subscriptions".into()];
        let mut option = |when: bool, option: &str| {
            if when {
                all.push(option.into());
            }
        };
        option(without_roles, "--no-owner");
        option(without_roles, "--no-privileges");
        option(plan.without_tablespaces, "--no-tablespaces");
        let list = phases::list(numbers);
        let list = self.contents.scratch.replace("list", list.as_bytes())?;
        let mut option = OsString::from("--use-list=");
        option.push(list);
        all.push(option);
        Ok(all)
    }

    /// Notes what concerns no entry; gives the entries that failed.
    fn heard(&self, heard: Heard, result: &mut RestoreOutcome) -> BTreeMap<u32, String> {
        for setting in heard.unknown_settings {
            let note = format!(
                "the server does not know the setting {setting}, which this pg_restore sets: it \
                 was passed over"
            );
            if !result.notes.contains(&note) {
                result.notes.push(note);
            }
        }
        for remark in heard.remarks {
            let database = self.plan.fill.as_str();
            self.restore
                .monitor
                .warn(WarningCode::ProgramSaid, database, remark);
        }
        let mut failed = heard.failed;
        // Every database has it from its beginning.
        failed.retain(|number, cause| {
            let entries = &mut self.contents.entries.iter();
            let public = |it: &toc::Entry| it.kind == "SCHEMA" && it.rest.starts_with("- public ");
            let there = cause.contains("\"public\" already exists");
            !(there && entries.any(|it| it.id == *number && public(it)))
        });
        failed
    }
}
