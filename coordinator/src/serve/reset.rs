//! A token for whoever holds the coordinator's host and has lost every other.
//!
//! It is entered into the catalog itself, whether a coordinator runs on it or not:
//! each of an operator's requests asks the catalog whose token it is. Who may do this
//! is who can write the data directory, which holds the keys of everything anyway.
//!
//! Root does it as the directory's owner, in a process of its own ([`as_owner`]): the
//! coordinator must be able to use what SQLite and we leave there, and whatever the
//! service has put there leads to nothing that only root may read or write.

use std::{
    env, fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use rustix::fs::OFlags;
use serde::Serialize;
use strongroom_runtime::{
    clock::SharedClock,
    files::FileError,
    pki::{PkiError, parse_chain},
};

use super::bootstrap::{PROFILE, reachable};
use crate::{
    catalog::{Catalog, CatalogError},
    config::{Config, ConfigError},
    http::auth,
    profile::{Profile, ProfileError},
};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// Whose token it is.
    pub operator: String,
    /// The file that holds it.
    pub profile: PathBuf,
    /// Whether the operator had one that is refused now.
    pub renewed: bool,
}

/// There is no new token.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that it names.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing was served from this data directory.
    #[error(
        "{0} holds no certificate authority: nothing was served from it yet. `strongroom serve` \
         makes all that is needed, a first operator included"
    )]
    Unserved(PathBuf),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The port is chosen at each start.
    #[error(
        "[api] listen has no port of its own: say with --url where the coordinator is reached, as \
         its log does"
    )]
    NoUrl,
    /// The operating system gives no randomness.
    #[error("the system's randomness cannot be read: {0}")]
    Random(#[source] io::Error),
    /// The data directory.
    #[error("cannot look at {path}: {source}")]
    Data {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No process as its owner.
    #[error(
        "cannot do this as user {user}, whose the data directory is: {source}. Run it as that \
         user: setpriv --reuid={user} --clear-groups strongroom operators reset …"
    )]
    Owner {
        /// Whose it is.
        user: u32,
        /// Why not.
        source: io::Error,
    },
    /// It is no certificate that lies there.
    #[error(transparent)]
    Certificate(#[from] PkiError),
    /// The token is there, and nobody has it.
    #[error("{0}. The token is lost: mend that, and say the same again")]
    Profile(#[from] ProfileError),
}

/// Runs this very command again as whoever owns the data directory, if we are root and
/// that is somebody else; gives how it ended.
pub async fn as_owner(config: &Config) -> Result<Option<ExitStatus>, ResetError> {
    let data = &config.data_directory;
    let metadata = match fs::metadata(data) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ResetError::Data {
                path: data.clone(),
                source,
            });
        }
    };
    let (user, group) = (metadata.uid(), metadata.gid());
    if user == 0 || !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let run = async {
        // Its supplementary groups go as well, as none are named.
        tokio::process::Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .gid(group)
            .uid(user)
            .status()
            .await
    };
    let ended = run.await;
    ended
        .map(Some)
        .map_err(|source| ResetError::Owner { user, source })
}

/// Makes a token for the operator `name` and writes its profile to `write`, or to the
/// data directory's own.
pub async fn reset(
    config: &Config,
    clock: SharedClock,
    name: &str,
    write: Option<PathBuf>,
    url: Option<String>,
) -> Result<Reset, ResetError> {
    let data = &config.data_directory;
    let own = data.join(PROFILE);
    let ca_certificate = ca_certificate(data)?;
    let url = url
        .or_else(|| url_of(config, &own))
        .ok_or(ResetError::NoUrl)?;
    let profile = write.unwrap_or(own);
    let (token, secret) = auth::new_token().map_err(ResetError::Random)?;
    let catalog = Catalog::attach(&config.catalog_url()?, clock).await?;
    let by = serde_json::json!({
        "host": super::hostname(),
        "user": rustix::process::getuid().as_raw(),
    });
    let renewed = catalog.reset_operator(name, &secret, &by).await;
    catalog.close().await;
    let renewed = renewed?;
    let contents = Profile {
        url,
        operator: name.to_owned(),
        token,
        ca_certificate,
    };
    contents.save(&profile)?;
    Ok(Reset {
        operator: name.to_owned(),
        profile,
        renewed,
    })
}

/// The certificate that the coordinator is known by. It goes into a profile, for
/// whoever is let in: no link is followed, and nothing else is passed on.
fn ca_certificate(data: &Path) -> Result<String, ResetError> {
    let path = data.join("ca.pem");
    let read = || -> io::Result<String> {
        let mut options = fs::OpenOptions::new();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits().cast_signed());
        let mut text = String::new();
        options.open(&path)?.read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => {
            parse_chain("ca.pem of the data directory", &text)?;
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ResetError::Unserved(data.to_owned()))
        }
        Err(source) => Err(ResetError::Data { path, source }),
    }
}

/// Where this host reaches the coordinator.
fn url_of(config: &Config, own: &Path) -> Option<String> {
    match config.api.listen.port() {
        0 => Profile::load(own).ok().map(|profile| profile.url),
        _ => Some(format!("https://{}", reachable(config.api.listen))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use strongroom_runtime::{clock::SystemClock, pki::CertificateAuthority};

    use super::*;

    #[test]
    fn nothing_but_the_coordinators_certificate_is_passed_on() {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path();
        let path = data.join("ca.pem");
        let refused = || ca_certificate(data).unwrap_err();
        assert!(matches!(refused(), ResetError::Unserved(_)));
        fs::write(&path, "root:$6$salt$hash:20000:0:99999:7:::\n").unwrap();
        let error = refused();
        assert!(matches!(error, ResetError::Certificate(_)), "{error}");
        assert!(!error.to_string().contains("hash"), "{error}");
        let made = CertificateAuthority::create(SystemClock::shared().now());
        let (authority, _) = made.unwrap();
        fs::write(data.join("other.pem"), authority.certificate_pem()).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("other.pem", &path).unwrap();
        assert!(matches!(refused(), ResetError::Data { .. }));
        fs::rename(data.join("other.pem"), &path).unwrap();
        assert_eq!(ca_certificate(data).unwrap(), authority.certificate_pem());
    }
}
