//! Whom restored entries belong to.
//!
//! An account is its name: on another host its number may be somebody else's, to
//! whom a restore by numbers would give away what it restores. So an entry gets
//! the number that its owner's name has here. What has no name, or a name that
//! this host does not know, keeps its number, and it is said if that is another
//! account's. The same for groups, and for the users and groups of ACLs, whose
//! names are those of the entries that belong to them. `--numeric-ids` keeps all
//! numbers: for a rescue system whose accounts are not those of what is restored.

use std::{borrow::Cow, collections::HashMap};

use parking_lot::RwLock;
use rustix::process::geteuid;
use strongroom_repository::format::node::Node;
use strongroom_spec::WarningCode;

use crate::sources::files::owners::{Names, Owners};

/// Only root gives files away; everybody else restores what is their own.
pub(crate) struct Ownership {
    /// `None`: numbers are kept.
    host: Option<Owners>,
    users: RwLock<Numbers>,
    groups: RwLock<Numbers>,
}

/// From a number of the snapshot to one of this host.
type Numbers = HashMap<u32, u32>;

/// Something to say of a number, once.
type Said = Option<(WarningCode, String)>;

impl Ownership {
    pub(crate) fn new(numeric_ids: bool) -> Self {
        let by_name = !numeric_ids && geteuid().is_root();
        Self::with(by_name.then(Owners::of_host))
    }

    fn with(host: Option<Owners>) -> Self {
        Self {
            host,
            users: RwLock::default(),
            groups: RwLock::default(),
        }
    }

    /// Changes a node's owner and group into those that they are here. What is
    /// to be said of them is said when they come up first.
    pub(crate) fn settle(&self, node: &mut Node, mut say: impl FnMut(&Node, WarningCode, String)) {
        let Some(host) = &self.host else { return };
        let (uid, user) = settled("user", &self.users, host.users(), node.uid, &node.user);
        let (gid, group) = settled("group", &self.groups, host.groups(), node.gid, &node.group);
        (node.uid, node.gid) = (uid, gid);
        for (code, cause) in user.into_iter().chain(group) {
            say(node, code, cause);
        }
    }

    /// The value of an extended attribute here: an ACL's users and groups change
    /// their numbers too. A snapshot tells the names of those alone whom an entry
    /// belongs to; others keep their numbers, and it is said, once, if that is
    /// somebody else's here.
    pub(crate) fn attribute<'v>(
        &self,
        name: &[u8],
        value: &'v [u8],
        say: &mut impl FnMut(String),
    ) -> Cow<'v, [u8]> {
        /// Before the entries: the version, 2.
        const HEADER: usize = 4;
        /// Tag and permissions, 2 bytes each, and a number of 4; little-endian.
        const ENTRY: usize = 8;
        const USER: [u8; 2] = [0x02, 0];
        const GROUP: [u8; 2] = [0x08, 0];
        let host = match &self.host {
            Some(host)
                if name.starts_with(b"system.posix_acl_")
                    && value.get(..HEADER) == Some(&[2, 0, 0, 0]) =>
            {
                host
            }
            _ => return Cow::Borrowed(value),
        };
        let mut value = value.to_vec();
        for entry in value[HEADER..].chunks_exact_mut(ENTRY) {
            let (head, number) = entry.split_at_mut(4);
            let (kind, numbers, names) = match [head[0], head[1]] {
                USER => ("user", &self.users, host.users()),
                GROUP => ("group", &self.groups, host.groups()),
                _ => continue,
            };
            let Ok(bytes) = <[u8; 4]>::try_from(&*number) else {
                continue;
            };
            let there = u32::from_le_bytes(bytes);
            let known = numbers.read().get(&there).copied();
            if let Some(here) = known {
                number.copy_from_slice(&here.to_le_bytes());
                continue;
            }
            let other = names.name(there);
            if !other.is_empty() && numbers.write().insert(there, there).is_none() {
                say(format!(
                    "its access list names the {kind} of number {there}, to whom nothing in the \
                     snapshot belongs that would tell the name: the number is kept, which is \
                     {other}'s here (getfacl shows it)"
                ));
            }
        }
        Cow::Owned(value)
    }
}

fn settled(
    kind: &str,
    numbers: &RwLock<Numbers>,
    host: &Names,
    number: u32,
    name: &str,
) -> (u32, Said) {
    if let Some(here) = numbers.read().get(&number) {
        return (*here, None);
    }
    let (here, said) = look(kind, host, number, name);
    let mut numbers = numbers.write();
    let first = !numbers.contains_key(&number);
    // Another entry of that number may have a name.
    if !name.is_empty() || said.is_some() {
        numbers.insert(number, here);
    }
    (here, said.filter(|_| first))
}

