//! Reading trees, ours and restic's of all versions.

use std::borrow::Cow;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::{ALLOCATED, file_mode, name_problem, shown};
use crate::format::{
    FormatError,
    blob::BlobId,
    node::{Node, NodeKind, Tree},
    quote, time,
};

pub(super) fn decode(json: &[u8]) -> Result<Tree, FormatError> {
    let tree: TreeJson = serde_json::from_slice(json).map_err(FormatError::json("tree"))?;
    let mut nodes: Vec<Node> = tree.nodes.into_iter().filter_map(|node| node.0).collect();
    if !nodes.is_sorted_by(|a, b| a.name < b.name) {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(twins) = nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let problem = format!("{} stands in it twice", shown(&twins[0].name));
            return Err(FormatError::invalid("tree", problem));
        }
    }
    Ok(Tree { nodes })
}

#[derive(Deserialize)]
struct TreeJson {
    #[serde(deserialize_with = "crate::format::null_is_empty")]
    nodes: Vec<KnownNode>,
}

/// `None` for a socket.
struct KnownNode(Option<Node>);

impl<'de> Deserialize<'de> for KnownNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = NodeJson::deserialize(deserializer)?;
        let name = node.name.clone();
        node.into_node()
            .map(Self)
            .map_err(|problem| de::Error::custom(format_args!("node \"{name}\": {problem}")))
    }
}

#[derive(Deserialize)]
struct NodeJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default, with = "time")]
    mtime: Timestamp,
    #[serde(default, with = "time")]
    atime: Timestamp,
    #[serde(default, with = "time")]
    ctime: Timestamp,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    linktarget_raw: Option<String>,
    #[serde(default, deserialize_with = "crate::format::null_is_empty")]
    extended_attributes: Vec<XattrJson>,
    #[serde(default)]
    device: u64,
    content: Option<Vec<BlobId>>,
    subtree: Option<BlobId>,
}

#[derive(Deserialize)]
struct XattrJson {
    name: String,
    value: Option<String>,
}

impl NodeJson<'_> {
    fn into_node(self) -> Result<Option<Node>, String> {
        let name = quote::unquote(&self.name).ok_or("a name that is not quoted properly")?;
        if let Some(problem) = name_problem(&name) {
            return Err(problem.into());
        }
        let kind = match &*self.kind {
            "file" => NodeKind::File {
                size: self.size,
                content: self.content.unwrap_or_default(),
                allocated: self.device == ALLOCATED,
            },
            "dir" => NodeKind::Dir {
                subtree: self.subtree,
            },
            "symlink" => NodeKind::Symlink {
                target: match &self.linktarget_raw {
                    Some(raw) => bytes(raw)?,
                    None => self.linktarget.into_bytes(),
                },
            },
            "dev" => NodeKind::BlockDevice {
                device: self.device,
            },
            "chardev" => NodeKind::CharDevice {
                device: self.device,
            },
            "fifo" => NodeKind::Fifo,
            "socket" => return Ok(None),
            other => return Err(format!("unknown type {other:?}")),
        };
        let xattr = |xattr: XattrJson| {
            let value = xattr.value.as_deref().map(bytes).transpose()?;
            Ok((xattr.name.into_bytes(), value.unwrap_or_default()))
        };
        Ok(Some(Node {
            name: name.into_owned(),
            kind,
            mode: file_mode::from_go(self.mode),
            mtime: self.mtime,
            atime: self.atime,
            ctime: self.ctime,
            uid: self.uid,
            gid: self.gid,
            user: self.user,
            group: self.group,
            inode: self.inode,
            device_id: self.device_id,
            links: self.links,
            xattrs: self
                .extended_attributes
                .into_iter()
                .map(xattr)
                .collect::<Result<_, String>>()?,
        }))
    }
}

fn bytes(base64: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(base64.as_bytes())
        .map_err(|error| format!("invalid base64: {error}"))
}
