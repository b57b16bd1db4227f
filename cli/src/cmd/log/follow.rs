//! `strand log --follow`: events as they come.

use super::event::event_line;
use crate::args::history::Log;
use crate::context::{Context, Opened};
use crate::error::{Failure, Outcome};
use crate::interrupt::{self, Listening};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use strand_engine::{Kind, Seq};
use strand_replay::log::{EventRow, Filter, events, events_after};

/// How often it looks for what is new.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// Rows that it shows first.
const FOLLOWED: usize = 10;

/// Follows the journal: at rest a reader's lock is taken for a moment at a time, so that writers get in between; beside a daemon the
/// store stays open and folds only what is new.
pub(super) fn follow(
    context: &mut Context,
    store: Opened,
    filter: &Filter,
    since: Seq,
    args: &Log,
) -> Outcome {
    let _listening = Listening::start();
    let mut last = store.state().seq;
    let mut first: Vec<EventRow> = Vec::new();
    for row in events(&store, filter)
        .filter(|row| row.as_ref().map_or(true, |row| row.seq >= since))
        .take(args.lines.unwrap_or(FOLLOWED))
    {
        first.push(row?);
    }
    for row in first.iter().rev() {
        event_line(context, row)?;
    }
    context.out.flush()?;
    let mut beside = Some(store).filter(|store| store.daemon().is_some());
    while !interrupt::asked() {
        wait()?;
        let store = match beside.take() {
            Some(store) if store.look_again().is_ok() => store,
            // At rest, or the daemon has ended.
            _ => context.read()?,
        };
        let now = store.state().seq;
        if now != last {
            for row in events_after(&store, filter, last)? {
                event_line(context, &row?)?;
            }
            context.out.flush()?;
            last = now;
        }
        beside = Some(store).filter(|store| store.daemon().is_some());
    }
    Err(Failure::Said(Kind::Interrupted.exit_code()))
}

/// Waits until the next look, or until nobody reads the output any more: `strand log --follow | head` ends with `head`.
fn wait() -> Outcome {
    let out = io::stdout();
    // Errors and the end of a reader are told without being asked for.
    let mut output = [PollFd::new(&out, PollFlags::empty())];
    match poll(&mut output, Some(&POLL)) {
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => Err(Failure::OutputClosed),
        Err(error) => Err(io::Error::from(error).into()),
    }
}
