//! `evolve`: the only code that changes state. Pure and deterministic; total on events that [`admit`](crate::admit()) let through.

mod checkpoints;
mod files;
mod space;

pub(crate) use files::{restorable, restore_changes};

use crate::event::{Event, Placed};
use crate::ids::{ActorId, Ino, Seq, VolumeId};
use crate::state::{Change, State, UNDO_DEPTH, Volume, What};
use crate::views::Views;
use std::sync::Arc;

/// Folds one admitted event into the state. Never reads a clock, never fails.
pub fn evolve(state: &mut State, placed: &Placed<'_>, views: &Views) {
    space::pass_time(state, placed);
    state.seq = placed.seq;
    state.time = placed.time;
    match placed.event {
        Event::StoreCreated { .. } => state.created = Some(placed.time),
        Event::ActorSeen { actor, who } => {
            let who = Arc::new(who.clone());
            state.actors.insert(*actor, who.clone());
            state.actor_ids.insert(who, *actor);
            state.next_actor = ActorId(actor.0 + 1);
        }
        Event::ClockJumped { .. } | Event::Refused { .. } | Event::QuotaReached { .. } => {}
        Event::DigestRecorded { at, digest } => state.digest = Some((*at, *digest)),
        Event::VolumeCreated { .. }
        | Event::VolumeRenamed { .. }
        | Event::VolumeRemoved { .. }
        | Event::VolumeRestored { .. }
        | Event::CloneCreated { .. }
        | Event::CloneReset { .. }
        | Event::CopiedOut { .. }
        | Event::CopiedOutScope { .. }
        | Event::Settled { .. }
        | Event::CheckpointCreated { .. }
        | Event::CheckpointRemoved { .. }
        | Event::CheckpointRestored { .. }
        | Event::CheckpointRenamed { .. }
        | Event::CheckpointHeld { .. }
        | Event::CheckpointFlagged { .. }
        | Event::RolledBack { .. }
        | Event::FilesRolledBack { .. }
        | Event::Undone { .. }
        | Event::ChangeMarked { .. }
        | Event::CheckpointConverted { .. }
        | Event::CheckpointDropped { .. }
        | Event::QuotaSet { .. } => checkpoints::evolve(state, placed, views),
        Event::Relocated { .. }
        | Event::SegmentsReclaimed { .. }
        | Event::RetentionSet { .. }
        | Event::HistoryReleased { .. }
        | Event::CheckpointGivenUp { .. }
        | Event::ScheduleSet { .. }
        | Event::ArchiveMoved { .. }
        | Event::AuditSet { .. } => space::evolve(state, placed),
        _ => files::evolve(state, placed, views),
    }
    if placed.last {
        end_of_command(state, placed);
    }
}

/// A command ended: a boundary. A new administrative change makes what was undone before it unreachable.
fn end_of_command(state: &mut State, placed: &Placed<'_>) {
    if !matches!(placed.event, Event::Undone { .. }) {
        let boundary = state.boundary;
        let new: Vec<VolumeId> = state
            .changes
            .iter()
            .rev()
            .take_while(|c| c.seq > boundary)
            .flat_map(|c| c.volumes.iter().copied())
            .collect();
        if !new.is_empty() {
            state
                .changes
                .retain(|c| c.undone.is_none() || !c.volumes.iter().any(|v| new.contains(v)));
        }
    }
    while state.changes.len() > UNDO_DEPTH {
        if let Some(oldest) = state.changes.pop_front() {
            forget(state, &oldest);
        }
    }
    state.boundary = state.seq;
    state.boundary_ino = state.next_ino;
}

/// A change out of reach: what only undo could bring back is gone.
fn forget(state: &mut State, change: &Change) {
    match &change.what {
        What::VolumeRemoved { volume } => {
            state.removed_volumes.remove(volume);
        }
        What::CheckpointRemoved { checkpoint } => {
            if let Some(removed) = state.removed_checkpoints.remove(checkpoint) {
                for id in &removed.volumes {
                    with_volume(state, *id, |volume| {
                        volume.removed_images.remove(checkpoint);
                    });
                }
            }
        }
        _ => {}
    }
}

fn with_volume<R>(
    state: &mut State,
    id: VolumeId,
    change: impl FnOnce(&mut Volume) -> R,
) -> Option<R> {
    if let Some(volume) = state.volumes.get_mut(&id) {
        return Some(change(Arc::make_mut(volume)));
    }
    let removed = state.removed_volumes.get_mut(&id)?;
    Some(change(Arc::make_mut(removed)))
}

fn push_change(state: &mut State, seq: Seq, volumes: Vec<VolumeId>, what: What) {
    let time = state.time;
    state.changes.push_back(Arc::new(Change {
        seq,
        time,
        volumes,
        what,
        undone: None,
    }));
}

fn use_ino(state: &mut State, ino: Ino) {
    state.next_ino = Ino(ino.0 + 1);
}

#[allow(clippy::cast_possible_wrap)] // 2^63 ns is the year 2262; admit refuses later times
fn stamp(placed: &Placed<'_>) -> i64 {
    placed.time as i64
}
