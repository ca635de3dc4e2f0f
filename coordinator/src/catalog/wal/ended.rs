//! Restores to the latest moment of a log that has ended: they are not told apart
//! from others by who carries them out, but the database has gone on since.

use sqlx::AnyConnection;
use strongroom_spec::{JobSpec, RecoveryTarget, Target, Warning, WarningCode};
use strongroom_wire::job::Report;

use super::{super::CatalogError, line::lines_in};
use crate::model::{Job, WalBreak};

/// Says in the report of such a restore where its log broke off.
pub(in super::super) async fn warn_of_end_in(
    connection: &mut AnyConnection,
    job: &Job,
    report: &mut Report,
) -> Result<(), CatalogError> {
    let (JobSpec::Restore(restore), Some(dataset), Ok(_)) =
        (&job.spec, &job.dataset, &report.outcome)
    else {
        return Ok(());
    };
    let (Some(recovery), Target::Cluster(target)) = (&restore.recovery, &restore.target) else {
        return Ok(());
    };
    if recovery.target != RecoveryTarget::Latest {
        return Ok(());
    }
    let lines = lines_in(connection, &job.repository, recovery.system).await?;
    if let Some(end) = lines.end(dataset, recovery.line) {
        // Others may have filled the list: this one is to be seen.
        report.warnings.insert(0, warning(&target.directory, end));
        report.warnings.truncate(strongroom_spec::MAX_WARNINGS);
        report.warning_count += 1;
    }
    Ok(())
}

fn warning(target: &str, end: &WalBreak) -> Warning {
    Warning {
        code: WarningCode::LogEnded,
        path: target.into(),
        cause: format!(
            "this is not the latest state of the database: {}; so the log ended at {} of timeline \
             {} (found on {}), and what was written behind that place is not here. A base backup \
             that was begun later leads to it",
            end.cause, end.lsn, end.timeline, end.at
        ),
        accepted: false,
    }
}
