//! The data directory: opened once, by the name that the server gives, and
//! from then on known by its descriptor, whatever the name leads to later.

use std::{io, os::fd::OwnedFd, path::PathBuf};

use rustix::fs::{Stat, fstat};
use strongroom_compare::beneath;
use strongroom_postgres::physical::{backup::ServerFacts, control::ControlFile};

use super::{
    ClusterError,
    access::{Owner, failed},
    control,
};
use crate::sources::files::owners::Owners;

/// What no server lets its data directory be: writable by its group, open to
/// others. Source: `checkDataDir` of `utils/init/miscinit.c`.
const FORBIDDEN: u32 = 0o027;

/// What is known of a cluster before the copy.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) facts: ServerFacts,
    pub(super) directory: PathBuf,
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
    pub(super) control: ControlFile,
    pub(super) owners: Owners,
    pub(super) owner: Owner,
}

impl Cluster {
    /// Finds the server's files on this host, and that they are the server's.
    pub(super) fn examine(facts: ServerFacts) -> Result<Self, ClusterError> {
        let directory = PathBuf::from(&facts.data_directory);
        let unopened = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => failed(&directory, error, "its owner"),
            _ => ClusterError::NoDirectory {
                path: directory.clone(),
                source: error,
            },
        };
        let fd = beneath::open_root(&directory).map_err(unopened)?;
        let stat = fstat(&fd).map_err(|error| unopened(error.into()))?;
        let owners = Owners::of_host();
        let owner = Owner::of(&stat, &owners);
        if let Some(cause) = no_server_runs_on(&stat) {
            return Err(ClusterError::NotServed {
                path: directory,
                cause,
            });
        }
        let global = owner.enter(&fd, &directory, b"global")?;
        let place = directory.join("global");
        let Some((global, _)) = global else {
            return Err(ClusterError::Missing { path: place });
        };
        let (control, _) = control::read(&global, &place, &owner)?;
        let cluster = Self {
            facts,
            directory,
            fd,
            stat,
            control,
            owners,
            owner,
        };
        cluster.check_identity(&cluster.control)?;
        Ok(cluster)
    }

    /// What the server calls its directory in a tablespace.
    pub(super) fn version_directory(&self) -> String {
        self.control.tablespace_directory(self.facts.major)
    }

    /// Whether a control file is that of the server at the connection.
    pub(super) fn check_identity(&self, control: &ControlFile) -> Result<(), ClusterError> {
        if control.system_identifier == self.facts.system_identifier {
            return Ok(());
        }
        Err(ClusterError::OtherCluster {
            path: self.directory.clone(),
            found: control.system_identifier,
            wanted: self.facts.system_identifier,
        })
    }
}

/// Why a directory is that of no running server; a server looks, too.
fn no_server_runs_on(directory: &Stat) -> Option<String> {
    let mode = directory.st_mode & 0o7777;
    if directory.st_uid == 0 {
        return Some("it belongs to root".into());
    }
    (mode & FORBIDDEN != 0).then(|| format!("its mode is {mode:o}, and not 0700 or 0750"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, path::Path};

    use strongroom_postgres::physical::{Lsn, SegmentSize, TimelineId, control::ClusterState};

    use super::*;

    /// What is known of a cluster of version 15 whose files lie there.
    pub(in super::super) fn cluster_in(directory: &Path) -> Cluster {
        let fd = beneath::open_root(directory).unwrap();
        let stat = fstat(&fd).unwrap();
        let owners = Owners::default();
        Cluster {
            facts: ServerFacts {
                version: "15.1".into(),
                major: 15,
                system_identifier: 7,
                in_recovery: false,
                data_directory: directory.to_str().unwrap().into(),
                config_files: Vec::new(),
                settings: BTreeMap::new(),
            },
            directory: directory.to_owned(),
            fd,
            stat,
            control: ControlFile {
                system_identifier: 7,
                control_version: 1300,
                catalog_version: 202_209_061,
                state: ClusterState::InProduction,
                checkpoint: Lsn(1),
                redo: Lsn(1),
                timeline: TimelineId(1),
                min_recovery_point: Lsn(0),
                min_recovery_timeline: TimelineId(0),
                block_size: 8192,
                relation_segment_pages: 131_072,
                wal_block_size: 8192,
                wal_segment_size: SegmentSize::new(16 << 20).unwrap(),
                checksum_version: 1,
            },
            owner: Owner::of(&stat, &owners),
            owners,
        }
    }

    #[test]
    fn a_control_file_of_another_cluster_is_noticed_at_the_end_too() {
        let cluster = cluster_in(Path::new("/"));
        cluster.check_identity(&cluster.control).unwrap();
        let mut other = cluster.control;
        other.system_identifier = 8;
        let refused = cluster.check_identity(&other).unwrap_err().to_string();
        assert!(refused.contains("the cluster 8") && refused.contains("the cluster 7"));
    }

    #[test]
    fn no_server_runs_on_root_s_directory_or_on_one_that_is_open_to_others() {
        let mut stat = fstat(tempfile::tempfile().unwrap()).unwrap();
        for (user, mode, taken) in [
            (70_000, 0o700, true),
            (70_000, 0o750, true),
            (0, 0o700, false),
            (70_000, 0o770, false),
            (70_000, 0o755, false),
            (70_000, 0o701, false),
        ] {
            stat.st_uid = user;
            stat.st_mode = 0o040_000 | mode;
            let cause = no_server_runs_on(&stat);
            assert_eq!(cause.is_none(), taken, "{user} {mode:o}: {cause:?}");
        }
    }
}
