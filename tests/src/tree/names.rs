//! Names that trip over quoting, sorting, escaping and encodings.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

/// Names of one entry each; any bytes but `/` and NUL are allowed.
pub(super) fn odd() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "with space",
        " leading",
        "trailing ",
        "-rf",
        "--",
        "new\nline",
        "tab\there",
        "return\r",
        "quote\"quote",
        "it's",
        "back\\slash",
        "back\\nslash-n",
        "\\",
        "dollar$HOME",
        "star*",
        "question?",
        "[bracket]",
        "{brace}",
        "~",
        "#hash#",
        "percent%20",
        "a&b",
        "<html>",
        "semi;colon",
        "pipe|",
        "...",
        "..hidden",
        ".hidden",
        "bell\u{7}",
        "escape\u{1b}[31m",
        "delete\u{7f}",
        "ümläut",
        "日本語",
        "emoji-🔐",
        "combining-e\u{301}",
        "composed-é",
        "line\u{2028}separator",
        "paragraph\u{2029}",
        "no\u{a0}break",
        "zero\u{200b}width",
        "right\u{202e}to-left",
        "replacement-\u{fffd}",
        "last\u{10ffff}",
        // Sorted by bytes, `a.b` stands between `a` and `a/`.
        "a",
        "a.b",
        "a-b",
        "aé",
        "A",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into();
    names.extend([
        b"invalid-\xff".to_vec(),
        b"invalid-\xc3".to_vec(),
        b"\xfe\xff-first".to_vec(),
        b"surrogate-\xed\xa0\x80".to_vec(),
        b"overlong-\xc0\xaf".to_vec(),
        b"mixed-\xe2\x82\xac-\xe2\x82-\"\\\n".to_vec(),
        vec![b'n'; 255],
        [b"\xf0".as_slice(), &[0x80; 254]].concat(),
    ]);
    names
}

/// A file and a directory for every odd name.
pub(super) fn write(directory: &Path) {
    for name in odd() {
        let name = OsStr::from_bytes(&name);
        let files = directory.join("files");
        fs::create_dir_all(&files).expect("a directory");
        fs::write(files.join(name), name.as_bytes()).expect("a file with an odd name");
        let sub = directory.join("directories").join(name);
        fs::create_dir_all(&sub).expect("a directory with an odd name");
        fs::write(sub.join(name), "inside").expect("a file below an odd name");
    }
}
