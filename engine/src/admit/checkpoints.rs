//! Admission of events about volumes, checkpoints and ownership.

use super::files::tree;
use super::{Admitted, require, some, text};
use crate::block::MAX_FILE_BLOCKS;
use crate::damage::Damage;
use crate::event::{Event, MAX_MEMBERS, MAX_PATHS, MAX_RANGES, MAX_SHIFTS, Placed, Range, Source};
use crate::ids::{CheckpointId, Ino, VolumeId};
use crate::name::check_object_name;
use crate::state::{Checkpoint, Image, State, Volume};
use crate::views::Views;
use std::sync::Arc;

pub(super) fn admit(state: &State, placed: &Placed<'_>, views: &Views) -> Admitted {
    match placed.event {
        Event::VolumeCreated {
            volume,
            name,
            root,
            mode,
            ..
        } => {
            new_volume(state, *volume, name)?;
            require(
                *root == state.next_ino && root.0 < u64::MAX,
                "the inode's number is not the next one",
            )?;
            require(*mode <= 0o7777, "the mode has bits that are no permissions")
        }
        Event::CloneCreated {
            volume,
            name,
            source,
        } => {
            new_volume(state, *volume, name)?;
            known_source(state, *source, placed, views)
        }
        Event::VolumeRenamed { volume: id, name } => {
            volume(state, *id)?;
            free_volume_name(state, name)
        }
        Event::VolumeRemoved { volume: id } => require(
            volume(state, *id)?.images.is_empty(),
            "a volume with checkpoints cannot go",
        ),
        Event::VolumeRestored { volume } => {
            let removed = some(
                state.removed_volumes.get(volume),
                "the volume was not removed, or is forgotten",
            )?;
            require(
                !state.volume_names.contains_key(&removed.name),
                "the volume's name is taken",
            )
        }
        Event::CloneReset { volume: id, .. } => require(
            volume(state, *id)?.origin.is_some(),
            "the volume is no clone",
        ),
        Event::CopiedOut {
            volume,
            checkpoint,
            ino,
            ranges,
            ..
        } => {
            let image = image(state, *volume, *checkpoint)?;
            require(!image.nodata, "a nodata image gets a before-image")?;
            blocks_of_a_file(state, *volume, *ino, ranges)
        }
        Event::ChangeMarked {
            volume,
            checkpoint,
            ino,
            ranges,
            ..
        } => {
            let image = image(state, *volume, *checkpoint)?;
            require(image.nodata, "an image with data marks a change")?;
            blocks_of_a_file(state, *volume, *ino, ranges)
        }
        Event::CopiedOutScope { volume: id, .. } => {
            let pending = &volume(state, *id)?.pending;
            require(!placed.last, "a bulk movement without a cause")?;
            require(
                pending.len() < 1 << 16,
                "too many bulk movements wait to be counted",
            )?;
            require(
                pending.last().is_none_or(|p| p.after.is_some()),
                "a bulk movement is still open",
            )
        }
        Event::Settled {
            volume: id,
            scope,
            shifts,
            ..
        } => {
            let first = some(
                volume(state, *id)?.pending.front(),
                "no bulk movement waits to be counted",
            )?;
            require(
                first.scope == *scope && first.after.is_some(),
                "another bulk movement comes first",
            )?;
            require(shifts.len() <= MAX_SHIFTS, "too many movements")
        }
        Event::RolledBack { volumes, .. } => {
            require(
                !volumes.is_empty() && volumes.len() <= MAX_MEMBERS,
                "too few or too many volumes",
            )?;
            require(
                volumes.is_sorted_by(|a, b| a.0 < b.0),
                "volumes out of order",
            )?;
            volumes.iter().try_for_each(|(id, source)| {
                volume(state, *id)?;
                require(source.volume() == *id, "an image of another volume")?;
                known_source(state, *source, placed, views)
            })
        }
        Event::FilesRolledBack {
            volume: id, paths, ..
        } => {
            volume(state, *id)?;
            require(
                paths.len() <= MAX_PATHS && paths.iter().all(|p| p.len() <= 4096),
                "too many or too long paths",
            )
        }
        Event::Undone { change, redo, .. } => {
            let change = some(
                state.changes.iter().find(|c| c.seq == *change),
                "the change is out of reach",
            )?;
            require(
                change.undone.is_some() == *redo,
                "the change is not in that state",
            )
        }
        _ => of_checkpoint(state, placed),
    }
}

