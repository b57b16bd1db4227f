//! Undo and redo of administrative changes.

use super::checkpoints::{remove_events, scopes};
use super::restore::Restore;
use super::rollback::{files_events, volumes_events};
use super::{checkpoint, volume};
use crate::command::Request;
use crate::event::{Cause, Event, Source};
use crate::ids::{CheckpointId, VolumeId};
use crate::refusal::{Kind, Refusal};
use crate::state::{Change, State, What};
use crate::views::Views;

pub(super) fn undo(
    state: &State,
    request: &Request<'_>,
    of: Option<VolumeId>,
    views: &Views,
) -> Result<Vec<Event>, Refusal> {
    let change = state
        .changes
        .iter()
        .rev()
        .find(|c| c.undone.is_none() && concerns(c, of))
        .ok_or_else(|| nothing("undo", "no administrative change is within reach"))?;
    let (mut events, before) = match &change.what {
        What::RolledBack { before } | What::Reset { before } => {
            back_to(state, request, change, *before)?
        }
        What::FilesRolledBack {
            before,
            paths,
            created,
            ..
        } => {
            let id = first_volume(change)?;
            image_is_there(state, *before, &change.volumes)?;
            let restore = Restore {
                attributes: true,
                delete_new: false,
                delete_created: Some(created.clone()),
            };
            let source = Source::Checkpoint(id, *before);
            let (events, safety) =
                files_events(state, request, id, source, paths, &restore, views)?;
            let made = (!events.is_empty()).then_some(safety);
            (events, made)
        }
        What::VolumeRenamed {
            volume: id, from, ..
        } => (rename_volume(state, *id, from)?, None),
        What::CheckpointRenamed {
            checkpoint: id,
            from,
            ..
        } => (rename_checkpoint(state, *id, from)?, None),
        What::VolumeRemoved { volume } => {
            let removed = state
                .removed_volumes
                .get(volume)
                .ok_or_else(|| nothing("undo", "the volume is forgotten"))?;
            if state.volume_names.contains_key(&removed.name) {
                return Err(taken("volume", &removed.name));
            }
            (vec![Event::VolumeRestored { volume: *volume }], None)
        }
        What::CheckpointRemoved { checkpoint } => {
            let removed = state
                .removed_checkpoints
                .get(checkpoint)
                .ok_or_else(|| nothing("undo", "the checkpoint is forgotten"))?;
            if state.checkpoint_names.contains_key(&removed.name) {
                return Err(taken("checkpoint", &removed.name));
            }
            if let Some(gone) = removed
                .volumes
                .iter()
                .find(|v| !state.volumes.contains_key(*v))
            {
                return Err(nothing(
                    "undo",
                    &format!("volume number {gone}, which it kept an image of, is removed"),
                ));
            }
            let mut events = scopes(state, removed, Cause::Restoration);
            events.push(Event::CheckpointRestored {
                checkpoint: *checkpoint,
            });
            (events, None)
        }
    };
    events.push(Event::Undone {
        change: change.seq,
        redo: false,
        before,
    });
    Ok(events)
}

