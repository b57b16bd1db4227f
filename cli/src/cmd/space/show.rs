//! `strand space`: who owns what.

use crate::context::{Context, Opened};
use crate::error::{Outcome, on_path};
use crate::output::table::{Align, Table};
use crate::output::units;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use strand_engine::State;
use strand_replay::space::{SpaceReport, report};
use strand_serve::control::message::Leased;

/// Checkpoints that are listed for people; `--json` has them all.
const SHOWN: usize = 12;

/// From less recorded time, in ns, nothing is said about a day.
const ENOUGH: u64 = 3_600_000_000_000;

/// Runs it.
pub(super) fn run(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let (read_by, kept) = readers(&store)?;
    let found = report(&store, kept)?;
    let disk = on_disk(context.store_path()?)?;
    if context.out.json {
        return context.out.object(as_json(&state, &found, &read_by, disk));
    }
    context.out.line(format!(
        "{} on disk: {} of journal, {} of states and the rest",
        units::size(disk),
        units::size(found.journal),
        units::size(disk.saturating_sub(found.journal))
    ))?;
    for (label, bytes, what) in [
        ("live", found.live, "what volumes show"),
        ("checkpoints", found.checkpoints, "what they show besides"),
        ("clones", found.origins, "what they can be reset to besides"),
        (
            "history",
            found.history,
            "what only the past shows: strand retention show",
        ),
        ("readers", found.readers, "what only those keep who read it"),
        (
            "dead",
            found.dead,
            "what nobody can reach: strand space reclaim",
        ),
        ("events", found.events + found.archives, ""),
        ("made ahead", found.ahead, "for what is written next"),
    ] {
        let what = match label {
            "readers" if bytes == 0 => continue,
            "events" => {
                let a_day = match state.elapsed >= ENOUGH {
                    true => format!(", {} a day", units::size(found.events_a_day)),
                    false => String::new(),
                };
                let archived = units::size(found.archives);
                format!("the audit trail{a_day}; {archived} of it archived")
            }
            _ => what.to_owned(),
        };
        context
            .out
            .line(format!("  {label:<11} {:>10}  {what}", units::size(bytes)))?;
    }
    for lease in read_by.iter().take(SHOWN) {
        context
            .out
            .line(format!("  kept for readers: {}", lease.by))?;
    }
    context.out.line("")?;
    volumes(&state, &found).print(&mut context.out)?;
    if found.each_checkpoint.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    checkpoints(&state, &found).print(&mut context.out)?;
    let more = found.each_checkpoint.len().saturating_sub(SHOWN);
    match more {
        0 => Ok(()),
        more => context.out.line(format!(
            "… {}: --json has them all",
            units::counted(more as u64, "more checkpoint")
        )),
    }
}

/// Who reads what through the daemon just now, and how many blocks are kept for nobody else.
fn readers(store: &Opened) -> Outcome<(Vec<Leased>, u64)> {
    match store.daemon() {
        Some(daemon) => Ok((daemon.leases()?, daemon.kept_for_readers()?)),
        None => Ok((Vec::new(), 0)),
    }
}

/// What the store's directory takes, as `du` counts it.
pub(crate) fn on_disk(path: &Path) -> Outcome<u64> {
    let mut sum = 0;
    let mut stack = vec![path.to_owned()];
    while let Some(dir) = stack.pop() {
        let entries = fs::read_dir(&dir).map_err(on_path("read", &dir))?;
        for entry in entries.flatten() {
            // What is removed meanwhile takes nothing.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            sum += found.blocks() * 512;
            if found.is_dir() {
                stack.push(entry.path());
            }
        }
    }
    Ok(sum)
}

fn volumes(state: &State, found: &SpaceReport) -> Table {
    let mut table = Table::new(&[
        ("VOLUME", Align::Flexible),
        ("LOGICAL", Align::Right),
        ("STORED", Align::Right),
        ("CHECKPOINTS OWN", Align::Right),
    ]);
    for space in &found.volumes {
        let name = state.volume(space.volume).map(|v| v.name.to_string());
        table.row(vec![
            name.unwrap_or_default(),
            units::size(space.logical),
            units::size(space.stored),
            units::size(space.owned),
        ]);
    }
    table
}

fn checkpoints(state: &State, found: &SpaceReport) -> Table {
    let mut table = Table::new(&[
        ("CHECKPOINT", Align::Flexible),
        ("OWNS", Align::Right),
        ("REMOVED IT FREES", Align::Right),
    ]);
    let mut rows: Vec<_> = found.each_checkpoint.iter().collect();
    rows.sort_by_key(|space| std::cmp::Reverse((space.unique, space.checkpoint)));
    for space in rows.into_iter().take(SHOWN) {
        let name = state.checkpoints.get(&space.checkpoint);
        table.row(vec![
            name.map(|c| c.name.to_string()).unwrap_or_default(),
            units::size(space.owned),
            units::size(space.unique),
        ]);
    }
    table
}

fn as_json(state: &State, found: &SpaceReport, read_by: &[Leased], disk: u64) -> Value {
    let volumes = found.volumes.iter().map(|space| {
        let volume = state.volume(space.volume);
        json!({
            "volume": volume.map(|v| v.name.as_ref()), "clone": volume.is_some_and(|v| v.origin.is_some()),
            "logical_bytes": space.logical, "stored_bytes": space.stored, "owned_bytes": space.owned,
        })
    });
    let volumes: Vec<Value> = volumes.collect();
    let checkpoints = found.each_checkpoint.iter().map(|space| {
        let found = state.checkpoints.get(&space.checkpoint);
        json!({
            "checkpoint": found.map(|c| c.name.as_ref()), "owned_bytes": space.owned, "unique_bytes": space.unique,
        })
    });
    let checkpoints: Vec<Value> = checkpoints.collect();
    json!({
        "disk_bytes": disk, "journal_bytes": found.journal, "live_bytes": found.live, "checkpoints_bytes": found.checkpoints,
        "clones_bytes": found.origins, "history_bytes": found.history, "readers_bytes": found.readers, "reclaimable_bytes": found.dead, "events_bytes": found.events,
        "archives_bytes": found.archives, "ahead_bytes": found.ahead, "events_bytes_a_day": found.events_a_day, "window_seq": found.window,
        "volumes": volumes, "checkpoints": checkpoints, "kept": read_by.iter().map(|lease| &lease.by).collect::<Vec<_>>(),
    })
}
