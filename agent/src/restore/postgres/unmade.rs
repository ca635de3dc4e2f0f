//! What could not be made.

/// An object that is missing from what was restored.
#[derive(Debug)]
pub(super) struct Unmade {
    /// As a dump's table of contents has it; empty when only a statement is
    /// known.
    pub(super) kind: String,
    /// The schema, the name and the owner.
    pub(super) rest: String,
    /// Why, as far as it may be shown.
    pub(super) cause: String,
    /// Of a policy that could be read: there are no secrets in it.
    pub(super) policy: Option<Policy>,
    /// Rows that a foreign key refuses.
    pub(super) breaks_key: bool,
}

/// A policy's statement.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) statement: String,
    /// That its bytes are in; `None`: that of the session.
    pub(super) encoding: Option<String>,
}

/// Kinds that hold rows, bytes that are like rows, or where a sequence goes on:
/// without that new rows get the numbers of old ones.
const ROWS: [&str; 5] = [
    "TABLE DATA",
    "BLOBS",
    "BLOB DATA",
    "BLOB METADATA",
    "SEQUENCE SET",
];

impl Unmade {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self.kind.as_str() {
            "" => self.rest.clone(),
            kind => format!("{kind} {}", self.rest),
        }
    }

    /// Whether rows are missing with it.
    pub(super) fn has_rows(&self) -> bool {
        ROWS.contains(&self.kind.as_str())
    }

    /// Whether rows would be open, without it, to those whom they are closed to.
    pub(super) fn closes(&self) -> bool {
        // What a policy that cannot be read says may be that it restricts.
        self.kind == "ROW SECURITY" || (self.is_policy() && self.policy.is_none())
    }

    pub(super) fn is_policy(&self) -> bool {
        self.kind == "POLICY"
    }

    /// The role that is not there, and that is all that is wrong.
    pub(super) fn lacks_role(&self) -> bool {
        let role = self.cause.find("role \"").map(|at| &self.cause[at..]);
        role.is_some_and(|it| it.contains("\" does not exist"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known_by_its_kind() {
        let unmade = |kind: &str, cause: &str| Unmade {
            kind: kind.into(),
            rest: "public t me".into(),
            cause: cause.into(),
            policy: None,
            breaks_key: false,
        };
        assert!(unmade("TABLE DATA", "").has_rows());
        assert!(unmade("SEQUENCE SET", "").has_rows() && !unmade("INDEX", "").has_rows());
        assert!(unmade("ROW SECURITY", "").closes() && unmade("POLICY", "").closes());
        let read = Unmade {
            policy: Some(Policy {
                statement: "CREATE POLICY p ON t USING (true)".into(),
                encoding: None,
            }),
            ..unmade("POLICY", "")
        };
        assert!(!read.closes() && !unmade("INDEX", "").closes());
        assert_eq!(unmade("INDEX", "").name(), "INDEX public t me");
        assert_eq!(unmade("", "").name(), "public t me");
        assert!(unmade("POLICY", "role \"worker\" does not exist").lacks_role());
        assert!(!unmade("POLICY", "relation \"t\" does not exist").lacks_role());
    }
}
