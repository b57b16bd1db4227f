//! Names of places and things: block addresses, chain hashes, store ids, tickets, and where recovery may begin.

use std::fmt;

/// Every address is below this bound, so that it packs into 48 bits.
pub const MAX_ADDRESS: u64 = 1 << 48;

/// Where a block was first written: segment number × blocks per segment + index of the block in its segment.
/// Segments count from 1, so 0 is no address ([`BlockAddr::NONE`]). Births are monotone: a later block has a higher one.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct BlockAddr(pub u64);

impl BlockAddr {
    /// No block.
    pub const NONE: BlockAddr = BlockAddr(0);

    /// The address `blocks` further on (saturating).
    pub fn plus(self, blocks: u64) -> BlockAddr {
        BlockAddr(self.0.saturating_add(blocks))
    }
}

impl fmt::Display for BlockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The hash that binds a frame's core and, through the one before, everything that precedes it.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default)]
pub struct ChainHash(pub [u8; 32]);

/// Names a store, so that frames of two stores can never be mixed up.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default)]
pub struct StoreId(pub [u8; 16]);

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl ChainHash {
    /// The chain before the first frame of a store.
    pub fn genesis(store: StoreId) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"strandline journal");
        hasher.update(&store.0);
        ChainHash(*hasher.finalize().as_bytes())
    }

    /// The chain after a frame with this `core`.
    pub fn next(&self, core: &[u8]) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(core);
        ChainHash(*hasher.finalize().as_bytes())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<ChainHash> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(ChainHash(bytes))
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// What [`Journal::commit`](crate::Journal::commit) waits for: the last number of a placed command.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// A place between two frames, with all that is needed to read on from there. A state file keeps one beside the state
/// that covers everything before it; recovery then begins here. Plain numbers, to be serialised as the caller likes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Start {
    /// The next number expected: everything below it is covered.
    pub number: u64,
    /// The segment of the frame before this place, counted from 1.
    pub segment: u64,
    /// The block of that segment at which the next frame may stand. May equal the number of blocks in a segment.
    pub block: u32,
    /// Where the frame before this place begins in `segment`; `u32::MAX` at the origin, where there is none.
    pub previous_block: u32,
    /// The chain hash of the frame before this place.
    pub chain: ChainHash,
    /// Time of the last record before this place, in ns since the Unix epoch; 0 if there is none.
    pub time: u64,
    /// The open-epoch of the frame before this place; 0 at the origin.
    pub epoch: u64,
}

impl Start {
    /// Before the first frame of a store.
    pub fn origin(store: StoreId) -> Start {
        Start {
            number: 1,
            segment: 1,
            block: 0,
            previous_block: u32::MAX,
            chain: ChainHash::genesis(store),
            time: 0,
            epoch: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_hash_reads_what_it_prints() {
        let hash = ChainHash::genesis(StoreId([7; 16])).next(b"core");
        assert_eq!(ChainHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(ChainHash::parse("abc"), None);
        assert_eq!(ChainHash::parse(&"g".repeat(64)), None);
    }
}
