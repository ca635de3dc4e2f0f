//! The programs of a server, found on this host.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use strongroom_postgres::wal::tablespace::first_in_place;

use super::ClusterRestoreError;

/// Of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u32,
    minor: u32,
}

/// The programs of one version.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) pg_ctl: PathBuf,
    pub(super) version: Version,
}

impl Version {
    /// Reads what stands first: `15.18 (Debian 15.18-0+deb12u1)`, `18beta1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| -> Option<u32> {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            text[..digits].parse().ok()
        };
        let major = number(text)?;
        let rest = text.trim_start_matches(|it: char| it.is_ascii_digit());
        let minor = rest.strip_prefix('.').and_then(number).unwrap_or(0);
        Some(Self { major, minor })
    }

    /// See [`first_in_place`].
    pub(super) fn replays_in_place(self) -> bool {
        first_in_place(self.major).is_some_and(|first| self.minor >= first)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Programs {
    /// Finds the server of exactly this major version: data directories are of
    /// one.
    pub(super) fn find(major: u32) -> Result<Self, ClusterRestoreError> {
        let mut places = vec![
            PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
            PathBuf::from(format!("/usr/pgsql-{major}/bin")),
            PathBuf::from("/usr/local/pgsql/bin"),
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        places.extend(std::env::split_paths(&path).filter(|place| place.is_absolute()));
        let mut found = Vec::new();
        for place in places {
            let (server, pg_ctl) = (place.join("postgres"), place.join("pg_ctl"));
            if !server.is_file() || !pg_ctl.is_file() {
                continue;
            }
            match version(&server) {
                Some(version) if version.major == major => return Ok(Self { pg_ctl, version }),
                Some(version) => found.push(format!("{} in {}", version.major, place.display())),
                None => {}
            }
        }
        Err(ClusterRestoreError::NoServer {
            major,
            found: if found.is_empty() {
                "none".into()
            } else {
                found.join(", ")
            },
        })
    }

    /// Where the server's libraries may lie, by where its programs do.
    pub(super) fn library_directories(&self) -> Vec<PathBuf> {
        let above = self.pg_ctl.parent().and_then(Path::parent);
        let above = above.unwrap_or(Path::new("/"));
        let places = ["lib", "lib/postgresql", "lib64", "lib64/postgresql"];
        places.map(|place| above.join(place)).to_vec()
    }
}

/// What a server program says to `--version`: `postgres (PostgreSQL) 15.18 …`.
fn version(server: &Path) -> Option<Version> {
    let output = Command::new(server).arg("--version").output().ok()?;
    said(&String::from_utf8_lossy(&output.stdout))
}

fn said(text: &str) -> Option<Version> {
    Version::parse(text.split_once("(PostgreSQL) ")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_say_them() {
        for (text, wanted) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some((15, 18)),
            ),
            ("postgres (PostgreSQL) 18beta1\n", Some((18, 0))),
            ("postgres (PostgreSQL) 14.5\n", Some((14, 5))),
            ("postgres (PostgreSQL) \n", None),
            ("something else 15", None),
        ] {
            let wanted = wanted.map(|(major, minor)| Version { major, minor });
            assert_eq!(said(text), wanted, "{text}");
        }
    }

    #[test]
    fn replay_in_place_came_with_minor_versions() {
        let version = |text| Version::parse(text).unwrap();
        for old in ["14.4", "13.7", "13.0", "14beta1", "9.6"] {
            assert!(!version(old).replays_in_place(), "{old}");
        }
        for new in ["14.5", "13.8", "13.22", "15.0", "15beta1", "18.4"] {
            assert!(version(new).replays_in_place(), "{new}");
        }
    }
}