fn of_checkpoint(state: &State, placed: &Placed<'_>) -> Admitted {
    match placed.event {
        Event::CheckpointCreated {
            checkpoint,
            name,
            volumes,
            note,
            ..
        } => {
            require(
                *checkpoint == state.next_checkpoint && checkpoint.0 < u32::MAX,
                "the checkpoint's number is not the next one",
            )?;
            free_checkpoint_name(state, name)?;
            require(
                !volumes.is_empty() && volumes.len() <= MAX_MEMBERS,
                "too few or too many volumes",
            )?;
            require(volumes.is_sorted_by(|a, b| a < b), "volumes out of order")?;
            volumes
                .iter()
                .try_for_each(|id| volume(state, *id).map(|_| ()))?;
            text(note)
        }
        Event::QuotaSet { volume, quota } => {
            self::volume(state, *volume)?;
            require(
                quota.soft.zip(quota.hard).is_none_or(|(s, h)| s < h),
                "a soft limit above the hard one",
            )
        }
        Event::QuotaReached { volume, .. } => self::volume(state, *volume).map(|_| ()),
        Event::CheckpointDropped { checkpoint, volume } => {
            let found = self::checkpoint(state, *checkpoint)?;
            require(
                found.volumes.contains(volume) && found.removable && !found.held,
                "a checkpoint is given up that may not be",
            )
        }
        Event::CheckpointRemoved { checkpoint } => self::checkpoint(state, *checkpoint).map(|_| ()),
        Event::CheckpointRestored { checkpoint } => {
            let removed = some(
                state.removed_checkpoints.get(checkpoint),
                "the checkpoint was not removed, or is forgotten",
            )?;
            require(
                !state.checkpoint_names.contains_key(&removed.name),
                "the checkpoint's name is taken",
            )
        }
        Event::CheckpointRenamed { checkpoint, name } => {
            self::checkpoint(state, *checkpoint)?;
            free_checkpoint_name(state, name)
        }
        Event::CheckpointHeld { checkpoint, .. } | Event::CheckpointFlagged { checkpoint, .. } => {
            self::checkpoint(state, *checkpoint).map(|_| ())
        }
        Event::CheckpointConverted {
            checkpoint,
            volumes,
        } => {
            self::checkpoint(state, *checkpoint)?;
            require(
                !volumes.is_empty() && volumes.len() <= MAX_MEMBERS,
                "too few or too many volumes",
            )?;
            require(volumes.is_sorted_by(|a, b| a < b), "volumes out of order")?;
            volumes.iter().try_for_each(|id| {
                let image = image(state, *id, *checkpoint)?;
                require(!image.nodata, "an image becomes nodata twice")
            })
        }
        _ => require(false, "an unknown kind"),
    }
}

fn image(state: &State, volume: VolumeId, checkpoint: CheckpointId) -> Result<&Image, Damage> {
    some(
        self::volume(state, volume)?.images.get(&checkpoint),
        "the checkpoint keeps no image of the volume",
    )
}

/// What events say of a file's blocks one by one.
fn blocks_of_a_file(state: &State, volume: VolumeId, ino: Ino, ranges: &[Range]) -> Admitted {
    some(
        tree(state, volume)?.inode(ino).and_then(|i| i.file()),
        "the inode is no regular file",
    )?;
    require(
        !ranges.is_empty() && ranges.len() <= MAX_RANGES,
        "too few or too many ranges",
    )?;
    let mut end = 0;
    for range in ranges {
        require(range.count > 0 && range.block >= end, "ranges out of order")?;
        end = some(
            range.block.checked_add(range.count),
            "a range of blocks that no file has",
        )?;
    }
    require(end <= MAX_FILE_BLOCKS, "a range of blocks that no file has")
}

fn volume(state: &State, id: VolumeId) -> Result<&Arc<Volume>, Damage> {
    some(state.volume(id), "the volume is not there")
}

fn checkpoint(state: &State, id: CheckpointId) -> Result<&Arc<Checkpoint>, Damage> {
    some(state.checkpoints.get(&id), "the checkpoint is not there")
}

fn new_volume(state: &State, id: VolumeId, name: &str) -> Admitted {
    require(
        id == state.next_volume && id.0 < u32::MAX,
        "the volume's number is not the next one",
    )?;
    free_volume_name(state, name)
}

fn free_volume_name(state: &State, name: &str) -> Admitted {
    require(check_object_name(name).is_ok(), "the name is not valid")?;
    require(!state.volume_names.contains_key(name), "the name is taken")
}

fn free_checkpoint_name(state: &State, name: &str) -> Admitted {
    require(check_object_name(name).is_ok(), "the name is not valid")?;
    require(
        !state.checkpoint_names.contains_key(name),
        "the name is taken",
    )
}

fn known_source(state: &State, source: Source, placed: &Placed<'_>, views: &Views) -> Admitted {
    match source {
        Source::Live(id) => volume(state, id).map(|_| ()),
        Source::Checkpoint(id, checkpoint) => {
            let image = some(state.image(id, checkpoint), "the image is not there")?;
            require(!image.nodata, "the image keeps no data")
        }
        Source::Position(id, seq) => match views.0.get(&seq) {
            Some(view) => some(view.volume(id), "the volume was not there then").map(|_| ()),
            None if seq > 0 && seq < placed.seq => Err(Damage::needs(seq)),
            None => require(false, "a view of the future"),
        },
    }
}
