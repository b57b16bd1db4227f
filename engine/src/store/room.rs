//! How much can still be written.

use super::Store;
use crate::block::BLOCK;
use crate::statefile;
use strand_journal::{Access, SegmentState};

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
            let besides = statefile::bytes(&*self.disk).saturating_add(space.archive_bytes);
            let left = capacity.saturating_sub(besides);
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
