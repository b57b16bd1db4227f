//! The byte offsets of a frame's header, little-endian throughout, and the sums that go with them.
//!
//! ```text
//! core: fixed part (152) | crc32 of each payload block (4·P) | records (records_len)
//! header: core | leaves (16·P) | zeros | crc32 of everything before (last 4 bytes of the last header block)
//! ```

use crate::address::{BlockAddr, ChainHash, MAX_ADDRESS, StoreId};
use crate::{BLOCK_SIZE, varint};

pub(crate) const MAGIC: [u8; 8] = *b"STRANDF\0";
pub(crate) const VERSION: u16 = 0;
/// `previous_block` of the first frame in a segment.
pub(crate) const NO_BLOCK: u32 = u32::MAX;

pub(crate) const AT_MAGIC: usize = 0;
pub(crate) const AT_VERSION: usize = 8;
pub(crate) const AT_FLAGS: usize = 10;
pub(crate) const AT_HEADER_BLOCKS: usize = 12;
pub(crate) const AT_PAYLOAD_BLOCKS: usize = 14;
pub(crate) const AT_STORE: usize = 16;
pub(crate) const AT_SEGMENT: usize = 32;
pub(crate) const AT_BLOCK: usize = 40;
pub(crate) const AT_PREVIOUS_BLOCK: usize = 44;
pub(crate) const AT_FIRST: usize = 48;
pub(crate) const AT_COUNT: usize = 56;
pub(crate) const AT_RECORDS_LEN: usize = 60;
pub(crate) const AT_FLUSHED: usize = 64;
pub(crate) const AT_EPOCH: usize = 72;
pub(crate) const AT_TIME: usize = 80;
pub(crate) const AT_PREVIOUS: usize = 88;
pub(crate) const AT_ROOT: usize = 120;
/// Length of the fixed part.
pub(crate) const FIXED: usize = 152;
/// The crc32 at the header's end.
pub(crate) const TRAILER: usize = 4;
/// What a payload block takes in the header: its crc32 and its leaf.
pub(crate) const PER_PAYLOAD: usize = 20;

/// Flag bits of a frame.
pub(crate) mod flags {
    /// The command goes on in the next frame.
    pub(crate) const MORE: u16 = 1;
    /// The store was closed in good order here.
    pub(crate) const CLOSE: u16 = 2;
    /// First frame of an open-epoch.
    pub(crate) const EPOCH: u16 = 4;
    pub(crate) const ALL: u16 = 7;
}

/// The fixed part of a core, but for what is constant, and what is known only when the records are.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) flags: u16,
    pub(crate) header_blocks: u16,
    pub(crate) payload_blocks: u16,
    pub(crate) segment: u64,
    pub(crate) block: u32,
    pub(crate) previous_block: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) flushed: u64,
    pub(crate) epoch: u64,
    pub(crate) time: u64,
    pub(crate) previous: ChainHash,
}

impl Fields {
    /// Writes the fixed part to the front of `out`.
    pub(crate) fn put(&self, store: &StoreId, records_len: u32, root: &[u8; 32], out: &mut [u8]) {
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(AT_MAGIC, &MAGIC);
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(AT_FLAGS, &self.flags.to_le_bytes());
        put(AT_HEADER_BLOCKS, &self.header_blocks.to_le_bytes());
        put(AT_PAYLOAD_BLOCKS, &self.payload_blocks.to_le_bytes());
        put(AT_STORE, &store.0);
        put(AT_SEGMENT, &self.segment.to_le_bytes());
        put(AT_BLOCK, &self.block.to_le_bytes());
        put(AT_PREVIOUS_BLOCK, &self.previous_block.to_le_bytes());
        put(AT_FIRST, &self.first.to_le_bytes());
        put(AT_COUNT, &self.count.to_le_bytes());
        put(AT_RECORDS_LEN, &records_len.to_le_bytes());
        put(AT_FLUSHED, &self.flushed.to_le_bytes());
        put(AT_EPOCH, &self.epoch.to_le_bytes());
        put(AT_TIME, &self.time.to_le_bytes());
        put(AT_PREVIOUS, &self.previous.0);
        put(AT_ROOT, root);
    }
}

/// Header bytes of a frame with so many payload blocks and bytes of records.
fn header_bytes(payload: u32, records_len: usize) -> usize {
    FIXED + PER_PAYLOAD * payload as usize + records_len + TRAILER
}

/// Header blocks of a frame with so many payload blocks and bytes of records.
pub(crate) fn header_blocks_for(payload: u32, records_len: usize) -> u32 {
    u32::try_from(header_bytes(payload, records_len).div_ceil(BLOCK_SIZE)).unwrap_or(u32::MAX)
}

/// Whether so much fits into `header_blocks`.
pub(crate) fn header_fits(header_blocks: u32, payload: u32, records_len: usize) -> bool {
    header_bytes(payload, records_len) <= header_blocks as usize * BLOCK_SIZE
}

/// Bytes that a record takes in the core: time since the record before, payload blocks, length, bytes.
pub(crate) fn record_len(delta: u64, blocks: usize, bytes: usize) -> usize {
    varint::len(delta) + varint::len(blocks as u64) + varint::len(bytes as u64) + bytes
}

/// What all frames of a store share.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Layout {
    pub(crate) store: StoreId,
    pub(crate) segment_size: u64,
}

impl Layout {
    /// Blocks of a segment: 16 to 262,144.
    pub(crate) fn blocks(&self) -> u32 {
        u32::try_from(self.segment_size / BLOCK_SIZE as u64).unwrap_or(u32::MAX)
    }

    /// Highest segment number whose addresses stay in bounds.
    pub(crate) fn last_segment(&self) -> u64 {
        MAX_ADDRESS / u64::from(self.blocks()) - 1
    }

    pub(crate) fn addr(&self, segment: u64, block: u32) -> BlockAddr {
        BlockAddr(
            segment
                .saturating_mul(u64::from(self.blocks()))
                .saturating_add(u64::from(block)),
        )
    }

    /// Segment and block of an address.
    pub(crate) fn split(&self, addr: BlockAddr) -> (u64, u32) {
        let blocks = u64::from(self.blocks());
        (
            addr.0 / blocks,
            u32::try_from(addr.0 % blocks).unwrap_or(u32::MAX),
        )
    }
}
