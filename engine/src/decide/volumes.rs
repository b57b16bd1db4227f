//! Volumes and clones.

use super::checkpoints::{remove_events, usable_image};
use super::{auto_before, checkpoint, is_auto_before, volume};
use crate::command::{Command, Request};
use crate::event::{Cause, Event, Source};
use crate::ids::VolumeId;
use crate::name::{check_user_name, is_shadow_of};
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::views::Views;

pub(super) fn judge(
    state: &State,
    request: &Request<'_>,
    views: &Views,
) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::VolumeCreate {
            name,
            mode,
            uid,
            gid,
        } => {
            free_name(state, name)?;
            Ok(vec![Event::VolumeCreated {
                volume: state.next_volume,
                name: name.clone(),
                root: state.next_ino,
                mode: mode & 0o7777,
                uid: *uid,
                gid: *gid,
            }])
        }
        Command::VolumeRename { volume: id, name } => {
            let found = volume(state, *id)?;
            if *found.name == **name {
                return Ok(Vec::new());
            }
            free_name(state, name)?;
            Ok(vec![Event::VolumeRenamed {
                volume: *id,
                name: name.clone(),
            }])
        }
        Command::VolumeRemove {
            volume: id,
            with_checkpoints,
        } => removal(state, *id, *with_checkpoints),
        Command::CloneCreate { name, source } => {
            if is_shadow(state, *source, name) {
                not_taken(state, name)?;
            } else {
                free_name(state, name)?;
            }
            usable_source(state, *source, views)?;
            Ok(vec![Event::CloneCreated {
                volume: state.next_volume,
                name: name.clone(),
                source: *source,
            }])
        }
        Command::CloneReset { volume: id } => {
            let found = volume(state, *id)?;
            if found.origin.is_none() {
                return Err(
                    Refusal::new(Kind::NotAllowed, format!("cannot reset {}", found.name))
                        .why("it is not a clone")
                        .next("strand clone list"),
                );
            }
            let (before, image) = auto_before(state, vec![*id], request, "a reset");
            Ok(vec![
                image,
                Event::CopiedOutScope {
                    volume: *id,
                    cause: Cause::Reset,
                },
                Event::CloneReset {
                    volume: *id,
                    before,
                },
            ])
        }
        _ => Ok(Vec::new()),
    }
}

/// A volume goes with the images that are its alone: all of them where that was asked for, else those that the program made to
/// keep the state before a rollback or a reset, which nobody would miss.
fn removal(state: &State, id: VolumeId, with_checkpoints: bool) -> Result<Vec<Event>, Refusal> {
    let found = volume(state, id)?;
    let no = || Refusal::new(Kind::NotAllowed, format!("cannot remove {}", found.name));
    let mut events = Vec::new();
    let mut kept = 0u64;
    for (image, _) in &found.images {
        let image = checkpoint(state, *image)?;
        if image.volumes.len() > 1 {
            return Err(no()
                .why(format!("checkpoint {} holds other volumes too", image.name))
                .next(format!("strand checkpoint remove {}", image.name)));
        }
        if !with_checkpoints && (image.held || !is_auto_before(&image.name)) {
            kept += 1;
        } else {
            events.extend(remove_events(state, image)?);
        }
    }
    if kept > 0 {
        let images = match kept {
            1 => "a checkpoint keeps an image of it".to_owned(),
            more => format!("{more} checkpoints keep images of it"),
        };
        return Err(no()
            .why(images)
            .next("add --with-checkpoints, or remove them first: strand checkpoint list"));
    }
    events.push(Event::VolumeRemoved { volume: id });
    Ok(events)
}

/// A source that may be cloned or rolled back to.
pub(super) fn usable_source(state: &State, source: Source, views: &Views) -> Result<(), Refusal> {
    match source {
        Source::Live(id) => volume(state, id).map(|_| ()),
        Source::Checkpoint(id, image) => usable_image(state, id, image).map(|_| ()),
        Source::Position(id, seq) => match views.0.get(&seq).map(|view| view.volume(id)) {
            Some(Some(_)) => Ok(()),
            Some(None) => Err(Refusal::new(
                Kind::NotFound,
                format!("the volume did not exist at seq {seq}"),
            )),
            None => Err(Refusal::new(
                Kind::OutOfRange,
                format!("seq {seq} is out of reach"),
            )),
        },
    }
}

/// A shadow is the clone that is mounted for writing in a checkpoint's place: it alone has a name of the program's own kind.
fn is_shadow(state: &State, source: Source, name: &str) -> bool {
    match source {
        Source::Checkpoint(_, id) => state
            .checkpoints
            .get(&id)
            .is_some_and(|checkpoint| is_shadow_of(&checkpoint.name, name)),
        _ => false,
    }
}

fn free_name(state: &State, name: &str) -> Result<(), Refusal> {
    check_user_name(name)?;
    not_taken(state, name)
}

fn not_taken(state: &State, name: &str) -> Result<(), Refusal> {
    if state.volume_names.contains_key(name) {
        return Err(
            Refusal::new(Kind::Exists, format!("the volume {name} exists"))
                .next("choose another name: strand volume list"),
        );
    }
    Ok(())
}
