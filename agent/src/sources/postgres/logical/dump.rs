//! One database: a snapshot of it held, what is in it described, and dumped.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    os::unix::ffi::OsStringExt,
    path::Path,
    process::Stdio,
};

use jiff::Timestamp;
use rustix::fs::{MemfdFlags, memfd_create};
use strongroom_postgres::{
    connection::{Connection, ServerError, default_search_path},
    inventory::{Database, Role},
    logical::{
        archive::{Archive, ArchiveReader},
        arguments,
        count::{Asked, DescribeError, Described},
        hold::{Held, TableFile},
        list::has_bare_patterns,
        loss::Loss,
        manifest::{
            Content as Dumped, DumpedDatabase, Globals, Manifest, PATH, Selection, file_name,
        },
        references::{Dependencies, Leaving, MOST, References},
        select::Selected,
    },
    name,
    programs::{Found, ProgramError},
};
use strongroom_repository::write::{Content, Halted, Writer};
use strongroom_spec::WarningCode;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    LogicalError, LogicalOptions,
    program::{Ran, Watch},
    tree::{self, Saved},
};
use crate::sources::virtual_files::{save_stream, until_halted};

/// What `pg_dumpall` says of a role that may not read passwords.
const NO_PASSWORDS: &str = "pg_authid";
/// What `pg_dump` says where it may not dump subscriptions, which are named
/// here.
const NO_SUBSCRIPTIONS: &str = "subscriptions not dumped";
/// How often a database that changes under our eyes is dumped anew.
const ATTEMPTS: usize = 5;
/// Words of `pg_dump` about a table that was dropped behind its back.
const GONE: [&str; 3] = [
    "does not exist",
    "could not open relation with OID",
    "cache lookup failed",
];

pub(super) struct Dumper<'a> {
    pub(super) writer: &'a Writer,
    pub(super) runtime: &'a Handle,
    pub(super) options: &'a LogicalOptions<'a>,
    pub(super) connection: &'a Connection,
    pub(super) role: &'a Role,
    pub(super) standby: bool,
    /// The server's major version.
    pub(super) major: u32,
    pub(super) selection: Selection,
    pub(super) started: Timestamp,
}

/// One dump that came to its end.
struct Made {
    content: Content,
    described: Described,
    /// `None`: its format is not known.
    archive: Option<Archive>,
    large_objects: u64,
    references: References,
    /// Tables that may have been emptied before they were locked.
    exchanged: Vec<String>,
}

/// What came of one attempt.
enum Attempt {
    Made(Box<Made>),
    /// Tables were emptied, rewritten or dropped behind the snapshot's back.
    Changed,
}

