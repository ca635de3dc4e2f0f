//! Patterns of a files source that no path can match: other tools' spellings.

/// Why a pattern can never match, or hardly means what it says, and what to
/// write instead; `None`: it may match.
pub(super) fn problem(pattern: &str) -> Option<String> {
    let whole = pattern.strip_suffix('/').unwrap_or(pattern);
    if whole.is_empty() {
        return Some(format!("{pattern:?} matches nothing: leave it out"));
    }
    if let Some(below) = pattern.strip_prefix("~/") {
        return Some(format!(
            "{pattern:?} matches nothing in a home directory, `~` is a name like any other here: \
             write the full path, for example \"/home/*/{below}\"; for a directory of that name \
             write '\\~/{below}'"
        ));
    }
    if let Some(rest) = pattern.strip_prefix('!') {
        return Some(format!(
            "{pattern:?} does not take back another pattern, `!` is a character like any other \
             here: make the other pattern narrower, or name what is to be kept in `paths`; for a \
             name that begins so write '\\!{rest}'"
        ));
    }
    // The first part of a full path is empty.
    let parts = || whole.strip_prefix('/').unwrap_or(whole).split('/');
    if parts().any(|part| part == "..") {
        return Some(format!(
            "{pattern:?} matches nothing, no path holds `..`: write the path it leads to"
        ));
    }
    if parts().any(|part| part.is_empty() || part == ".") {
        let kept: Vec<_> = parts()
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if kept.is_empty() {
            return Some(format!("{pattern:?} matches nothing: leave it out"));
        }
        let first = if whole.starts_with('/') { "/" } else { "" };
        let last = if whole.len() < pattern.len() { "/" } else { "" };
        return Some(format!(
            "{pattern:?} matches nothing, no path holds `.` or an empty name: write \
             \"{first}{}{last}\"",
            kept.join("/")
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn what_can_never_match_is_refused_with_what_to_write() {
        for (pattern, instead) in [
            ("~/cache", "/home/*/cache"),
            ("!keep", "narrower"),
            ("./cache", "write \"cache\""),
            ("./cache/", "write \"cache/\""),
            ("../cache", "path it leads to"),
            ("/src/../cache", "path it leads to"),
            ("src//cache", "write \"src/cache\""),
            ("/src/cache/./b", "write \"/src/cache/b\""),
            ("//src", "write \"/src\""),
            ("cache//", "write \"cache/\""),
            ("/", "leave it out"),
            ("", "leave it out"),
            (".", "leave it out"),
        ] {
            let said = problem(pattern).unwrap_or_default();
            assert!(said.contains(instead), "{pattern}: {said}");
        }
    }

    #[test]
    fn what_may_match_is_not() {
        for pattern in [
            "*.tmp", "/srv/**", "target/", "a/b", "~", "*~", "a~/b", r"\~/x", r"\!x", "[!a]", ".*",
            "..x", "x..", "{a,b}/c", "$HOME/x", "/srv/",
        ] {
            assert_eq!(problem(pattern), None, "{pattern}");
        }
    }
}
