//! The blocks of the last small groups. They went past the page cache, so nobody else has them in memory; and a block just
//! written is the likeliest to be read: the next small write fills the rest of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::Block;
use crate::frame::Placed;

/// Blocks kept, those of headers included: 4 MiB.
const MOST_BLOCKS: usize = 1024;

/// Flushed frames, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    frames: VecDeque<Arc<Placed>>,
    blocks: usize,
}

impl Recent {
    /// Keeps a frame that lies behind all those kept, and forgets the oldest ones for it. A block that would keep more memory than
    /// its own is not worth it: its frame is not kept.
    pub(crate) fn keep(&mut self, frame: Arc<Placed>) {
        if frame.blocks.is_empty() || frame.blocks.iter().any(Block::is_part) {
            return;
        }
        self.blocks += weight(&frame);
        self.frames.push_back(frame);
        while self.blocks > MOST_BLOCKS
            && let Some(oldest) = self.frames.pop_front()
        {
            self.blocks -= weight(&oldest);
        }
    }

    /// Segment and block of the oldest frame.
    pub(crate) fn oldest(&self) -> Option<(u64, u32)> {
        self.frames
            .front()
            .map(|frame| (frame.segment, frame.block))
    }

    /// The block at an address, if it is kept.
    pub(crate) fn find(&self, segment: u64, block: u32) -> Option<&Block> {
        let behind = self
            .frames
            .partition_point(|frame| (frame.segment, frame.block) <= (segment, block));
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        if frame.segment != segment {
            return None;
        }
        let index = block.checked_sub(frame.block + frame.header_blocks)?;
        frame.blocks.get(index as usize)
    }
}

/// Blocks of memory: a frame keeps its records too, and a header block holds the records of one frame at least.
fn weight(frame: &Placed) -> usize {
    frame.header_blocks as usize + frame.blocks.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segment: u64, block: u32, payload: u32) -> Arc<Placed> {
        let blocks = (0..payload)
            .map(|i| Block::from_slice(&(block + 1 + i).to_le_bytes()))
            .collect();
        Arc::new(Placed {
            segment,
            block,
            previous_block: 0,
            header_blocks: 1,
            flags: 0,
            epoch: 1,
            first: 1,
            count: 1,
            time: 1,
            last_time: 1,
            records: Vec::new(),
            blocks,
        })
    }

    #[test]
    fn a_part_of_a_slab_is_not_kept() {
        let slab = Arc::new(crate::Slab::new(8));
        let mut recent = Recent::default();
        let mut of_slab = Arc::into_inner(frame(1, 10, 1)).unwrap();
        of_slab.blocks.extend(Block::of_slab(&slab, &[3]));
        recent.keep(Arc::new(of_slab));
        assert_eq!((recent.oldest(), Arc::strong_count(&slab)), (None, 1));
    }

    #[test]
    fn a_block_is_found_at_its_address_and_nowhere_else() {
        let mut recent = Recent::default();
        recent.keep(frame(1, 10, 2));
        recent.keep(frame(1, 20, 1));
        recent.keep(frame(2, 0, 3));
        let found = |segment, block| {
            let block = recent.find(segment, block)?;
            Some(u32::from_le_bytes(block.bytes()[..4].try_into().unwrap()))
        };
        for (segment, block) in [(1, 11), (1, 12), (1, 21), (2, 1), (2, 3)] {
            assert_eq!(found(segment, block), Some(block), "{segment}:{block}");
        }
        // Headers, what lies between and around, other segments.
        for (segment, block) in [(1, 9), (1, 10), (1, 13), (1, 20), (1, 22), (2, 0), (2, 4)] {
            assert_eq!(found(segment, block), None, "{segment}:{block}");
        }
        assert_eq!((found(0, 11), found(3, 1)), (None, None));
    }

    #[test]
    fn the_oldest_frames_are_forgotten() {
        let mut recent = Recent::default();
        for i in 0..5 {
            recent.keep(frame(1, i * 400, 399));
        }
        assert_eq!(recent.oldest(), Some((1, 1200)));
        assert!(recent.find(1, 1199).is_none());
        assert!(recent.find(1, 1201).is_some());
        assert_eq!(recent.blocks, 800, "headers count");
    }
}
