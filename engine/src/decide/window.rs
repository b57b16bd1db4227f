//! The history window: positions before it cannot be viewed, and nothing goes back to them.

use crate::event::{Event, Source};
use crate::ids::{Seq, VolumeId};
use crate::refusal::{Kind, Refusal};
use crate::space::Retention;
use crate::state::State;

/// Refuses decided events that go back to before a window. A view may have been prepared before the window moved past it: what only that view showed may be
/// gone by now.
pub(super) fn goes_back_in_reach(state: &State, decided: &[Event]) -> Result<(), Refusal> {
    let mut sources = decided.iter().flat_map(Event::sources);
    sources.try_for_each(|source| match source {
        Source::Position(volume, seq) => in_reach(state, volume, seq),
        Source::Live(_) | Source::Checkpoint(..) => Ok(()),
    })
}

/// Whether what lies so far back (`age` in ns of elapsed time, `bytes` written since) is further back than the window of any volume is to reach: its
/// retention, or the store's default. What is past may be given up without need.
pub(crate) fn is_past(state: &State, default: Retention, age: u64, bytes: u64) -> bool {
    state.volumes.values().all(|volume| {
        let reach = volume.retention.or(default);
        reach.age.is_some_and(|most| age > most) || reach.bytes.is_some_and(|most| bytes > most)
    })
}

/// Refuses positions of a volume before its history window, and names what is nearest to them.
pub(crate) fn in_reach(state: &State, id: VolumeId, seq: Seq) -> Result<(), Refusal> {
    let removed = || state.removed_volumes.get(&id);
    let Some(volume) = state.volume(id).or_else(removed) else {
        // Nobody knows any more where its window begins: only where nothing was ever given back is everything there.
        if state.places.reclaimed.is_empty() {
            return Ok(());
        }
        return Err(Refusal::new(
            Kind::OutOfRange,
            format!("volume {id} cannot be viewed any more"),
        )
        .why("it was removed, and cannot come back"));
    };
    // Before its creation there was no volume, whatever the window: that is told otherwise.
    if seq >= volume.history || seq < volume.created {
        return Ok(());
    }
    let name = &volume.name;
    let checkpoints = volume.images.iter().filter(|(_, image)| !image.nodata);
    let nearest = checkpoints
        .filter_map(|(id, _)| state.checkpoints.get(id))
        .min_by_key(|checkpoint| checkpoint.seq.abs_diff(seq))
        .filter(|found| found.seq.abs_diff(seq) < volume.history.abs_diff(seq));
    let next = match nearest {
        Some(found) => format!(
            "the nearest is {name}@{}, taken at seq {}; strand checkpoint list {name}",
            found.name, found.seq
        ),
        None => format!("the nearest is {name}@seq:{}", volume.history),
    };
    Err(Refusal::new(
        Kind::OutOfRange,
        format!("{name} cannot be viewed at seq {seq} any more"),
    )
    .why(format!("its history begins at seq {}", volume.history))
    .next(next))
}
