//! What an event concerns besides its volume and its file: its blocks, its checkpoints, the names of its kind.

use std::ops::RangeInclusive;
use strand_engine::{BLOCK, CheckpointId, Event, Range, Shift, Source, VolumeId};

/// The volumes that an event concerns. For events about checkpoints of several volumes, see [`checkpoints`].
pub(crate) fn concerns_volume(event: &Event, volume: VolumeId) -> bool {
    match event {
        Event::CheckpointCreated { volumes, .. } | Event::CheckpointConverted { volumes, .. } => {
            volumes.contains(&volume)
        }
        Event::RolledBack { volumes, .. } => volumes.iter().any(|(v, _)| *v == volume),
        event => event.volume() == Some(volume),
    }
}

/// Says whether an event changes all files of a volume at once.
pub(crate) fn is_volume_wide(event: &Event) -> bool {
    matches!(
        event,
        Event::RolledBack { .. }
            | Event::CloneReset { .. }
            | Event::CloneCreated { .. }
            | Event::FilesRolledBack { .. }
    )
}

/// Says whether an event changes (or passes on) a block of its file. `payload` is its number of payload blocks.
pub(crate) fn touches_block(event: &Event, payload: u64, block: u64) -> bool {
    let within = |r: &Range| block >= r.block && block - r.block < r.count;
    match event {
        Event::CopiedOut { ranges, .. } | Event::ChangeMarked { ranges, .. } => {
            ranges.iter().any(within)
        }
        Event::FileRestored { .. } => true,
        event if is_volume_wide(event) => true,
        event => replaced(event, payload).is_some_and(|blocks| blocks.contains(&block)),
    }
}

/// The blocks that an event replaces in its file, with its number of payload blocks.
pub(crate) fn replaced(event: &Event, payload: u64) -> Option<RangeInclusive<u64>> {
    let run = |block: u64, count: u64| (count > 0).then(|| block..=block.saturating_add(count - 1));
    match event {
        Event::Written { block, .. } => run(*block, payload),
        Event::Punched { range, .. } => run(range.block, range.count),
        Event::Truncated { size, .. } => Some(size.div_ceil(BLOCK)..=u64::MAX),
        Event::Shared {
            to_block, count, ..
        } => run(*to_block, *count),
        _ => None,
    }
}

/// Calls `found` with every checkpoint that an event names.
pub(crate) fn checkpoints(event: &Event, mut found: impl FnMut(CheckpointId)) {
    let mut source = |source: &Source| {
        if let Source::Checkpoint(_, id) = source {
            found(*id);
        }
    };
    match event {
        Event::CloneCreated { source: from, .. } | Event::FileRestored { source: from, .. } => {
            source(from)
        }
        Event::CopiedOut { checkpoint, .. }
        | Event::ChangeMarked { checkpoint, .. }
        | Event::CheckpointConverted { checkpoint, .. }
        | Event::CheckpointDropped { checkpoint, .. }
        | Event::CheckpointGivenUp { checkpoint, .. }
        | Event::CheckpointCreated { checkpoint, .. }
        | Event::CheckpointRemoved { checkpoint }
        | Event::CheckpointRestored { checkpoint }
        | Event::CheckpointRenamed { checkpoint, .. }
        | Event::CheckpointHeld { checkpoint, .. }
        | Event::CheckpointFlagged { checkpoint, .. } => found(*checkpoint),
        Event::RolledBack { volumes, before } => {
            volumes.iter().for_each(|(_, from)| source(from));
            found(*before);
        }
        Event::FilesRolledBack {
            source: from,
            before,
            ..
        } => {
            source(from);
            found(*before);
        }
        Event::Settled { shifts, .. } => shifts.iter().for_each(|shift| match shift {
            Shift::CopiedOut { to, .. } | Shift::HandedIn { to, .. } | Shift::Marked { to, .. } => {
                found(*to)
            }
            Shift::HandedDown { from, to, .. } => {
                found(*from);
                found(*to);
            }
            Shift::Released { from, .. } | Shift::Unmarked { from, .. } => found(*from),
        }),
        Event::CloneReset { before, .. }
        | Event::Undone {
            before: Some(before),
            ..
        } => found(*before),
        _ => {}
    }
}

/// The stable name of a movement's kind, which a [`Event::Settled`] answers to as well.
pub(crate) fn shift_kind(shift: &Shift) -> &'static str {
    match shift {
        Shift::CopiedOut { .. } => "copied-out",
        Shift::HandedDown { .. } => "handed-down",
        Shift::HandedIn { .. } => "handed-in",
        Shift::Released { .. } => "released",
        Shift::Marked { .. } => "change-marked",
        Shift::Unmarked { .. } => "change-unmarked",
    }
}

/// The versions that an event passes from the live volume to checkpoints.
pub(crate) fn passed(event: &Event, mut found: impl FnMut(CheckpointId, u64)) {
    match event {
        Event::CopiedOut {
            checkpoint, ranges, ..
        } => found(
            *checkpoint,
            ranges
                .iter()
                .fold(0, |sum: u64, r| sum.saturating_add(r.count)),
        ),
        Event::Settled { shifts, .. } => {
            for shift in shifts {
                if let Shift::CopiedOut { to, blocks } = shift {
                    found(*to, *blocks);
                }
            }
        }
        _ => {}
    }
}

/// The versions that an event marks as changed since nodata checkpoints.
pub(crate) fn marked(event: &Event, mut found: impl FnMut(CheckpointId, u64)) {
    match event {
        Event::ChangeMarked {
            checkpoint, ranges, ..
        } => found(
            *checkpoint,
            ranges
                .iter()
                .fold(0, |sum: u64, r| sum.saturating_add(r.count)),
        ),
        Event::Settled { shifts, .. } => {
            for shift in shifts {
                if let Shift::Marked { to, blocks } = shift {
                    found(*to, *blocks);
                }
            }
        }
        _ => {}
    }
}

/// Says whether an event is everyday work on a file tree: such events collapse into runs.
pub(crate) fn is_everyday(event: &Event) -> bool {
    matches!(
        event,
        Event::Created { .. }
            | Event::Linked { .. }
            | Event::Unlinked { .. }
            | Event::Renamed { .. }
            | Event::Exchanged { .. }
            | Event::OrphanDropped { .. }
            | Event::Written { .. }
            | Event::Punched { .. }
            | Event::Truncated { .. }
            | Event::Preallocated { .. }
            | Event::Shared { .. }
            | Event::AttributesSet { .. }
            | Event::XattrSet { .. }
            | Event::XattrRemoved { .. }
            | Event::CopiedOut { .. }
            | Event::ChangeMarked { .. }
    )
}
