//! Reading payload blocks by their addresses: from frames not yet written, from memory, from their segments.

use crate::BLOCK_SIZE;
use crate::address::BlockAddr;
use crate::error::Error;
use crate::journal::Journal;

impl Journal {
    /// Reads a payload block, from a frame not yet written or from its segment. No checksum is looked at.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an address beyond the head, [`Error::Poisoned`] for a block that was not durable when a
    /// write failed, [`Error::Gone`] where the segment's file is not there any more, [`Error::Io`].
    pub fn read_block(&self, addr: BlockAddr, buf: &mut [u8; BLOCK_SIZE]) -> Result<(), Error> {
        self.read_blocks(addr, buf)
    }

    /// Reads a run of blocks inside one segment, with one read where it is all written. `buf` is a multiple of the
    /// block size. No checksum is looked at.
    ///
    /// # Errors
    /// As for [`Journal::read_block`].
    pub fn read_blocks(&self, first: BlockAddr, buf: &mut [u8]) -> Result<(), Error> {
        let (segment, block) = self.run(first, buf.len())?;
        let blocks = (buf.len() / BLOCK_SIZE) as u64;
        let on_disk = if self.core.is_written(first, blocks) {
            self.core.on_disk(first, blocks) as usize
        } else {
            0
        };
        let (front, rest) = buf.split_at_mut(on_disk * BLOCK_SIZE);
        if !front.is_empty() {
            self.core.segments.read(segment, block, front, false)?;
        }
        for (i, piece) in rest.chunks_exact_mut(BLOCK_SIZE).enumerate() {
            self.read_one(segment, block + (on_disk + i) as u32, piece)?;
        }
        Ok(())
    }

    fn read_one(&self, segment: u64, block: u32, piece: &mut [u8]) -> Result<(), Error> {
        let addr = self.core.layout.addr(segment, block);
        if self.core.is_written(addr, 1) {
            if self.core.on_disk(addr, 1) == 0
                && let Some(recent) = self.core.state().recent(segment, block)
            {
                piece.copy_from_slice(&recent.bytes()[..]);
                return Ok(());
            }
        } else {
            let state = self.core.state();
            if let Some(waiting) = state.waiting(segment, block) {
                self.core.barrier.check()?;
                piece.copy_from_slice(&waiting.bytes()[..]);
                return Ok(());
            }
            // Written meanwhile, or nowhere.
            if !self.core.is_written(addr, 1) {
                return Err(Error::Misuse(format!("no block has the address {addr}")));
            }
        }
        self.core.segments.read(segment, block, piece, false)
    }

    /// Segment and block of a run that stays inside one segment.
    fn run(&self, first: BlockAddr, bytes: usize) -> Result<(u64, u32), Error> {
        let layout = &self.core.layout;
        let (segment, block) = layout.split(first);
        let blocks = bytes / BLOCK_SIZE;
        let inside =
            bytes.is_multiple_of(BLOCK_SIZE) && block as usize + blocks <= layout.blocks() as usize;
        if segment == 0 || !inside {
            return Err(Error::Misuse(format!(
                "no run of {bytes} bytes at {first} lies in one segment"
            )));
        }
        Ok((segment, block))
    }

    /// Says that a segment will be read in long stretches, front to back. Best effort. The kernel reads those ahead in larger pages than it does what
    /// [`Journal::prefetch`] asks for, in half the time.
    pub fn read_in_order(&self, segment: u64) {
        if let Ok(file) = self.core.segments.file(segment) {
            file.advise_sequential();
        }
    }

    /// Says that runs (first address, blocks) will be read soon. Best effort.
    pub fn prefetch(&self, runs: &mut dyn Iterator<Item = (BlockAddr, u32)>) {
        for (first, blocks) in runs {
            let bytes = blocks as usize * BLOCK_SIZE;
            if let Ok((segment, block)) = self.run(first, bytes)
                && self.core.is_written(first, u64::from(blocks))
                && let Ok(file) = self.core.segments.file(segment)
            {
                file.advise_willneed(u64::from(block) * BLOCK_SIZE as u64, bytes as u64);
            }
        }
    }
}