impl Dumper<'_> {
    /// Dumps one database. `matched`: which of the selection's patterns matched
    /// anything, so far.
    pub(super) fn database(
        &self,
        pg_dump: &Found,
        database: &Database,
        saved: &mut Saved,
        matched: &mut [bool],
    ) -> Result<DumpedDatabase, LogicalError> {
        let name = database.name.as_str();
        let started = self.options.clock.now();
        let mut attempt = 1;
        let made = loop {
            match self.attempt(pg_dump, database, attempt == ATTEMPTS)? {
                Attempt::Made(made) => break *made,
                Attempt::Changed => attempt += 1,
            }
        };
        for (matched, now) in matched.iter_mut().zip(&made.described.selected.matched) {
            *matched |= now;
        }
        self.warn(name, &made);
        let path = tree::database(&file_name(name));
        let bytes = made.content.size;
        saved.add(&path, made.content);
        self.options.monitor.add(0);
        let seconds = self.options.clock.now().duration_since(started);
        let described = made.described;
        let relations = described.relations(&self.selection, made.archive.as_ref());
        Ok(DumpedDatabase {
            name: name.to_owned(),
            path,
            bytes,
            size_on_server: database.size,
            locale: database.locale.clone(),
            relations,
            large_objects: made.large_objects,
            properties: described.properties,
            seconds: seconds.as_secs_f64(),
            extensions: described.extensions,
            schemas: described.schemas,
            roles: described.roles,
            tablespaces: described.tablespaces,
        })
    }

    fn attempt(
        &self,
        pg_dump: &Found,
        database: &Database,
        last: bool,
    ) -> Result<Attempt, LogicalError> {
        let name = database.name.as_str();
        let of_server = |source| self.of_database(name, source);
        let search_path = if has_bare_patterns(&self.selection) {
            let asking = default_search_path(self.connection, name);
            Some(self.wait(asking)?.map_err(of_server)?)
        } else {
            None
        };
        let held = self
            .wait(Held::take(self.connection, name))?
            .map_err(of_server)?;
        let asked = Asked {
            selection: &self.selection,
            database,
            role: self.role,
            standby: self.standby,
            search_path: search_path.as_deref(),
        };
        let described = self.wait(held.describe(&asked))?;
        let described = described.map_err(|error| self.cannot(name, error))?;
        let encoding = &database.locale.encoding;
        if pg_dump.version.major > self.major && self.selection.content != Dumped::Data {
            let call = Call {
                pg_dump,
                snapshot: &held.snapshot,
                database,
                selected: &described.selected,
            };
            self.try_definitions(&call, &held)?;
        }
        let files = described.files(&self.selection);
        let known = self.wait(self.ask_beforehand(&held, encoding, &files))?;
        let known = known.map_err(of_server)?;
        let stop = self.writer.halted().child_token();
        let mut watch = Watched {
            dumper: self,
            held: &held,
            files: &files,
            stop: (!last).then_some(&stop),
            reader: ArchiveReader::default(),
            begun: false,
            exchanged: Vec::new(),
        };
        let call = Call {
            pg_dump,
            snapshot: &held.snapshot,
            database,
            selected: &described.selected,
        };
        let ran = self.run(&call, &stop, &mut watch);
        let (reader, exchanged) = (watch.reader, watch.exchanged);
        if self.writer.halted().is_cancelled() {
            return Err(Halted.into());
        }
        if stop.is_cancelled() {
            self.runtime.block_on(held.release());
            return Ok(Attempt::Changed);
        }
        let mut ran = ran?;
        if !ran.ended.status.success() {
            let words = &mut ran.ended.stderr;
            if !last && GONE.iter().any(|gone| words.contains(gone)) {
                self.runtime.block_on(held.release());
                return Ok(Attempt::Changed);
            }
            if Loss::of_words(words) == Loss::Locked
                && let Ok(lockers) = self.wait(held.lockers())?
            {
                words.push_str(&lockers.join("\n"));
            }
        }
        let content = self.succeeded(&pg_dump.path, || self.subject(name), ran)?;
        let archive = match reader.finish() {
            Ok(mut archive) => {
                known.name_columns(&mut archive);
                Some(archive)
            }
            Err(error) => {
                let cause = format!(
                    "the dump's rows could not be counted, and a restore will not compare them: \
                     {error}"
                );
                let code = WarningCode::RowsNotCounted;
                self.options
                    .monitor
                    .warn(code, name::shown(name).into_owned(), cause);
                None
            }
        };
        let large_objects = match &archive {
            Some(archive) => archive.large_objects,
            None => known.large_objects,
        };
        let references = match (&archive, &known.dependencies) {
            (Some(archive), Some(dependencies)) => {
                let leaving = dependencies.leaving(&described.inside, &archive.objects);
                self.describe(&leaving, &held, name, &described)?
            }
            _ => References::default(),
        };
        self.runtime.block_on(held.release());
        Ok(Attempt::Made(Box::new(Made {
            content,
            described,
            archive,
            large_objects,
            references,
            exchanged,
        })))
    }

    /// What is needed behind the dump: a session that ends meanwhile, at an
    /// administrator's wish or a standby's, costs nothing then.
    async fn ask_beforehand(
        &self,
        held: &Held,
        encoding: &str,
        files: &[TableFile],
    ) -> Result<Known, ServerError> {
        let selection = &self.selection;
        let has_rows = selection.content != Dumped::Schema;
        // Names of columns stand in a dump in the database's encoding: where we do
        // not know it, the server says them.
        let columns = if has_rows && !["UTF8", "SQL_ASCII"].contains(&encoding) {
            let tables: Vec<u32> = files.iter().map(|it| it.table).collect();
            Some(held.columns(&tables).await?)
        } else {
            None
        };
        let large_objects = if has_rows && !selection.is_narrow() {
            held.large_objects().await?
        } else {
            0
        };
        let dependencies = if selection.is_partial() && selection.content != Dumped::Data {
            Some(held.dependencies().await?)
        } else {
            None
        };
        Ok(Known {
            columns,
            large_objects,
            dependencies,
        })
    }

    /// In the words of whoever is still there.
    fn describe(
        &self,
        leaving: &Leaving,
        held: &Held,
        database: &str,
        described: &Described,
    ) -> Result<References, Halted> {
        if leaving.is_empty() {
            return Ok(References::default());
        }
        self.wait(async {
            if let Ok(references) = held.describe_references(leaving).await {
                return references;
            }
            let elsewhere = leaving.describe_elsewhere(self.connection, database).await;
            elsewhere.unwrap_or_else(|error| {
                tracing::debug!(database, %error, "references are named by their numbers");
                leaving.describe_unasked(&described.inside)
            })
        })
    }

    /// Runs `pg_dump`. Where its command line would be too long for this host, it
    /// reads from a file what is selected, if it can, or is told by fewer patterns.
    fn run(
        &self,
        call: &Call<'_>,
        stop: &CancellationToken,
        watch: &mut Watched<'_>,
    ) -> Result<Ran, LogicalError> {
        let environment = self.connection.environment_of_dump(&call.database.name);
        let program = &call.pg_dump.path;
        let mut run = |selected: &[Vec<u8>], more: Option<OsString>, input| {
            let mut arguments = self.arguments(call, selected);
            arguments.extend(more);
            let watch = Some(&mut *watch as &mut (dyn Watch + Send));
            self.save_output(program, &arguments, &environment, input, stop, watch)
        };
        let selected = call.selected;
        let ran = run(&selected.arguments, None, Stdio::null());
        if !is_too_long(&ran) {
            return ran;
        }
        let ran = if call.pg_dump.version.major >= arguments::FILTERS {
            let (left, filter) = arguments::filter(&selected.arguments);
            let input = in_memory(&filter).map_err(|source| LogicalError::Start {
                program: program.clone(),
                source,
            })?;
            run(&left, Some("--filter=-".into()), input)
        } else {
            run(&selected.fewer, None, Stdio::null())
        };
        if is_too_long(&ran) {
            return Err(LogicalError::TooMany {
                subject: self.subject(&call.database.name),
                program: program.clone(),
                count: call.selected.named(),
            });
        }
        ran
    }

    pub(super) fn arguments(&self, call: &Call<'_>, selected: &[Vec<u8>]) -> Vec<OsString> {
        let encoding = &call.database.locale.encoding;
        let mut arguments = arguments::dump(self.selection.content, call.snapshot, encoding);
        let selected = selected.iter();
        arguments.extend(selected.map(|it| OsString::from_vec(it.clone())));
        arguments
    }

    /// What a reader of the policy would look for in the dump and not find.
    fn warn(&self, database: &str, made: &Made) {
        let monitor = self.options.monitor;
        let at = |what: &str| name::shown(&format!("{database}: {what}")).into_owned();
        let described = &made.described;
        if let Some(archive) = &made.archive {
            for left_out in described.left_out(&self.selection, archive) {
                let code = WarningCode::RowsLeftOut;
                monitor.warn(code, at(&left_out.table), left_out.cause);
            }
        }
        for table in &made.exchanged {
            let cause = "it was emptied or rewritten again and again while the dump began: the \
                         dump may have none of its rows";
            monitor.warn(WarningCode::ChangedWhileRead, at(table), cause);
        }
        for (child, parent) in described.children(&self.selection, made.archive.as_ref()) {
            let cause = format!(
                "its rows belong to {}, and the policy leaves them out",
                name::shown(&parent)
            );
            monitor.warn(WarningCode::RowsLeftOut, at(&child), cause);
        }
        for table in described.unlogged(&self.selection) {
            let cause = "it is unlogged, and the server is a standby, which does not have its \
                         rows: the dump has the table without any; back the primary up for them";
            monitor.warn(WarningCode::UnloggedLeftOut, at(&table), cause);
        }
        for reference in &made.references.first {
            let cause = format!(
                "it needs the {}, which the policy leaves out: a restore cannot make it where \
                 that is missing",
                name::shown(&reference.to)
            );
            monitor.warn(WarningCode::ReferenceLeftOut, at(&reference.from), cause);
        }
        if made.references.count > MOST {
            let cause = format!(
                "{} more objects need what the policy leaves out",
                made.references.count - MOST
            );
            monitor.warn(WarningCode::ReferenceLeftOut, at("…"), cause);
        }
        for mapping in &described.unread.mappings {
            let cause = "the options of this user mapping, its password among them, may be read \
                         by a superuser only, and are not in the dump: set them anew after a \
                         restore, or let the connection's role be a superuser";
            monitor.warn(WarningCode::MappingOptionsLeftOut, at(mapping), cause);
        }
        for subscription in &described.unread.subscriptions {
            let cause = "the subscription may be dumped by a superuser only, and is not in the \
                         dump";
            monitor.warn(WarningCode::SubscriptionsLeftOut, at(subscription), cause);
        }
    }

    fn cannot(&self, database: &str, error: DescribeError) -> LogicalError {
        let connection = self.options.source.asked.connection.clone();
        match error {
            DescribeError::Server(source) => self.of_database(database, source),
            DescribeError::Rights(rights) => LogicalError::Rights {
                connection,
                rights: Box::new(rights),
            },
            DescribeError::Empty(source) => LogicalError::Empty {
                connection,
                database: name::shown(database).into_owned(),
                source,
            },
        }
    }

    pub(super) fn of_database(&self, database: &str, source: ServerError) -> LogicalError {
        LogicalError::Database {
            connection: self.options.source.asked.connection.clone(),
            database: name::shown(database).into_owned(),
            source: Box::new(source),
        }
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Halted> {
        until_halted(self.writer, self.runtime, future)
    }

    /// Roles and tablespaces; or why there are none: databases that are dumped are
    /// not given up for them. Only the run's own end is an error.
    pub(super) fn globals_or_why(
        &self,
        pg_dumpall: Result<Found, ProgramError>,
        saved: &mut Saved,
    ) -> Result<(Option<Globals>, Option<String>), LogicalError> {
        let done = pg_dumpall
            .map_err(LogicalError::from)
            .and_then(|program| self.globals(&program.path, saved));
        match done {
            Ok(globals) => Ok((Some(globals), None)),
            Err(error @ (LogicalError::Halted(_) | LogicalError::Format(_))) => Err(error),
            Err(error) => {
                let cause = error.to_string();
                let said = format!(
                    "{cause}; the snapshot has no roles: mend that, or set globals = false"
                );
                let code = WarningCode::GlobalsFailed;
                self.options.monitor.warn(code, tree::GLOBALS, said);
                Ok((None, Some(cause)))
            }
        }
    }

    /// Roles and tablespaces, without the roles' passwords where those may not
    /// be read.
    pub(super) fn globals(
        &self,
        pg_dumpall: &Path,
        saved: &mut Saved,
    ) -> Result<Globals, LogicalError> {
        let stop = self.writer.halted().child_token();
        let database = &self.connection.address.database;
        let environment = self.connection.environment(database);
        let run = |passwords| {
            let arguments = arguments::globals(database, passwords);
            let input = Stdio::null();
            self.save_output(pg_dumpall, &arguments, &environment, input, &stop, None)
        };
        let mut passwords = true;
        let mut ran = run(true)?;
        if !ran.ended.status.success() && ran.ended.stderr.contains(NO_PASSWORDS) {
            passwords = false;
            ran = run(false)?;
            self.options.monitor.warn(
                WarningCode::PasswordsLeftOut,
                tree::GLOBALS,
                "the roles are saved without their passwords, which only a superuser may read: \
                 set new ones after a restore, or let the connection's role be a superuser",
            );
        }
        let subject = || {
            let connection = &self.options.source.asked.connection;
            format!("roles of postgres connection {connection:?}")
        };
        let content = self.succeeded(pg_dumpall, subject, ran)?;
        let bytes = content.size;
        saved.add(tree::GLOBALS, content);
        self.options.monitor.add(0);
        Ok(Globals {
            path: tree::GLOBALS.into(),
            bytes,
            passwords,
        })
    }

    /// The last file.
    pub(super) fn manifest(
        &self,
        manifest: &Manifest,
        saved: &mut Saved,
    ) -> Result<(), LogicalError> {
        let json = manifest.encode()?;
        let content = save_stream(self.writer, &mut json.as_slice(), self.options.monitor)?;
        // A slice is always read.
        saved.add(PATH, content.map_err(|_| Halted)?);
        self.options.monitor.add(0);
        Ok(())
    }

    /// What a program wrote, if it ended well. Its warnings become ours.
    fn succeeded(
        &self,
        program: &Path,
        subject: impl Fn() -> String,
        ran: Ran,
    ) -> Result<Content, LogicalError> {
        if !ran.ended.status.success() {
            return Err(LogicalError::Failed {
                subject: subject(),
                program: program.into(),
                status: ran.ended.status,
                stderr: ran.ended.stderr,
            });
        }
        let lines = ran.ended.stderr.lines();
        for line in lines.filter(|it| !it.trim().is_empty() && !it.contains(NO_SUBSCRIPTIONS)) {
            self.options
                .monitor
                .warn(WarningCode::ProgramSaid, subject(), line);
        }
        Ok(ran.content)
    }

    pub(super) fn subject(&self, database: &str) -> String {
        let connection = &self.options.source.asked.connection;
        let database = name::shown(database);
        format!("database {database:?} of postgres connection {connection:?}")
    }
}

