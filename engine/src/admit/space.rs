//! Admission of events about space and the history window.

use super::{Admitted, require, some};
use crate::event::{Event, MAX_RECLAIMED, MAX_RELOCATED, Placed};
use crate::ids::VolumeId;
use crate::state::{State, Volume};
use std::sync::Arc;
use strand_journal::MAX_ADDRESS;

pub(super) fn admit(state: &State, placed: &Placed<'_>) -> Admitted {
    match placed.event {
        Event::Relocated { births } => relocated(state, placed, births),
        Event::SegmentsReclaimed { ranges } => {
            require(
                !ranges.is_empty() && ranges.len() <= MAX_RECLAIMED,
                "too few or too many segments",
            )?;
            let mut free = 1;
            for (first, count) in ranges {
                let end = some(
                    first.checked_add(u64::from(*count)),
                    "a segment that no store has",
                )?;
                require(*first >= free && *count > 0, "segments out of order")?;
                require(end <= MAX_ADDRESS, "a segment that no store has")?;
                // In a rehearsal there is no address yet.
                let ahead = placed.first.0 > 0 && end > placed.first.0;
                require(!ahead, "a segment is given back that is in use")?;
                require(
                    !state.places.is_reclaimed(*first),
                    "a segment is given back twice",
                )?;
                free = end;
            }
            Ok(())
        }
        Event::RetentionSet { volume: id, .. } => volume(state, *id).map(|_| ()),
        Event::HistoryReleased {
            volume: id, before, ..
        } => {
            let history = volume(state, *id)?.history;
            require(
                *before > history && *before <= state.boundary,
                "a history window that does not move on",
            )
        }
        Event::CheckpointGivenUp { checkpoint, .. } => {
            let found = some(
                state.checkpoints.get(checkpoint),
                "the checkpoint is not there",
            )?;
            require(!found.held, "a checkpoint is given up that is held")
        }
        Event::ScheduleSet {
            volume: id,
            schedule,
        } => {
            volume(state, *id)?;
            let sound = schedule.as_ref().is_none_or(|s| s.is_sound());
            require(sound, "a schedule that contradicts itself")
        }
        Event::ArchiveMoved { before, .. } => require(
            *before > state.horizon && *before <= placed.seq,
            "a horizon that does not move on",
        ),
        Event::AuditSet { .. } => Ok(()),
        _ => require(false, "an unknown kind"),
    }
}

fn relocated(state: &State, placed: &Placed<'_>, births: &[(u64, u32)]) -> Admitted {
    let count = births.iter().map(|(_, count)| u64::from(*count)).sum();
    require(
        count > 0 && count <= MAX_RELOCATED && births.iter().all(|(_, count)| *count > 0),
        "too few or too many versions",
    )?;
    require(
        placed.crcs.len() as u64 == count,
        "another number of blocks than of versions",
    )?;
    for (first, count) in births {
        let end = some(
            first.checked_add(u64::from(*count)),
            "a version that cannot be",
        )?;
        require(
            *first > 0 && end <= placed.first.0,
            "a version that was not written yet",
        )?;
        // Each alone: a run may lie partly in space that was given back.
        for birth in *first..end {
            let there = state.places.moved.contains(birth) || !state.places.is_reclaimed(birth);
            require(there, "a version that is gone")?;
        }
    }
    Ok(())
}

/// The volume, also where it is removed and could come back.
fn volume(state: &State, id: VolumeId) -> Result<&Arc<Volume>, crate::damage::Damage> {
    some(
        state.volumes.get(&id).or(state.removed_volumes.get(&id)),
        "the volume is not there",
    )
}
