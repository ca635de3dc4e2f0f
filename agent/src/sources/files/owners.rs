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

/// The groups that a user is in, as far as `/etc/passwd` and `/etc/group` say.
pub fn groups_of(user: u32) -> Vec<u32> {
    let text = |path| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    memberships(user, &text("/etc/passwd"), &text("/etc/group"))
}

/// Lines of `name:password:user:group:…` and `name:password:group:member,…`.
fn memberships(user: u32, users: &str, groups: &str) -> Vec<u32> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for line in users.lines() {
        let mut fields = line.split(':');
        let name = fields.next();
        if number(fields.nth(1)) == Some(user) {
            names.extend(name);
            found.extend(number(fields.next()));
        }
    }
    for line in groups.lines() {
        let mut fields = line.split(':').skip(2);
        let (group, members) = (number(fields.next()), fields.next().unwrap_or_default());
        if members.split(',').any(|member| names.contains(&member)) {
            found.extend(group);
        }
    }
    found
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
    fn a_user_is_in_the_first_group_and_in_those_that_list_him() {
        let users = "root:x:0:0:\npostgres:x:105:112:x\nother:x:1:2:\nbad\n";
        let groups =
            "root:x:0:\nssl-cert:x:111:www,postgres\npostgres:x:112:\nmine:x:9:postgres2\nbad";
        assert_eq!(memberships(105, users, groups), [112, 111]);
        assert_eq!(memberships(0, users, groups), [0]);
        assert!(memberships(7, users, groups).is_empty());
    }

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
