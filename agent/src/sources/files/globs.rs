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

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

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

    /// The exclude globs that have matched nothing so far, as given.
    pub fn unmatched_excludes(&self) -> impl Iterator<Item = &str> {
        self.exclude.unmatched()
    }

    /// The include globs that have matched nothing so far, as given.
    pub fn unmatched_includes(&self) -> impl Iterator<Item = &str> {
        self.include.iter().flat_map(Globs::unmatched)
    }
}

#[derive(Debug)]
struct Globs {
    /// In the order in which they were given.
    all: Vec<Glob>,
    /// Of `all`: how many have matched nothing yet.
    unmatched: AtomicUsize,
    any: Set,
    directories: Set,
}

#[derive(Debug)]
struct Glob {
    given: String,
    matched: AtomicBool,
}

#[derive(Debug, Default)]
struct Set {
    globs: GlobSet,
    /// Of each of its globs the place in [`Globs::all`].
    places: Vec<usize>,
}

impl Globs {
    fn new(globs: &[String]) -> Result<Self, InvalidGlob> {
        let new = || (GlobSetBuilder::new(), Vec::new());
        let (mut any, mut directories) = (new(), new());
        for (place, glob) in globs.iter().enumerate() {
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
            set.0.add(compiled);
            set.1.push(place);
        }
        let build = |(set, places): (GlobSetBuilder, Vec<usize>)| {
            let globs = set.build().map_err(|error| InvalidGlob {
                glob: error.glob().unwrap_or_default().to_owned(),
                problem: error.kind().to_string(),
            })?;
            Ok(Set { globs, places })
        };
        let unmatched = |glob: &String| Glob {
            given: glob.clone(),
            matched: AtomicBool::new(false),
        };
        Ok(Self {
            all: globs.iter().map(unmatched).collect(),
            unmatched: AtomicUsize::new(globs.len()),
            any: build(any)?,
            directories: build(directories)?,
        })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.all.is_empty() {
            return false;
        }
        let path = Path::new(OsStr::from_bytes(path));
        let sets = [Some(&self.any), is_directory.then_some(&self.directories)];
        let mut sets = sets.into_iter().flatten();
        if self.unmatched.load(Relaxed) == 0 {
            return sets.any(|set| set.globs.is_match(path));
        }
        let mut any = false;
        for set in sets {
            for place in set.globs.matches(path) {
                any = true;
                if !self.all[set.places[place]].matched.swap(true, Relaxed) {
                    self.unmatched.fetch_sub(1, Relaxed);
                }
            }
        }
        any
    }

    fn unmatched(&self) -> impl Iterator<Item = &str> {
        let unmatched = |glob: &&Glob| !glob.matched.load(Relaxed);
        self.all.iter().filter(unmatched).map(|glob| &*glob.given)
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
    fn globs_that_matched_nothing_are_known() {
        let excludes = ["*.tmp", "/srv/cache/", "target/", "*.TMP"].map(String::from);
        let filter = Filter::new(&["www".into(), "*.sql".into()], &excludes).unwrap();
        let unmatched = |filter: &Filter| {
            let all = filter.unmatched_excludes().map(ToOwned::to_owned);
            all.collect::<Vec<_>>()
        };
        assert_eq!(unmatched(&filter), excludes);
        assert!(!filter.excludes(b"/srv/cache", false), "it is no directory");
        assert!(filter.excludes(b"/srv/a.tmp", false));
        assert!(filter.excludes(b"/srv/target", true));
        assert_eq!(unmatched(&filter), ["/srv/cache/", "*.TMP"]);
        assert!(filter.excludes(b"/srv/cache", true));
        assert!(filter.excludes(b"/srv/b.TMP", true));
        assert_eq!(unmatched(&filter), [""; 0]);
        assert!(filter.excludes(b"/srv/b.tmp", true), "it still matches");
        assert!(filter.includes(b"/www", true));
        assert_eq!(filter.unmatched_includes().collect::<Vec<_>>(), ["*.sql"]);
    }

    #[test]
    fn invalid_globs_are_named() {
        for glob in ["[a", "/", "{a"] {
            let error = Filter::new(&[], &[glob.into()]).unwrap_err();
            assert_eq!(error.glob, glob);
        }
    }
}
