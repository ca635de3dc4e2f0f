//! What a backup of files may read.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{OffLimits, Prefixes, Problem, Way, within::resolve};

/// How the requested paths are reached, and what is left out. By default all
/// links on the way are followed, and nothing is left out.
#[derive(Clone, Debug, Default)]
pub struct AllowedPaths {
    /// To the directories above requested paths that lie in an allowed one, by
    /// their spelling.
    ways: BTreeMap<PathBuf, Way>,
    off_limits: OffLimits,
}

impl AllowedPaths {
    /// Nothing is requested yet.
    pub(crate) fn new(off_limits: OffLimits) -> Self {
        Self {
            ways: BTreeMap::new(),
            off_limits,
        }
    }

    /// Adds a requested path, which must lie in one of the prefixes, with every
    /// directory between the two. The path itself is not followed if it is a
    /// link, and may be missing: that is the source's to report.
    pub(crate) fn request(&mut self, prefixes: &Prefixes<'_>, path: &str) -> Result<(), Problem> {
        let (path, prefix) = prefixes.spelled(path)?;
        let (path, prefix) = (path.as_path(), prefix.as_path());
        let Some((above, name)) = path.parent().zip(path.file_name()) else {
            // The root of all.
            return Ok(());
        };
        let real = resolve(above).map_err(Problem::Unresolved)?.join(name);
        if !prefixes.hold(&real) {
            return Err(Problem::LeadsTo(real));
        }
        if let Some(own) = self.off_limits.holding(&real) {
            return Err(Problem::OffLimits(own));
        }
        let between = above.ancestors().take_while(|it| it.starts_with(prefix));
        for directory in between {
            let (_, way) = prefixes.way_to(directory)?;
            self.ways.insert(directory.into(), way);
        }
        Ok(())
    }

    /// The way to a directory above a requested path; `None`: by its name.
    pub(crate) fn way(&self, directory: &Path) -> Option<&Way> {
        self.ways.get(directory)
    }

    /// What is left out.
    pub(crate) fn off_limits(&self) -> &OffLimits {
        &self.off_limits
    }
}
