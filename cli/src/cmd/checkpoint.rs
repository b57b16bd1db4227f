//! `strand checkpoint …`, all but the two views of its content (`map` and `diff`).

use super::checkpoint_view;
use super::removal::{self, movement};
use crate::args::checkpoint::{Create, Flag, Flagged, List, Noun, Rename, Verb};
use crate::confirm::confirm;
use crate::context::{self, Context, checkpoint, volume};
use crate::error::{Outcome, refuse};
use crate::output::table::{Align, Table};
use crate::output::{units, words};
use crate::tree;
use serde_json::{Value, json};
use strand_engine::{
    BLOCK, Checkpoint, Command, Event, Image, Kind, Ledger, Refusal, State, Volume,
};
use strand_replay::log::actor_value;

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        None => list(context, List { volume: None }),
        Some(Verb::List(args)) => list(context, args),
        Some(Verb::Create(args)) => create(context, args),
        Some(Verb::Show(args)) => show(context, &args.name),
        Some(Verb::Map(args)) => checkpoint_view::map(context, args),
        Some(Verb::Diff(args)) => checkpoint_view::diff(context, args),
        Some(Verb::Rename(args)) => rename(context, args),
        Some(Verb::Remove(args)) => removal::run(context, args),
        Some(Verb::Hold(args)) => hold(context, &args.name, true),
        Some(Verb::Release(args)) => hold(context, &args.name, false),
        Some(Verb::Set(args)) => flag(context, args, true),
        Some(Verb::Clear(args)) => flag(context, args, false),
    }
}

fn create(context: &mut Context, args: Create) -> Outcome {
    let store = context.command()?;
    let members = store.volumes(&args.volume)?;
    let mut ids: Vec<_> = members.iter().map(|v| v.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let command = Command::CheckpointCreate {
        name: args.name,
        volumes: ids,
        nomount: args.nomount,
        removable: args.removable,
        nodata: args.nodata,
        note: args.note,
    };
    let done = store.run(context.actor(), command)?;
    store.close()?;
    let made = done.events.iter().find_map(|event| match event {
        Event::CheckpointCreated { name, .. } => Some(name.as_ref()),
        _ => None,
    });
    let name = made.unwrap_or("");
    if context.out.json {
        let volumes: Vec<&str> = members.iter().map(|v| v.name.as_ref()).collect();
        let object = json!({"checkpoint": name, "volumes": volumes, "nodata": args.nodata, "seq": done.last, "time": units::json_time(done.time)});
        return context.out.object(object);
    }
    let of = context::list(members.iter().map(|v| v.name.as_ref()));
    let at = words::position(done.last, done.time);
    context.out.line(if args.nodata {
        format!("nodata checkpoint {name} of {of} at {at}: it remembers which blocks change")
    } else {
        format!("checkpoint {name} of {of} at {at} (0 bytes moved)")
    })
}

/// What a checkpoint keeps, over all its volumes.
pub(super) struct Whole {
    mapped: u64,
    files: u64,
    pub(super) ledger: Ledger,
    settling: bool,
}

pub(super) fn whole(state: &State, checkpoint: &Checkpoint) -> Whole {
    let mut whole = Whole {
        mapped: 0,
        files: 0,
        ledger: Ledger::default(),
        settling: false,
    };
    for (volume, image) in images(state, checkpoint) {
        let (files, blocks) = tree::totals(&image.root);
        whole.files += files;
        whole.mapped += blocks;
        whole.ledger.copied_out += image.ledger.copied_out;
        whole.ledger.handed_in += image.ledger.handed_in;
        whole.ledger.handed_down += image.ledger.handed_down;
        whole.ledger.released += image.ledger.released;
        whole.settling |= volume.settling();
    }
    whole
}

fn images<'a>(
    state: &'a State,
    checkpoint: &'a Checkpoint,
) -> impl Iterator<Item = (&'a Volume, &'a Image)> {
    checkpoint.volumes.iter().filter_map(|id| {
        let volume = state.volume(*id)?;
        Some((volume.as_ref(), volume.images.get(&checkpoint.id)?))
    })
}

