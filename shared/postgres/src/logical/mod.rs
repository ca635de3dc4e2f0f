//! Logical backups: dumps of databases, what a snapshot says of them, and what
//! a restore does beside `pg_restore`.
//!
//! Programs are run by the agent. Here are
//!
//! - [`choose`] and [`pattern`]: which databases and tables; [`loss`]: why one
//!   that was asked for is missing,
//! - [`hold`], [`list`], [`select`] and [`count`]: the moment that a dump shows,
//!   what is there then, and what of it is dumped,
//! - [`rights`] and [`references`]: what a role may not read, and what a
//!   selection cuts off,
//! - [`manifest`]: what a snapshot says of its dumps,
//! - [`archive`] and [`sum`]: what passes by in a dump, with checksums of the
//!   rows in it, and of a table,
//! - [`arguments`]: command lines,
//! - [`toc`], [`phases`] and [`roles`]: which parts of a dump, and of the
//!   globals, a restore takes, and in which order; [`script`]: plain SQL, statement by statement,
//! - [`acting`] and [`lent`]: what lends its owner's rights; [`subject`]: what a statement is about,
//! - [`triggers`] and [`circles`]: what is in the way of rows that come alone,
//! - [`create`], [`properties`], [`verify`]: databases made, dressed, compared
//!   and exchanged.

pub mod acting;
pub mod archive;
pub mod arguments;
pub mod choose;
pub mod circles;
pub mod count;
pub mod create;
pub mod hold;
pub mod lent;
pub mod list;
pub mod loss;
pub mod manifest;
pub mod pattern;
pub mod phases;
pub mod properties;
pub mod references;
pub mod rights;
pub mod roles;
pub mod script;
pub mod select;
pub mod subject;
pub mod sum;
pub mod toc;
pub mod trial;
pub mod triggers;
pub mod verify;
