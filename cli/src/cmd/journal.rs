//! `strand journal …`: old events, archived and moved away.

use crate::args::space::{Archive, Audit, JournalNoun, JournalVerb};
use crate::cmd::job;
use crate::confirm::confirm;
use crate::context::{Context, Opened, inside_store};
use crate::error::{Outcome, on_path, refuse};
use crate::output::units;
use crate::view;
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use strand_engine::{Command, Kind, MovedArchives, Refusal, Seq};
use strand_serve::control::keep_archive;
use strand_serve::control::message::{Work, WorkDone};

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: JournalNoun) -> Outcome {
    match noun.verb {
        JournalVerb::Archive(args) => archive(context, &args),
        JournalVerb::Audit(args) => audit(context, &args),
    }
}

fn archive(context: &mut Context, args: &Archive) -> Outcome {
    if let Some(store) = inside_store(&args.to) {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot move events to {}", args.to.display()),
            )
            .why(format!("it lies in the store {}", store.display())),
        );
    }
    let store = context.write()?;
    let state = store.state();
    let before = match view::resolve_image(context, &store, &state, &args.before)? {
        view::Image::Position(seq, _) => seq,
        view::Image::Checkpoint(c) => c.seq,
    };
    confirm(
        context,
        &format!("move the events before seq {before} out of the store"),
        "no volume can be viewed as it was before that any more, but for its checkpoints; earlier changes cannot be undone",
    )?;
    make_durably(&args.to).map_err(on_path("make", &args.to))?;
    let dir = File::open(&args.to).map_err(on_path("open", &args.to))?;
    let moved = carry(&store, before, &dir)?;
    context.close(store)?;
    told(context, &args.to, &moved)
}

/// Makes a directory, with those above it, whose names outlive a power cut: what is put into it leaves the store for good.
fn make_durably(dir: &Path) -> io::Result<()> {
    let mut made = Vec::new();
    let mut above = Some(dir);
    while let Some(path) = above.filter(|path| !path.as_os_str().is_empty() && !path.exists()) {
        made.push(path);
        above = path.parent();
    }
    fs::create_dir_all(dir)?;
    for path in made {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn carry(store: &Opened, before: Seq, dir: &File) -> Outcome<MovedArchives> {
    let Some(daemon) = store.daemon() else {
        let mut keep = |name: &str, bytes: &[u8]| keep_archive(dir.as_fd(), name, bytes);
        return Ok(store.move_archives(before, Some(&mut keep))?);
    };
    let begun = daemon.start(Work::MoveArchives { before }, Some(dir.as_fd()))?;
    let (ended, done) = job::follow(daemon, begun, "moving events", true)?;
    match job::outcome(&ended, done)? {
        WorkDone::Moved(moved) => Ok(moved),
        _ => refuse(Refusal::new(Kind::Io, "the daemon did something else")),
    }
}

fn told(context: &mut Context, to: &Path, moved: &MovedArchives) -> Outcome {
    if context.out.json {
        let object = json!({"first_seq": moved.before, "archives": moved.archives, "bytes": moved.bytes, "to": to.to_string_lossy()});
        return context
            .out
            .object(units::with_hex(object, &[("to", to.as_os_str())]));
    }
    if moved.archives == 0 {
        return context
            .out
            .line("nothing to move: the events before that fill no whole segment");
    }
    context.out.line(format!(
        "moved {} ({}) to {}; the store's events begin at seq {}",
        units::counted(moved.archives, "archive"),
        units::size(moved.bytes),
        to.display(),
        moved.before
    ))
}

fn audit(context: &mut Context, args: &Audit) -> Outcome {
    let keep = match args.keep {
        None => context.read()?.state().audit,
        Some(keep) => {
            let store = context.write()?;
            let before = store.state().audit;
            let command = Command::AuditSet { keep: keep.0 };
            store.plan(context.actor(), command.clone())?;
            if let Some(bytes) = keep.0
                && before.is_none_or(|before| bytes < before)
            {
                confirm(
                    context,
                    &format!("keep only {} of archived events", units::size(bytes)),
                    "older ones go for good when that is reached",
                )?;
            }
            store.run(context.actor(), command)?;
            context.close(store)?;
            keep.0
        }
    };
    if context.out.json {
        return context.out.object(json!({"audit_bytes": keep}));
    }
    context.out.line(match keep {
        Some(bytes) => format!(
            "up to {} of archived events are kept; the oldest go beyond that",
            units::size(bytes)
        ),
        None => "all archived events are kept".to_owned(),
    })
}
