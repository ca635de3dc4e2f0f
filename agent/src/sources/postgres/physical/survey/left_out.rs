//! What is in a data directory and not in its backup.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;
use strongroom_compare::EscapedPath;
use strongroom_spec::WarningCode;

use super::{
    super::{ClusterError, access::target},
    Surveyor,
};

impl Surveyor<'_> {
    /// Of something that the cluster's owner may not read: his server does
    /// without it, unless it belongs to the cluster's data.
    pub(super) fn leave(&self, own: bool, path: PathBuf, stat: &Stat) -> Result<(), ClusterError> {
        let error = self.cluster.owner.foreign(path.clone(), stat);
        if own {
            return Err(error);
        }
        let ClusterError::Foreign { user, owner, .. } = error else {
            return Err(error);
        };
        self.monitor.warn(
            WarningCode::ForeignFile,
            path.into_os_string().into_encoded_bytes(),
            format!(
                "it belongs to {user}, and {owner}, who owns the cluster, may not read it: it is \
                 not part of the backup; move it out of the data directory"
            ),
        );
        Ok(())
    }

    /// Of a link that is no part of the cluster's data.
    pub(super) fn leave_link(&self, dir: &OwnedFd, name: &[u8], path: PathBuf) {
        // Configuration is kept beside the cluster, whatever leads to it.
        let files = &self.cluster.facts.config_files;
        if files.iter().any(|file| Path::new(file) == path) {
            return;
        }
        let to = target(dir, name).unwrap_or_default();
        self.monitor.warn(
            WarningCode::LinkLeftOut,
            path.into_os_string().into_encoded_bytes(),
            format!(
                "it is a symbolic link to {}: neither the link nor what it leads to is part of \
                 the backup, for a restored server would use the original's",
                EscapedPath(&to)
            ),
        );
    }
}
