//! What is left out and what is taken.
//!
//! Globs match raw bytes; `*`, `?` and `[…]` do not match `/`, `**` does.
//! - Without `/`: matches a name anywhere. `*.tmp`, `node_modules`.
//! - Beginning with `/`: matches the full path. `/srv/*/cache`.
//! - Any other: matches the end of the full path. `build/**/*.o` is
//!   `**/build/**/*.o`.
//! - With a `/` at its end: matches directories only. `target/`.
//!
//! What an exclude glob matches is left out with all below it. When there are
//! include globs, a file is taken when one of them matches it, or a directory
//! that it lies in; directories are always taken. The paths that a source
//! names are taken whatever the globs say.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A glob that is none.
#[derive(Debug, thiserror::Error)]
#[error("invalid glob {glob:?}: {problem}")]
pub struct InvalidGlob {
    /// As given.
    pub glob: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The globs of a source, compiled.
#[derive(Debug)]
pub struct Filter {
    exclude: Globs,
    include: Option<Globs>,
}

impl Filter {
    /// Compiles globs; no include globs: everything.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, InvalidGlob> {
        Ok(Self {
            exclude: Globs::new(exclude)?,
            include: match include {
                [] => None,
                globs => Some(Globs::new(globs)?),
            },
        })
    }

    /// Whether the entry at an absolute path is left out.
    pub fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        self.exclude.matches(path, is_directory)
    }

    /// Whether a file is taken, or all files below a directory.
    pub fn includes(&self, path: &[u8], is_directory: bool) -> bool {
        self.include
            .as_ref()
            .is_none_or(|include| include.matches(path, is_directory))
    }
}

#[derive(Debug)]
struct Globs {
    any: GlobSet,
    directories: GlobSet,
}

impl Globs {
    fn new(globs: &[String]) -> Result<Self, InvalidGlob> {
        let (mut any, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for glob in globs {
            let invalid = |problem: &str| InvalidGlob {
                glob: glob.clone(),
                problem: problem.into(),
            };
            let (pattern, set) = match glob.strip_suffix('/') {
                Some(pattern) => (pattern, &mut directories),
                None => (&**glob, &mut any),
            };
            if pattern.is_empty() {
                return Err(invalid("it matches nothing"));
            }
            // A pattern that begins with `/` stands for the full path.
            let full = if pattern.starts_with('/') {
                pattern.to_owned()
            } else {
                format!("**/{pattern}")
            };
            let compiled = GlobBuilder::new(&full)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| invalid(&error.kind().to_string()))?;
            set.add(compiled);
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| InvalidGlob {
                glob: error.glob().unwrap_or_default().to_owned(),
                problem: error.kind().to_string(),
            })
        };
        Ok(Self {
            any: build(any)?,
            directories: build(directories)?,
        })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.any.is_empty() && self.directories.is_empty() {
            return false;
        }
        let path = Path::new(OsStr::from_bytes(path));
        self.any.is_match(path) || (is_directory && self.directories.is_match(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(glob: &str, path: &[u8], is_directory: bool) -> bool {
        Filter::new(&[], &[glob.to_owned()])
            .unwrap()
            .excludes(path, is_directory)
    }

    #[test]
    fn what_globs_match() {
        let cases: &[(&str, &[u8], bool)] = &[
            ("*.tmp", b"/srv/a.tmp", true),
            ("*.tmp", b"/srv/deep/er/.tmp", true),
            ("*.tmp", b"/srv/a.tmp/b", false),
            ("*.tmp", b"/srv/\xff\xfe.tmp", true),
            ("cache", b"/srv/cache", true),
            ("cache", b"/srv/cached", false),
            ("/srv/*/cache", b"/srv/a/cache", true),
            ("/srv/*/cache", b"/srv/a/b/cache", false),
            ("/srv/**/cache", b"/srv/a/b/cache", true),
            ("/srv/**", b"/srv/a", true),
            ("/srv/**", b"/srv", false),
            ("a/b", b"/srv/a/b", true),
            ("a/b", b"/a/b", true),
            ("a/b", b"/srv/aa/b", false),
            ("[ab]?", b"/x/bz", true),
            ("[ab]?", b"/x/cz", false),
            ("\\*", b"/x/*", true),
            ("\\*", b"/x/y", false),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(
                excludes(glob, path, false),
                *expected,
                "{glob} {}",
                path.escape_ascii()
            );
        }
    }

    #[test]
    fn a_slash_at_the_end_means_directories() {
        assert!(excludes("target/", b"/srv/target", true));
        assert!(!excludes("target/", b"/srv/target", false));
        assert!(excludes("/srv/target/", b"/srv/target", true));
    }

    #[test]
    fn no_include_globs_include_everything() {
        assert!(Filter::new(&[], &[]).unwrap().includes(b"/a", false));
        let some = Filter::new(&["*.sql".into()], &[]).unwrap();
        assert!(some.includes(b"/a/b.sql", false));
        assert!(!some.includes(b"/a/b.txt", false));
    }

    #[test]
    fn invalid_globs_are_named() {
        for glob in ["[a", "/", "{a"] {
            let error = Filter::new(&[], &[glob.into()]).unwrap_err();
            assert_eq!(error.glob, glob);
        }
    }
}
