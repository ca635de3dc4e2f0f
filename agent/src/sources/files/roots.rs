//! The paths that a source names, as a tree of names below `/`.

use std::{collections::BTreeMap, path::PathBuf};

use crate::allowed::{AllowedPaths, Way};

/// A name on the way to a requested path, or one itself.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The source names this path: everything below it is taken.
    pub(super) requested: bool,
    /// How it is reached, if it is a directory on the way; absent: by its name.
    pub(super) way: Option<Way>,
    /// What is requested below it, by name.
    pub(super) children: BTreeMap<Vec<u8>, Target>,
}

/// A path that cannot be a source's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not an absolute path without `..`")]
pub struct InvalidPath {
    /// As given.
    pub path: String,
}

impl Target {
    /// From absolute paths. Empty parts and `.` are passed over.
    pub(super) fn new(paths: &[String], allowed: &AllowedPaths) -> Result<Self, InvalidPath> {
        let mut root = Self::default();
        for path in paths {
            let invalid = || InvalidPath { path: path.clone() };
            let below = path.strip_prefix('/').ok_or_else(invalid)?;
            let mut target = &mut root;
            let mut at = PathBuf::from("/");
            for part in below.split('/') {
                match part {
                    "" | "." => {}
                    ".." => return Err(invalid()),
                    name if name.contains('\0') => return Err(invalid()),
                    name => {
                        at.push(name);
                        target = target.children.entry(name.into()).or_default();
                        target.way = allowed.way(&at).cloned();
                    }
                }
            }
            target.requested = true;
        }
        Ok(root)
    }

    /// Calls `each` with every requested path at or below `path`, which is
    /// this target's.
    pub(super) fn for_each_requested(&self, path: &[u8], each: &mut dyn FnMut(&[u8])) {
        if self.requested {
            each(path);
        }
        for (name, child) in &self.children {
            child.for_each_requested(&join(path, name), each);
        }
    }
}

/// The path of an entry of the directory at `path`.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if path != b"/" {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(paths: &[&str]) -> Vec<String> {
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        let mut found = Vec::new();
        Target::new(&paths, &AllowedPaths::default())
            .unwrap()
            .for_each_requested(b"/", &mut |path| {
                found.push(String::from_utf8_lossy(path).into_owned());
            });
        found
    }

    #[test]
    fn paths_are_sorted_into_a_tree() {
        assert_eq!(
            requested(&["/srv/", "/home//a/./b", "/srv", "/home/a"]),
            ["/home/a", "/home/a/b", "/srv"]
        );
        assert_eq!(requested(&["/"]), ["/"]);
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["", "srv", "./srv", "/srv/../etc", "/..", "/a\0b"] {
            Target::new(&[path.into()], &AllowedPaths::default()).unwrap_err();
        }
    }
}
