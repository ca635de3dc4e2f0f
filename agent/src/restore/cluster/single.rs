//! Files of one name in directories that are the server's user's, or came from
//! a snapshot: what has a second name may be another's (decision 0034).

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::fs::MetadataExt},
};

use rustix::fs::{Mode, OFlags, openat};

/// Opens a file for reading (and for what `more` says): a regular one that has
/// no second name and is no link.
pub(super) fn open_single(directory: impl AsFd, name: &str, more: OFlags) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags | more, Mode::empty())?);
    check_single(&file)?;
    Ok(file)
}

/// Reads such a file, at most so many bytes of it.
pub(super) fn read_single(directory: impl AsFd, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let file = open_single(directory, name, OFlags::RDONLY)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An error unless it is a regular file that has one name. One that is gone by
/// now has none.
pub(super) fn check_single(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.nlink() <= 1 {
        return Ok(());
    }
    Err(io::Error::other(
        "it is no regular file, or has a second name (hard link), by which it may be somebody \
         else's: see who put it there, and remove it",
    ))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, hard_link},
        os::unix::fs::symlink,
    };

    use strongroom_compare::beneath;
    use strongroom_tests::scratch::Scratch;

    use super::*;

    #[test]
    fn only_a_file_of_one_name_is_read() {
        let scratch = Scratch::new("single");
        let root = beneath::open_root(scratch.path()).unwrap();
        let read = || read_single(&root, "file", 4);
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::NotFound);
        let path = scratch.file("file", "content");
        assert_eq!(read().unwrap(), b"cont");
        hard_link(&path, scratch.join("second")).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("second name"), "{error}");
        fs::remove_file(&path).unwrap();
        symlink("second", &path).unwrap();
        read().unwrap_err();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        read().unwrap_err();
    }
}
