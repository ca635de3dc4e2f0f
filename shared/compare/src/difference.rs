//! One difference, in plain words.

use std::{
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

/// One thing that differs. Prints as `path: what`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// Where, as a path of the source; need not be UTF-8.
    #[serde(serialize_with = "escaped")]
    pub path: PathBuf,
    /// What differs, in words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", EscapedPath(&self.path), self.what)
    }
}

fn escaped<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&EscapedPath(path))
}

/// A path for people: as it is when it is UTF-8 without control characters,
/// else with those bytes escaped (`\xff`, `\n`).
#[derive(Debug, Clone, Copy)]
pub struct EscapedPath<'a>(pub &'a Path);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn odd_paths_are_escaped_and_plain_ones_are_not() {
        let show = |bytes: &[u8]| EscapedPath(Path::new(OsStr::from_bytes(bytes))).to_string();
        assert_eq!(show("/srv/grün".as_bytes()), "/srv/grün");
        assert_eq!(show(b"/srv/\xff\xfea\nb"), r"/srv/\xff\xfea\nb");
        assert_eq!(show(br"a\nb"), r"a\\nb");
    }
}
