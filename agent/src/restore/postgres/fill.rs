//! A database is made, filled and compared.

use std::{ffi::OsString, sync::atomic::Ordering::Relaxed};

use strongroom_postgres::{
    connection::ServerError,
    logical::{arguments, create, manifest::Content, verify},
};
use strongroom_wire::job::RestoreResult;

use super::{
    NAMED, PostgresRestoreError, Restore,
    objects::Objects,
    plan::{Plan, Way},
    program::PgRestore,
    scratch::Scratch,
};

impl Restore<'_> {
    pub(super) async fn create(&self, plan: &Plan) -> Result<(), ServerError> {
        let session = create::elsewhere(self.connection, &[&plan.fill, &self.work.to]).await?;
        for stale in &plan.stale {
            create::discard(&session, stale).await?;
        }
        let statement = create::statement(
            &plan.fill,
            &self.database.locale,
            plan.owner.as_deref(),
            plan.tablespace.as_deref(),
            session.version().major(),
        );
        create::create(&session, &plan.fill, &statement, &self.job).await?;
        session.close().await;
        Ok(())
    }

    /// Restores into what was created; once more with one job, if several were
    /// in each other's way: those of `pg_restore` may be, for example when they
    /// add foreign keys of partitioned tables.
    pub(super) fn fill(
        &self,
        plan: &Plan,
        objects: &Objects,
        result: &mut RestoreResult,
    ) -> Result<(), PostgresRestoreError> {
        match self.load(plan, objects, plan.jobs) {
            Err(PostgresRestoreError::Failed { stderr, .. })
                if plan.jobs > 1 && stderr.contains("deadlock detected") =>
            {
                result.notes.push(format!(
                    "the {} jobs of pg_restore were in each other's way (deadlock): one has \
                     restored all of it anew",
                    plan.jobs
                ));
                self.wait(async {
                    let apart = [plan.fill.as_str(), self.work.to.as_str()];
                    let session = create::elsewhere(self.connection, &apart).await?;
                    create::discard(&session, &plan.fill).await?;
                    session.close().await;
                    self.create(plan).await
                })?;
                self.monitor.bytes.store(0, Relaxed);
                self.load(plan, objects, 1)
            }
            loaded => loaded,
        }
    }

    fn load(&self, plan: &Plan, objects: &Objects, jobs: u32) -> Result<(), PostgresRestoreError> {
        match &self.program {
            Some(program) => self.run_program(program, plan, objects, jobs),
            None => self.play(plan),
        }
    }

    fn run_program(
        &self,
        program: &PgRestore<'_>,
        plan: &Plan,
        objects: &Objects,
        jobs: u32,
    ) -> Result<(), PostgresRestoreError> {
        let mut all: Vec<OsString> = vec![
            format!("--dbname={}", arguments::database(&plan.fill)).into(),
            "--exit-on-error".into(),
            "--no-password".into(),
            "--no-subscriptions".into(),
        ];
        let option = |all: &mut Vec<OsString>, when: bool, option: &str| {
            if when {
                all.push(option.into());
            }
        };
        option(&mut all, plan.without_roles, "--no-owner");
        option(&mut all, plan.without_roles, "--no-privileges");
        option(&mut all, plan.without_tablespaces, "--no-tablespaces");
        option(&mut all, plan.way == Way::Into, "--single-transaction");
        let scratch = match objects {
            Objects::All if jobs == 1 => None,
            _ => Some(Scratch::create(self.target.state_dir, &self.job)?),
        };
        if let (Objects::Some(chosen), Some(scratch)) = (objects, &scratch) {
            let list = scratch.write("list", &chosen.list())?;
            let mut option = OsString::from("--use-list=");
            option.push(list);
            all.push(option);
        }
        let mut dump = self.files.file(&self.database.path)?;
        match &scratch {
            Some(scratch) if jobs > 1 => {
                self.monitor.enter("fetching");
                let path = scratch.fill("dump", &mut dump, self.monitor)?;
                self.monitor.enter("restoring");
                all.push(format!("--jobs={jobs}").into());
                all.push(path.into());
                program.run(&all, &plan.fill, None, 0)?;
            }
            _ => {
                let input = Some((&mut dump, true));
                program.run(&all, &plan.fill, input, 0)?;
            }
        }
        Ok(())
    }

    /// Compares with the manifest.
    pub(super) fn verify(
        &self,
        plan: &Plan,
        objects: &Objects,
        result: &mut RestoreResult,
    ) -> Result<(), PostgresRestoreError> {
        if plan.way == Way::Into && self.manifest.selection.content == Content::Data {
            result.notes.push(
                "rows were added to tables that are there, so their number was not compared".into(),
            );
            return Ok(());
        }
        if self.manifest.foreign {
            return Ok(());
        }
        let whole = matches!(objects, Objects::All) && !self.manifest.selection.is_narrow();
        let blobs = whole.then_some(self.database.large_objects);
        let expected = objects.relations(self.database);
        let verified = self.wait(verify::verify(self.connection, &plan.fill, expected, blobs))?;
        let mut differences = verified.differences;
        if differences.is_empty() {
            result.files = verified.tables;
            result.notes.push(format!(
                "verified: {} tables with {} rows are as the manifest says",
                verified.tables, verified.rows
            ));
            return Ok(());
        }
        let more = match differences.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        differences.truncate(NAMED);
        Err(PostgresRestoreError::Differs { differences, more })
    }
}
