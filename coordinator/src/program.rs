//! The program `strongroom`: which command line leads to what.

use std::{future::Future, io, process::ExitCode};

use strongroom_runtime::{
    causes,
    clock::{Clock as _, SystemClock},
    printable,
};
use tokio::runtime::Builder;

use crate::{
    cli::{
        self,
        args::{Cli, Command, ConfigArgs, ConfigCommand, GlobalArgs},
        error::Exit,
        render::{self, Renderer},
        say,
    },
    config::Config,
    dev,
    serve::{self, OtherKeys},
};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::read();
    render::set_wide(global.wide);
    let exit = match command {
        Command::Serve(args) => on(&mut Builder::new_multi_thread(), async {
            let others = if args.replace_keys {
                OtherKeys::Replace
            } else {
                OtherKeys::Refuse
            };
            let well = serve::run(&args.config.config, others).await;
            finish(well.map(|well| if well { Exit::Done } else { Exit::Failed }))
        }),
        Command::Config(ConfigCommand::Check(args)) => Ok(check(&global, &args)),
        Command::Dev(args) => on(&mut Builder::new_multi_thread(), async {
            finish(dev::run(&args).await)
        }),
        Command::Client(command) => on(
            &mut Builder::new_current_thread(),
            cli::client(global, command),
        ),
    };
    exit.unwrap_or_else(|error| {
        say(&format!("cannot start: {error}"));
        ExitCode::FAILURE
    })
}

fn on(runtime: &mut Builder, work: impl Future<Output = ExitCode>) -> io::Result<ExitCode> {
    Ok(runtime.enable_all().build()?.block_on(work))
}

/// Says whether a coordinator would start with a configuration.
fn check(global: &GlobalArgs, args: &ConfigArgs) -> ExitCode {
    let renderer = Renderer::new(global.output, SystemClock.now());
    let problems = match Config::load(&args.config) {
        Ok(config) => serve::check(&config),
        Err(error) => vec![error.to_string()],
    };
    let path = args.config.display().to_string();
    let answer = serde_json::json!({ "config": path, "problems": problems });
    let shown = renderer.show(&answer, |_| match problems.as_slice() {
        [] => format!(
            "{} is good: `strongroom serve` would start with it",
            printable::line(&path)
        ),
        problems => {
            let problems = problems.iter().map(|it| printable::line(it).into_owned());
            problems.collect::<Vec<_>>().join("\n")
        }
    });
    match shown {
        Ok(()) if problems.is_empty() => Exit::Done.into(),
        Ok(()) => Exit::Failed.into(),
        Err(error) => {
            say(&error.to_string());
            Exit::Failed.into()
        }
    }
}

/// The exit code of a coordinator that ran here.
fn finish(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&causes::said(&*error));
            Exit::Failed.into()
        }
    }
}
