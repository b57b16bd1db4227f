//! The source file by parts: where its data and holes are, and what each part means for the blocks that the volume has.

use crate::error::{Outcome, on_path};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use strand_engine::{BLOCK, BlockMap, Store};
use strand_journal::{BLOCK_SIZE, Block, Slab};

/// Bytes read at once: one command each.
pub(super) const CHUNK: u64 = 1 << 20;

const ZERO: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];

/// What a block of the source means for the volume.
pub(super) enum Change {
    /// The volume has it already.
    Same,
    /// It becomes a hole.
    Hole,
    /// It is written.
    Data(Block),
}

/// A part of the source, prepared.
pub(super) enum Part {
    /// Blocks from `first` on, of a part that ends at byte `end`.
    Blocks {
        first: u64,
        end: u64,
        blocks: Vec<Change>,
    },
    /// Bytes of a hole of the source where the volume has data, from and to.
    Hole { start: u64, end: u64 },
}

/// Bytes from `start`, at a block, to `end`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Extent {
    start: u64,
    end: u64,
    hole: bool,
}

/// The file that is imported, and what the volume has in its place.
pub(super) struct Source<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    /// Its length in bytes when the import of it began.
    pub(super) length: u64,
    pub(super) store: &'a Store,
    pub(super) existing: BlockMap,
}

impl Source<'_> {
    /// Where data lies, and holes that the volume has data for. Holes of whole blocks only: a block with one byte of data
    /// is a block of data.
    pub(super) fn extents(&self) -> Outcome<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = 0;
        while at < self.length {
            let data = self.next_data(at)?.min(self.length);
            let hole_end = if data == self.length {
                data
            } else {
                data / BLOCK * BLOCK
            };
            let mapped = self.existing.next_at_or_after(at / BLOCK);
            if hole_end > at && mapped.is_some_and(|(block, _)| block * BLOCK < hole_end) {
                extents.push(Extent {
                    start: at,
                    end: hole_end,
                    hole: true,
                });
            }
            at = at.max(hole_end);
            if at < self.length {
                let end = self.next_hole(data)?.min(self.length);
                let end = end.next_multiple_of(BLOCK).min(self.length);
                extents.push(Extent {
                    start: at,
                    end,
                    hole: false,
                });
                at = end;
            }
        }
        Ok(extents)
    }

    fn next_data(&self, at: u64) -> Outcome<u64> {
        match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(data),
            Err(Errno::NXIO) => Ok(self.length),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
            Err(error) => Err(on_path("read", self.path)(error.into())),
        }
    }

    fn next_hole(&self, at: u64) -> Outcome<u64> {
        match rustix::fs::seek(self.file, SeekFrom::Hole(at)) {
            // A file that changes meanwhile must not hold us at one place.
            Ok(hole) => Ok(hole.max(at + 1)),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => Ok(self.length),
            Err(error) => Err(on_path("read", self.path)(error.into())),
        }
    }

    /// Reads a chunk and prepares it: the costly part, which several threads do side by side.
    pub(super) fn part(&self, chunk: Extent, slabs: &mut Slabs) -> Outcome<Part> {
        if chunk.hole {
            return Ok(Part::Hole {
                start: chunk.start,
                end: chunk.end,
            });
        }
        let first = chunk.start / BLOCK;
        Ok(Part::Blocks {
            first,
            end: chunk.end,
            blocks: self.changes(first, &self.read(chunk, slabs)?)?,
        })
    }

    /// Reads straight into the memory that the journal will write from: no byte is copied on the way.
    fn read(&self, chunk: Extent, slabs: &mut Slabs) -> Outcome<Arc<Slab>> {
        let wanted = usize::try_from(chunk.end - chunk.start).unwrap_or(usize::MAX);
        let mut slab = slabs.take(wanted.div_ceil(BLOCK_SIZE));
        let memory = Arc::get_mut(&mut slab).expect("a slab that was just taken has no blocks");
        let (bytes, rest) = memory.bytes_mut().split_at_mut(wanted);
        rest.fill(0);
        self.file
            .read_exact_at(bytes, chunk.start)
            .map_err(|error| self.unread(error))?;
        slabs.keep(&slab);
        Ok(slab)
    }

    fn unread(&self, error: io::Error) -> crate::error::Failure {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let shrank = io::Error::other("the file became shorter while it was read");
            return on_path("import", self.path)(shrank);
        }
        on_path("read", self.path)(error)
    }

    /// What each block of a slab, from block `first` of the file on, means for the volume.
    fn changes(&self, first: u64, slab: &Arc<Slab>) -> Outcome<Vec<Change>> {
        let (blocks, _) = slab.bytes().as_chunks::<BLOCK_SIZE>();
        let with_data: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i] != ZERO).collect();
        let mut changes: Vec<Change> = (first..first + blocks.len() as u64)
            .map(|block| match self.existing.contains(block) {
                true => Change::Hole,
                false => Change::Same,
            })
            .collect();
        for (&i, content) in with_data.iter().zip(Block::of_slab(slab, &with_data)) {
            changes[i] = match self.has(first + i as u64, &content)? {
                true => Change::Same,
                false => Change::Data(content),
            };
        }
        Ok(changes)
    }

    /// Whether the volume has this content at that block already.
    fn has(&self, block: u64, content: &Block) -> Outcome<bool> {
        let there = self.existing.get(block).copied();
        let Some(there) = there.filter(|t| t.crc() == content.crc()) else {
            return Ok(false);
        };
        let mut present = ZERO;
        self.store.read_version(there, &mut present)?;
        Ok(present == *content.bytes())
    }
}

/// Memory for what is read, used again once the journal has written it: fresh memory costs more than what is done with it.
#[derive(Default)]
pub(super) struct Slabs(Vec<Arc<Slab>>);

impl Slabs {
    /// Room for so many blocks that nobody else sees.
    fn take(&mut self, blocks: usize) -> Arc<Slab> {
        let free = |slab: &mut Arc<Slab>| slab.blocks() == blocks && Arc::get_mut(slab).is_some();
        match self.0.iter_mut().position(free) {
            Some(index) => self.0.swap_remove(index),
            None => Arc::new(Slab::new(blocks)),
        }
    }

    /// Remembers one of a full chunk; others come rarely.
    fn keep(&mut self, slab: &Arc<Slab>) {
        if slab.blocks() as u64 * BLOCK == CHUNK {
            self.0.push(Arc::clone(slab));
        }
    }
}

/// The extents cut into chunks, each of which becomes one command.
pub(super) fn chunks(extents: &[Extent]) -> impl Iterator<Item = Extent> {
    extents.iter().flat_map(|extent| {
        let step = if extent.hole { u64::MAX } else { CHUNK };
        let mut at = extent.start;
        std::iter::from_fn(move || {
            let start = at;
            at = start.saturating_add(step).min(extent.end);
            (start < extent.end).then_some(Extent {
                start,
                end: at,
                hole: extent.hole,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_into_chunks_and_holes_are_not() {
        let extents = [
            Extent {
                start: 0,
                end: 5 * CHUNK,
                hole: true,
            },
            Extent {
                start: 5 * CHUNK,
                end: 7 * CHUNK + 100,
                hole: false,
            },
        ];
        let cut: Vec<_> = chunks(&extents).map(|c| (c.start, c.end, c.hole)).collect();
        let expected = [
            (0, 5 * CHUNK, true),
            (5 * CHUNK, 6 * CHUNK, false),
            (6 * CHUNK, 7 * CHUNK, false),
            (7 * CHUNK, 7 * CHUNK + 100, false),
        ];
        assert_eq!(cut, expected);
    }
}
