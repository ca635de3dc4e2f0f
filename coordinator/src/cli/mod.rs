//! The operators' command line: a client of the REST API.
//!
//! To add a client command: its arguments in `args`, what it does and how its
//! result looks in a file of `command`. The shapes come from
//! [`crate::http::dto`], so that `--output json` is the API's own answer.

mod archive;
pub(crate) mod args;
pub(crate) mod client;
mod command;
pub(crate) mod error;
mod pages;
pub(crate) mod render;
mod store;
pub(crate) mod watch;

#[cfg(any(test, fuzzing))]
pub use archive::fuzz;

use std::process::ExitCode;

use strongroom_runtime::{
    clock::{Clock as _, SystemClock},
    printable,
};

use self::{
    args::{ClientCommand, GlobalArgs},
    command::Context,
    render::Renderer,
};

/// Runs a client command to its end.
pub(crate) async fn client(global: GlobalArgs, command: ClientCommand) -> ExitCode {
    let context = Context {
        profile: global.profile,
        renderer: Renderer::new(global.output, SystemClock.now()),
    };
    match command::run(&context, command).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&error.for_people());
            error.exit().into()
        }
    }
}

/// A line of this program's on standard error.
pub(crate) fn say(error: &str) {
    printable::err(&format!("strongroom: {error}"));
}
