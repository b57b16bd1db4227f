//! The binary `strand`. `args` is the grammar, `cmd` runs the commands, `output` prints, `context` opens the store,
//! `view` and `time` resolve what a command looks at, `demo` tells the main job. No rule of the store lives here.

mod actor;
mod args;
mod cmd;
mod commanded;
mod confirm;
mod context;
mod demo;
mod error;
mod interrupt;
mod names;
mod opened;
mod opening;
mod output;
mod time;
mod topics;
mod tree;
mod view;

use args::Cli;
use clap::Parser;
use clap::error::ErrorKind;
use context::Context;
use error::{Failure, Outcome};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, &arguments),
    };
    let serving = matches!(cli.command, Some(args::Command::Serve(_)));
    trace(cli.global.verbose, cli.global.json, serving);
    let json = cli.global.json;
    interrupt::watch(json);
    let mut context = Context::new(cli.global, arguments);
    let ended = cmd::run(&mut context, cli.command);
    let ended = ended.and_then(|()| context.out.flush());
    finish(context.judged(ended), json)
}

fn finish(ended: Outcome, json: bool) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.say(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version go to standard output; anything else is wrong usage.
fn unparsed(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let text = error.render();
        let colour = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let text = if colour {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        return finish(written.map_err(Failure::from), false);
    }
    let json = arguments
        .iter()
        .take_while(|a| *a != "--")
        .any(|a| a == "--json");
    finish(Err(error::usage(error).into()), json)
}

/// What an opening finds is told by the command itself; logged as well, it would be said twice.
const UNASKED: &str = "warn,strand_journal::recovery=error,strand_engine::store::open=error";

/// A daemon's log is all that is seen of it.
const SERVING: &str = "info,fuser=warn";

/// Logs to standard error: `STRAND_LOG` chooses, else `-v`. Unasked, nothing stands beside the objects of `--json`.
fn trace(verbose: u8, json: bool, serving: bool) {
    let level = match verbose {
        0 if json => "off",
        0 if serving => SERVING,
        0 => UNASKED,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match std::env::var("STRAND_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).unwrap_or_else(|_| EnvFilter::new(level))
        }
        _ => EnvFilter::new(level),
    };
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(colour)
        .init();
}
