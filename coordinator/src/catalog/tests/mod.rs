//! The catalog's contract: one suite, run on SQLite and on Postgres.
//!
//! A test is an `async fn name(fixture: Fixture)` in one of the modules, named
//! in the [`contract!`] list at its end.

mod after;
mod agents;
mod attempts;
mod contests;
mod events;
mod fixture;
mod health;
mod jobs;
mod long_log;
mod lost_objects;
mod open;
mod policies;
mod request_keys;
mod sessions;
mod several;
mod snapshots;
mod specifications;
mod wal;
mod withheld;
mod written;

use fixture::Fixture;

/// Runs each of the named tests on both databases.
macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fixture::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fixture::postgres().await).await;
            })*
        }
    };
}

use contract;
