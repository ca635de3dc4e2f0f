//! The first operator, whose profile lies in the data directory.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::DataDirectory;
use crate::{
    catalog::{Catalog, CatalogError},
    http::auth,
    identity::Authority,
    model::{Actor, Operator, SecretHash},
    profile::{Profile, ProfileError},
};

/// The first operator's name.
const NAME: &str = "admin";
/// Its profile, in the data directory.
pub(super) const PROFILE: &str = "operator.toml";

/// There is no first operator.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The profile in the data directory.
    #[error("{0}")]
    Profile(#[from] ProfileError),
    /// The operating system gives no randomness.
    #[error("the system's randomness cannot be read: {0}")]
    Random(#[from] std::io::Error),
}

/// Makes the operator `admin` when there is no operator with a valid token,
/// and keeps the URL in the profile right. The profile is written before the
/// catalog knows its token: a crash in between is mended by the next start.
pub(super) async fn ensure(
    catalog: &Catalog,
    data: &DataDirectory,
    authority: &Authority,
    api: SocketAddr,
) -> Result<PathBuf, FirstError> {
    let path = data.path().join(PROFILE);
    let url = format!("https://{}", reachable(api));
    let found = path.exists().then(|| Profile::load(&path)).transpose()?;
    let operators = catalog.operators().await?;
    let now = catalog.clock().now();
    let locked_out = !operators.iter().any(|it| it.is_valid(now));
    let known = found.is_some();
    let mut profile = match found {
        Some(profile) => profile,
        None if !locked_out => return Ok(path),
        None => Profile {
            url: url.clone(),
            operator: NAME.into(),
            token: auth::new_token()?.0,
            ca_certificate: authority.ca_pem().to_owned(),
        },
    };
    // All tokens have ended, this one too: whoever may read the data directory
    // is let in again.
    let renews = locked_out && !operators.is_empty();
    if renews {
        profile.token = auth::new_token()?.0;
    }
    if !known || renews || profile.url != url {
        profile.url = url;
        profile.save(&path)?;
    }
    if locked_out {
        let name = &profile.operator;
        let secret = SecretHash::of(&profile.token);
        let by = Actor::Coordinator;
        let ended = |it: &Operator| it.name == *name && it.revoked_at.is_none();
        if operators.iter().any(ended) {
            catalog.renew_operator(name, &secret, None, &by).await?;
        } else {
            catalog.create_operator(name, &secret, None, &by).await?;
        }
    }
    Ok(path)
}

/// From this host.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
