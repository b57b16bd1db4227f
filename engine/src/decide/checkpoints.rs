//! Checkpoints: create, remove, rename, hold, flags; and the counting of bulk movements.

use super::quota::may_create;
use super::{checkpoint, cut, volume};
use crate::command::{Command, Request};
use crate::event::{Cause, Event, Grade, MAX_MEMBERS, MAX_SHIFTS};
use crate::ids::{CheckpointId, VolumeId};
use crate::name::check_user_name;
use crate::refusal::{Kind, Refusal};
use crate::schedule::is_scheduled_name;
use crate::state::{Checkpoint, State};

pub(super) fn judge(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::CheckpointCreate {
            name,
            volumes,
            nomount,
            removable,
            nodata,
            note,
        } => {
            let name = match name {
                // A schedule's checkpoints are named by it, and the program's own names by nobody else.
                Some(name) if is_scheduled_name(name) && request.actor.grade == Grade::Program => {
                    unused(state, name)?;
                    name.clone()
                }
                Some(name) => {
                    free_name(state, name)?;
                    name.clone()
                }
                None => unused_name(state),
            };
            let mut members = volumes.clone();
            members.sort_unstable();
            members.dedup();
            if members.is_empty() || members.len() > MAX_MEMBERS {
                return Err(Refusal::new(
                    Kind::Invalid,
                    format!("a checkpoint has 1 to {MAX_MEMBERS} volumes"),
                ));
            }
            for id in &members {
                may_create(volume(state, *id)?)?;
            }
            let checkpoint = state.next_checkpoint;
            let converted = nodata.then(|| Event::CheckpointConverted {
                checkpoint,
                volumes: members.clone(),
            });
            let created = Event::CheckpointCreated {
                checkpoint,
                name,
                volumes: members,
                removable: *removable,
                nomount: *nomount,
                note: cut(note),
            };
            // It owns nothing yet, so there is nothing to be counted.
            Ok([created].into_iter().chain(converted).collect())
        }
        Command::CheckpointRemove { checkpoint: id } => {
            remove_events(state, checkpoint(state, *id)?)
        }
        Command::CheckpointRename {
            checkpoint: id,
            name,
        } => {
            let found = checkpoint(state, *id)?;
            if *found.name == **name {
                return Ok(Vec::new());
            }
            free_name(state, name)?;
            Ok(vec![Event::CheckpointRenamed {
                checkpoint: *id,
                name: name.clone(),
            }])
        }
        Command::CheckpointHold {
            checkpoint: id,
            held,
        } => {
            let found = checkpoint(state, *id)?;
            let changes = found.held != *held;
            Ok(changes
                .then_some(Event::CheckpointHeld {
                    checkpoint: *id,
                    held: *held,
                })
                .into_iter()
                .collect())
        }
        Command::CheckpointFlag {
            checkpoint: id,
            removable,
            nomount,
        } => {
            let found = checkpoint(state, *id)?;
            let (removable, nomount) = (
                removable.unwrap_or(found.removable),
                nomount.unwrap_or(found.nomount),
            );
            let changes = (removable, nomount) != (found.removable, found.nomount);
            Ok(changes
                .then_some(Event::CheckpointFlagged {
                    checkpoint: *id,
                    removable,
                    nomount,
                })
                .into_iter()
                .collect())
        }
        Command::CheckpointConvert { checkpoint: id } => {
            let found = checkpoint(state, *id)?;
            if found.held {
                return Err(held(found, "convert"));
            }
            let volumes: Vec<VolumeId> = found
                .volumes
                .iter()
                .filter(|v| state.image(**v, *id).is_some_and(|image| !image.nodata))
                .copied()
                .collect();
            if volumes.is_empty() {
                return Ok(Vec::new());
            }
            let scope = |volume: &VolumeId| Event::CopiedOutScope {
                volume: *volume,
                cause: Cause::Conversion,
            };
            let mut events: Vec<Event> = volumes.iter().map(scope).collect();
            events.push(Event::CheckpointConverted {
                checkpoint: *id,
                volumes,
            });
            Ok(events)
        }
        Command::Settle {
            volume: id,
            scope,
            shifts,
        } => {
            // The volume may have gone meanwhile: then there is nothing to count.
            let first = state.volume(*id).and_then(|v| v.pending.front());
            let waiting = first.is_some_and(|p| p.scope == *scope && p.after.is_some());
            if !waiting {
                return Ok(Vec::new()); // somebody else counted it
            }
            let parts = shifts.len().div_ceil(MAX_SHIFTS).max(1);
            Ok((0..parts)
                .map(|part| Event::Settled {
                    volume: *id,
                    scope: *scope,
                    shifts: shifts
                        .iter()
                        .skip(part * MAX_SHIFTS)
                        .take(MAX_SHIFTS)
                        .copied()
                        .collect(),
                    last: part + 1 == parts,
                })
                .collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// The events that remove a checkpoint: what it owns is handed down, counted in the background.
pub(super) fn remove_events(state: &State, found: &Checkpoint) -> Result<Vec<Event>, Refusal> {
    if found.held {
        return Err(held(found, "remove"));
    }
    let mut events = scopes(state, found, Cause::Removal);
    events.push(Event::CheckpointRemoved {
        checkpoint: found.id,
    });
    Ok(events)
}

pub(super) fn held(found: &Checkpoint, what: &str) -> Refusal {
    Refusal::new(Kind::NotAllowed, format!("cannot {what} {}", found.name))
        .why(format!("checkpoint {} is held", found.name))
        .next(format!("strand checkpoint release {}", found.name))
}

/// The scope events of something that happens to all members of a checkpoint.
pub(super) fn scopes(state: &State, checkpoint: &Checkpoint, cause: Cause) -> Vec<Event> {
    let members = checkpoint
        .volumes
        .iter()
        .filter(|id| state.volumes.contains_key(*id));
    members
        .map(|id| Event::CopiedOutScope { volume: *id, cause })
        .collect()
}

/// An image that may be read, cloned or rolled back to.
pub(super) fn usable_image(
    state: &State,
    volume_id: VolumeId,
    id: CheckpointId,
) -> Result<(), Refusal> {
    let found = checkpoint(state, id)?;
    let volume = volume(state, volume_id)?;
    let Some(image) = volume.images.get(&id) else {
        return Err(Refusal::new(
            Kind::NotFound,
            format!(
                "checkpoint {} keeps no image of {}",
                found.name, volume.name
            ),
        )
        .next(format!("strand checkpoint show {}", found.name)));
    };
    if image.nodata {
        return Err(keeps_no_data(
            found,
            &format!("use checkpoint {}", found.name),
        ));
    }
    if found.nomount {
        return Err(Refusal::new(
            Kind::NotAllowed,
            format!("cannot use checkpoint {}", found.name),
        )
        .why("it is flagged nomount")
        .next(format!("strand checkpoint clear {} nomount", found.name)));
    }
    Ok(())
}

/// What is said where an image's data is asked for and it has none.
pub(crate) fn keeps_no_data(found: &Checkpoint, what: &str) -> Refusal {
    Refusal::new(Kind::NotAllowed, format!("cannot {what}"))
        .why("it is nodata: it remembers what changed, and keeps none of it")
        .next(format!(
            "strand checkpoint diff {} VOL lists what changed; strand checkpoint list shows which have data",
            found.name
        ))
}

fn free_name(state: &State, name: &str) -> Result<(), Refusal> {
    check_user_name(name)?;
    unused(state, name)
}

fn unused(state: &State, name: &str) -> Result<(), Refusal> {
    if state.checkpoint_names.contains_key(name) {
        return Err(
            Refusal::new(Kind::Exists, format!("the checkpoint {name} exists"))
                .next("choose another name: strand checkpoint list"),
        );
    }
    Ok(())
}

/// `ckpt-N`, N being the checkpoint's number or the first free one after it.
fn unused_name(state: &State) -> String {
    let mut number = u64::from(state.next_checkpoint.0);
    loop {
        let name = format!("ckpt-{number}");
        if !state.checkpoint_names.contains_key(name.as_str()) {
            return name;
        }
        number += 1;
    }
}
