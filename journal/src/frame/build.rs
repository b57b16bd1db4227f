//! A frame that has been placed and not yet written, and the making of its header.

use super::core::{self, FIXED, Layout, TRAILER, flags};
use crate::address::ChainHash;
use crate::block::Block;
use crate::{BLOCK_SIZE, MAX_FRAME_BLOCKS, tree, varint};

/// A frame with a place. Its header blocks are fixed when it is opened, so that payload addresses are known at once;
/// later commands join while they fit the slack.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) segment: u64,
    pub(crate) block: u32,
    pub(crate) previous_block: u32,
    pub(crate) header_blocks: u32,
    pub(crate) flags: u16,
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Time of the first record.
    pub(crate) time: u64,
    /// Time of the last record.
    pub(crate) last_time: u64,
    pub(crate) records: Vec<u8>,
    pub(crate) blocks: Vec<Block>,
}

impl Placed {
    pub(crate) fn payload(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// The block behind the frame.
    pub(crate) fn end(&self) -> u32 {
        self.block + self.header_blocks + self.payload()
    }

    /// The number after the last record.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Whether so much more fits.
    pub(crate) fn has_room(&self, payload: u32, records_len: usize, layout: &Layout) -> bool {
        let total = self.payload() + payload;
        self.flags & flags::MORE == 0
            && self.header_blocks + total <= MAX_FRAME_BLOCKS
            && self.block + self.header_blocks + total <= layout.blocks()
            && super::header_fits(self.header_blocks, total, self.records.len() + records_len)
    }

    /// Adds a record; the caller made sure that it fits and that `time` does not run back.
    pub(crate) fn push(&mut self, time: u64, bytes: &[u8], blocks: &[Block]) {
        if self.count == 0 {
            self.time = time;
            self.last_time = time;
        }
        varint::put(&mut self.records, time - self.last_time);
        varint::put(&mut self.records, blocks.len() as u64);
        varint::put(&mut self.records, bytes.len() as u64);
        self.records.extend_from_slice(bytes);
        self.blocks.extend_from_slice(blocks);
        self.last_time = time;
        self.count += 1;
    }
}

/// Fills `header` (zeros, `header_blocks` long) and gives the chain hash after the frame.
pub(crate) fn write_header(
    frame: &Placed,
    layout: &Layout,
    flushed: u64,
    previous: &ChainHash,
    header: &mut [u8],
) -> ChainHash {
    debug_assert_eq!(header.len(), frame.header_blocks as usize * BLOCK_SIZE);
    let core_len = FIXED + 4 * frame.blocks.len() + frame.records.len();
    let leaves_end = core_len + 16 * frame.blocks.len();
    for (i, block) in frame.blocks.iter().enumerate() {
        header[FIXED + 4 * i..][..4].copy_from_slice(&block.crc().to_le_bytes());
        header[core_len + 16 * i..][..16].copy_from_slice(block.leaf());
    }
    let root = tree::root(&header[core_len..leaves_end]);
    let fields = core::Fields {
        flags: frame.flags,
        // Both are at most 512: placing saw to that.
        header_blocks: frame.header_blocks as u16,
        payload_blocks: frame.blocks.len() as u16,
        segment: frame.segment,
        block: frame.block,
        previous_block: frame.previous_block,
        first: frame.first,
        count: frame.count,
        flushed,
        epoch: frame.epoch,
        time: frame.time,
        previous: *previous,
    };
    fields.put(&layout.store, frame.records.len() as u32, &root, header);
    let records_at = FIXED + 4 * frame.blocks.len();
    header[records_at..records_at + frame.records.len()].copy_from_slice(&frame.records);
    let chain = previous.next(&header[..core_len]);
    let crc_at = header.len() - TRAILER;
    let crc = crc32fast::hash(&header[..crc_at]);
    header[crc_at..].copy_from_slice(&crc.to_le_bytes());
    chain
}
