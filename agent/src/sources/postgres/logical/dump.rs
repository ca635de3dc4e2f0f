//! One database: its snapshot held, its rows counted while it is dumped, and
//! summed in the dump as it goes by.

use std::{collections::HashMap, path::Path, thread};

use jiff::Timestamp;
use strongroom_postgres::{
    connection::{Connection, ServerError},
    inventory::Database,
    logical::{
        archive::ArchiveReader,
        arguments,
        count::Described,
        hold::Held,
        manifest::{Checksum, DumpedDatabase, Globals, Manifest, PATH, Selection, file_name},
    },
};
use strongroom_repository::write::{Content, Halted, Writer};
use strongroom_wire::job::WarningCode;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    LogicalError, LogicalOptions,
    program::Ran,
    tree::{self, Saved},
};
use crate::sources::made::{save_stream, until_halted};

/// What `pg_dumpall` says of a role that may not read passwords.
const NO_PASSWORDS: &str = "pg_authid";

pub(super) struct Dumper<'a> {
    pub(super) writer: &'a Writer,
    pub(super) runtime: &'a Handle,
    pub(super) options: &'a LogicalOptions<'a>,
    pub(super) connection: &'a Connection,
    pub(super) selection: Selection,
    pub(super) started: Timestamp,
}

impl Dumper<'_> {
    /// Dumps one database.
    pub(super) fn database(
        &self,
        pg_dump: &Path,
        database: &Database,
        saved: &mut Saved,
    ) -> Result<DumpedDatabase, LogicalError> {
        let name = database.name.as_str();
        let server = |source| LogicalError::Database {
            connection: self.options.source.asked.connection.clone(),
            database: name.to_owned(),
            source: Box::new(source),
        };
        let started = self.options.clock.now();
        let taking = Held::take(self.connection, name, &self.selection);
        let held = until_halted(self.writer, self.runtime, taking)?.map_err(server)?;
        let stop = self.writer.halted().child_token();
        let mut rows = ArchiveReader::default();
        let (ran, described) = self.dump_and_describe(pg_dump, name, &held, &mut rows, &stop);
        let described = match described {
            Ok(Some(described)) => {
                self.runtime.block_on(held.release());
                Ok(Some(described))
            }
            other => {
                // It may still be counting.
                self.runtime.block_on(held.abandon(self.connection));
                other
            }
        };
        if self.writer.halted().is_cancelled() {
            return Err(Halted.into());
        }
        // What could not be counted stopped the dump, and not the reverse.
        let described = match described {
            Ok(described) => described,
            Err(Counting::Server(error)) => return Err(server(error)),
            Err(Counting::Panicked) => return Err(LogicalError::Thread),
        };
        let content = self.succeeded(pg_dump, || self.subject(name), ran?)?;
        let mut described = described.ok_or(Halted)?;
        self.add_checksums(name, rows, &mut described)?;
        let path = tree::database(&file_name(name));
        let bytes = content.size;
        saved.add(&path, content);
        self.options.monitor.add(0);
        let seconds = self.options.clock.now().duration_since(started);
        Ok(DumpedDatabase {
            name: name.to_owned(),
            path,
            bytes,
            size_on_server: database.size,
            locale: database.locale.clone(),
            properties: described.properties,
            seconds: seconds.as_secs_f64(),
            extensions: described.extensions,
            schemas: described.schemas,
            roles: described.roles,
            tablespaces: described.tablespaces,
            relations: described.relations,
            large_objects: described.large_objects,
        })
    }

    /// Those of the rows that went by in the dump, of which there must be as
    /// many as were counted.
    fn add_checksums(
        &self,
        database: &str,
        rows: ArchiveReader,
        described: &mut Described,
    ) -> Result<(), LogicalError> {
        let tables = match rows.finish() {
            Ok(tables) => tables,
            Err(error) => {
                let cause = format!(
                    "the dump's rows have no checksums, so that a restore compares their number                      only: {error}"
                );
                let subject = self.subject(database);
                self.options
                    .monitor
                    .warn(WarningCode::ContentNotSummed, subject, cause);
                return Ok(());
            }
        };
        let mut tables: HashMap<_, _> = tables
            .into_iter()
            .map(|it| ((it.schema, it.name), (it.columns, it.sum)))
            .collect();
        for (place, relation) in described.relations.iter_mut().enumerate() {
            let key = (relation.schema.clone(), relation.name.clone());
            let (Some(counted), Some((columns, sum))) = (relation.rows, tables.remove(&key)) else {
                continue;
            };
            if sum.rows != counted {
                return Err(LogicalError::Rows {
                    subject: self.subject(database),
                    table: format!("{}.{}", relation.schema, relation.name),
                    counted,
                    dumped: sum.rows,
                });
            }
            if !described.incomparable.contains(&place) {
                let sum = sum.text();
                relation.checksum = Some(Checksum { columns, sum });
            }
        }
        Ok(())
    }

    /// Both at once; each ends the other when it fails.
    fn dump_and_describe(
        &self,
        pg_dump: &Path,
        name: &str,
        held: &Held,
        rows: &mut ArchiveReader,
        stop: &CancellationToken,
    ) -> (
        Result<Ran, LogicalError>,
        Result<Option<Described>, Counting>,
    ) {
        let arguments = arguments::dump(&self.selection, &held.snapshot);
        thread::scope(|scope| {
            let counting = scope.spawn(|| {
                self.runtime.block_on(async {
                    tokio::select! {
                        described = held.describe() => {
                            if described.is_err() {
                                stop.cancel();
                            }
                            described.map(Some)
                        }
                        () = stop.cancelled() => Ok(None),
                    }
                })
            });
            let connection = self.connection;
            let environment = connection.environment_of_dump(name, &held.search_path);
            let heed = |bytes: &[u8]| rows.feed(bytes);
            let ran = self.save_output(pg_dump, &arguments, &environment, stop, heed);
            if !ran.as_ref().is_ok_and(|ran| ran.ended.status.success()) {
                stop.cancel();
            }
            let described = match counting.join() {
                Ok(described) => described.map_err(Counting::Server),
                Err(_) => Err(Counting::Panicked),
            };
            (ran, described)
        })
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
            let arguments = arguments::globals(passwords);
            self.save_output(pg_dumpall, &arguments, &environment, &stop, |_| {})
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
        for line in ran.ended.stderr.lines().filter(|it| !it.trim().is_empty()) {
            self.options
                .monitor
                .warn(WarningCode::ProgramSaid, subject(), line);
        }
        Ok(ran.content)
    }

    fn subject(&self, database: &str) -> String {
        let connection = &self.options.source.asked.connection;
        format!("database {database:?} of postgres connection {connection:?}")
    }
}

enum Counting {
    Server(ServerError),
    Panicked,
}
