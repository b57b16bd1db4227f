//! The leaves of a frame's hash tree: the first 16 bytes of the BLAKE3 of each payload block.
//!
//! A block of 4 KiB is four chunks of BLAKE3, which fill half the lanes of a vector unit at best. Hashed across blocks — the first
//! chunk of all of them, then the second — the lanes are full: about twice as fast. The `blake3` crate has the compression for
//! that, and leaves it out of its documentation; the tests here compare every width with its documented function.

use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform};

use crate::BLOCK_SIZE;

/// Bytes of a leaf.
pub const LEAF_SIZE: usize = 16;

const CHUNK: usize = 1024;
const HASH: usize = 32;
/// Of BLAKE3's specification: the initial chaining value, the same as SHA-256's.
const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
/// Of BLAKE3's specification: the flags of a compression.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;

/// Blocks hashed side by side: as many as the widest vector unit has lanes.
const WIDTH: usize = if MAX_SIMD_DEGREE > 4 {
    MAX_SIMD_DEGREE
} else {
    4
};

/// The leaf of one block.
#[must_use]
pub fn leaf(bytes: &[u8; BLOCK_SIZE]) -> [u8; LEAF_SIZE] {
    let mut leaf = [0; LEAF_SIZE];
    leaf.copy_from_slice(&blake3::hash(bytes).as_bytes()[..LEAF_SIZE]);
    leaf
}

/// The leaves of many blocks, into `out`, which is as long.
///
/// # Panics
/// If it is not.
pub fn leaves(blocks: &[&[u8; BLOCK_SIZE]], out: &mut [[u8; LEAF_SIZE]]) {
    assert_eq!(blocks.len(), out.len(), "a leaf for every block");
    let platform = Platform::detect();
    // Four lanes or fewer are filled by the chunks of one block.
    let wide = platform.simd_degree() > 4;
    for (blocks, out) in blocks.chunks(WIDTH).zip(out.chunks_mut(WIDTH)) {
        if wide && blocks.len() > 4 {
            side_by_side(platform, blocks, out);
        } else {
            for (block, out) in blocks.iter().zip(out) {
                *out = leaf(block);
            }
        }
    }
}

/// At most [`WIDTH`] blocks: chunk by chunk, then the two levels of parents above the four chunks.
fn side_by_side(platform: Platform, blocks: &[&[u8; BLOCK_SIZE]], out: &mut [[u8; LEAF_SIZE]]) {
    let count = blocks.len();
    // For each block the hashes of its four chunks, then those of two parents, then its own.
    let mut pairs = [[[0u8; 2 * HASH]; WIDTH]; 2];
    let mut hashes = [0u8; WIDTH * HASH];
    for chunk in 0..BLOCK_SIZE / CHUNK {
        let mut inputs = [&[0u8; CHUNK]; WIDTH];
        for (input, block) in inputs.iter_mut().zip(blocks) {
            *input = &block.as_chunks().0[chunk];
        }
        platform.hash_many(
            &inputs[..count],
            &IV,
            chunk as u64,
            IncrementCounter::No,
            0,
            CHUNK_START,
            CHUNK_END,
            &mut hashes,
        );
        put(&mut pairs[chunk / 2][..count], chunk % 2, &hashes);
    }
    let mut top = [[0u8; 2 * HASH]; WIDTH];
    for (side, pair) in pairs.iter().enumerate() {
        parents(platform, &pair[..count], PARENT, &mut hashes);
        put(&mut top[..count], side, &hashes);
    }
    parents(platform, &top[..count], PARENT | ROOT, &mut hashes);
    for (out, hash) in out.iter_mut().zip(hashes.chunks_exact(HASH)) {
        out.copy_from_slice(&hash[..LEAF_SIZE]);
    }
}

fn put(into: &mut [[u8; 2 * HASH]], side: usize, hashes: &[u8]) {
    for (pair, hash) in into.iter_mut().zip(hashes.chunks_exact(HASH)) {
        pair[side * HASH..][..HASH].copy_from_slice(hash);
    }
}

fn parents(platform: Platform, of: &[[u8; 2 * HASH]], flags: u8, hashes: &mut [u8]) {
    let mut inputs = [&[0u8; 2 * HASH]; WIDTH];
    for (input, pair) in inputs.iter_mut().zip(of) {
        *input = pair;
    }
    let inputs = &inputs[..of.len()];
    platform.hash_many(inputs, &IV, 0, IncrementCounter::No, flags, 0, 0, hashes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_leaves_are_those_of_each_block() {
        let blocks: Vec<[u8; BLOCK_SIZE]> = (0..3 * WIDTH + 3)
            .map(|n| std::array::from_fn(|i| (i * 31 + i / 251 + n * 7) as u8))
            .collect();
        let blocks: Vec<&[u8; BLOCK_SIZE]> = blocks.iter().collect();
        for count in 0..=blocks.len() {
            let mut found = vec![[0; LEAF_SIZE]; count];
            leaves(&blocks[..count], &mut found);
            let expected: Vec<_> = blocks[..count].iter().map(|block| leaf(block)).collect();
            assert_eq!(found, expected, "{count} blocks");
        }
    }

    #[test]
    fn every_width_gives_the_documented_hash() {
        let blocks: Vec<[u8; BLOCK_SIZE]> = (0..WIDTH as u8).map(|n| [n; BLOCK_SIZE]).collect();
        let blocks: Vec<&[u8; BLOCK_SIZE]> = blocks.iter().collect();
        for platform in [Platform::detect(), Platform::portable()] {
            for count in 1..=WIDTH {
                let mut found = vec![[0; LEAF_SIZE]; count];
                side_by_side(platform, &blocks[..count], &mut found);
                let expected: Vec<_> = blocks[..count].iter().map(|block| leaf(block)).collect();
                assert_eq!(found, expected, "{count} blocks");
            }
        }
    }
}
