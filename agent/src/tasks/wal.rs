//! The archiving of a cluster's log.

use strongroom_spec::{Failure, WalOutcome, WalSpec};

use super::{Task, wal_server};
use crate::{
    config::AgentConfig,
    failure,
    wal::{self, WalJob},
};

impl Task {
    pub(super) async fn wal(self, spec: WalSpec) -> Result<WalOutcome, Failure> {
        let job = WalJob {
            server: wal_server(&self.config, &spec.connection)?,
            work: spec,
            repository: self.repository,
            store: self.store,
            authority: self.authority,
            desks: self.desks,
            limits: self.limits,
            monitor: self.monitor,
        };
        let archived = wal::run(job).await;
        archived.map_err(|error| failure::of_wal(&error))
    }
}

/// Before anything of a store is needed: a store that is away must not fill the server's
/// disk.
pub(crate) async fn relieve(config: &AgentConfig, spec: &WalSpec) -> Result<(), Failure> {
    let server = wal_server(config, &spec.connection)?;
    wal::relieve(&server, spec).await;
    Ok(())
}
