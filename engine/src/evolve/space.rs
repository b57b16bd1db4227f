//! What happens to space and to the history window.

use super::checkpoints::drop_checkpoint;
use super::{forget, with_volume};
use crate::event::{Event, Placed};
use crate::ids::{Seq, VolumeId};
use crate::state::{Change, LONGEST_PAUSE, State};
use std::sync::Arc;

pub(super) fn evolve(state: &mut State, placed: &Placed<'_>) {
    match placed.event {
        Event::Relocated { births } => {
            let addresses = births
                .iter()
                .flat_map(|(first, count)| (0..u64::from(*count)).map(move |i| first + i));
            for (i, birth) in addresses.take(placed.crcs.len()).enumerate() {
                state.places.relocate(birth, placed.first.0 + i as u64);
            }
        }
        Event::SegmentsReclaimed { ranges } => {
            for (first, count) in ranges {
                state.places.reclaim(*first, u64::from(*count));
            }
        }
        Event::RetentionSet { volume, retention } => {
            with_volume(state, *volume, |v| v.retention = *retention);
        }
        Event::HistoryReleased { volume, before } => {
            with_volume(state, *volume, |v| {
                v.history = v.history.max(*before);
                if v.returned.iter().any(|returned| returned.at < *before) {
                    v.returned.retain(|returned| returned.at >= *before);
                }
            });
            forget_changes(state, *before);
        }
        Event::CheckpointGivenUp { checkpoint, .. } => drop_checkpoint(state, *checkpoint),
        Event::ScheduleSet { volume, schedule } => {
            with_volume(state, *volume, |v| v.schedule.clone_from(schedule));
        }
        Event::ArchiveMoved { before, .. } => state.horizon = *before,
        Event::AuditSet { keep } => state.audit = *keep,
        _ => {}
    }
}

/// Adds the time since the event before. What is old is so by the time that passed, not by a clock that somebody set.
pub(super) fn pass_time(state: &mut State, placed: &Placed<'_>) {
    let jumped = matches!(placed.event, Event::ClockJumped { .. });
    if state.created.is_some() && !jumped {
        let pause = placed.time.saturating_sub(state.time).min(LONGEST_PAUSE);
        state.elapsed = state.elapsed.saturating_add(pause);
    }
}

/// Changes from before the windows of all volumes they concern cannot be undone any more: what only undo could bring back is gone.
fn forget_changes(state: &mut State, before: Seq) {
    let past = |state: &State, change: &Change| {
        let began = |id: &VolumeId| {
            let volume = state.volumes.get(id).or(state.removed_volumes.get(id));
            volume.map_or(before, |v| v.history)
        };
        change.volumes.iter().all(|id| change.seq < began(id))
    };
    let gone: Vec<Arc<Change>> = state
        .changes
        .iter()
        .filter(|change| past(state, change))
        .cloned()
        .collect();
    for change in gone {
        state.changes.retain(|c| c.seq != change.seq);
        forget(state, &change);
    }
}
