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

/// What stands in the place of a policy's name in the dataset of
/// safety backups; no policy may be called so.
pub const SAFETY_POLICY: &str = "before-restore";

/// What stands before an upload's name in the place of a policy's; no policy's
/// name may begin so.
pub const UPLOAD_POLICY: &str = "upload-";

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

/// Labels of an agent at most.
const MAX_LABELS: usize = 64;

/// A label that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// Its key.
    #[error(transparent)]
    Key(#[from] InvalidName),
    /// Its value.
    #[error(
        "the value {value:?} of the label {key} is not usable: take up to {MAX_NAME} printable \
         characters"
    )]
    Value {
        /// Of which label.
        key: String,
        /// As it was given.
        value: String,
    },
    /// One agent carries so many.
    #[error("{0} labels are too many: an agent has at most {MAX_LABELS}")]
    Many(usize),
}

/// Checks labels that somebody chose: keys like names, values short and printable.
pub fn check_labels(labels: &super::Labels) -> Result<(), InvalidLabel> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidLabel::Many(labels.len()));
    }
    for (key, value) in labels {
        check_name("label", key)?;
        if value.len() > MAX_NAME || value.chars().any(char::is_control) {
            return Err(InvalidLabel::Value {
                key: key.clone(),
                value: value.clone(),
            });
        }
    }
    Ok(())
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
    fn labels_are_keys_like_names_and_short_values() {
        let labels = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        for (key, value) in [("role", "web"), ("role", ""), ("a.b", "zone a/1")] {
            assert_eq!(check_labels(&labels(key, value)), Ok(()), "{key}={value}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for (key, value) in [
            ("", "x"),
            ("a b", "x"),
            ("-a", "x"),
            ("a", "\n"),
            ("a", &long),
        ] {
            assert!(check_labels(&labels(key, value)).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn any_hostname_gives_a_usable_name() {
        for host in ["web-1", "", "...", "a b/c@d", &"x".repeat(300), "ümlaut"] {
            assert_eq!(check_name("agent", &name_from_hostname(host)), Ok(()));
        }
    }
}
