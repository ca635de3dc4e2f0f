//! Names of users and groups.
//!
//! From `/etc/passwd` and `/etc/group` alone: asking name services means to
//! run whatever a host has configured, which can hang. Snapshots have both ids
//! and names; restores go by names where they can.

use std::{collections::HashMap, fs, path::Path};

/// Read once per backup.
#[derive(Debug, Default)]
pub struct Owners {
    users: Names,
    groups: Names,
}

/// Of users or of groups.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<u32, String>,
    ids: HashMap<String, u32>,
}

impl Names {
    /// The name of an id; empty when there is none. Of several the first.
    pub fn name(&self, id: u32) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The id of a name.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }
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
        self.users.name(id)
    }

    /// A group's name; empty when there is none.
    pub fn group(&self, id: u32) -> &str {
        self.groups.name(id)
    }

    /// All users.
    pub fn users(&self) -> &Names {
        &self.users
    }

    /// All groups.
    pub fn groups(&self) -> &Names {
        &self.groups
    }

    /// Those of the texts of `/etc/passwd` and `/etc/group`.
    #[cfg(test)]
    pub fn of(passwd: &str, group: &str) -> Self {
        Self {
            users: parse(passwd),
            groups: parse(group),
        }
    }
}

fn read(path: &Path) -> Names {
    match fs::read(path) {
        Ok(text) => parse(&String::from_utf8_lossy(&text)),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "owners have no names");
            Names::default()
        }
    }
}

/// Lines of `name:password:id:…`; the first of several names for an id counts,
/// and the first of several lines for a name.
fn parse(text: &str) -> Names {
    let mut all = Names::default();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            all.names.entry(id).or_insert_with(|| name.to_owned());
            all.ids.entry(name.to_owned()).or_insert(id);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_an_id_are_passed_over() {
        let names =
            parse("root:x:0:0:root:/root:/bin/sh\n# no\n\nbad:x:y\ntoor:x:0:0\n+\nwww:x:33:");
        assert_eq!((names.names.len(), names.ids.len()), (2, 3));
        assert_eq!(
            (names.name(0), names.name(33), names.name(1)),
            ("root", "www", "")
        );
        assert_eq!((names.id("toor"), names.id("bad")), (Some(0), None));
    }
}
