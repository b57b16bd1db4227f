//! How much room there is: what is free, which segments there are, and what is kept for whom.

use crate::BLOCK_SIZE;
use crate::journal::Journal;
use crate::placement;

/// What room there is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Space {
    /// Blocks that may still be placed before a refusal, headers included: the rest of this segment, segments ready, and
    /// what capacity and disk allow, less the reserve.
    pub free_blocks: u64,
    /// As [`Space::free_blocks`], with what is left of the reserve.
    pub blocks_with_reserve: u64,
    /// Bytes of the segments entered so far whose files are there, up to the head.
    pub used_bytes: u64,
    /// The store's capacity, if it has one.
    pub capacity: Option<u64>,
    /// Segment files.
    pub segments: u64,
    /// Bytes of one.
    pub segment_size: u64,
    /// Archives.
    pub archived_segments: u64,
    /// Bytes of them together.
    pub archive_bytes: u64,
}

/// What a segment is at the moment.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub enum SegmentState {
    /// Its file is gone, its archive has its events.
    Archived,
    /// Behind it something is durable: nothing is written here any more.
    Sealed,
    /// The journal's end lies here, or what is being written does.
    Head,
    /// Made ahead, and not entered.
    Spare,
}

/// One segment.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number, from 1.
    pub number: u64,
    /// What it is.
    pub state: SegmentState,
    /// Bytes that its file takes; 0 where it has none.
    pub file_bytes: u64,
    /// Bytes of its archive; 0 where it has none.
    pub archive_bytes: u64,
}

impl Journal {
    /// Blocks that are left of the present segment, and 0 where they are too few to split a command for them. A record that fits
    /// ([`record_blocks_in`](crate::record_blocks_in)) fills them, when another one of the same command follows in the next segment.
    pub fn rest_of_segment(&self) -> u32 {
        let rest = self.core.layout.blocks() - self.core.state().block;
        if rest < placement::WORTH_FILLING {
            0
        } else {
            rest
        }
    }

    /// What room there is. Asks the disk.
    pub fn space(&self) -> Space {
        let layout = &self.core.layout;
        let (segment, block) = {
            let state = self.core.state();
            (state.segment, state.block)
        };
        let blocks = u64::from(layout.blocks());
        // Writers ask often, and there may be many: only those that are ready are counted one by one.
        let (segments, ready, at_head) = {
            let state = self.core.segments.state();
            let ready = state.present.range(segment + 1..).count() as u64;
            (
                state.present.len() as u64,
                ready,
                state.present.contains(&segment),
            )
        };
        let before = segments - ready - u64::from(at_head);
        let (growth, all) = match self.read_only {
            true => (0, 0),
            false => self.core.segments.can_grow_by(),
        };
        let rest = if at_head {
            blocks - u64::from(block)
        } else {
            0
        };
        let (archived_segments, archive_bytes) = self.core.segments.shelf.totals();
        let growth = ready.saturating_add(growth);
        let with = |more: u64| rest.saturating_add(more.saturating_mul(blocks));
        Space {
            free_blocks: with(growth.saturating_sub(self.core.segments.reserve())),
            blocks_with_reserve: with(ready.saturating_add(all)),
            used_bytes: before * layout.segment_size + u64::from(block) * BLOCK_SIZE as u64,
            capacity: self.core.segments.capacity(),
            segments,
            segment_size: layout.segment_size,
            archived_segments,
            archive_bytes,
        }
    }

    /// The segments, ascending: those with a file, and those with an archive only. Reads no frames; the first call asks the
    /// disk for the sizes of the archives.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let (durable, placed) = {
            let state = self.core.state();
            (state.flushed_end.segment, state.segment)
        };
        let segments = &self.core.segments;
        let with_file = segments.numbers();
        let mut infos: Vec<SegmentInfo> = with_file
            .iter()
            .map(|&number| SegmentInfo {
                number,
                state: if number < durable {
                    SegmentState::Sealed
                } else if number <= placed {
                    SegmentState::Head
                } else {
                    SegmentState::Spare
                },
                file_bytes: self.core.layout.segment_size,
                archive_bytes: segments.shelf.size(number),
            })
            .collect();
        let alone = segments.shelf.numbers().into_iter();
        let alone = alone.filter(|number| with_file.binary_search(number).is_err());
        infos.extend(alone.map(|number| SegmentInfo {
            number,
            state: SegmentState::Archived,
            file_bytes: 0,
            archive_bytes: segments.shelf.size(number),
        }));
        infos.sort_unstable_by_key(|info| info.number);
        infos
    }

    /// Says how many bytes other files of the store take: they count against its capacity. 0 until it is said.
    pub fn set_other_bytes(&self, bytes: u64) {
        self.core.segments.set_other_bytes(bytes);
    }

    /// How many segments [`Journal::place`] leaves untouched when it enters one, for [`Journal::place_from_reserve`], and how many bytes of the capacity
    /// besides: what archives and other files may come to take until those segments are made. 0 until it is said.
    pub fn set_reserve(&self, segments: u64, other_bytes: u64) {
        self.core.segments.set_reserve(segments, other_bytes);
    }
}
