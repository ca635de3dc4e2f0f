//! The forgeries, and what each shows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a store lets happen to a signed request. An operator may accept one by
/// its name: `accept_risks` in `[store.NAME]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// A header that nobody signed turns a PUT into a copy.
    UnsignedCopySource,
    /// A header that nobody signed gives others access to an object.
    UnsignedAcl,
    /// A body is stored whose hash is not the signed one.
    WrongBody,
    /// An object is replaced although `if-none-match: *` was signed.
    Overwrite,
    /// More of an object is read than the signed range.
    UnsignedRange,
}

impl Risk {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::UnsignedCopySource,
        Self::UnsignedAcl,
        Self::WrongBody,
        Self::Overwrite,
        Self::UnsignedRange,
    ];

    /// The name in the configuration, the API and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsignedCopySource => "unsigned-copy-source",
            Self::UnsignedAcl => "unsigned-acl",
            Self::WrongBody => "wrong-body",
            Self::Overwrite => "overwrite",
            Self::UnsignedRange => "unsigned-range",
        }
    }

    /// What a stolen agent can do with it.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::UnsignedCopySource => {
                "a stolen agent reads and overwrites every object that this store's key reaches, \
                 other buckets included"
            }
            Self::UnsignedAcl => "a stolen agent gives the world access to what it writes",
            Self::WrongBody => {
                "a stolen agent writes any bytes under a name that stands for others"
            }
            Self::Overwrite => {
                "the store replaces objects that are there: nothing but the signed hash of the \
                 body guards them"
            }
            Self::UnsignedRange => {
                "a stolen agent reads whole objects of its repository where it was granted a few \
                 bytes of them"
            }
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A forged request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// `x-amz-copy-source`, with the signed body behind it.
    CopySource,
    /// The same with an empty body: some stores look at it first.
    CopySourceEmpty,
    /// `x-amz-acl: public-read`
    Acl,
    /// `x-amz-grant-read` for everybody.
    GrantRead,
    /// Other bytes of the same length.
    OtherBody,
    /// Other bytes, and a second `x-amz-content-sha256` that allows any.
    DoubledHash,
    /// A properly signed PUT on an object that is there.
    Overwrite,
    /// `if-range` on a GET whose range is signed.
    IfRange,
    /// A second `range` on such a GET.
    DoubledRange,
    /// `x-amz-meta-*`
    Metadata,
    /// `x-amz-tagging`
    Tagging,
    /// `x-amz-storage-class`
    StorageClass,
    /// `x-amz-website-redirect-location`
    Redirect,
    /// `x-amz-object-lock-mode` and its date.
    ObjectLock,
    /// No forgery: whether anybody at all may read an object of ours.
    Public,
}

impl Probe {
    /// Every one, in the order in which they are tried.
    pub const ALL: [Self; 15] = [
        Self::CopySource,
        Self::CopySourceEmpty,
        Self::Acl,
        Self::GrantRead,
        Self::OtherBody,
        Self::DoubledHash,
        Self::Overwrite,
        Self::IfRange,
        Self::DoubledRange,
        Self::Metadata,
        Self::Tagging,
        Self::StorageClass,
        Self::Redirect,
        Self::ObjectLock,
        Self::Public,
    ];

    /// The name in the API and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CopySource => "copy-source",
            Self::CopySourceEmpty => "copy-source-empty-body",
            Self::Acl => "acl",
            Self::GrantRead => "grant-read",
            Self::OtherBody => "other-body",
            Self::DoubledHash => "doubled-hash",
            Self::Overwrite => "overwrite",
            Self::IfRange => "if-range",
            Self::DoubledRange => "doubled-range",
            Self::Metadata => "metadata",
            Self::Tagging => "tagging",
            Self::StorageClass => "storage-class",
            Self::Redirect => "redirect",
            Self::ObjectLock => "object-lock",
            Self::Public => "public-bucket",
        }
    }

    /// The risk that it shows; `None`: it is told, and decides nothing. What
    /// those change is the agent's own new object, and no byte of it.
    pub fn risk(self) -> Option<Risk> {
        match self {
            Self::CopySource | Self::CopySourceEmpty => Some(Risk::UnsignedCopySource),
            Self::Acl | Self::GrantRead => Some(Risk::UnsignedAcl),
            Self::OtherBody | Self::DoubledHash => Some(Risk::WrongBody),
            Self::Overwrite => Some(Risk::Overwrite),
            Self::IfRange | Self::DoubledRange => Some(Risk::UnsignedRange),
            Self::Metadata
            | Self::Tagging
            | Self::StorageClass
            | Self::Redirect
            | Self::ObjectLock
            | Self::Public => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_name_every_probe_and_risk() {
        let text = include_str!("../../../../docs/stores.md");
        for probe in Probe::ALL {
            assert!(text.contains(&format!("| `{probe}` |")), "{probe}");
        }
        for risk in Risk::ALL {
            assert!(text.contains(&format!("| `{risk}` |")), "{risk}");
        }
    }

    #[test]
    fn every_risk_has_its_forgery_and_its_name_in_configurations() {
        for risk in Risk::ALL {
            assert!(Probe::ALL.iter().any(|probe| probe.risk() == Some(risk)));
            let json = serde_json::to_string(&risk).unwrap();
            assert_eq!(json, format!("\"{risk}\""));
        }
    }
}
