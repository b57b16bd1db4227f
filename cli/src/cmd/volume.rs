//! `strand volume …`

use crate::args::volume::{Name, Noun, Remove, Rename, Verb};
use crate::confirm::confirm;
use crate::context::{Context, volume};
use crate::error::{Outcome, refuse};
use crate::output::table::{Align, Table};
use crate::output::{units, words};
use crate::tree;
use rustix::process::{getgid, getuid};
use serde_json::{Value, json};
use strand_engine::{BLOCK, Command, Kind, Origin, Refusal, Source, State, Volume};

/// Permission bits of a new volume's root directory.
const ROOT_MODE: u32 = 0o755;

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        None | Some(Verb::List) => list(context),
        Some(Verb::Create(args)) => create(context, args),
        Some(Verb::Show(args)) => show(context, &args.name),
        Some(Verb::Rename(args)) => rename(context, args),
        Some(Verb::Remove(args)) => remove(context, args, "volume"),
    }
}

fn create(context: &mut Context, args: Name) -> Outcome {
    let store = context.write()?;
    let command = Command::VolumeCreate {
        name: args.name.clone(),
        mode: ROOT_MODE,
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
    };
    let done = store.run(context.actor(), command)?;
    context.close(store)?;
    if context.out.json {
        return context.out.object(
            json!({"volume": args.name, "seq": done.last, "time": units::json_time(done.time)}),
        );
    }
    context.out.line(format!("made the volume {}", args.name))
}

fn list(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    if context.out.json {
        let volumes: Vec<Value> = state.volumes.values().map(|v| as_json(&state, v)).collect();
        return context.out.object(json!({"volumes": volumes}));
    }
    if state.volumes.is_empty() {
        return context.out.line("no volumes: strand volume create NAME");
    }
    table(&state, state.volumes.values().map(AsRef::as_ref)).print(&mut context.out)
}

/// A table of volumes, in the order of their names.
pub(crate) fn table<'a>(state: &State, volumes: impl Iterator<Item = &'a Volume>) -> Table {
    let columns = [
        ("VOLUME", Align::Flexible),
        ("FILES", Align::Right),
        ("MAPPED", Align::Right),
        ("CHECKPOINTS", Align::Right),
        ("OWNED", Align::Right),
        ("FROM", Align::Flexible),
    ];
    let mut table = Table::new(&columns);
    let mut volumes: Vec<&Volume> = volumes.collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    for volume in volumes {
        let (files, blocks) = tree::totals(&volume.live);
        table.row(vec![
            volume.name.to_string(),
            units::count(files),
            units::blocks_size(blocks),
            units::count(volume.images.len() as u64),
            owned_text(volume),
            volume
                .origin
                .as_ref()
                .map(|o| origin(state, o))
                .unwrap_or_default(),
        ]);
    }
    table
}

/// What all checkpoints of a volume own together; `settling` where that is still being counted.
pub(crate) fn owned_text(volume: &Volume) -> String {
    if volume.settling() {
        "settling".into()
    } else {
        units::blocks_size(owned(volume))
    }
}

fn owned(volume: &Volume) -> u64 {
    volume
        .images
        .values()
        .map(|image| image.ledger.owned())
        .sum()
}

/// What a clone started from, as a view.
pub(crate) fn origin(state: &State, origin: &Origin) -> String {
    let name = |id| {
        let live = state
            .volumes
            .get(&id)
            .or_else(|| state.removed_volumes.get(&id));
        live.map_or_else(|| format!("(volume {id})"), |v| v.name.to_string())
    };
    match origin.source {
        Source::Live(volume) => name(volume),
        Source::Position(volume, seq) => format!("{}@seq:{seq}", name(volume)),
        Source::Checkpoint(volume, checkpoint) => {
            let found = state
                .checkpoints
                .get(&checkpoint)
                .or_else(|| state.removed_checkpoints.get(&checkpoint));
            let image = found.map_or_else(|| "(removed)".into(), |c| c.name.to_string());
            format!("{}@{image}", name(volume))
        }
    }
}

