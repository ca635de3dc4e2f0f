//! Files that must be whole or absent, and files that hold secrets.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Readable by the owner only.
pub const SECRET: u32 = 0o600;
/// Readable by all.
pub const PUBLIC: u32 = 0o644;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's answer.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read`, `write`, `create`, ….
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret that others can read is no secret.
    #[error("{path} can be read by others (mode {mode:o}): run chmod 600 on it")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What decides over a host is its owner's to say.
    #[error(
        "{path} can be written by others (mode {mode:o}), who would decide what it allows: run \
         `chmod {} {path}`", without_writers(*mode)
    )]
    Writable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// And not a stranger's.
    #[error(
        "{path} belongs to user {owner}, who would decide what it allows: run \
         `chown {user} {path}`, or run this program as that user (this is user {user})"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whom this process runs as.
        user: u32,
    },
}

/// What takes the right to write from others: only what `mode` gives.
fn without_writers(mode: u32) -> &'static str {
    match (mode & 0o020 != 0, mode & 0o002 != 0) {
        (true, true) => "go-w",
        (true, false) => "g-w",
        (false, _) => "o-w",
    }
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    /// Whether the file is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes `bytes` so that a crash leaves the old file or the new one, never a
/// part: temporary file beside it, fsync, rename, fsync of the directory.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(name);

    let write = || -> io::Result<()> {
        // Of a process before us, or put there for us: it is not followed.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        FileError::io("write", path)(source)
    })
}

/// Reads a text file.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::io("read", path))
}

/// Reads a text file that decides what others may do; refuses one that group or
/// others can write, or that belongs to somebody else than root or this process's user.
pub fn read_own_text(path: &Path) -> Result<String, FileError> {
    let mut file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::Writable {
            path: path.into(),
            mode,
        });
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != 0 && owner != user {
        return Err(FileError::Foreign {
            path: path.into(),
            owner,
            user,
        });
    }
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(FileError::io("read", path))?;
    Ok(text)
}

/// Reads a secret; refuses a file that group or others can read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.into(),
            mode,
        });
    }
    // Room for all of it at once: a growing vector would leave copies behind.
    let room = usize::try_from(metadata.len())
        .unwrap_or(0)
        .saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    Ok(bytes)
}

/// Reads a secret that is a line of text; white space around it is not part
/// of it.
pub fn read_secret_text(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let bytes = read_secret(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|source| {
        FileError::io("read", path)(io::Error::new(io::ErrorKind::InvalidData, source))
    })?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Makes a directory that only the owner may enter, parents included.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io("create", path))
}

/// `N` bytes of the operating system's randomness.
pub fn random_bytes<const N: usize>() -> io::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A secret of `N` random bytes as base64url text without padding.
pub fn random_text<const N: usize>() -> io::Result<Zeroizing<String>> {
    let bytes = random_bytes::<N>()?;
    Ok(Zeroizing::new(
        data_encoding::BASE64URL_NOPAD.encode(bytes.as_ref()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_write_replaces_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomic(&path, b"one", PUBLIC).unwrap();
        write_atomic(&path, b"two\n", SECRET).unwrap();
        assert_eq!(*read_secret_text(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_the_place_of_the_temporary_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let temporary = format!("secret.{}.tmp", std::process::id());
        std::os::unix::fs::symlink(&victim, dir.path().join(temporary)).unwrap();
        write_atomic(&path, b"one", SECRET).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert!(path.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomic(&path, b"x", PUBLIC).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_others_can_write_is_not_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own");
        for (mode, remedy) in [
            (0o644, None),
            (0o600, None),
            (0o664, Some("g-w")),
            (0o646, Some("o-w")),
            (0o666, Some("go-w")),
        ] {
            write_atomic(&path, b"x = 1", mode).unwrap();
            let read = read_own_text(&path).map_err(|error| error.to_string());
            match remedy {
                None => assert_eq!(read.unwrap(), "x = 1", "{mode:o}"),
                Some(remedy) => {
                    let wanted = format!("`chmod {remedy} {}`", path.display());
                    let said = read.unwrap_err();
                    assert!(said.contains(&wanted), "{mode:o} {said}");
                }
            }
        }
    }

    #[test]
    fn what_belongs_to_a_stranger_decides_nothing() {
        // Only root gives files away.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own");
        write_atomic(&path, b"x = 1", PUBLIC).unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let said = read_own_text(&path).unwrap_err().to_string();
        let wanted = format!("`chown 0 {}`", path.display());
        assert!(
            said.contains("user 65534") && said.contains(&wanted),
            "{said}"
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/secret");
        let error = write_atomic(&path, b"x", SECRET).unwrap_err();
        assert!(error.is_not_found());
        assert!(error.to_string().contains("missing/secret"));
    }
}
