//! What is not in a dump: roles, a database's properties, its name. And what
//! was made is taken back.

use strongroom_postgres::{
    connection::{ServerError, Session},
    logical::{
        create,
        manifest::Properties,
        properties,
        roles::{self, NewRoles},
    },
    sql,
};
use strongroom_spec::WarningCode;

use super::{
    PostgresRestoreError, Restore,
    plan::{Plan, Way},
};

impl Restore<'_> {
    /// Each of them, with what is said of it; what fails besides the role
    /// itself is named. No statement is shown: there may be a password in it.
    /// All in one transaction: a role that is there is left as it is, and one that was
    /// made by half would stay so.
    pub(super) fn make_roles(
        &self,
        new: &NewRoles,
        notes: &mut Vec<String>,
    ) -> Result<(), PostgresRestoreError> {
        if new.roles.is_empty() {
            return Ok(());
        }
        self.monitor.enter("creating roles");
        let lacks = self.wait(async {
            let session = Session::open(self.connection, None).await?;
            session.run("begin a transaction", "BEGIN").await?;
            let lacks = make_roles(&session, new).await?;
            session.run("commit the roles", "COMMIT").await?;
            session.close().await;
            Ok(lacks)
        })?;
        for (what, cause) in lacks {
            self.warn(WarningCode::RoleIncomplete, &what, &cause);
        }
        let made = new.roles.iter().map(|it| &it.name);
        notes.extend(made.map(|it| format!("the role {it:?} was made")));
        Ok(())
    }

    /// Settings, privileges and the like: those of the database that gives
    /// way, otherwise those of the manifest.
    pub(super) async fn dress(&self, plan: &Plan) -> Result<(), ServerError> {
        let session =
            create::elsewhere(self.connection, &[&plan.fill, self.work.target.name()]).await?;
        let properties = match plan.way {
            Way::Replace { .. } => properties::of(&session, self.work.target.name()).await?,
            _ => self.database.properties.clone(),
        };
        let roles = create::roles(&session).await?;
        let owner = properties::of(&session, &plan.fill).await?.owner;
        if owner != properties.owner && roles.contains(&properties.owner) {
            let statement = format!(
                "ALTER DATABASE {} OWNER TO {}",
                sql::identifier(&plan.fill),
                sql::identifier(&properties.owner)
            );
            session.run("set the database's owner", &statement).await?;
        }
        // The comment marks it as unfinished until it has its name.
        let without_comment = Properties {
            comment: None,
            ..properties
        };
        let problems = properties::give(&session, &plan.fill, &without_comment, &roles).await?;
        for refused in problems {
            let code = if refused.lacks_role {
                WarningCode::RoleMissing
            } else {
                WarningCode::PropertyNotGiven
            };
            let object = format!(
                "{}: {} of the database",
                self.work.target.name(),
                refused.what
            );
            self.warn(code, &object, &refused.cause);
        }
        session.close().await;
        Ok(())
    }

    /// A dump has no options of mappings that its role may not read.
    pub(super) async fn name_bare_mappings(&self, plan: &Plan) -> Result<(), ServerError> {
        let session = Session::open(self.connection, Some(&plan.fill)).await?;
        let bare = create::bare_user_mappings(&session).await?;
        session.close().await;
        for (server, user) in bare {
            let object = format!(
                "{}: USER MAPPING {user} for {server}",
                self.work.target.name()
            );
            let cause = "it has no options; if the original had some, such as a password, the \
                         backup's role could not read them: set them";
            self.warn(WarningCode::MappingOptionsLeftOut, &object, cause);
        }
        Ok(())
    }

    pub(super) async fn take_name(
        &self,
        plan: &Plan,
        notes: &mut Vec<String>,
    ) -> Result<(), ServerError> {
        let (fill, to) = (&plan.fill, self.work.target.name());
        let refused = if let Way::Replace { aside } = &plan.way {
            let refused = create::exchange(self.connection, to, aside, fill).await?;
            notes.push(format!(
                "the database that was {to:?} is {aside:?} now; drop it when you are content"
            ));
            refused
        } else {
            let session = create::elsewhere(self.connection, &[fill, to]).await?;
            let comment = self.database.properties.comment.as_deref();
            let refused = create::rename(&session, fill, to, comment).await?;
            session.close().await;
            refused
        };
        // It is done; that it has no comment is no failure.
        notes.extend(refused.map(|error| error.to_string()));
        Ok(())
    }

    /// Keeps what was made, marked as what it is, so that no later attempt takes
    /// it for a leftover.
    fn keep(&self, plan: &Plan, cause: PostgresRestoreError) -> PostgresRestoreError {
        let marked = self.runtime.block_on(async {
            let fill = &plan.fill;
            let session =
                create::elsewhere(self.connection, &[fill, self.work.target.name()]).await?;
            let comment = format!(
                "incomplete restore of {:?} by strongroom, job {}: rows are missing",
                self.work.target.name(),
                self.job
            );
            create::finished(&session, fill, Some(&comment)).await?;
            session.close().await;
            Ok::<_, ServerError>(())
        });
        if let Err(error) = marked {
            tracing::warn!(%error, "a database that was kept is still marked as unfinished");
        }
        PostgresRestoreError::Kept {
            cause: Box::new(cause),
            database: plan.fill.clone(),
        }
    }

    /// Drops what was made, even when the attempt was cancelled.
    pub(super) fn undo(&self, plan: &Plan, cause: PostgresRestoreError) -> PostgresRestoreError {
        if plan.way == Way::Into {
            return cause;
        }
        if self.work.target.keep_incomplete && matches!(cause, PostgresRestoreError::Differs { .. })
        {
            return self.keep(plan, cause);
        }
        let removed = self.runtime.block_on(async {
            let fill = &plan.fill;
            let session =
                create::elsewhere(self.connection, &[fill, self.work.target.name()]).await?;
            let ours = |(name, job): &(String, String)| name == fill && *job == self.job;
            if create::unfinished(&session).await?.iter().any(ours) {
                create::discard(&session, fill).await?;
            }
            session.close().await;
            Ok::<_, ServerError>(())
        });
        match removed {
            Ok(()) => cause,
            Err(error) => PostgresRestoreError::LeftBehind {
                cause: Box::new(cause),
                database: plan.fill.clone(),
                removing: error.to_string(),
            },
        }
    }
}

