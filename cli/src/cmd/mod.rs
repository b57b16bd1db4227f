//! One file for each group of commands: they open the store, ask the engine or replay, and print. No rule of the store
//! lives here; what is refused is refused by the engine, in its words.

mod change;
mod checkpoint;
mod checkpoint_view;
mod clone;
mod doctor;
mod export;
mod import;
mod job;
mod journal;
mod log;
mod look;
mod mount;
mod pages;
mod prove;
mod quota;
mod removal;
mod retention;
mod rollback;
mod schedule;
mod serve;
mod served;
mod space;
mod store;
mod top;
mod volume;

use crate::args::Command;
use crate::context::Context;
use crate::error::Outcome;

/// Runs a command; without one, the first page.
pub(crate) fn run(context: &mut Context, command: Option<Command>) -> Outcome {
    let Some(command) = command else {
        return pages::home(context);
    };
    match command {
        Command::Demo(args) => store::demo(context, args),
        Command::Init(args) => store::init(context, args),
        Command::Info => store::info(context),
        Command::Status => store::status(context),
        Command::Doctor(args) => doctor::run(context, args),
        Command::Volume(noun) => volume::run(context, noun),
        Command::Import(args) => import::run(context, args),
        Command::Export(args) => export::run(context, args),
        Command::Ls(args) => look::ls(context, args),
        Command::Cat(args) => look::cat(context, args),
        Command::Stat(args) => look::stat(context, args),
        Command::Write(args) => change::write(context, args),
        Command::Rm(args) => change::rm(context, args),
        Command::Mkdir(args) => change::mkdir(context, args),
        Command::Mv(args) => change::mv(context, args),
        Command::Truncate(args) => change::truncate(context, args),
        Command::Checkpoint(noun) => checkpoint::run(context, noun),
        Command::Quota(noun) => quota::run(context, noun),
        Command::Job(noun) => job::run(context, noun),
        Command::Journal(noun) => journal::run(context, noun),
        Command::Retention(noun) => retention::run(context, noun),
        Command::Schedule(noun) => schedule::run(context, noun),
        Command::Space(noun) => space::run(context, noun),
        Command::Versions(args) => prove::versions(context, args),
        Command::Rollback(args) => rollback::run(context, args),
        Command::Undo(args) => rollback::undo(context, args, false),
        Command::Redo(args) => rollback::undo(context, args, true),
        Command::Clone(noun) => clone::run(context, noun),
        Command::Serve(args) => serve::run(context, args),
        Command::Mount(args) => mount::run(context, args),
        Command::Umount(args) => mount::umount(context, &args),
        Command::Stop(args) => serve::stop(context, &args),
        Command::Top(args) => top::run(context, &args),
        Command::Log(args) => log::run(context, args),
        Command::Replay(args) => prove::replay(context, args),
        Command::Verify(args) => prove::verify(context, args),
        Command::Anchor => prove::anchor(context),
        Command::Completions(args) => pages::completions(context, &args),
        Command::Man(args) => pages::man(context, &args),
        Command::Help(args) => pages::help(context, &args),
    }
}