pub(super) fn redo(
    state: &State,
    request: &Request<'_>,
    of: Option<VolumeId>,
    views: &Views,
) -> Result<Vec<Event>, Refusal> {
    let change = state
        .changes
        .iter()
        .find(|c| c.undone.is_some() && concerns(c, of))
        .ok_or_else(|| {
            nothing(
                "redo",
                "nothing was undone since the last administrative change",
            )
        })?;
    let (mut events, before) = match (&change.what, change.undone.flatten()) {
        (What::RolledBack { .. } | What::Reset { .. }, Some(image)) => {
            back_to(state, request, change, image)?
        }
        (
            What::FilesRolledBack {
                source,
                paths,
                attributes,
                delete_new,
                ..
            },
            _,
        ) => {
            let id = first_volume(change)?;
            if let Source::Checkpoint(_, image) = source
                && state.checkpoints.contains_key(image)
            {
                image_is_there(state, *image, &change.volumes)?;
            }
            let restore = Restore {
                attributes: *attributes,
                delete_new: *delete_new,
                delete_created: None,
            };
            let (events, safety) =
                files_events(state, request, id, *source, paths, &restore, views)?;
            let made = (!events.is_empty()).then_some(safety);
            (events, made)
        }
        (What::VolumeRenamed { volume: id, to, .. }, _) => (rename_volume(state, *id, to)?, None),
        (
            What::CheckpointRenamed {
                checkpoint: id, to, ..
            },
            _,
        ) => (rename_checkpoint(state, *id, to)?, None),
        (What::VolumeRemoved { volume: id }, _) => {
            let found = volume(state, *id)?;
            if !found.images.is_empty() {
                return Err(nothing(
                    "redo",
                    &format!("checkpoints keep images of {} again", found.name),
                ));
            }
            (vec![Event::VolumeRemoved { volume: *id }], None)
        }
        (What::CheckpointRemoved { checkpoint: id }, _) => {
            (remove_events(state, checkpoint(state, *id)?)?, None)
        }
        (_, None) => return Err(nothing("redo", "the state after it was not kept")),
    };
    events.push(Event::Undone {
        change: change.seq,
        redo: true,
        before,
    });
    Ok(events)
}

fn back_to(
    state: &State,
    request: &Request<'_>,
    change: &Change,
    image: CheckpointId,
) -> Result<(Vec<Event>, Option<CheckpointId>), Refusal> {
    image_is_there(state, image, &change.volumes)?;
    for id in &change.volumes {
        volume(state, *id)?;
    }
    let sources = change
        .volumes
        .iter()
        .map(|id| (*id, Source::Checkpoint(*id, image)))
        .collect();
    Ok((
        volumes_events(state, request, sources),
        Some(state.next_checkpoint),
    ))
}

fn image_is_there(state: &State, image: CheckpointId, volumes: &[VolumeId]) -> Result<(), Refusal> {
    if state.checkpoints.contains_key(&image) {
        let nodata = |v: &VolumeId| state.image(*v, image).is_some_and(|i| i.nodata);
        if volumes.iter().any(nodata) {
            return Err(nothing(
                "undo",
                "the checkpoint that kept the state before it was made nodata since",
            ));
        }
        return Ok(());
    }
    Err(nothing(
        "undo",
        "the checkpoint that kept the state before it was removed",
    )
    .next(if state.removed_checkpoints.contains_key(&image) {
        "strand undo brings removed checkpoints back"
    } else {
        "strand log --kind checkpoint-dropped shows what was given up"
    }))
}

fn rename_volume(state: &State, id: VolumeId, name: &str) -> Result<Vec<Event>, Refusal> {
    volume(state, id)?;
    if state.volume_names.contains_key(name) {
        return Err(taken("volume", name));
    }
    Ok(vec![Event::VolumeRenamed {
        volume: id,
        name: name.to_owned(),
    }])
}

fn rename_checkpoint(state: &State, id: CheckpointId, name: &str) -> Result<Vec<Event>, Refusal> {
    checkpoint(state, id)?;
    if state.checkpoint_names.contains_key(name) {
        return Err(taken("checkpoint", name));
    }
    Ok(vec![Event::CheckpointRenamed {
        checkpoint: id,
        name: name.to_owned(),
    }])
}

fn concerns(change: &Change, of: Option<VolumeId>) -> bool {
    of.is_none_or(|volume| change.volumes.contains(&volume))
}

fn first_volume(change: &Change) -> Result<VolumeId, Refusal> {
    change
        .volumes
        .first()
        .copied()
        .ok_or_else(|| nothing("undo", "the change names no volume"))
}

fn nothing(verb: &str, why: &str) -> Refusal {
    Refusal::new(Kind::NothingToUndo, format!("there is nothing to {verb}"))
        .why(why)
        .next("strand log --kind rolled-back")
}

fn taken(noun: &str, name: &str) -> Refusal {
    Refusal::new(Kind::Exists, "it cannot be undone")
        .why(format!("another {noun} has the name {name} now"))
        .next("rename that one first")
}