fn flags(state: &State, checkpoint: &Checkpoint) -> String {
    let kept = images(state, checkpoint)
        .filter(|(_, image)| !image.nodata)
        .count();
    let nodata = images(state, checkpoint).count() - kept;
    let flags = [
        ("nodata", nodata > 0 && kept == 0),
        ("part-nodata", nodata > 0 && kept > 0),
        ("held", checkpoint.held),
        ("removable", checkpoint.removable),
        ("nomount", checkpoint.nomount),
    ];
    flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(",")
}

fn list(context: &mut Context, args: List) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let only = args
        .volume
        .as_deref()
        .map(|name| volume(&state, name))
        .transpose()?
        .map(|v| v.id);
    let rows: Vec<_> = state
        .checkpoints
        .values()
        .rev()
        .filter(|c| only.is_none_or(|id| c.volumes.contains(&id)))
        .collect();
    if context.out.json {
        let rows: Vec<Value> = rows.iter().map(|c| as_json(&state, c)).collect();
        return context.out.object(json!({"checkpoints": rows}));
    }
    if rows.is_empty() {
        return context
            .out
            .line("no checkpoints: strand checkpoint create NAME --volume VOL");
    }
    let mut table = Table::new(&[
        ("CHECKPOINT", Align::Flexible),
        ("VOLUMES", Align::Flexible),
        ("TIME", Align::Left),
        ("OWNED", Align::Right),
        ("FLAGS", Align::Left),
    ]);
    for c in rows {
        let whole = whole(&state, c);
        let volumes: Vec<&str> = images(&state, c).map(|(v, _)| v.name.as_ref()).collect();
        let owned = if whole.settling {
            "settling".into()
        } else {
            units::blocks_size(whole.ledger.owned())
        };
        table.row(vec![
            c.name.to_string(),
            volumes.join(","),
            units::short_time(c.time),
            owned,
            flags(&state, c),
        ]);
    }
    table.print(&mut context.out)
}

fn as_json(state: &State, checkpoint: &Checkpoint) -> Value {
    let whole = whole(state, checkpoint);
    let volumes: Vec<Value> = images(state, checkpoint)
        .map(|(volume, image)| {
            let (files, blocks) = tree::totals(&image.root);
            json!({
                "volume": volume.name.as_ref(), "files": files, "mapped_blocks": blocks, "mapped_bytes": blocks * BLOCK,
                "ledger": words::ledger_json(&image.ledger), "settling": volume.settling(),
                "nodata": image.nodata, "changed_blocks": image.nodata.then_some(image.marks),
            })
        })
        .collect();
    json!({
        "name": checkpoint.name.as_ref(), "id": checkpoint.id.0, "seq": checkpoint.seq, "time": units::json_time(checkpoint.time),
        "actor": state.actors.get(&checkpoint.actor).map(|a| actor_value(a)),
        "held": checkpoint.held, "removable": checkpoint.removable, "nomount": checkpoint.nomount, "note": checkpoint.note.as_ref(),
        "owned_blocks": whole.ledger.owned(), "owned_bytes": whole.ledger.owned().saturating_mul(BLOCK), "settling": whole.settling,
        "volumes": volumes,
    })
}

fn show(context: &mut Context, name: &str) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let c = checkpoint(&state, name)?;
    if context.out.json {
        return context.out.object(as_json(&state, c));
    }
    let head = context.out.bold(&c.name);
    let volumes: Vec<&str> = images(&state, c).map(|(v, _)| v.name.as_ref()).collect();
    context
        .out
        .line(format!("{head}  checkpoint of {}", context::list(volumes)))?;
    context
        .out
        .line(format!("  taken at   {}", words::position(c.seq, c.time)))?;
    context
        .out
        .line(format!("  by         {}", words::who_id(&state, c.actor)))?;
    if !c.note.is_empty() {
        context
            .out
            .line(format!("  note       {}", units::path(c.note.as_bytes())))?;
    }
    let flags = flags(&state, c);
    if !flags.is_empty() {
        context
            .out
            .line(format!("  flags      {}", flags.replace(',', ", ")))?;
    }
    for (volume, image) in images(&state, c) {
        let (files, blocks) = tree::totals(&image.root);
        let owned = image.ledger.owned();
        let name = context.out.bold(&volume.name);
        context.out.line(name)?;
        context.out.line(format!(
            "  image      {}, {} mapped",
            units::counted(files, "file"),
            units::blocks_size(blocks)
        ))?;
        let settling = if volume.settling() { "; settling" } else { "" };
        if image.nodata {
            context.out.line(format!(
                "  changed    {} ({}), none of it kept{settling}",
                units::blocks_size(image.marks),
                units::counted(image.marks, "block")
            ))?;
            continue;
        }
        let full = units::percent(owned, blocks);
        context.out.line(format!(
            "  full       {full}: it owns {} ({}){settling}",
            units::blocks_size(owned),
            units::counted(owned, "block")
        ))?;
        context
            .out
            .line(format!("  ledger     {}", words::ledger(&image.ledger)))?;
        context.out.line(format!(
            "  passed to {}: {} (0 bytes moved)",
            c.name,
            units::counted(image.ledger.copied_out, "block")
        ))?;
    }
    Ok(())
}

