//! `strand rollback`, `undo` and `redo`: going back, and coming back from it. They never ask: all of it can be undone.

use super::store::change;
use crate::args::history::{Rollback, Undo};
use crate::context::{Context, volume};
use crate::error::{Outcome, refuse};
use crate::output::units;
use crate::view::{self, Image};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::numbers::{Numbers, file_numbers, rollback_numbers};
use strand_engine::{
    Bytes, CheckpointId, Command, Event, Kind, Refusal, Seq, State, Store, Views, Volume,
};

/// What is rolled back to what.
struct Plan {
    command: Command,
    image: Image,
    volumes: Vec<Arc<Volume>>,
    files: bool,
    /// For reading the image's trees: the state at the position, where it is one.
    views: Views,
}

/// `rollback`
pub(crate) fn run(context: &mut Context, args: Rollback) -> Outcome {
    let store = if args.dry_run {
        context.read()?
    } else {
        context.write()?
    };
    let state = store.state();
    let plan = plan(context, &store, &state, &args)?;
    if args.dry_run {
        let events = store.plan(context.actor(), plan.command.clone())?;
        let numbers = numbers(&state, &plan, &events);
        return report(context, &state, &plan, &numbers, &events, None);
    }
    let started = Instant::now();
    let done = store.run_although(context.actor(), plan.command.clone(), args.force)?;
    let taken = started.elapsed();
    store.settle()?;
    let numbers = numbers(&state, &plan, &done.events);
    context.close(store)?;
    report(
        context,
        &state,
        &plan,
        &numbers,
        &done.events,
        Some((taken, done.last)),
    )
}

fn plan(context: &Context, store: &Store, state: &State, args: &Rollback) -> Outcome<Plan> {
    let volume = args
        .volume
        .as_deref()
        .map(|name| volume(state, name).cloned())
        .transpose()?;
    let image = view::resolve_image(context, store, state, &args.to)?;
    let mut views = Views::none();
    if let Image::Position(seq, _) = image {
        views.0.insert(seq, store.state_at(seq)?);
    }
    let Some(volume) = volume else {
        let Image::Checkpoint(c) = &image else {
            return refuse(
                Refusal::new(Kind::Usage, "which volume goes back?")
                    .why("a position or a time has no member volumes; only a checkpoint has")
                    .next(format!("strand rollback VOL --to {}", args.to)),
            );
        };
        let volumes = c
            .volumes
            .iter()
            .filter_map(|id| state.volume(*id))
            .cloned()
            .collect();
        let command = Command::RollbackAll { checkpoint: c.id };
        return Ok(Plan {
            command,
            image,
            volumes,
            files: false,
            views,
        });
    };
    let source = view::source(&volume, Some(&image));
    let files = !args.file.is_empty();
    let command = if files {
        let paths = args
            .file
            .iter()
            .map(|path| Bytes::from(path.as_bytes()))
            .collect();
        Command::RollbackFiles {
            volume: volume.id,
            source,
            paths,
            attributes: args.attributes,
            delete_new: args.delete_new,
        }
    } else {
        Command::Rollback {
            volume: volume.id,
            source,
            only: args.only,
        }
    };
    Ok(Plan {
        command,
        image,
        volumes: vec![volume],
        files,
        views,
    })
}

/// What changes, judged from the state before and the events: the same for the dry run and the run.
fn numbers(state: &State, plan: &Plan, events: &[Event]) -> Numbers {
    if plan.files {
        return file_numbers(state, &plan.views, events);
    }
    let trees = plan.volumes.iter().filter_map(|volume| {
        let target = plan
            .views
            .tree(state, view::source(volume, Some(&plan.image)))?;
        Some(rollback_numbers(&volume.live, &target))
    });
    trees.fold(Numbers::default(), Numbers::plus)
}

/// The checkpoint that keeps the state before, as the events name it.
fn before(events: &[Event]) -> Option<(CheckpointId, &str)> {
    events.iter().find_map(|event| match event {
        Event::CheckpointCreated {
            checkpoint, name, ..
        } => Some((*checkpoint, name.as_str())),
        _ => None,
    })
}

fn report(
    context: &mut Context,
    state: &State,
    plan: &Plan,
    n: &Numbers,
    events: &[Event],
    done: Option<(Duration, u64)>,
) -> Outcome {
    let names: Vec<&str> = plan.volumes.iter().map(|v| v.name.as_ref()).collect();
    let keeps = before(events).map(|(_, name)| name.to_owned());
    let affected = if plan.files {
        affected_files(state, events)
    } else {
        Vec::new()
    };
    if context.out.json {
        return context.out.object(json!({
            "dry_run": done.is_none(), "volumes": names, "to": plan.image.json(), "files_changed": n.files_changed, "files_back": n.files_back,
            "files_gone": n.files_gone, "blocks": n.blocks, "bytes": n.bytes, "before": keeps.as_ref().filter(|_| done.is_some()), "files": affected,
            "seq": done.map(|d| d.1), "seconds": done.map(|d| d.0.as_secs_f64()),
        }));
    }
    let of = crate::context::list(names.iter().copied());
    let verb = if done.is_some() {
        "rolled back"
    } else {
        "would roll back"
    };
    let what = if plan.files {
        format!("files of {of}")
    } else {
        of
    };
    let taken = done
        .map(|(taken, _)| format!(" in {}", units::seconds(taken)))
        .unwrap_or_default();
    context
        .out
        .line(format!("{verb} {what} to {}{taken}", plan.image.label()))?;
    let (changed, back, gone) = (
        units::counted(n.files_changed, "file"),
        units::count(n.files_back),
        units::count(n.files_gone),
    );
    context.out.line(format!(
        "  {changed} changed, {back} back, {gone} gone; {} ({})",
        units::counted(n.blocks, "block"),
        units::size(n.bytes)
    ))?;
    for file in &affected {
        if let (Some(what), Some(path)) = (file["what"].as_str(), file["path"].as_str()) {
            context.out.line(format!("    {what:<8}  {path}"))?;
        }
    }
    let first = plan
        .volumes
        .first()
        .map(|v| v.name.as_ref())
        .unwrap_or_default();
    match (done, keeps) {
        (Some(_), Some(name)) => {
            context
                .out
                .line(format!("  {name} keeps the state before (0 bytes moved)"))?;
            let one = if plan.volumes.len() == 1 {
                format!(" {first}")
            } else {
                String::new()
            };
            context
                .out
                .line(format!("  to reverse it: strand undo{one}"))
        }
        (None, Some(_)) => context
            .out
            .line("  a checkpoint auto-before-SEQ would keep the state before"),
        _ => context.out.line("  nothing differs"),
    }
}

