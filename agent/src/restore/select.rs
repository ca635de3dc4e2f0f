//! Which entries of a snapshot are restored.

use super::error::RestoreError;

/// What below a directory is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Everything,
    /// Only what leads to, or lies below, the selected paths: a node of the
    /// [`Selection`].
    Part(u32),
}

/// The selected paths as a tree of names.
#[derive(Debug)]
pub(crate) struct Selection {
    nodes: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    /// The name as it was given, and as raw bytes when it holds escapes.
    given: Vec<u8>,
    unescaped: Option<Vec<u8>>,
    /// The whole path down to here, for messages.
    path: String,
    children: Vec<u32>,
    /// A selected path ends here.
    is_end: bool,
}

impl Selection {
    /// From absolute paths inside the snapshot; none, or `/`, is everything.
    /// Names that are not UTF-8 are given escaped, as listings show them.
    pub(crate) fn new(paths: &[String]) -> Result<Self, RestoreError> {
        let mut selection = Self {
            nodes: vec![Step {
                given: Vec::new(),
                unescaped: None,
                path: "/".into(),
                children: Vec::new(),
                is_end: paths.is_empty(),
            }],
        };
        for path in paths {
            selection.add(path)?;
        }
        Ok(selection)
    }

    fn add(&mut self, path: &str) -> Result<(), RestoreError> {
        let mut at = 0;
        for name in components(path)? {
            at = self.child(at, name);
        }
        self.nodes[at].is_end = true;
        Ok(())
    }

    /// The child of a node by its given name, made when it is not there.
    fn child(&mut self, parent: usize, name: &str) -> usize {
        let children = &self.nodes[parent].children;
        let known = children.iter().copied().find(|child| {
            let child = &self.nodes[*child as usize];
            child.given == name.as_bytes()
        });
        if let Some(known) = known {
            return known as usize;
        }
        let number = self.nodes.len();
        let above = &self.nodes[parent].path;
        let path = format!("{}/{name}", above.trim_end_matches('/'));
        self.nodes.push(Step {
            given: name.as_bytes().to_vec(),
            unescaped: name.contains('\\').then(|| unescape(name)),
            path,
            children: Vec::new(),
            is_end: false,
        });
        self.nodes[parent].children.push(number as u32);
        number
    }

    /// What is selected of the whole snapshot.
    pub(crate) fn top(&self) -> Scope {
        self.scope(0)
    }

    /// What is selected of the entry `name` in a directory; `None`: nothing.
    pub(crate) fn below(&self, scope: Scope, name: &[u8]) -> Option<Scope> {
        let Scope::Part(at) = scope else {
            return Some(Scope::Everything);
        };
        let children = &self.node(at).children;
        let child = children
            .iter()
            .find(|child| self.node(**child).given == name)
            .or_else(|| {
                children
                    .iter()
                    .find(|child| self.node(**child).unescaped.as_deref() == Some(name))
            })?;
        Some(self.scope(*child))
    }

    /// The first path that a directory should have but has not, and the
    /// directory itself, both for messages.
    pub(crate) fn missing(
        &self,
        scope: Scope,
        has: impl Fn(&[u8]) -> bool,
    ) -> Option<(&str, &str)> {
        let Scope::Part(at) = scope else { return None };
        let missing = self.node(at).children.iter().find(|child| {
            let child = self.node(**child);
            !has(&child.given) && !child.unescaped.as_deref().is_some_and(&has)
        })?;
        Some((self.end_below(*missing), &self.node(at).path))
    }

    /// A selected path at or below a node.
    fn end_below(&self, mut at: u32) -> &str {
        while !self.node(at).is_end {
            match self.node(at).children.first() {
                Some(child) => at = *child,
                None => break,
            }
        }
        &self.node(at).path
    }

    fn scope(&self, at: u32) -> Scope {
        if self.node(at).is_end {
            Scope::Everything
        } else {
            Scope::Part(at)
        }
    }

    fn node(&self, at: u32) -> &Step {
        // Numbers are only made by this selection, which never shrinks.
        &self.nodes[at as usize]
    }
}

/// The names of an absolute path.
pub(crate) fn components(path: &str) -> Result<impl Iterator<Item = &str>, RestoreError> {
    let invalid = |problem| RestoreError::InvalidPath {
        path: path.into(),
        problem,
    };
    if !path.starts_with('/') {
        return Err(invalid("it does not start with /"));
    }
    if path.split('/').any(|name| name == "..") {
        return Err(invalid("it holds .."));
    }
    Ok(path
        .split('/')
        .filter(|name| !name.is_empty() && *name != "."))
}

