//! How much can still be written.

use super::Store;
use crate::block::BLOCK;
use crate::statefile;
use strand_journal::{Access, Disk, Journal, SegmentState, Space};

/// An archive takes about this part of its segment.
const ARCHIVE_PART: u64 = 64;
/// A state file takes about this part of what its store holds: some 12 bytes for each block.
const STATE_PART: u64 = 256;

/// Segments that only what gives space back may enter: two, so that one can be emptied while the other waits for its flush; one in a store so small
/// that this were much of it, and none where even one were.
pub(super) fn segments_kept(capacity: Option<u64>, segment_size: u64) -> u64 {
    match capacity.map(|capacity| capacity / segment_size) {
        Some(0..4) => 0,
        Some(4..32) => 1,
        _ => 2,
    }
}

/// Tells the journal what the state files take, which counts against the capacity, and what is to be left for whoever gives space back: segments, and
/// what is written before the first of them is given back. That are the archives of as many as go together, and the next state file, which is there
/// before an older one goes. Without that those files might take the very segments that are kept, where the store has few.
pub(super) fn count_others(journal: &Journal, disk: &dyn Disk) {
    let sizes = statefile::sizes(disk);
    journal.set_other_bytes(sizes.iter().sum());
    let space = journal.space();
    let segments = segments_kept(space.capacity, space.segment_size);
    journal.set_reserve(segments, to_come(&space, &sizes));
}

/// Bytes that archives and state files may come to take before a segment is given back.
fn to_come(space: &Space, states: &[u64]) -> u64 {
    let Some(capacity) = space
        .capacity
        .filter(|capacity| segments_kept(Some(*capacity), space.segment_size) > 0)
    else {
        return 0;
    };
    let archives = (capacity / ARCHIVE_PART).min(space.segment_size / 2);
    let next_state = states.iter().max().copied().unwrap_or(0);
    archives + next_state.max(capacity / STATE_PART)
}

impl Store {
    /// Bytes of file data that may still be written before the store says that it is full: what the segments at hand have and
    /// what capacity and disk let it grow by, less what frames take and the reserve with which a full store can be emptied. 0 where
    /// it is full. An estimate: writes of a few bytes each take more.
    #[must_use]
    pub fn writable_bytes(&self) -> u64 {
        let left = self
            .free_with_growth()
            .saturating_sub(self.reserve_blocks + 2);
        // As the rule for writes has it: one block in 128 is for headers.
        (left - left.div_ceil(129)).saturating_mul(BLOCK)
    }

    /// Whether there is so little room that changes may have to wait for some to be made, or do.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        let tight = &self.upkeep.tight;
        tight.load(std::sync::atomic::Ordering::Relaxed) || self.upkeep.is_urgent()
    }

    /// Free blocks, less what headers and the ends of small segments take of them.
    pub(super) fn usable_blocks(&self) -> u64 {
        self.usable_of(self.journal.space().free_blocks)
    }

    pub(super) fn usable_of(&self, free: u64) -> u64 {
        free - free / u64::from(self.journal.blocks_per_segment() / 4).max(4)
    }

    /// As [`Store::usable_blocks`], also where the store is open for reading and would not grow itself.
    fn free_with_growth(&self) -> u64 {
        if self.options.access == Access::ReadWrite {
            return self.usable_blocks();
        }
        let space = self.journal.space();
        let by_disk = self.disk.free_bytes().unwrap_or(0) / space.segment_size;
        let by_capacity = space.capacity.map_or(u64::MAX, |capacity| {
            let states = statefile::sizes(&*self.disk);
            let others = states.iter().sum::<u64>() + space.archive_bytes;
            let left = capacity.saturating_sub(others + to_come(&space, &states));
            (left / space.segment_size).saturating_sub(space.segments)
        });
        let per_segment = u64::from(self.journal.blocks_per_segment());
        // Of what is kept back for reclaim, the segments at hand count already.
        let segments = self.journal.segments();
        let spare = segments.iter().filter(|s| s.state == SegmentState::Spare);
        let kept_back = (self.kept_back / per_segment).saturating_sub(spare.count() as u64);
        let growth = by_disk.min(by_capacity).saturating_sub(kept_back);
        self.usable_of(
            space
                .free_blocks
                .saturating_add(growth.saturating_mul(per_segment)),
        )
    }
}