/// Which files the events of a file rollback touch, and how.
fn affected_files(state: &State, events: &[Event]) -> Vec<Value> {
    let mut created: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    let mut files: Vec<Value> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for event in events {
        let (volume, ino, what, path) = match event {
            Event::Created {
                volume,
                dir,
                name,
                ino,
                ..
            } => {
                let live = state.volume(*volume).map(|v| &v.live);
                let dir = created
                    .get(dir)
                    .cloned()
                    .or_else(|| live?.path_of(*dir))
                    .unwrap_or_default();
                let path = if dir.is_empty() {
                    name.to_vec()
                } else {
                    [dir.as_slice(), b"/", name].concat()
                };
                created.insert(*ino, path.clone());
                (volume, ino, "back", Some(path))
            }
            Event::FileRestored { volume, ino, .. } => (volume, ino, "restored", None),
            Event::Unlinked { volume, ino, .. } => (volume, ino, "deleted", None),
            Event::AttributesSet { volume, ino, .. } => (volume, ino, "restored", None),
            _ => continue,
        };
        if !seen.insert(*ino) {
            continue;
        }
        let path = path
            .or_else(|| state.volume(*volume)?.live.path_of(*ino))
            .unwrap_or_default();
        files.push(json!({"path": units::rooted(&path), "what": what}));
    }
    files
}

/// The number of the change that these events undo or do again.
fn reversed(events: &[Event]) -> Option<Seq> {
    events.iter().find_map(|event| match event {
        Event::Undone { change, .. } => Some(*change),
        _ => None,
    })
}

/// Whoever names one volume does not expect others to go back with it.
fn concerns_only(name: &str, state: &State, events: &[Event], redo: bool) -> Outcome {
    let found = reversed(events).and_then(|seq| state.changes.iter().find(|c| c.seq == seq));
    let Some(found) = found.filter(|change| change.volumes.len() > 1) else {
        return Ok(());
    };
    let (verb, which) = if redo {
        ("redo", "undone ")
    } else {
        ("undo", "")
    };
    refuse(
        Refusal::new(Kind::NotAllowed, format!("cannot {verb} for {name} alone"))
            .why(format!(
                "its latest {which}change is {}, seq {}",
                change(state, found),
                found.seq
            ))
            .next(format!(
                "strand {verb} {name} --all does it for all of them"
            )),
    )
}

/// `undo` and `redo`.
pub(crate) fn undo(context: &mut Context, args: Undo, redo: bool) -> Outcome {
    let store = context.write()?;
    let before_state = store.state();
    let volume = args
        .volume
        .as_deref()
        .map(|name| volume(&before_state, name).map(|v| v.id))
        .transpose()?;
    let command = if redo {
        Command::Redo { volume }
    } else {
        Command::Undo { volume }
    };
    if let (Some(name), false) = (&args.volume, args.all) {
        let events = store.plan(context.actor(), command.clone())?;
        concerns_only(name, &before_state, &events, redo)?;
    }
    let started = Instant::now();
    let done = store.run_although(context.actor(), command, args.force)?;
    let taken = started.elapsed();
    store.settle()?;
    let state = store.state();
    context.close(store)?;
    let number = reversed(&done.events);
    let what = number
        .and_then(|n| {
            state
                .changes
                .iter()
                .chain(&before_state.changes)
                .find(|c| c.seq == n)
        })
        .map(|c| change(&state, c));
    let what = what.unwrap_or_else(|| "the latest change".into());
    let keeps = before(&done.events).map(|(_, name)| name.to_owned());
    if context.out.json {
        return context.out.object(json!({
            "redo": redo, "change": number, "what": what, "before": keeps, "seq": done.last, "seconds": taken.as_secs_f64(),
        }));
    }
    let (verb, reverse) = if redo {
        ("did again", "undo")
    } else {
        ("undid", "redo")
    };
    context
        .out
        .line(format!("{verb} {what} in {}", units::seconds(taken)))?;
    if let Some(name) = keeps {
        context
            .out
            .line(format!("  {name} keeps the state before (0 bytes moved)"))?;
    }
    let all = if args.all { " --all" } else { "" };
    let of = args
        .volume
        .map(|name| format!(" {name}{all}"))
        .unwrap_or_default();
    context
        .out
        .line(format!("  to reverse it: strand {reverse}{of}"))
}