fn rename(context: &mut Context, args: Rename) -> Outcome {
    let store = context.write()?;
    let id = checkpoint(&store.state(), &args.name)?.id;
    let done = store.run(
        context.actor(),
        Command::CheckpointRename {
            checkpoint: id,
            name: args.new.clone(),
        },
    )?;
    context.close(store)?;
    if context.out.json {
        return context
            .out
            .object(json!({"checkpoint": args.new, "was": args.name, "seq": done.last}));
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

fn hold(context: &mut Context, name: &str, held: bool) -> Outcome {
    let store = context.write()?;
    let id = checkpoint(&store.state(), name)?.id;
    let done = store.run(
        context.actor(),
        Command::CheckpointHold {
            checkpoint: id,
            held,
        },
    )?;
    context.close(store)?;
    if context.out.json {
        return context
            .out
            .object(json!({"checkpoint": name, "held": held, "seq": done.last}));
    }
    let what = if held {
        "is held: it cannot be removed"
    } else {
        "is no longer held"
    };
    context.out.line(format!("{name} {what}"))
}

fn flag(context: &mut Context, args: Flagged, set: bool) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = checkpoint(&state, &args.name)?;
    let id = found.id;
    let nodata = args.flags.contains(&Flag::Nodata);
    if nodata && !set {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot clear nodata of {}", args.name),
            )
            .why("what it kept is gone, or was never kept")
            .next("strand checkpoint create NAME takes a new one with data"),
        );
    }
    if nodata {
        let convert = Command::CheckpointConvert { checkpoint: id };
        if !store.plan(context.actor(), convert)?.is_empty() {
            let owned = units::blocks_size(whole(&state, found).ledger.owned());
            confirm(
                context,
                &format!("make the checkpoint {} nodata", args.name),
                &format!("its images go for good; it owns {owned}"),
            )?;
        }
    }
    let wanted = |flag| args.flags.contains(&flag).then_some(set);
    let command = Command::CheckpointFlag {
        checkpoint: id,
        removable: wanted(Flag::Removable),
        nomount: wanted(Flag::Nomount),
    };
    let mut done = store.run(context.actor(), command)?;
    if nodata {
        let convert = Command::CheckpointConvert { checkpoint: id };
        done = store.run(context.actor(), convert)?;
        store.settle()?;
    }
    let moved = movement(&state, &store.state(), found);
    let state = store.state();
    context.close(store)?;
    let c = checkpoint(&state, &args.name)?;
    if context.out.json {
        let converted = images(&state, c).all(|(_, image)| image.nodata);
        return context.out.object(json!({"checkpoint": args.name, "removable": c.removable, "nomount": c.nomount, "nodata": converted, "seq": done.last}));
    }
    if nodata && !done.events.is_empty() {
        context.out.line(format!(
            "{} keeps no images any more{}; {} released",
            args.name,
            moved.handed_text(),
            units::counted(moved.released, "block")
        ))?;
    }
    let flags = flags(&state, c);
    context.out.line(format!(
        "{}: {}",
        args.name,
        if flags.is_empty() {
            "no flags".into()
        } else {
            flags.replace(',', ", ")
        }
    ))
}
