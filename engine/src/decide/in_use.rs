//! What is in use stays: nothing is pulled away from under those who write it or read it, unless they were told (`--force`).

use crate::command::{Command, Request};
use crate::event::{Event, Source};
use crate::ids::{CheckpointId, Ino, VolumeId};
use crate::in_use::{InUse, Swapped, Writer, swapped};
use crate::refusal::{Kind, Refusal};
use crate::state::{Checkpoint, State};
use std::collections::BTreeSet;

/// Refuses decided events that would take away what is in use.
pub(super) fn refuse_busy(
    state: &State,
    request: &Request<'_>,
    decided: &[Event],
) -> Result<(), Refusal> {
    let in_use = request.in_use;
    if request.command.swaps() {
        for (volume, what) in swapped(decided) {
            if what == Swapped::Removed {
                stays(state, in_use, volume)?;
            } else if !in_use.force {
                not_written(state, request, volume, &what)?;
            }
        }
    }
    for event in decided {
        let (Event::CheckpointRemoved { checkpoint }
        | Event::CheckpointGivenUp { checkpoint, .. }
        | Event::CheckpointDropped { checkpoint, .. }
        | Event::CheckpointConverted { checkpoint, .. }) = event
        else {
            continue;
        };
        if let (Some(by), Some(found)) = (
            holder(in_use, *checkpoint),
            state.checkpoints.get(checkpoint),
        ) {
            return Err(read(found, by));
        }
    }
    Ok(())
}

/// Who reads a checkpoint, if anybody.
pub(super) fn holder(in_use: &InUse, checkpoint: CheckpointId) -> Option<&str> {
    let mut held = in_use.held.iter();
    held.find(|(source, _)| matches!(source, Source::Checkpoint(_, id) if *id == checkpoint))
        .map(|(_, by)| by.as_str())
}

fn read(found: &Checkpoint, by: &str) -> Refusal {
    Refusal::new(Kind::Busy, format!("cannot give up {}", found.name))
        .why(format!("it is in use: {by}"))
        .next("end that first: strand umount DIR, or strand job list")
}

fn stays(state: &State, in_use: &InUse, id: VolumeId) -> Result<(), Refusal> {
    let name = state.volume(id).map_or("", |v| &*v.name);
    let refusal = Refusal::new(Kind::Busy, format!("cannot remove volume {name}"));
    if let Some((_, at)) = in_use.mounted.iter().find(|(volume, _)| *volume == id) {
        return Err(refusal
            .why(format!("it is mounted at {at}"))
            .next(format!("strand umount {at}")));
    }
    match in_use.held.iter().find(|(source, _)| source.volume() == id) {
        Some((_, by)) => Err(refusal
            .why(format!("it is in use: {by}"))
            .next("end that first: strand umount DIR, or strand job list")),
        None => Ok(()),
    }
}

fn not_written(
    state: &State,
    request: &Request<'_>,
    id: VolumeId,
    what: &Swapped,
) -> Result<(), Refusal> {
    let writers = request.in_use.writers.iter();
    let writers: Vec<&Writer> = writers
        .filter(|w| w.volume == id && what.holds(w.ino))
        .collect();
    let (Some(first), Some(volume)) = (writers.first(), state.volume(id)) else {
        return Ok(());
    };
    let files: BTreeSet<Ino> = writers.iter().map(|w| w.ino).collect();
    let doing = match request.command {
        Command::Undo { .. } => format!("undo a change of {}", volume.name),
        Command::Redo { .. } => format!("redo a change of {}", volume.name),
        Command::CloneReset { .. } => format!("reset {}", volume.name),
        _ => format!("roll back {}", volume.name),
    };
    let (count, more) = match files.len() {
        1 => ("1 file is open for writing".to_owned(), String::new()),
        n => (
            format!("{n} files are open for writing"),
            format!(" (and {} more)", n - 1),
        ),
    };
    let path = volume.live.path_of(first.ino).map_or_else(
        || format!("inode {}", first.ino),
        |path| String::from_utf8_lossy(&path).into_owned(),
    );
    Err(Refusal::new(Kind::Busy, format!("cannot {doing}: {count}"))
        .why(format!("{}[{}] has {path}{more}", first.name, first.pid))
        .next("stop it, or add --force; strand status"))
}