/// A run of `pg_dump`.
pub(super) struct Call<'a> {
    pub(super) pg_dump: &'a Found,
    pub(super) snapshot: &'a str,
    pub(super) database: &'a Database,
    pub(super) selected: &'a Selected,
}

fn is_too_long(ran: &Result<Ran, LogicalError>) -> bool {
    matches!(ran, Err(LogicalError::Start { source, .. })
        if source.kind() == io::ErrorKind::ArgumentListTooLong)
}

/// A file that is on no disk, to be read from its beginning.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<Stdio> {
    let file = memfd_create("selection", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// What the server said before a dump.
struct Known {
    /// Where a dump names them in an encoding that we do not know.
    columns: Option<HashMap<u32, Vec<String>>>,
    /// For a dump that is not understood.
    large_objects: u64,
    /// `None`: nobody asks for them.
    dependencies: Option<Dependencies>,
}

impl Known {
    fn name_columns(&self, archive: &mut Archive) {
        let is_known = |it: &Option<Vec<String>>| {
            it.as_ref()
                .is_some_and(|names| names.iter().all(|it| it.is_ascii()))
        };
        let Some(columns) = &self.columns else {
            return;
        };
        for (table, rows) in &mut archive.rows {
            if !is_known(&rows.columns) {
                rows.columns = columns.get(table).cloned();
            }
        }
    }
}

/// Sees a dump pass.
struct Watched<'a> {
    dumper: &'a Dumper<'a>,
    held: &'a Held,
    files: &'a [TableFile],
    /// Cancelled when the dump is to be begun anew.
    stop: Option<&'a CancellationToken>,
    reader: ArchiveReader,
    begun: bool,
    exchanged: Vec<String>,
}

impl Watch for Watched<'_> {
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        // `pg_dump` writes nothing before it has all its locks: what was not
        // exchanged by now will not be.
        if !self.begun {
            self.begun = true;
            let looking = self.held.exchanged(self.files);
            let exchanged = self.dumper.wait(looking).map_err(io::Error::other)?;
            // Whatever is wrong with the session, it is not with the dump.
            self.exchanged = exchanged.unwrap_or_default();
            if let Some(stop) = self.stop.filter(|_| !self.exchanged.is_empty()) {
                stop.cancel();
            }
        }
        self.reader.feed(bytes);
        Ok(())
    }
}