fn look(kind: &str, host: &Names, number: u32, name: &str) -> (u32, Said) {
    if name.is_empty() {
        let said = (!host.name(number).is_empty()).then(|| {
            let cause = format!(
                "the snapshot has no name for the {kind} of number {number}: what belongs to it \
                 keeps that number, which is {}'s here",
                host.name(number)
            );
            (WarningCode::OwnerDiffers, cause)
        });
        return (number, said);
    }
    let (here, code, cause) = match (host.id(name), host.name(number)) {
        // Its programs with rights would get all of them.
        (Some(0), other) if number != 0 => (
            number,
            WarningCode::OwnerDiffers,
            format!(
                "{kind} {name} has the number {number} in the snapshot and is root on this host: \
                 what belongs to it keeps its number{}",
                match other {
                    "" => String::new(),
                    other => format!(", which is {other}'s here"),
                }
            ),
        ),
        (Some(here), _) if here == number => return (number, None),
        (Some(here), _) => (
            here,
            WarningCode::OwnerMapped,
            format!(
                "{kind} {name} has the number {number} in the snapshot and {here} on this host: \
                 what belongs to it is restored with {here} (--numeric-ids keeps the numbers)"
            ),
        ),
        (None, "") => (
            number,
            WarningCode::OwnerMapped,
            format!(
                "there is no {kind} {name} on this host: what belongs to it keeps its number, \
                 {number}, which is nobody's here"
            ),
        ),
        (None, other) => (
            number,
            WarningCode::OwnerDiffers,
            format!(
                "there is no {kind} {name} on this host: what belongs to it keeps its number, \
                 {number}, which is {other}'s here; make {name} and restore again, or change the \
                 owner by hand"
            ),
        ),
    };
    (here, Some((code, cause)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use strongroom_repository::format::node::NodeKind;

    use super::*;

    fn node(uid: u32, user: &str, gid: u32, group: &str) -> Node {
        Node {
            name: b"name".to_vec(),
            kind: NodeKind::Fifo,
            mode: 0o644,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid,
            gid,
            user: user.into(),
            group: group.into(),
            inode: 1,
            device_id: 1,
            links: 1,
            xattrs: Vec::new(),
        }
    }

    fn here() -> Ownership {
        let passwd = "root:x:0:0::/:\nanna:x:1001:1001::/:\nbert:x:1000:1000::/:\n";
        let group = "root:x:0:\nstaff:x:50:\n";
        Ownership::with(Some(Owners::of(passwd, group)))
    }

    #[test]
    fn accounts_are_their_names() {
        use WarningCode::{OwnerDiffers, OwnerMapped};
        let owners = here();
        for (node, wanted, codes) in [
            (node(0, "root", 0, "root"), (0, 0), vec![]),
            // Anna was 1000 where the snapshot was made.
            (
                node(1000, "anna", 50, "staff"),
                (1001, 50),
                vec![OwnerMapped],
            ),
            (
                node(1000, "anna", 20, "staff"),
                (1001, 50),
                vec![OwnerMapped],
            ),
            (node(1000, "anna", 20, "staff"), (1001, 50), vec![]),
            // Carl is nobody here, and his number is Anna's.
            (node(1001, "carl", 0, "root"), (1001, 0), vec![OwnerDiffers]),
            (node(7, "dora", 7, ""), (7, 7), vec![OwnerMapped]),
            // He is root here, and was nobody special there.
            (
                node(1003, "root", 51, "root"),
                (1003, 51),
                vec![OwnerDiffers; 2],
            ),
            // Of accounts that have no entry in `passwd`.
            (node(1002, "", 8, ""), (1002, 8), vec![]),
            (node(1002, "anna", 8, ""), (1001, 8), vec![OwnerMapped]),
        ] {
            let (mut settled, mut said) = (node.clone(), Vec::new());
            owners.settle(&mut settled, |_, code, _| said.push(code));
            let shown = (node.uid, node.user, node.gid);
            assert_eq!((settled.uid, settled.gid), wanted, "{shown:?}");
            assert_eq!(said, codes, "{shown:?}");
        }
    }

    #[test]
    fn acls_follow_and_all_else_stays() {
        let owners = here();
        owners.settle(&mut node(1000, "anna", 20, "staff"), |_, _, _| ());
        let acl = |user: u32, group: u32| {
            let mut acl = vec![2, 0, 0, 0];
            for (tag, number) in [(1, u32::MAX), (2, user), (4, u32::MAX), (8, group)] {
                acl.extend_from_slice(&[tag, 0, 4, 0]);
                acl.extend_from_slice(&number.to_le_bytes());
            }
            acl
        };
        let name = b"system.posix_acl_access";
        let told = |owners: &Ownership, value: &[u8]| {
            owners.attribute(name, value, &mut |_| ()).into_owned()
        };
        assert_eq!(told(&owners, &acl(1000, 20)), acl(1001, 50));
        assert_eq!(told(&owners, &acl(999, 1000)), acl(999, 1000));
        assert_eq!(
            *owners.attribute(b"user.acl", &acl(1000, 20), &mut |_| ()),
            acl(1000, 20)
        );
        let (owners, mut said) = (here(), Vec::new());
        for _ in 0..2 {
            // Bert is 1000 here; nobody is 999, no group is 51.
            for (user, group) in [(1000, 51), (999, 50)] {
                owners.attribute(name, &acl(user, group), &mut |cause| said.push(cause));
            }
        }
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("1000") && said[0].contains("bert"),
            "{said:?}"
        );
        assert!(
            said[1].contains("50") && said[1].contains("staff"),
            "{said:?}"
        );
        let numeric = Ownership::with(None);
        assert_eq!(told(&numeric, &acl(1000, 20)), acl(1000, 20));
        // Not of the kernel's making.
        for odd in [
            &acl(1000, 20)[..9],
            b"",
            b"\x02\0\0",
            b"\x03\0\0\0\x02\0\x04\0\xe8\x03\0\0",
        ] {
            assert_eq!(told(&owners, odd), odd);
        }
    }
}
