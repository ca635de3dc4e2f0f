//! Row security never opens by what could not be made.
//!
//! A table whose permissive policy is missing shows less. Without a restrictive
//! one it would show more, to roles that are there: in its place a policy of
//! its name is made that refuses every row, until somebody makes the right one.

use strongroom_postgres::connection::{ServerError, Session};

use super::{PostgresRestoreError, Restore, unmade::Unmade};

/// The SQLSTATE of a name that is taken: by the policy itself.
const IS_THERE: &str = "42710";
const RESTRICTIVE: &str = " AS RESTRICTIVE";

impl Restore<'_> {
    /// Makes what stands in for restrictive policies of a database.
    pub(super) fn close_rows(
        &self,
        database: &str,
        unmade: &[Unmade],
    ) -> Result<(), PostgresRestoreError> {
        if unmade.iter().all(|it| it.policy.is_none()) {
            return Ok(());
        }
        self.wait(async {
            let session = Session::open(self.connection, Some(database)).await?;
            close(&session, unmade, false).await?;
            session.close().await;
            Ok(())
        })
    }
}

/// The same, on a session. `within`: in a transaction, which goes on when one is
/// there already.
pub(super) async fn close(
    session: &Session,
    unmade: &[Unmade],
    within: bool,
) -> Result<(), ServerError> {
    let save = "set a savepoint";
    for it in unmade {
        let Some(policy) = &it.policy else {
            continue;
        };
        if let Some(statement) = stand_in(&policy.statement) {
            if let Some(encoding) = &policy.encoding {
                session.speak(encoding).await?;
            }
            let what = format!(
                "make a policy that refuses every row in place of {}",
                it.name()
            );
            if within {
                session.run(save, "SAVEPOINT strongroom").await?;
            }
            match session.run_foreign(&what, &statement).await {
                Err(error) if error.state() == Some(IS_THERE) => {
                    if within {
                        session.run(save, "ROLLBACK TO strongroom").await?;
                    }
                }
                made => made?,
            }
            if within {
                session.run(save, "RELEASE strongroom").await?;
            }
        }
    }
    Ok(())
}

/// What stands in for the policy that `statement` makes; `None`: it permits.
pub(super) fn stand_in(statement: &str) -> Option<String> {
    let bytes = statement.as_bytes();
    let mut quoted = false;
    for at in 0..bytes.len() {
        match bytes[at] {
            b'"' => quoted = !quoted,
            // What it says of rows may be anything.
            b'(' if !quoted => return None,
            b' ' | b'\t' | b'\n' | b'\r' if !quoted && restricts(&statement[at..]) => {
                let head = &statement[..at];
                return Some(format!("{head}{RESTRICTIVE} USING (false)"));
            }
            _ => {}
        }
    }
    None
}

fn restricts(rest: &str) -> bool {
    let mut words = rest.split_ascii_whitespace();
    let mut next = |word: &str| words.next().is_some_and(|it| it.eq_ignore_ascii_case(word));
    next("AS") && next("RESTRICTIVE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_restricts_has_a_stand_in() {
        for (statement, wanted) in [
            (
                "CREATE POLICY \"p\" ON \"public\".\"t\" AS RESTRICTIVE FOR SELECT TO \"w\" USING (true)",
                Some("CREATE POLICY \"p\" ON \"public\".\"t\" AS RESTRICTIVE USING (false)"),
            ),
            (
                "CREATE POLICY \" AS RESTRICTIVE\" ON t AS RESTRICTIVE USING (x)",
                Some("CREATE POLICY \" AS RESTRICTIVE\" ON t AS RESTRICTIVE USING (false)"),
            ),
            (
                "create policy p on t\n\tas restrictive using (x)",
                Some("create policy p on t AS RESTRICTIVE USING (false)"),
            ),
            ("CREATE POLICY \" AS RESTRICTIVE \" ON t USING (true)", None),
            ("CREATE POLICY p ON t USING (a AS RESTRICTIVE)", None),
            ("CREATE POLICY p ON t TO w USING (true)", None),
        ] {
            assert_eq!(stand_in(statement).as_deref(), wanted, "{statement}");
        }
    }
}
