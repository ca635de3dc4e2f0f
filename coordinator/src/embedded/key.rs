//! Names of objects as paths that cannot leave their bucket.

/// Bytes of a key at most, as in S3.
const MAX_KEY: usize = 1024;
/// Bytes of a file's name at most, on every file system that matters.
const MAX_NAME: usize = 255;

/// A bucket and, below it, the names on the way to an object. At least one,
/// none of them empty, `.`, `..`, or with a slash or control character in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The bucket; s3s has checked it by Amazon's rules for names.
    pub(super) bucket: String,
    /// All but the last name.
    pub(super) directories: Vec<String>,
    /// The file's name.
    pub(super) file: String,
}

impl Key {
    /// `None` if `key` is not a path that this store keeps.
    pub(super) fn parse(bucket: &str, key: &str) -> Option<Self> {
        let valid = |name: &str| {
            !matches!(name, "" | "." | "..")
                && name.len() <= MAX_NAME
                && !name.chars().any(char::is_control)
        };
        if key.len() > MAX_KEY || !valid(bucket) || bucket.starts_with('.') || bucket.contains('/')
        {
            return None;
        }
        let mut directories: Vec<String> = key.split('/').map(str::to_owned).collect();
        if !directories.iter().all(|name| valid(name)) {
            return None;
        }
        let file = directories.pop()?;
        Some(Self {
            bucket: bucket.to_owned(),
            directories,
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_split_at_its_slashes() {
        let key = Key::parse("bucket", "web-1/data/ab/abcd").unwrap();
        assert_eq!(key.directories, ["web-1", "data", "ab"]);
        assert_eq!(key.file, "abcd");
        let key = Key::parse("bucket", "config").unwrap();
        assert_eq!((key.directories.len(), key.file.as_str()), (0, "config"));
        assert!(Key::parse("bucket", ".strongroom/repositories/a.json").is_some());
    }

    #[test]
    fn tricks_are_not_keys() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(512) + "b";
        for key in [
            "", "/", ".", "..", "a/", "/a", "a//b", "../a", "a/../b", "a/..", "a/./b", "a\0b",
            "a/\0", "a\nb", &long, &deep,
        ] {
            assert_eq!(Key::parse("bucket", key), None, "{key:?}");
        }
        for bucket in ["", ".", "..", ".tmp", "a/b", "a\0"] {
            assert_eq!(Key::parse(bucket, "key"), None, "{bucket:?}");
        }
    }
}
