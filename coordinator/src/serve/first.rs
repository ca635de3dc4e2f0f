//! The first operator, whose profile lies in the data directory.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::DataDirectory;
use crate::{
    catalog::{Catalog, CatalogError},
    cli::profile::{Profile, ProfileError},
    http::auth,
    identity::Authority,
    model::{Actor, SecretHash},
};

/// The first operator's name.
const NAME: &str = "admin";

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

/// Makes the operator `admin` when there is no operator, and keeps the URL in
/// the profile right. The profile is written before the catalog knows its
/// token: a crash in between is mended by the next start.
pub(super) async fn ensure(
    catalog: &Catalog,
    data: &DataDirectory,
    authority: &Authority,
    api: SocketAddr,
) -> Result<PathBuf, FirstError> {
    let path = data.path().join("operator.toml");
    let url = format!("https://{}", reachable(api));
    let found = path.exists().then(|| Profile::load(&path)).transpose()?;
    let known = found.is_some();
    let mut profile = match found {
        Some(profile) => profile,
        None if has_operator(catalog).await? => return Ok(path),
        None => Profile {
            url: url.clone(),
            operator: NAME.into(),
            token: auth::new_token()?.0,
            ca_certificate: authority.ca_pem().to_owned(),
        },
    };
    if !known || profile.url != url {
        profile.url = url;
        profile.save(&path)?;
    }
    if !has_operator(catalog).await? {
        catalog
            .create_operator(
                &profile.operator,
                &SecretHash::of(&profile.token),
                &Actor::Coordinator,
            )
            .await?;
    }
    Ok(path)
}

async fn has_operator(catalog: &Catalog) -> Result<bool, CatalogError> {
    let operators = catalog.operators().await?;
    Ok(operators.iter().any(|it| it.revoked_at.is_none()))
}

/// From this host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
