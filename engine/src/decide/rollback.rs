//! Rollback of volumes and of files.

use super::checkpoints::usable_image;
use super::restore::Restore;
use super::volumes::usable_source;
use super::{auto_before, checkpoint, volume};
use crate::command::{Command, Request};
use crate::event::{Bytes, Cause, Event, MAX_PATHS, Source};
use crate::ids::VolumeId;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::views::Views;

/// The most bytes of all paths of one file rollback: they stand in one record.
const MAX_PATH_BYTES: usize = 32 * 1024;

pub(super) fn judge(
    state: &State,
    request: &Request<'_>,
    views: &Views,
) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::Rollback {
            volume: id,
            source,
            only,
        } => {
            let target = volume(state, *id)?;
            let refuse = |why: String| {
                Refusal::new(
                    Kind::NotAllowed,
                    format!("cannot roll back {}", target.name),
                )
                .why(why)
            };
            match source {
                Source::Checkpoint(_, image) => {
                    let found = checkpoint(state, *image)?;
                    usable_image(state, *id, *image)?;
                    if found.volumes.len() > 1 && !only {
                        let others: Vec<&str> = found
                            .volumes
                            .iter()
                            .filter(|v| *v != id)
                            .filter_map(|v| state.volume(*v))
                            .map(|v| &*v.name)
                            .collect();
                        return Err(refuse(format!(
                            "checkpoint {} holds other volumes of the same instant: {}",
                            found.name,
                            others.join(", ")
                        ))
                        .next(format!(
                            "strand rollback --to {} rolls all of them back; --only takes {} alone",
                            found.name, target.name
                        )));
                    }
                }
                Source::Position(..) => usable_source(state, *source, views)?,
                Source::Live(_) => {
                    return Err(
                        refuse("the target is a live volume, not a frozen image".into())
                            .next("strand checkpoint list"),
                    );
                }
            }
            if source.volume() != *id {
                return Err(refuse("the image belongs to another volume".into()));
            }
            Ok(volumes_events(state, request, vec![(*id, *source)]))
        }
        Command::RollbackAll { checkpoint: id } => {
            let found = checkpoint(state, *id)?;
            for member in &found.volumes {
                usable_image(state, *member, *id)?;
            }
            let members = found
                .volumes
                .iter()
                .map(|v| (*v, Source::Checkpoint(*v, *id)))
                .collect();
            Ok(volumes_events(state, request, members))
        }
        Command::RollbackFiles {
            volume: id,
            source,
            paths,
            attributes,
            delete_new,
        } => {
            usable_source(state, *source, views)?;
            if matches!(source, Source::Live(_)) || source.volume() != *id {
                return Err(Refusal::new(
                    Kind::NotAllowed,
                    "files roll back to a frozen image of their own volume",
                ));
            }
            if paths.iter().map(|path| path.len()).sum::<usize>() > MAX_PATH_BYTES {
                return Err(
                    Refusal::new(Kind::TooLarge, "the paths are too long together")
                        .why(format!(
                            "one file rollback names at most {MAX_PATH_BYTES} bytes of paths"
                        ))
                        .next("roll back the directory that holds them, or in several steps"),
                );
            }
            if paths.is_empty() || paths.len() > MAX_PATHS {
                return Err(Refusal::new(
                    Kind::Invalid,
                    format!("a file rollback names 1 to {MAX_PATHS} paths"),
                ));
            }
            let restore = Restore {
                attributes: *attributes,
                delete_new: *delete_new,
                delete_created: None,
            };
            files_events(state, request, *id, *source, paths, &restore, views)
                .map(|(events, _)| events)
        }
        _ => Ok(Vec::new()),
    }
}

/// The events that set volumes back, all in one commit: a safety image, a scope each, the rollback.
pub(super) fn volumes_events(
    state: &State,
    request: &Request<'_>,
    volumes: Vec<(VolumeId, Source)>,
) -> Vec<Event> {
    let members: Vec<VolumeId> = volumes.iter().map(|(id, _)| *id).collect();
    let (before, image) = auto_before(state, members.clone(), request, "a rollback");
    let mut events = vec![image];
    events.extend(members.into_iter().map(|volume| Event::CopiedOutScope {
        volume,
        cause: Cause::Rollback,
    }));
    events.push(Event::RolledBack { volumes, before });
    events
}

/// The events that set files back. Empty where nothing differs. Also gives the safety image's id.
pub(super) fn files_events(
    state: &State,
    request: &Request<'_>,
    id: VolumeId,
    source: Source,
    paths: &[Bytes],
    restore: &Restore,
    views: &Views,
) -> Result<(Vec<Event>, crate::ids::CheckpointId), Refusal> {
    let volume = volume(state, id)?;
    let Some(image) = views.tree(state, source) else {
        return Err(Refusal::new(Kind::NotFound, "the image is not there"));
    };
    let changes = restore.events(state, volume, &image, source, paths, request)?;
    let (before, safety) = auto_before(state, vec![id], request, "a rollback of files");
    if changes.is_empty() {
        return Ok((Vec::new(), before));
    }
    let mut events = vec![
        safety,
        Event::CopiedOutScope {
            volume: id,
            cause: Cause::FileRollback,
        },
    ];
    events.extend(changes);
    events.push(Event::FilesRolledBack {
        volume: id,
        source,
        before,
        paths: paths.to_vec(),
        attributes: restore.attributes,
        delete_new: restore.delete_new,
    });
    Ok((events, before))
}