/// In an open transaction; gives what failed, and why.
async fn make_roles(
    session: &Session,
    new: &NewRoles,
) -> Result<Vec<(String, String)>, ServerError> {
    let mut lacks = Vec::new();
    for role in &new.roles {
        let what = format!("make the role {:?}", role.name);
        for (position, statement) in role.statements.iter().enumerate() {
            if position == 0 {
                session.one(&what, statement).await?;
            } else if let Err(error) = try_one(session, &what, statement).await? {
                lacks.push((format!("role {}", role.name), error.to_string()));
            }
        }
    }
    for membership in &new.memberships {
        let what = "grant a role";
        let bare = roles::without_grantor(membership);
        if try_one(session, what, membership).await?.is_err()
            && let Err(error) = try_one(session, what, bare).await?
        {
            // There is nothing but names in it.
            lacks.push((bare.to_owned(), error.to_string()));
        }
    }
    Ok(lacks)
}

/// One statement in an open transaction, which goes on when it fails: the inner error.
async fn try_one(
    session: &Session,
    what: &str,
    statement: &str,
) -> Result<Result<(), ServerError>, ServerError> {
    let save = "set a savepoint";
    session.run(save, "SAVEPOINT strongroom").await?;
    let done = session.one(what, statement).await;
    let then = match &done {
        Ok(()) => "RELEASE strongroom",
        Err(error) if error.is_retryable() => return done.map(Ok),
        Err(_) => "ROLLBACK TO strongroom",
    };
    session.run(save, then).await?;
    Ok(done)
}
