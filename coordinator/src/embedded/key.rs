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

/// Where a repository's own directories begin.
const DIRECTORIES: [&str; 7] = [
    "data",
    "index",
    "keys",
    "locks",
    "snapshots",
    "transfers",
    "wal",
];

impl Key {
    /// The repository that it lies in, as far as its names tell: what is before the
    /// first directory of a repository. Whoever may write to one may write to no
    /// other.
    pub(super) fn repository(&self) -> (&str, &[String]) {
        let is_inside = |name: &String| DIRECTORIES.contains(&name.as_str());
        let end = self.directories.iter().position(is_inside);
        let end = end.unwrap_or(self.directories.len());
        (&self.bucket, &self.directories[..end])
    }

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
    fn a_repository_is_what_lies_before_its_directories() {
        for key in [
            "a/web-1/data/ab/abcd",
            "a/web-1/config",
            "a/web-1/wal/1/2/3",
        ] {
            let key = Key::parse("bucket", key).unwrap();
            let repository = ["a".to_owned(), "web-1".to_owned()];
            assert_eq!(key.repository(), ("bucket", &repository[..]));
        }
        let key = Key::parse("bucket", "config").unwrap();
        assert_eq!(key.repository(), ("bucket", &[][..]));
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
