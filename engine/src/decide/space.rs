//! Space and the history window: what is moved and given back, how far back a volume can be viewed, and who gives way when the store is full.

use super::checkpoints::{held, scopes};
use super::in_use::holder;
use super::{checkpoint, is_auto_before, volume};
use crate::command::{Command, Request};
use crate::event::{Cause, Event, MAX_RECLAIMED, MAX_RELOCATED};
use crate::ids::Seq;
use crate::refusal::{Kind, Refusal};
use crate::schedule::Schedule;
use crate::space::GiveUp;
use crate::state::{Checkpoint, State};
use std::sync::Arc;

pub(super) fn judge(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::Relocate { births } => relocate(state, births),
        Command::ReclaimSegments { ranges } => {
            if ranges.is_empty() || ranges.len() > MAX_RECLAIMED {
                return Err(Refusal::new(
                    Kind::Invalid,
                    format!("1 to {MAX_RECLAIMED} segments are given back at once"),
                ));
            }
            let mut ranges = ranges.clone();
            ranges.sort_unstable();
            ranges.retain(|(first, _)| !state.places.is_reclaimed(*first));
            Ok(match ranges.is_empty() {
                true => Vec::new(), // they were given back before
                false => vec![Event::SegmentsReclaimed { ranges }],
            })
        }
        Command::RetentionSet {
            volume: id,
            retention,
        } => {
            let found = volume(state, *id)?;
            Ok(match found.retention == *retention {
                true => Vec::new(),
                false => vec![Event::RetentionSet {
                    volume: *id,
                    retention: *retention,
                }],
            })
        }
        Command::ReleaseHistory { before } => release_history(state, *before),
        Command::CheckpointGiveUp {
            checkpoint: id,
            cause,
        } => {
            let found = checkpoint(state, *id)?;
            if found.held {
                return Err(held(found, "give up"));
            }
            if *cause != GiveUp::Asked && !found.removable {
                return Err(Refusal::new(
                    Kind::NotAllowed,
                    format!("cannot give up {}", found.name),
                )
                .why("it is not removable"));
            }
            Ok(give_up(state, found, *cause))
        }
        Command::GiveWay => {
            let next = next_to_give_way(state, request).ok_or_else(|| {
                Refusal::new(Kind::NoSpace, "nothing gives way any more")
                    .why("what is left is held, in use, or not removable")
                    .next("give the store more room, or remove checkpoints: strand checkpoint list")
            })?;
            Ok(give_up(state, &next, GiveUp::Capacity))
        }
        Command::ScheduleSet {
            volume: id,
            schedule,
        } => schedule_set(state, *id, schedule.as_ref()),
        Command::MoveArchive { before, chain } => {
            if *before <= state.horizon {
                return Ok(Vec::new());
            }
            Ok(vec![Event::ArchiveMoved {
                before: *before,
                chain: *chain,
            }])
        }
        Command::AuditSet { keep } => Ok(match state.audit == *keep {
            true => Vec::new(),
            false => vec![Event::AuditSet { keep: *keep }],
        }),
        _ => Ok(Vec::new()),
    }
}

fn relocate(state: &State, births: &[(u64, u32)]) -> Result<Vec<Event>, Refusal> {
    let count: u64 = births.iter().map(|(_, count)| u64::from(*count)).sum();
    if count == 0 || count > MAX_RELOCATED || births.iter().any(|(_, count)| *count == 0) {
        return Err(Refusal::new(
            Kind::Invalid,
            format!("1 to {MAX_RELOCATED} versions are moved at once"),
        ));
    }
    let mut all = births
        .iter()
        .flat_map(|(first, count)| *first..first.saturating_add(u64::from(*count)));
    // Given back meanwhile: whoever read it holds what is nobody's.
    if all.any(|birth| !state.places.moved.contains(birth) && state.places.is_reclaimed(birth)) {
        return Err(Refusal::new(Kind::Stale, "a version to be moved is gone"));
    }
    Ok(vec![Event::Relocated {
        births: births.to_vec(),
    }])
}

/// The windows of all volumes begin at a position, where they do not begin later. Removed volumes that undo could bring back have one too.
fn release_history(state: &State, before: Seq) -> Result<Vec<Event>, Refusal> {
    if before > state.boundary {
        return Err(Refusal::new(
            Kind::OutOfRange,
            format!("seq {before} is not reached yet"),
        ));
    }
    let volumes = state.volumes.values().chain(state.removed_volumes.values());
    let mut events: Vec<Event> = volumes
        .filter(|v| v.history < before)
        .map(|v| Event::HistoryReleased {
            volume: v.id,
            before,
        })
        .collect();
    // What undo could bring back is forgotten with the first of them that may: those that stay first.
    events.sort_by_key(|event| {
        let Event::HistoryReleased { volume, .. } = event else {
            return (false, 0);
        };
        (state.removed_volumes.contains_key(volume), volume.0)
    });
    Ok(events)
}

fn give_up(state: &State, found: &Checkpoint, cause: GiveUp) -> Vec<Event> {
    let mut events = scopes(state, found, Cause::Removal);
    events.push(Event::CheckpointGivenUp {
        checkpoint: found.id,
        cause,
    });
    events
}

/// Who goes next when the store is full: safety images before others, the oldest first; those without data last, since they free next to
/// nothing; never what is held or in use.
fn next_to_give_way(state: &State, request: &Request<'_>) -> Option<Arc<Checkpoint>> {
    let nodata = |c: &Checkpoint| {
        let mut images = c.volumes.iter().filter_map(|id| state.image(*id, c.id));
        images.all(|image| image.nodata)
    };
    let candidates = state.checkpoints.values();
    candidates
        .filter(|c| c.removable && !c.held && holder(request.in_use, c.id).is_none())
        .min_by_key(|c| (nodata(c), !is_auto_before(&c.name), c.id))
        .cloned()
}

fn schedule_set(
    state: &State,
    id: crate::ids::VolumeId,
    schedule: Option<&Schedule>,
) -> Result<Vec<Event>, Refusal> {
    let found = volume(state, id)?;
    if let Some(schedule) = schedule.filter(|s| !s.is_sound()) {
        return Err(Refusal::new(Kind::Invalid, "the schedule contradicts itself")
            .why(format!(
                "one is taken every {} s, and {} steps say what is kept",
                schedule.every / 1_000_000_000,
                schedule.keep.len()
            ))
            .next("at least a second between two; ages and distances that grow: --keep 4h:all,2d:hourly,30d:daily"));
    }
    if found.schedule.as_ref() == schedule {
        return Ok(Vec::new());
    }
    Ok(vec![Event::ScheduleSet {
        volume: id,
        schedule: schedule.cloned(),
    }])
}
