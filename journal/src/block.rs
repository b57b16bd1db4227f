//! A payload block made ready outside any lock: its bytes, its crc32 and its leaf of the frame's hash tree.
//!
//! Single blocks own their bytes. Many blocks read together lie in one [`Slab`], which a direct write takes as it is, and are
//! hashed side by side.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::BLOCK_SIZE;
use crate::leaves::{self, LEAF_SIZE};

/// From so many blocks of a slab on their leaves are computed on another thread: for fewer, waking it takes as long.
const WORTH_A_THREAD: usize = 16;

/// One payload block of 4096 bytes with its checksums. Cloning is one reference count.
#[derive(Clone)]
pub struct Block(Memory);

#[derive(Clone)]
enum Memory {
    Own(Arc<Own>),
    /// One of those that were made of a slab together, by its index among them.
    Part(Arc<Together>, usize),
}

struct Own {
    bytes: Box<[u8; BLOCK_SIZE]>,
    crc: u32,
    leaf: [u8; LEAF_SIZE],
}

/// Blocks made of one slab. Their leaves are wanted when their frame is written, not before.
struct Together {
    slab: Arc<Slab>,
    /// Index in the slab, and crc32, of each.
    parts: Vec<(usize, u32)>,
    leaves: OnceLock<Vec<[u8; LEAF_SIZE]>>,
}

/// Zeroed memory for a run of blocks, aligned as a direct write wants it. It lives until the last block made of it is dropped.
pub struct Slab {
    memory: Vec<u8>,
    start: usize,
    blocks: usize,
}

impl Slab {
    /// Room for so many blocks.
    pub fn new(blocks: usize) -> Slab {
        let memory = vec![0; (blocks + 1) * BLOCK_SIZE];
        // The vector never grows: it stays where it is.
        let start = memory.as_ptr().align_offset(BLOCK_SIZE).min(BLOCK_SIZE);
        Slab {
            memory,
            start,
            blocks,
        }
    }

    /// The bytes of whole blocks, copied: cheaper than to zero the memory first. A rest shorter than a block is left out.
    pub fn copy_of(bytes: &[u8]) -> Slab {
        let blocks = bytes.len() / BLOCK_SIZE;
        let mut memory: Vec<u8> = Vec::with_capacity((blocks + 1) * BLOCK_SIZE);
        // As in `new`: the room is there already, and the vector stays where it is.
        let start = memory.as_ptr().align_offset(BLOCK_SIZE).min(BLOCK_SIZE);
        memory.resize(start, 0);
        memory.extend_from_slice(&bytes[..blocks * BLOCK_SIZE]);
        Slab {
            memory,
            start,
            blocks,
        }
    }

    /// How many blocks have room.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.blocks * BLOCK_SIZE]
    }

    /// Its bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.blocks * BLOCK_SIZE]
    }

    fn block(&self, index: usize) -> &[u8; BLOCK_SIZE] {
        &self.bytes().as_chunks().0[index]
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} blocks)", self.blocks)
    }
}

impl Together {
    fn bytes(&self, index: usize) -> &[u8; BLOCK_SIZE] {
        self.slab.block(self.parts[index].0)
    }

    /// Hashes all of them, or waits for who does so already.
    fn leaves(&self) -> &[[u8; LEAF_SIZE]] {
        self.leaves.get_or_init(|| {
            let bytes: Vec<_> = (0..self.parts.len()).map(|i| self.bytes(i)).collect();
            let mut leaves = vec![[0; LEAF_SIZE]; bytes.len()];
            leaves::leaves(&bytes, &mut leaves);
            leaves
        })
    }
}

impl Block {
    /// Takes the bytes and computes the checksums (about 2 µs).
    pub fn new(bytes: Box<[u8; BLOCK_SIZE]>) -> Block {
        Block(Memory::Own(Arc::new(Own {
            crc: crc32fast::hash(&bytes[..]),
            leaf: leaves::leaf(&bytes),
            bytes,
        })))
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

    /// The blocks of a slab at these indices, in that order, without a copy. Their leaves are computed on another thread meanwhile, or by
    /// whoever asks for the first of them before; together, which takes about half the time that each would take alone.
    ///
    /// # Panics
    /// If an index is not below [`Slab::blocks`].
    pub fn of_slab(slab: &Arc<Slab>, indices: &[usize]) -> Vec<Block> {
        let parts = indices
            .iter()
            .map(|&index| (index, crc32fast::hash(slab.block(index))));
        let together = Arc::new(Together {
            slab: Arc::clone(slab),
            parts: parts.collect(),
            leaves: OnceLock::new(),
        });
        if indices.len() >= WORTH_A_THREAD {
            // Whoever drops the blocks before wants no leaves of them, and gets the slab back.
            let theirs = Arc::downgrade(&together);
            if let Some(threads) = hashing_threads() {
                threads.spawn(move || {
                    if let Some(together) = theirs.upgrade() {
                        together.leaves();
                    }
                });
            }
        }
        let one = |index| Block(Memory::Part(Arc::clone(&together), index));
        (0..indices.len()).map(one).collect()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; BLOCK_SIZE] {
        match &self.0 {
            Memory::Own(own) => &own.bytes,
            Memory::Part(together, index) => together.bytes(*index),
        }
    }

    /// Whether it keeps a whole slab in memory.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.0, Memory::Part(..))
    }

