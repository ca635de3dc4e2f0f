//! Names that people choose for agents, policies, stores and operators. They
//! appear in paths (`primary/web-1`) and dataset names (`web-files@web-1`).

/// A name that would not fit in a path or a dataset's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {name:?} is not usable: take 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`, \
     beginning with a letter or digit"
)]
pub struct InvalidName {
    /// What is named.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

/// Bytes of a name at most.
const MAX_NAME: usize = 64;

/// Checks a name that somebody chose.
pub fn check_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_name_char);
    if fits {
        Ok(())
    } else {
        Err(InvalidName {
            what,
            name: name.into(),
        })
    }
}

/// A usable name for an agent from whatever its host calls itself.
pub fn name_from_hostname(hostname: &str) -> String {
    let name: String = hostname
        .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .chars()
        .map(|c| if is_name_char(c) { c } else { '-' })
        .take(MAX_NAME - 8)
        .collect();
    if name.is_empty() {
        "agent".into()
    } else {
        name
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_a_path_or_dataset_are_refused() {
        for good in ["web-1", "db.example.org", "A_b", "0"] {
            assert_eq!(check_name("agent", good), Ok(()), "{good}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "..", ".x", "a/b", "a@b", "a b", "ä", "-x", &long] {
            assert!(check_name("agent", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_hostname_gives_a_usable_name() {
        for host in ["web-1", "", "...", "a b/c@d", &"x".repeat(300), "ümlaut"] {
            assert_eq!(check_name("agent", &name_from_hostname(host)), Ok(()));
        }
    }
}
