//! A payload block made ready outside any lock: its bytes, its crc32 and its leaf of the frame's hash tree.

use std::fmt;
use std::sync::Arc;

use crate::BLOCK_SIZE;

/// One payload block of 4096 bytes with its checksums. Cloning is one reference count.
#[derive(Clone)]
pub struct Block(Arc<Prepared>);

struct Prepared {
    crc: u32,
    leaf: [u8; 16],
    bytes: Box<[u8; BLOCK_SIZE]>,
}

impl Block {
    /// Takes the bytes and computes the checksums (about 2 µs).
    pub fn new(bytes: Box<[u8; BLOCK_SIZE]>) -> Block {
        Block(Arc::new(Prepared {
            crc: crc32fast::hash(&bytes[..]),
            leaf: leaf_of(&bytes[..]),
            bytes,
        }))
    }

    /// Copies up to 4096 bytes; what is missing at the end is zero. Bytes beyond 4096 are not taken.
    pub fn from_slice(bytes: &[u8]) -> Block {
        let taken = bytes.len().min(BLOCK_SIZE);
        // Grown, not zeroed and overwritten: this is done for every block written.
        let mut block = Vec::with_capacity(BLOCK_SIZE);
        block.extend_from_slice(&bytes[..taken]);
        block.resize(BLOCK_SIZE, 0);
        let block: Box<[u8; BLOCK_SIZE]> = block
            .into_boxed_slice()
            .try_into()
            .expect("it was made as long as a block");
        Block::new(block)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; BLOCK_SIZE] {
        &self.0.bytes
    }

    /// The crc32 (IEEE) of the bytes.
    pub fn crc(&self) -> u32 {
        self.0.crc
    }

    /// The first 16 bytes of the BLAKE3 of the bytes.
    pub fn leaf(&self) -> &[u8; 16] {
        &self.0.leaf
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block(crc {:08x})", self.0.crc)
    }
}

/// The leaf of a block with these bytes.
pub(crate) fn leaf_of(bytes: &[u8]) -> [u8; 16] {
    let mut leaf = [0u8; 16];
    leaf.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    leaf
}

/// Whether all bytes are zero; pieces of 64 bytes, so that the compiler compares many at once.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|piece| piece.iter().fold(0, |all, &byte| all | byte) == 0)
}