    /// The crc32 (IEEE) of the bytes.
    pub fn crc(&self) -> u32 {
        match &self.0 {
            Memory::Own(own) => own.crc,
            Memory::Part(together, index) => together.parts[*index].1,
        }
    }

    /// The first 16 bytes of the BLAKE3 of the bytes.
    pub fn leaf(&self) -> &[u8; LEAF_SIZE] {
        match &self.0 {
            Memory::Own(own) => &own.leaf,
            Memory::Part(together, index) => &together.leaves()[*index],
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block(crc {:08x})", self.crc())
    }
}

/// The threads that hash, made at the first use; none where the system has none to give: whoever asks for a leaf hashes then.
fn hashing_threads() -> Option<&'static rayon::ThreadPool> {
    static THREADS: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let made = THREADS.get_or_init(|| {
        let named = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("hash-{n}"));
        match named.build() {
            Ok(threads) => Some(threads),
            Err(error) => {
                tracing::warn!(%error, "no threads that hash: writes take longer");
                None
            }
        }
    });
    made.as_ref()
}

/// Whether all bytes are zero; pieces of 64 bytes, so that the compiler compares many at once.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|piece| piece.iter().fold(0, |all, &byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_slab_are_as_blocks_of_their_own() {
        let mut slab = Slab::new(5);
        assert_eq!(slab.bytes().as_ptr().align_offset(BLOCK_SIZE), 0);
        for (i, byte) in slab.bytes_mut().iter_mut().enumerate() {
            *byte = (i / 3 + i / BLOCK_SIZE) as u8;
        }
        let slab = Arc::new(slab);
        let blocks = Block::of_slab(&slab, &[4, 0, 2]);
        assert_eq!(blocks.len(), 3);
        for (block, index) in blocks.iter().zip([4, 0, 2]) {
            let alone = Block::from_slice(&slab.bytes()[index * BLOCK_SIZE..][..BLOCK_SIZE]);
            assert_eq!(block.bytes(), alone.bytes());
            assert_eq!((block.crc(), block.leaf()), (alone.crc(), alone.leaf()));
        }
    }

    #[test]
    fn leaves_asked_for_at_once_are_the_ones_that_a_thread_computes() {
        let bytes: Vec<u8> = (0..256 * BLOCK_SIZE).map(|i| (i / 5) as u8).collect();
        let slab = Arc::new(Slab::copy_of(&bytes));
        let all: Vec<usize> = (0..256).collect();
        for _ in 0..50 {
            let blocks = Block::of_slab(&slab, &all);
            for block in blocks.iter().rev().step_by(85) {
                assert_eq!(block.leaf(), &leaves::leaf(block.bytes()));
            }
        }
    }

    #[test]
    fn a_copy_is_aligned_and_has_whole_blocks() {
        for len in [0, 1, BLOCK_SIZE, 3 * BLOCK_SIZE + 7, 256 * BLOCK_SIZE] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 13 / 5) as u8).collect();
            let slab = Slab::copy_of(&bytes);
            assert_eq!(slab.blocks(), len / BLOCK_SIZE);
            assert_eq!(slab.bytes(), &bytes[..slab.blocks() * BLOCK_SIZE]);
            assert_eq!(slab.bytes().as_ptr().align_offset(BLOCK_SIZE), 0);
        }
    }

    #[test]
    fn a_slab_can_be_filled_again_once_its_blocks_are_gone() {
        let mut slab = Arc::new(Slab::new(2));
        let blocks = Block::of_slab(&slab, &[1]);
        assert!(Arc::get_mut(&mut slab).is_none());
        drop(blocks);
        assert!(Arc::get_mut(&mut slab).is_some());
        // Of many, a thread may be at the leaves for a moment longer.
        let mut slab = Arc::new(Slab::new(64));
        drop(Block::of_slab(&slab, &(0..64).collect::<Vec<_>>()));
        while Arc::get_mut(&mut slab).is_none() {
            std::thread::yield_now();
        }
    }
}
