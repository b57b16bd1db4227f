//! `strand space defrag`: fragmented files are laid out in order, here or in the daemon.

use crate::args::space::Defrag as Args;
use crate::cmd::job;
use crate::context::{Context, Opened, volume};
use crate::error::{Failure, Outcome, refuse};
use crate::output::units;
use crate::tree::{self, Last};
use serde_json::json;
use strand_engine::{Defragged, Fileset, Ino, JobKind, Kind, Refusal, Volume};
use strand_serve::control::message::{Work, WorkDone};

/// Runs it.
pub(super) fn run(context: &mut Context, args: &Args) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, &args.volume)?;
    // Everything is one piece of work; of a directory each file is one.
    let files = match &args.path {
        None => vec![None],
        Some(path) => {
            let (ino, _) = tree::find(&found.live, path, Last::Follow)?;
            below(&found.live, ino).into_iter().map(Some).collect()
        }
    };
    let several = files.len() > 1;
    let mut sum = Defragged::default();
    for file in files {
        match one(&store, found, file, args.rate, &mut sum) {
            // Of a directory that is in use, files go meanwhile.
            Err(Failure::Refused(gone)) if several && gone.kind == Kind::NotFound => {}
            other => other?,
        }
        if sum.cancelled {
            break;
        }
    }
    let Defragged {
        files,
        moved,
        bytes,
        cancelled,
    } = sum;
    context.close(store)?;
    if context.out.json {
        context.out.object(json!({
            "volume": args.volume, "files": files, "files_moved": moved, "bytes_copied": bytes, "cancelled": cancelled,
        }))?;
    } else {
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
    }
    match cancelled {
        true => refuse(
            Refusal::new(Kind::Interrupted, "it was told to end").why("what it laid out stays so"),
        ),
        false => Ok(()),
    }
}

/// The file, or the regular files of the tree.
fn below(tree: &Fileset, ino: Ino) -> Vec<Ino> {
    let (mut files, mut stack) = (Vec::new(), vec![ino]);
    while let Some(ino) = stack.pop() {
        let Some(inode) = tree.inode(ino) else {
            continue;
        };
        match inode.names() {
            Some(names) => stack.extend(names.values()),
            None if inode.file().is_some() => files.push(ino),
            None => {}
        }
    }
    // Two names may be one file.
    files.sort_unstable();
    files.dedup();
    files
}

fn one(
    store: &Opened,
    volume: &Volume,
    file: Option<Ino>,
    rate: Option<u64>,
    sum: &mut Defragged,
) -> Outcome {
    let id = volume.id;
    let done = match store.daemon() {
        None => job::here(store, JobKind::Defrag, "defragmenting", |store| {
            let now = store.clock().wall();
            let job = store.jobs().begin(JobKind::Defrag, &*volume.name, now);
            store.defrag(id, file, rate, job)
        })?,
        Some(daemon) => {
            let work = Work::Defrag {
                volume: id,
                file,
                rate,
            };
            let begun = daemon.start(work, None)?;
            let (ended, done) = job::follow(daemon, begun, "defragmenting", true)?;
            match job::outcome(&ended, done)? {
                WorkDone::Defragged(done) => done,
                _ => return refuse(Refusal::new(Kind::Io, "the daemon did something else")),
            }
        }
    };
    sum.files += done.files;
    sum.moved += done.moved;
    sum.bytes += done.bytes;
    sum.cancelled |= done.cancelled;
    Ok(())
}
