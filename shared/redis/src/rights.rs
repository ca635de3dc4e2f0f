//! The rights of the user that we come as, tried before anything begins.
//!
//! A server looks at its ACL before it looks at a command's arguments, but
//! behind their number (`processCommand` in `server.c`): a command whose
//! arguments make no sense shows whether it might be run, and does nothing.
//! `ACL DRYRUN` would ask more elegantly, for rights that no backup should have.

use crate::{Client, RedisError, Refusal};

/// A command that does no harm, and the right that it shows.
pub(crate) struct Try<'a> {
    command: &'a [&'a [u8]],
    rule: &'static str,
}

impl<'a> Try<'a> {
    /// `rule` as `ACL SETUSER` takes it behind a `+`.
    pub(crate) const fn new(command: &'a [&'a [u8]], rule: &'static str) -> Self {
        Self { command, rule }
    }
}

/// Rules that the user lacks, of those that `tries` show. A command that the
/// server does not know is an error.
pub(crate) async fn missing(
    client: &mut Client,
    tries: &[Try<'_>],
) -> Result<Vec<&'static str>, RedisError> {
    let mut rules = Vec::new();
    for Try { command, rule } in tries {
        let Err(error) = client.command(command).await else {
            continue;
        };
        match &error {
            // Which keys it may touch is another matter.
            RedisError::Refused {
                reason: Refusal::NoPermission,
                message,
                ..
            } if !is_of_a_key(message) => rules.push(*rule),
            RedisError::Refused {
                reason: Refusal::Unknown | Refusal::NoPassword | Refusal::WrongPassword,
                ..
            } => return Err(error),
            RedisError::Refused { .. } => {}
            _ => return Err(error),
        }
    }
    Ok(rules)
}

/// Whether a key is forbidden, not the command, in the words of Redis 6 and 7. No
/// user's name, which some of them quote, holds a blank.
fn is_of_a_key(message: &str) -> bool {
    ["access a key", "access one of the keys"]
        .iter()
        .any(|words| message.contains(words))
}

/// One error for all that is missing; `also` are the rules that are to be
/// granted with it, shown or not.
pub(crate) async fn require(
    client: &mut Client,
    tries: &[Try<'_>],
    also: &[&'static str],
) -> Result<(), RedisError> {
    let rules = missing(client, tries).await?;
    if rules.is_empty() {
        return Ok(());
    }
    Err(lacking(client, &rules, also))
}

pub(crate) fn lacking(client: &Client, rules: &[&str], also: &[&'static str]) -> RedisError {
    let grant = if also.is_empty() { rules } else { also };
    RedisError::Rights {
        address: client.address().to_owned(),
        user: client.user().to_owned(),
        missing: rules.iter().map(|rule| rule.to_uppercase()).collect(),
        grant: statement(client.user(), grant),
    }
}

/// `ACL SETUSER name +rule …`
pub(crate) fn statement(user: &str, rules: &[&str]) -> String {
    let mut statement = format!("ACL SETUSER {user}");
    for rule in rules {
        statement.push_str(" +");
        statement.push_str(rule);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_be_called_anything() {
        for (message, of_a_key) in [
            (
                "User keydb has no permissions to run the 'replicaof' command",
                false,
            ),
            (
                "this user has no permissions to run the 'bgsave' command",
                false,
            ),
            ("No permissions to access a channel", false),
            ("No permissions to access a key", true),
            (
                "this user has no permissions to access one of the keys used as arguments",
                true,
            ),
        ] {
            assert_eq!(is_of_a_key(message), of_a_key, "{message}");
        }
    }

    #[test]
    fn statements_grant_all_rules() {
        assert_eq!(
            statement("restore", &["replicaof", "pubsub|numsub"]),
            "ACL SETUSER restore +replicaof +pubsub|numsub"
        );
    }
}
