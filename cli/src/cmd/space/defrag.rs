//! `strand space defrag`: fragmented files are laid out in order, here or in the daemon.

use crate::args::space::Defrag as Args;
use crate::cmd::job;
use crate::context::{Context, volume};
use crate::error::{Outcome, refuse};
use crate::output::units;
use crate::tree::{self, Last};
use serde_json::json;
use strand_engine::{JobKind, Kind, Refusal};
use strand_serve::control::message::{Work, WorkDone};

/// Runs it.
pub(super) fn run(context: &mut Context, args: &Args) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, &args.volume)?;
    let file = match &args.path {
        Some(path) => Some(tree::find(&found.live, path, Last::Follow)?.0),
        None => None,
    };
    let (id, rate) = (found.id, args.rate);
    let (files, moved, bytes, cancelled) = match store.daemon() {
        None => {
            let done = job::here(&store, JobKind::Defrag, "defragmenting", |store| {
                let now = store.clock().wall();
                let job = store
                    .jobs()
                    .begin(JobKind::Defrag, args.volume.as_str(), now);
                store.defrag(id, file, rate, job)
            })?;
            (done.files, done.moved, done.bytes, done.cancelled)
        }
        Some(daemon) => {
            let work = Work::Defrag {
                volume: id,
                file,
                rate,
            };
            let begun = daemon.start(work, None)?;
            let (ended, done) = job::follow(daemon, begun, "defragmenting", true)?;
            match job::outcome(&ended, done)? {
                WorkDone::Defragged {
                    files,
                    moved,
                    bytes,
                    cancelled,
                } => (files, moved, bytes, cancelled),
                _ => return refuse(Refusal::new(Kind::Io, "the daemon did something else")),
            }
        }
    };
    context.close(store)?;
    if context.out.json {
        return context.out.object(json!({
            "volume": args.volume, "files": files, "files_moved": moved, "bytes_copied": bytes, "cancelled": cancelled,
        }));
    }
    context.out.line(match moved {
        0 => format!(
            "{} looked at: nothing lies scattered",
            units::counted(files, "file")
        ),
        moved => format!(
            "laid out {} of {} in order; {} copied, no image touched",
            units::count(moved),
            units::counted(files, "file"),
            units::size(bytes)
        ),
    })?;
    match cancelled {
        true => refuse(
            Refusal::new(Kind::Interrupted, "it was told to end").why("what it laid out stays so"),
        ),
        false => Ok(()),
    }
}
