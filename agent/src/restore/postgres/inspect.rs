//! What the server has, and what of the dump is wanted: nothing is written.

use std::collections::{BTreeSet, HashMap};

use strongroom_postgres::{
    connection::{ServerError, Session},
    inventory::Inventory,
    logical::{
        create::{self, Ties},
        manifest::Content,
        roles::{self, NewRoles},
        verify,
    },
    name,
};
use strongroom_spec::{MAX_WARNINGS, RestoreOutcome, WarningCode};

use super::{
    NAMED, PostgresRestoreError, Refusal, Restore,
    contents::Contents,
    objects::Objects,
    plan::{self, Facts, Plan, Way},
    scratch::{self, Scratch},
};

impl Restore<'_> {
    /// Roles of the globals that the server does not have.
    pub(super) fn new_roles(&self) -> Result<NewRoles, PostgresRestoreError> {
        if !self.work.target.roles {
            return Ok(NewRoles::default());
        }
        if let Some(cause) = &self.manifest.globals_missing {
            let cause = format!("the snapshot has no roles to make: {cause}");
            self.warn(WarningCode::GlobalsFailed, self.work.target.name(), &cause);
        }
        let Some(globals) = &self.manifest.globals else {
            return Ok(NewRoles::default());
        };
        let text = self.files.small_file(&globals.path, roles::MAX_SIZE)?;
        let (existing, memberships) = self.wait(async {
            let session = Session::open(self.connection, None).await?;
            let existing = create::roles(&session).await?;
            let memberships = create::memberships(&session).await?;
            session.close().await;
            Ok((existing, memberships))
        })?;
        let text = name::decode(&text);
        for left_out in roles::left_out(&text, &existing, &memberships) {
            let role = &left_out.role;
            let differs = match left_out.options.as_slice() {
                [] => format!("it is no member of {role:?} here, and was"),
                options => format!(
                    "it is a member of {role:?} with other options here, and had {}",
                    options.join(", ")
                ),
            };
            let cause = format!(
                "{differs} where the snapshot was made: both are there already, and keep what they \
                 have; GRANT it if that is meant"
            );
            let object = format!("role {}", left_out.member);
            self.warn(WarningCode::MembershipLeftOut, &object, &cause);
        }
        Ok(roles::missing(&text, &existing))
    }

    pub(super) async fn facts(&self, new_roles: &NewRoles) -> Result<Facts, ServerError> {
        let session = create::elsewhere(self.connection, &[self.work.target.name()]).await?;
        let inventory = Inventory::of(&session).await?;
        let ties = if self.work.target.replace {
            create::ties(&session, self.work.target.name()).await?
        } else {
            Ties::default()
        };
        let facts = Facts {
            inventory,
            roles: create::roles(&session).await?,
            tablespaces: create::tablespaces(&session).await?,
            extensions: create::available_extensions(&session).await?,
            ties,
            unfinished: create::unfinished(&session).await?,
            new_roles: new_roles.roles.iter().map(|it| it.name.clone()).collect(),
            scratch: scratch::free(self.target.state_dir),
        };
        session.close().await;
        Ok(facts)
    }

    /// Of the dump; `None`: it is SQL.
    pub(super) fn contents(&self) -> Result<Option<Contents>, PostgresRestoreError> {
        let Some(program) = &self.program else {
            return Ok(None);
        };
        let dump = self.files.file(&self.database.path)?;
        let scratch = Scratch::create(self.target.state_dir, &self.job)?;
        Contents::read(program, dump, scratch, |names| self.texts(names)).map(Some)
    }

    /// Names in the dump's encoding as text; `None` of those that are none. The
    /// server knows encodings that we do not.
    fn texts(&self, names: &[Vec<u8>]) -> Result<Vec<Option<String>>, PostgresRestoreError> {
        let encoding = &self.database.locale.encoding;
        if ["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
            return Ok(names.iter().map(|it| Some(name::decode(it))).collect());
        }
        let odd: BTreeSet<&[u8]> = names
            .iter()
            .map(Vec::as_slice)
            .filter(|it| !it.is_ascii())
            .collect();
        let odd: Vec<_> = odd.into_iter().collect();
        let texts = if odd.is_empty() {
            Vec::new()
        } else {
            self.wait(async {
                let session = Session::open(self.connection, None).await?;
                let texts = create::texts(&session, encoding, &odd).await?;
                session.close().await;
                Ok(texts)
            })?
        };
        let known: HashMap<_, _> = odd.into_iter().zip(texts).collect();
        let text = |it: &Vec<u8>| match known.get(it.as_slice()) {
            Some(text) => text.clone(),
            None => Some(name::decode(it)),
        };
        Ok(names.iter().map(text).collect())
    }

    pub(super) fn objects(
        &self,
        plan: &Plan,
        contents: Option<&Contents>,
    ) -> Result<Objects, PostgresRestoreError> {
        let (work, database) = (self.work, self.database);
        let schemas = if plan.way == Way::Into {
            self.wait(verify::schemas(self.connection, work.target.name()))?
        } else {
            Vec::new()
        };
        // The plan has refused parts of it.
        let Some(contents) = contents else {
            return Ok(Objects::All);
        };
        let entries = contents.entries.clone();
        let objects = Objects::choose(work, database, &schemas, &plan.way, entries)?;
        if plan.way == Way::Into && self.manifest.selection.content != Content::Data {
            let wanted = objects.relations(database);
            let mut present =
                self.wait(verify::present(self.connection, work.target.name(), wanted))?;
            if !present.is_empty() {
                present.truncate(NAMED);
                return Err(Refusal::Present {
                    database: work.target.name().to_owned(),
                    present,
                }
                .into());
            }
        }
        Ok(objects)
    }

    /// Foreign keys that lead to what is not restored.
    pub(super) fn name_cut_keys(&self, objects: &Objects) {
        for key in objects.chosen().iter().flat_map(|it| &it.cut) {
            let object = format!("{}: FK CONSTRAINT {key}", self.work.target.name());
            let cause = "left out: it leads to a table that is not restored";
            self.warn(WarningCode::ForeignKeyLeftOut, &object, cause);
        }
    }

    pub(super) fn planned(&self, plan: &Plan, facts: &Facts, objects: &Objects) -> RestoreOutcome {
        let counted = objects
            .relations(self.database)
            .filter(|it| it.rows.is_some());
        let tables = counted.count();
        let mut actions = plan::actions(plan, self.work, self.database, &facts.new_roles, tables);
        let count = actions.len();
        actions.truncate(MAX_WARNINGS);
        let mut notes = plan.notes.clone();
        if let Objects::Some(chosen) = objects
            && self.work.dry_run
            && !chosen.cut.is_empty()
        {
            notes.push(format!(
                "foreign keys to tables that are not restored are left out: {}",
                chosen.cut.join(", ")
            ));
        }
        RestoreOutcome {
            server: None,
            files: tables as u64,
            directories: 0,
            bytes_written: 0,
            files_kept: 0,
            bytes_fetched: 0,
            plan: actions,
            plan_count: count as u64,
            notes,
        }
    }
}
