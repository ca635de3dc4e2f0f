//! From names and the directories that are allowed to ways.

use std::{
    io,
    path::{Path, PathBuf},
};

use strongroom_compare::beneath::Walker;

use super::Way;
use crate::config::AbsolutePath;

/// What is wrong with a path.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Relative, or with `..`.
    Spelling,
    /// Not below an allowed prefix.
    Outside,
    /// Below one by its spelling, but links lead elsewhere.
    LeadsTo(PathBuf),
    /// The links in it cannot be resolved.
    Unresolved(io::Error),
    /// It is the agent's own state, or lies in it: here.
    OffLimits(PathBuf),
}

/// The allowed directories, open. They are the host administrator's, and may be
/// reached through links.
#[derive(Debug)]
pub(crate) struct Prefixes<'a> {
    spelled: &'a [AbsolutePath],
    /// Those that can be reached; the outermost first, for nothing below it is
    /// taken on trust.
    open: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    /// Without links.
    real: PathBuf,
    way: Way,
}

impl<'a> Prefixes<'a> {
    pub(crate) fn open(spelled: &'a [AbsolutePath], walker: Walker) -> Self {
        let open = |prefix: &AbsolutePath| -> io::Result<Prefix> {
            let real = resolve(prefix.as_path())?;
            let way = Way::along(walker, &real)?;
            Ok(Prefix { real, way })
        };
        let mut all: Vec<_> = spelled.iter().filter_map(|it| open(it).ok()).collect();
        all.sort_by_key(|prefix| prefix.real.components().count());
        Self { spelled, open: all }
    }

    /// A path by its spelling, and the outermost prefix that it lies in.
    pub(super) fn spelled(&self, path: &str) -> Result<(AbsolutePath, &AbsolutePath), Problem> {
        let path = AbsolutePath::new(path).ok_or(Problem::Spelling)?;
        let within = self.spelled.iter().filter(|it| path.is_within(it));
        let outermost = within.min_by_key(|it| it.as_path().components().count());
        outermost.map(|it| (path, it)).ok_or(Problem::Outside)
    }

    /// The way to a directory, and its path without links.
    pub(super) fn way_to(&self, path: &Path) -> Result<(PathBuf, Way), Problem> {
        let real = resolve(path).map_err(Problem::Unresolved)?;
        let prefix = self.open.iter().find(|it| real.starts_with(&it.real));
        let Some(prefix) = prefix else {
            return Err(Problem::LeadsTo(real));
        };
        let relative = real.strip_prefix(&prefix.real).unwrap_or(Path::new(""));
        let way = prefix.way.down(relative);
        Ok((real, way))
    }

    /// Whether a path without links lies in one of them.
    pub(super) fn hold(&self, real: &Path) -> bool {
        self.open.iter().any(|it| real.starts_with(&it.real))
    }
}

/// Resolves as much of the path as exists; what does not exist has no links.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(mut resolved) => {
                resolved.extend(missing.iter().rev());
                return Ok(resolved);
            }
            // A dangling link is there, but leads to nothing we could check.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && existing.symlink_metadata().is_err() =>
            {
                let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
                    return Err(error);
                };
                missing.push(name);
                existing = parent;
            }
            Err(error) => return Err(error),
        }
    }
}
