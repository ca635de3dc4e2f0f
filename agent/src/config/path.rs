//! Paths in the configuration and in jobs, compared component by component.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};

/// An absolute path without `.`, `..` or doubled slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// Normalises by spelling alone; `None` for a relative path and for one
    /// with `..`, whose meaning depends on symbolic links.
    pub fn new(path: impl AsRef<Path>) -> Option<Self> {
        let mut normal = PathBuf::from("/");
        let mut components = path.as_ref().components();
        if components.next() != Some(Component::RootDir) {
            return None;
        }
        for component in components {
            match component {
                Component::Normal(name) => normal.push(name),
                Component::CurDir => {}
                _ => return None,
            }
        }
        (!normal.as_os_str().as_encoded_bytes().contains(&0)).then_some(Self(normal))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether `self` is `prefix` or lies below it.
    pub fn is_within(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            de::Error::custom(format!("path {text:?} must be absolute and without `..`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::new(text).unwrap()
    }

    #[test]
    fn spelling_does_not_matter() {
        assert_eq!(path("//srv/./www//"), path("/srv/www"));
        assert_eq!(path("/").to_string(), "/");
    }

    #[test]
    fn relative_and_climbing_paths_are_refused() {
        for text in ["", ".", "srv", "./srv", "/srv/../etc", "/..", "/a\0b"] {
            assert_eq!(AbsolutePath::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn prefixes_end_at_components() {
        assert!(path("/srv/www").is_within(&path("/srv")));
        assert!(path("/srv").is_within(&path("/srv/")));
        assert!(path("/srv").is_within(&path("/")));
        assert!(!path("/srv2").is_within(&path("/srv")));
        assert!(!path("/").is_within(&path("/srv")));
    }
}
