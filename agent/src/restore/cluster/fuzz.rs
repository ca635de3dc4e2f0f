//! Fuzz targets: the settings of a cluster are whoever's it was.

pub use super::recovery::fuzz::{recovery_log, recovery_plan, recovery_state};
use super::{
    auto_conf::{Block, without},
    quiet,
};

const BLOCK: Block = Block {
    begin: "# B",
    end: "# E",
};

/// A file of settings, and a value up to its first line feed. Whatever the value
/// is, it stays one, and what was put behind the rest is taken away again.
pub fn settings_file(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (value, file) = data.split_at(end.unwrap_or(0));
    let value = String::from_utf8_lossy(value).replace('\x01', "\n");
    let lines = BLOCK.lines("for a test", &[("a", value.clone()), ("b", "c".into())]);
    assert_eq!(lines.matches('\n').count(), 4, "{lines:?}");
    let line = lines.lines().nth(1).unwrap();
    assert_eq!(read_back(line), Some(value.replace('\0', "")), "{line}");
    let kept = without(file, BLOCK);
    let with = [&kept, lines.as_bytes()].concat();
    assert_eq!(without(&with, BLOCK), kept);
    assert_eq!(without(&kept, BLOCK), kept);
}

/// As a server reads a value in single quotes (`DeescapeQuotedString` in its
/// `guc-file.l`).
fn read_back(line: &str) -> Option<String> {
    let mut rest = line.strip_prefix("a = '")?.chars();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '\'' => match rest.next() {
                Some('\'') => value.push('\''),
                Some(_) => return None,
                None => return Some(value),
            },
            '\\' => value.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

/// A list of libraries: it is read as it is written.
pub fn library_list(data: &[u8]) {
    quiet::fuzz(&String::from_utf8_lossy(data));
}
