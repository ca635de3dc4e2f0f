//! Writing trees.

use data_encoding::BASE64;

use super::{ALLOCATED, file_mode, name_problem, shown};
use crate::format::{
    FormatError,
    blob::BlobId,
    node::{Node, NodeKind},
    quote, time,
};

/// Writes a tree node by node.
#[derive(Debug)]
pub struct TreeEncoder {
    json: Vec<u8>,
    quoted: String,
    last: Option<Vec<u8>>,
}

impl Default for TreeEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeEncoder {
    /// An empty tree.
    pub fn new() -> Self {
        Self {
            json: b"{\"nodes\":[".to_vec(),
            quoted: String::new(),
            last: None,
        }
    }

    /// Adds a node, whose name must come after the last one's. On an error
    /// nothing was added.
    pub fn push(&mut self, node: &Node) -> Result<(), FormatError> {
        if let Some(problem) = name_problem(&node.name) {
            return Err(FormatError::invalid("tree", problem));
        }
        if let Some(last) = &mut self.last {
            if *last >= node.name {
                let problem = format!("{} after {}", shown(&node.name), shown(last));
                return Err(FormatError::invalid("tree", problem));
            }
            last.clone_from(&node.name);
            self.json.push(b',');
        } else {
            self.last = Some(node.name.clone());
        }
        self.quoted.clear();
        quote::quote(&node.name, &mut self.quoted);
        write_node(&mut self.json, &self.quoted, node);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.json.len()
    }

    /// Whether no node was added.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The tree's JSON: the plaintext of its blob.
    pub fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"]}\n");
        self.json
    }
}

fn write_node(out: &mut Vec<u8>, quoted: &str, node: &Node) {
    out.extend_from_slice(b"{\"name\":");
    quote::json_string(quoted.as_bytes(), out);
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(node.kind.as_str().as_bytes());
    out.push(b'"');
    number_unless_zero(out, "mode", file_mode::to_go(node.mode, &node.kind).into());
    for (field, at) in [
        ("mtime", node.mtime),
        ("atime", node.atime),
        ("ctime", node.ctime),
    ] {
        key(out, field);
        out.push(b'"');
        time::write(at, out);
        out.push(b'"');
    }
    number(out, "uid", node.uid.into());
    number(out, "gid", node.gid.into());
    string_unless_empty(out, "user", node.user.as_bytes());
    string_unless_empty(out, "group", node.group.as_bytes());
    number_unless_zero(out, "inode", node.inode);
    number_unless_zero(out, "device_id", node.device_id);
    if let NodeKind::File { size, .. } = node.kind {
        number_unless_zero(out, "size", size);
    }
    if !matches!(node.kind, NodeKind::Dir { .. }) {
        number_unless_zero(out, "links", node.links);
    }
    if let NodeKind::Symlink { target } = &node.kind {
        string_unless_empty(out, "linktarget", target);
        if std::str::from_utf8(target).is_err() {
            base64(out, "linktarget_raw", target);
        }
    }
    xattrs(out, &node.xattrs);
    match node.kind {
        NodeKind::BlockDevice { device } | NodeKind::CharDevice { device } => {
            number_unless_zero(out, "device", device);
        }
        NodeKind::File {
            allocated: true, ..
        } => number(out, "device", ALLOCATED),
        _ => {}
    }
    content(out, &node.kind);
    if let NodeKind::Dir {
        subtree: Some(subtree),
    } = &node.kind
    {
        key(out, "subtree");
        id(out, subtree);
    }
    out.push(b'}');
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, mut value: u64) {
    key(out, name);
    // 20 digits hold every u64.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn number_unless_zero(out: &mut Vec<u8>, name: &str, value: u64) {
    if value != 0 {
        number(out, name, value);
    }
}

fn string_unless_empty(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        key(out, name);
        quote::json_string(value, out);
    }
}

fn base64(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(value).as_bytes());
    out.push(b'"');
}

/// The format has no place for names that are not UTF-8; like restic, we put
/// U+FFFD where they are not.
fn xattrs(out: &mut Vec<u8>, xattrs: &[(Vec<u8>, Vec<u8>)]) {
    if xattrs.is_empty() {
        return;
    }
    key(out, "extended_attributes");
    for (at, (name, value)) in xattrs.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b"," });
        out.extend_from_slice(b"{\"name\":");
        quote::json_string(name, out);
        base64(out, "value", value);
        out.push(b'}');
    }
    out.push(b']');
}

/// `[]` for an empty file, which `restic check` insists on; `null` for what
/// is not a file.
fn content(out: &mut Vec<u8>, kind: &NodeKind) {
    key(out, "content");
    let NodeKind::File { content, .. } = kind else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (at, blob) in content.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        id(out, blob);
    }
    out.push(b']');
}

fn id(out: &mut Vec<u8>, id: &BlobId) {
    let mut hex = [0; 64];
    data_encoding::HEXLOWER.encode_mut(&id.0, &mut hex);
    out.push(b'"');
    out.extend_from_slice(&hex);
    out.push(b'"');
}