/// A volume for programs.
pub(crate) fn as_json(state: &State, volume: &Volume) -> Value {
    let (files, blocks) = tree::totals(&volume.live);
    json!({
        "name": volume.name.as_ref(), "id": volume.id.0, "created_seq": volume.created, "created": units::json_time(volume.created_time),
        "changed": units::json_time(volume.changed), "files": files, "mapped_bytes": blocks * BLOCK,
        "checkpoints": volume.images.len(), "owned_bytes": owned(volume).saturating_mul(BLOCK), "settling": volume.settling(),
        "clone_of": volume.origin.as_ref().map(|o| origin(state, o)),
    })
}

fn show(context: &mut Context, name: &str) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let volume = volume(&state, name)?;
    if context.out.json {
        let mut object = as_json(&state, volume);
        let images = volume.images.iter().filter_map(|(id, image)| {
            Some(json!({"checkpoint": state.checkpoints.get(id)?.name.as_ref(), "ledger": words::ledger_json(&image.ledger)}))
        });
        object["images"] = images.collect();
        return context.out.object(object);
    }
    let (files, blocks) = tree::totals(&volume.live);
    let head = context.out.bold(&volume.name);
    context.out.line(format!(
        "{head}  made at {}",
        words::position(volume.created, volume.created_time)
    ))?;
    if let Some(from) = &volume.origin {
        context
            .out
            .line(format!("  clone of     {}", origin(&state, from)))?;
    }
    context.out.line(format!(
        "  live         {}, {} mapped",
        units::counted(files, "file"),
        units::blocks_size(blocks)
    ))?;
    context
        .out
        .line(format!("  changed      {}", units::time(volume.changed)))?;
    let latest = volume
        .images
        .keys()
        .next_back()
        .and_then(|id| state.checkpoints.get(id));
    let latest = latest.map_or_else(
        || "none".into(),
        |c| {
            format!(
                "{}, the latest {} ({})",
                volume.images.len(),
                c.name,
                units::time(c.time)
            )
        },
    );
    context.out.line(format!("  checkpoints  {latest}"))?;
    context
        .out
        .line(format!("  they own     {}", owned_text(volume)))
}

fn rename(context: &mut Context, args: Rename) -> Outcome {
    let store = context.write()?;
    let id = volume(&store.state(), &args.name)?.id;
    let done = store.run(
        context.actor(),
        Command::VolumeRename {
            volume: id,
            name: args.new.clone(),
        },
    )?;
    context.close(store)?;
    if context.out.json {
        return context
            .out
            .object(json!({"volume": args.new, "was": args.name, "seq": done.last}));
    }
    if done.events.is_empty() {
        return context
            .out
            .line(format!("{} is its name already", args.new));
    }
    context.out.line(format!(
        "{} is {} now; strand undo reverses it",
        args.name, args.new
    ))
}

/// `volume remove` and `clone remove`; `noun` is what the user called it.
pub(crate) fn remove(context: &mut Context, args: Remove, noun: &str) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, &args.name)?;
    if noun == "clone" && found.origin.is_none() {
        return refuse(
            Refusal::new(Kind::NotAllowed, format!("{} is no clone", args.name))
                .next(format!("strand volume remove {}", args.name)),
        );
    }
    let command = Command::VolumeRemove {
        volume: found.id,
        with_checkpoints: args.with_checkpoints,
    };
    // What cannot be done is refused before anyone is asked about it.
    store.plan(context.actor(), command.clone())?;
    let (files, blocks) = tree::totals(&found.live);
    let images = if found.images.is_empty() {
        String::new()
    } else {
        format!(
            ", and {}",
            units::counted(found.images.len() as u64, "image")
        )
    };
    let loses = format!(
        "it has {}, {}{images}",
        units::counted(files, "file"),
        units::blocks_size(blocks)
    );
    confirm(context, &format!("remove the {noun} {}", args.name), &loses)?;
    let done = store.run(context.actor(), command)?;
    store.settle()?;
    context.close(store)?;
    if context.out.json {
        return context.out.object(json!({"removed": args.name, "seq": done.last, "files": files, "mapped_bytes": blocks * BLOCK}));
    }
    context
        .out
        .line(format!("removed the {noun} {}; {loses}", args.name))
}
