//! Whether the parts of a state belong together: names, numbers and positions within bounds, every image with its
//! checkpoint and every checkpoint with its images.

use super::decode::Wrong;
use crate::ids::{CheckpointId, EventTime, Seq, VolumeId};
use crate::name::check_object_name;
use crate::state::{Checkpoint, Image, Pending, State, UNDO_DEPTH, Volume};
use imbl::OrdMap;
use std::sync::Arc;

type Checked = Result<(), Wrong>;

fn require(holds: bool, otherwise: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// Checks a state whose trees are good. `greatest_ino` is the greatest inode number in any of them.
pub(super) fn check_state(state: &State, greatest_ino: u64) -> Checked {
    require(
        greatest_ino < state.next_ino.0,
        "an inode has a number not given out yet",
    )?;
    require(
        state.boundary_ino <= state.next_ino,
        "the inode counter went back",
    )?;
    require(state.boundary <= state.seq, "the last boundary lies ahead")?;
    require(
        state.digest.is_none_or(|(seq, _)| seq <= state.seq),
        "a digest is recorded of what lies ahead",
    )?;
    require(
        state.created.is_none_or(|time| time <= state.time),
        "the store was created later than now",
    )?;
    require(
        state.actors.keys().all(|id| *id < state.next_actor),
        "an actor has a number not given out yet",
    )?;
    for (id, volume) in state.volumes.iter().chain(&state.removed_volumes) {
        require(
            *id == volume.id && id.0 > 0 && *id < state.next_volume,
            "a volume has an impossible number",
        )?;
        check_volume(state, volume)?;
    }
    let twice = state
        .removed_volumes
        .keys()
        .any(|id| state.volumes.contains_key(id));
    require(!twice, "a volume is there and removed")?;
    for (id, checkpoint) in &state.checkpoints {
        check_checkpoint(state, *id, checkpoint, |volume| &volume.images)?;
    }
    for (id, checkpoint) in &state.removed_checkpoints {
        require(
            !state.checkpoints.contains_key(id),
            "a checkpoint is there and removed",
        )?;
        check_checkpoint(state, *id, checkpoint, |volume| &volume.removed_images)?;
    }
    check_changes(state)
}

fn happened(state: &State, seq: Seq, time: EventTime) -> Checked {
    require(
        seq > 0 && seq <= state.seq && time <= state.time,
        "something happened later than now",
    )
}

fn check_volume(state: &State, volume: &Volume) -> Checked {
    check_object_name(&volume.name)?;
    happened(state, volume.created, volume.created_time)?;
    require(
        volume.changed <= state.time,
        "a volume changed later than now",
    )?;
    let belongs = |images: &OrdMap<CheckpointId, Image>,
                   checkpoints: &OrdMap<CheckpointId, Arc<Checkpoint>>| {
        images.keys().all(|id| {
            checkpoints
                .get(id)
                .is_some_and(|c| c.volumes.binary_search(&volume.id).is_ok())
        })
    };
    require(
        belongs(&volume.images, &state.checkpoints),
        "an image has no checkpoint",
    )?;
    require(
        belongs(&volume.removed_images, &state.removed_checkpoints),
        "a removed image has no removed checkpoint",
    )?;
    let mut scopes = volume.pending.iter().map(|pending| pending.scope);
    require(
        scopes.clone().is_sorted_by(|a, b| a < b) && scopes.all(|s| s > 0 && s <= state.seq),
        "a scope is out of order",
    )?;
    let open = |pending: &Arc<Pending>| pending.after.is_none();
    require(
        volume
            .pending
            .iter()
            .rev()
            .skip(1)
            .all(|pending| !open(pending)),
        "a scope is open behind another",
    )
}

fn check_checkpoint(
    state: &State,
    id: CheckpointId,
    checkpoint: &Checkpoint,
    images: impl Fn(&Volume) -> &OrdMap<CheckpointId, Image>,
) -> Checked {
    require(
        id == checkpoint.id && id.0 > 0 && id < state.next_checkpoint,
        "a checkpoint has an impossible number",
    )?;
    check_object_name(&checkpoint.name)?;
    happened(state, checkpoint.seq, checkpoint.time)?;
    require(
        checkpoint.actor < state.next_actor,
        "a checkpoint was made by nobody",
    )?;
    require(!checkpoint.volumes.is_empty(), "a checkpoint has no volume")?;
    require(
        checkpoint.volumes.is_sorted_by(|a, b| a < b),
        "the volumes of a checkpoint are out of order",
    )?;
    for member in &checkpoint.volumes {
        require(
            *member < state.next_volume,
            "a checkpoint has a volume not made yet",
        )?;
        // A volume removed long ago is forgotten; its checkpoints may outlive it.
        let there = state
            .volumes
            .get(member)
            .or_else(|| state.removed_volumes.get(member));
        require(
            there.is_none_or(|volume| images(volume).contains_key(&id)),
            "a checkpoint lacks an image",
        )?;
    }
    Ok(())
}

fn check_changes(state: &State) -> Checked {
    require(
        state.changes.len() <= UNDO_DEPTH,
        "there are more changes than can be undone",
    )?;
    let mut last = 0;
    for change in &state.changes {
        require(change.seq > last, "changes are out of order")?;
        happened(state, change.seq, change.time)?;
        require(
            change.volumes.is_sorted_by(|a: &VolumeId, b| a < b),
            "the volumes of a change are out of order",
        )?;
        last = change.seq;
    }
    Ok(())
}