/// The bytes of a name as [`strongroom_compare::EscapedPath`] shows it. What
/// is no escape stands for itself.
pub(crate) fn unescape(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (byte, behind) = escape(&rest[at..]);
        bytes.extend_from_slice(byte.encode().as_slice());
        rest = behind;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Numbers may have a sign, escapes may not.
fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

enum Unescaped {
    Byte(u8),
    Char(char),
}

impl Unescaped {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Byte(byte) => vec![*byte],
            Self::Char(character) => character.to_string().into_bytes(),
        }
    }
}

/// The escape that `text`, which starts with a backslash, begins with, and
/// what follows it.
fn escape(text: &str) -> (Unescaped, &str) {
    let simple = [
        ("\\\\", b'\\'),
        ("\\n", b'\n'),
        ("\\r", b'\r'),
        ("\\t", b'\t'),
    ];
    for (escape, byte) in simple {
        if let Some(behind) = text.strip_prefix(escape) {
            return (Unescaped::Byte(byte), behind);
        }
    }
    let hex = text
        .strip_prefix("\\x")
        .and_then(|text| Some((text.get(..2)?, text.get(2..)?)))
        .filter(|(hex, _)| is_hex(hex))
        .and_then(|(hex, behind)| Some((u8::from_str_radix(hex, 16).ok()?, behind)));
    if let Some((byte, behind)) = hex {
        return (Unescaped::Byte(byte), behind);
    }
    let unicode = text
        .strip_prefix("\\u{")
        .and_then(|text| text.split_once('}'))
        .filter(|(hex, _)| is_hex(hex))
        .and_then(|(hex, behind)| Some((u32::from_str_radix(hex, 16).ok()?, behind)))
        .and_then(|(code, behind)| Some((char::from_u32(code)?, behind)));
    match unicode {
        Some((character, behind)) => (Unescaped::Char(character), behind),
        None => (Unescaped::Byte(b'\\'), &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

    use proptest::prelude::*;
    use strongroom_compare::EscapedPath;

    use super::*;

    fn selection(paths: &[&str]) -> Selection {
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        Selection::new(&paths).unwrap()
    }

    #[test]
    fn nothing_and_the_root_select_everything() {
        for paths in [&[][..], &["/"], &["/", "/srv"], &["//./"]] {
            assert_eq!(selection(paths).top(), Scope::Everything, "{paths:?}");
        }
    }

    #[test]
    fn paths_select_what_leads_to_them_and_lies_below() {
        let selection = selection(&["/srv/a", "/srv/b/c", "/srv/a/deeper"]);
        let srv = selection.below(selection.top(), b"srv").unwrap();
        assert_eq!(selection.below(selection.top(), b"etc"), None);
        assert_eq!(selection.below(srv, b"a"), Some(Scope::Everything));
        let b = selection.below(srv, b"b").unwrap();
        assert_eq!(selection.below(b, b"x"), None);
        assert_eq!(selection.below(b, b"c"), Some(Scope::Everything));
    }

    #[test]
    fn what_is_missing_is_named_with_its_nearest_parent() {
        let selection = selection(&["/srv/a/b/c"]);
        let srv = selection.below(selection.top(), b"srv").unwrap();
        assert_eq!(selection.missing(srv, |name| name == b"a"), None);
        assert_eq!(
            selection.missing(srv, |_| false),
            Some(("/srv/a/b/c", "/srv"))
        );
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["srv", "/srv/../etc", ""] {
            Selection::new(&[path.to_string()]).unwrap_err();
        }
    }

    #[test]
    fn raw_names_win_over_escapes() {
        let selection = selection(&[r"/a\x41"]);
        assert!(selection.below(selection.top(), br"a\x41").is_some());
        assert!(selection.below(selection.top(), b"aA").is_some());
        assert!(selection.below(selection.top(), b"a").is_none());
    }

    #[test]
    fn a_number_with_a_sign_is_no_escape() {
        for name in [r"a\x+4", r"a\x-4", r"a\u{+41}"] {
            assert_eq!(unescape(name), name.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_listings_show_selects_the_entry(name in prop::collection::vec(1_u8.., 1..20)) {
            prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
            let shown = EscapedPath(Path::new(OsStr::from_bytes(&name))).to_string();
            prop_assert_eq!(unescape(&shown), name.clone());
            let selection = Selection::new(&[format!("/{shown}")]).unwrap();
            prop_assert!(selection.below(selection.top(), &name).is_some());
        }
    }
}
