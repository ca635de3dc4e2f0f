//! Where a store is and what opens it.

use std::{collections::BTreeSet, fmt};

use strongroom_layout::ObjectName;
use url::Url;
use zeroize::Zeroizing;

use super::Risk;

/// A store as `coordinator.toml` describes it.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// What policies call it.
    pub name: String,
    /// Scheme, host and port of the service; no path.
    pub endpoint: Url,
    /// The region that signatures name; `us-east-1` where the service has none.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Where this coordinator's objects begin in the bucket, without leading
    /// or trailing slash; may be empty.
    pub prefix: String,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`.
    pub path_style: bool,
    /// What opens the bucket.
    pub credentials: StoreCredentials,
    /// Certificate authorities to trust besides the system's; PEM.
    pub extra_ca_pem: Option<String>,
    /// What the operator knows that it lets happen, and signs for it anyway.
    pub accept_risks: BTreeSet<Risk>,
}

/// An access key of a store. Never leaves the coordinator.
#[derive(Clone)]
pub struct StoreCredentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Zeroizing<String>,
    /// Of temporary credentials only.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for StoreCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl StoreConfig {
    /// The key, in the bucket, of something below this store's prefix.
    pub fn key(&self, below: &str) -> String {
        if self.prefix.is_empty() {
            below.to_owned()
        } else {
            format!("{}/{below}", self.prefix)
        }
    }

    /// The key of an object of the repository that lies at `repository`, a
    /// path below the store's prefix.
    pub fn object_key(&self, repository: &str, object: &ObjectName) -> String {
        self.key(&format!("{repository}/{}", object.path()))
    }

    /// For messages: the store's name, bucket, endpoint and how it is addressed.
    pub fn describe(&self) -> String {
        format!("store {:?} ({})", self.name, self.place())
    }

    /// As [`describe`](Self::describe), for whoever has said which store it is.
    pub fn place(&self) -> String {
        let style = if self.path_style {
            "path style"
        } else {
            "virtual-host style"
        };
        format!(
            "bucket {:?} at {}, {style}",
            self.bucket,
            self.endpoint.as_str().trim_end_matches('/')
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(prefix: &str) -> StoreConfig {
        StoreConfig {
            name: "primary".into(),
            endpoint: "https://s3.example".parse().unwrap(),
            region: "us-east-1".into(),
            bucket: "backups".into(),
            prefix: prefix.into(),
            path_style: true,
            credentials: StoreCredentials {
                access_key_id: "public".into(),
                secret_access_key: Zeroizing::new("hush".into()),
                session_token: Some(Zeroizing::new("quiet".into())),
            },
            extra_ca_pem: None,
            accept_risks: BTreeSet::new(),
        }
    }

    #[test]
    fn keys_lie_below_the_prefix() {
        assert_eq!(
            store("").object_key("web-1", &ObjectName::Config),
            "web-1/config"
        );
        assert_eq!(
            store("a/b").object_key("web-1", &ObjectName::Config),
            "a/b/web-1/config"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", store(""));
        assert!(text.contains("public"));
        assert!(!text.contains("hush") && !text.contains("quiet"), "{text}");
    }
}
