//! Names of users and groups.
//!
//! From `/etc/passwd` and `/etc/group` alone: asking name services means to
//! run whatever a host has configured, which can hang. Ids are what restores
//! go by; names are for people.

use std::{collections::HashMap, fs, path::Path};

/// Read once per backup.
#[derive(Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Those of this host; whoever has no entry has no name.
    pub fn of_host() -> Self {
        Self {
            users: read(Path::new("/etc/passwd")),
            groups: read(Path::new("/etc/group")),
        }
    }

    /// A user's name; empty when there is none.
    pub fn user(&self, id: u32) -> &str {
        self.users.get(&id).map_or("", String::as_str)
    }

    /// A group's name; empty when there is none.
    pub fn group(&self, id: u32) -> &str {
        self.groups.get(&id).map_or("", String::as_str)
    }
}

fn read(path: &Path) -> HashMap<u32, String> {
    match fs::read(path) {
        Ok(text) => parse(&String::from_utf8_lossy(&text)),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "owners have no names");
            HashMap::new()
        }
    }
}

/// Lines of `name:password:id:…`; the first of several names for an id counts.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_an_id_are_passed_over() {
        let names =
            parse("root:x:0:0:root:/root:/bin/sh\n# no\n\nbad:x:y\ntoor:x:0:0\n+\nwww:x:33:");
        assert_eq!(names.len(), 2);
        assert_eq!((&*names[&0], &*names[&33]), ("root", "www"));
    }
}
