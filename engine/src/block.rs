//! A mapped block: where its version was born, and the checksum of its content.

use serde::{Deserialize, Serialize};
use std::fmt;
use strand_journal::BlockAddr;

/// The size of a block, in bytes. The unit of mapping, copy-out and checksums.
pub const BLOCK: u64 = strand_journal::BLOCK_SIZE as u64;
/// The greatest size of a file, in bytes (`i64::MAX` rounded down to a block).
pub const MAX_FILE_SIZE: u64 = (i64::MAX as u64) / BLOCK * BLOCK;
/// One more than the greatest block index of a file.
pub const MAX_FILE_BLOCKS: u64 = MAX_FILE_SIZE / BLOCK;

/// One entry of a block map: the birth address (the version's identity, for ever) and the crc32 of the content.
///
/// Packed to 10 bytes (6 of address, 4 of checksum, little-endian): memory per mapped block is a figure that users feel.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct BlockRef([u8; 10]);

impl BlockRef {
    /// Packs an address (below 2^48, which the journal guarantees) and a checksum.
    #[must_use]
    pub fn new(addr: BlockAddr, crc: u32) -> Self {
        let mut packed = [0; 10];
        packed[..6].copy_from_slice(&addr.0.to_le_bytes()[..6]);
        packed[6..].copy_from_slice(&crc.to_le_bytes());
        Self(packed)
    }

    /// The birth address.
    #[must_use]
    pub fn addr(self) -> BlockAddr {
        let b = &self.0;
        BlockAddr(u64::from_le_bytes([
            b[0], b[1], b[2], b[3], b[4], b[5], 0, 0,
        ]))
    }

    /// The crc32 of the 4,096 bytes.
    #[must_use]
    pub fn crc(self) -> u32 {
        let b = &self.0;
        u32::from_le_bytes([b[6], b[7], b[8], b[9]])
    }

    /// The packed bytes, as state files hold them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 10] {
        self.0
    }

    /// From packed bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:08x}", self.addr().0, self.crc())
    }
}
