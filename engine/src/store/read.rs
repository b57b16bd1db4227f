//! Bytes out. Every block is checked against the crc32 in its map: a read never returns wrong bytes.

use super::Store;
use super::present::given_back;
use crate::block::{BLOCK, BlockRef};
use crate::damage::Damage;
use crate::error::Error;
use crate::ids::Ino;
use crate::refusal::{Kind, Refusal};
use crate::state::{FileBody, Fileset};
use strand_journal::{BLOCK_SIZE, BlockAddr, Error as JournalError};

/// How far a sequential reader reads ahead, in blocks (4 MiB).
const AHEAD_BLOCKS: u64 = 1024;
/// More runs than this in that much make a file fragmented.
const FRAGMENTED_RUNS: usize = 128;
/// How far a reader of a fragmented file reads ahead, in blocks (256 MiB): what lies scattered here lies close together there.
const FRAGMENTED_AHEAD_BLOCKS: u64 = 65_536;
/// Runs that lie so many blocks apart are read as one: 32 KiB more cost less than one more request.
const MAX_GAP_BLOCKS: u64 = 8;

impl Store {
    /// Reads from a file of a tree: as many bytes as there are, up to the buffer's length. Holes read as zeros.
    ///
    /// # Errors
    /// [`Error::Damage`] where a block is not what was written; [`Error::Journal`] where it cannot be read; [`Kind::NotAllowed`] in a nodata image;
    /// [`Kind::Stale`] where no root has the tree any more, and its space was given back.
    pub fn read(
        &self,
        tree: &Fileset,
        ino: Ino,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        self.read_along(tree, ino, offset, buf, None)
    }

    /// As [`Store::read`], by a reader that goes along the journal.
    fn read_along(
        &self,
        tree: &Fileset,
        ino: Ino,
        offset: u64,
        buf: &mut [u8],
        mut along: Option<&mut Along>,
    ) -> Result<usize, Error> {
        self.journal.health()?;
        let file = regular(tree, ino)?;
        let length = usize::try_from(file.size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let buf = &mut buf[..length];
        if length == 0 {
            return Ok(0);
        }
        let last = (offset + (length as u64 - 1)) / BLOCK;
        let seen = self.present.see();
        let mut mapped = file
            .map
            .range(offset / BLOCK, last)
            .map(|(block, version)| (block, *version, seen.find(version.addr())))
            .peekable();
        // What lies before this is as it is to be.
        let mut done = 0;
        while let Some((block, version, lies)) = mapped.next() {
            let start = block * BLOCK;
            buf[done..(start.max(offset) - offset) as usize].fill(0);
            let whole = start >= offset && start + BLOCK <= offset + length as u64;
            if !whole {
                let mut bytes = [0; BLOCK_SIZE];
                self.read_version(version, &mut bytes)?;
                let (from, to) = (
                    start.max(offset),
                    (start + BLOCK).min(offset + length as u64),
                );
                done = (to - offset) as usize;
                buf[(from - offset) as usize..done]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
                continue;
            }
            // Blocks that lie one after another in the file and in the journal are one read.
            let mut run = vec![version];
            while let Some((_, next, _)) = mapped.next_if(|(b, _, found)| {
                *b == block + run.len() as u64
                    && lies.zip(*found).is_some_and(|(first, at)| {
                        at.0 == first.0 + run.len() as u64 && self.same_segment(first, at)
                    })
                    && (b + 1) * BLOCK <= offset + length as u64
            }) {
                run.push(next);
            }
            let at = (start - offset) as usize;
            done = at + run.len() * BLOCK_SIZE;
            if let Some((along, lies)) = along.as_mut().zip(lies) {
                along.reach(self, lies, run.len() as u64);
            }
            self.read_run(lies, &run, &mut buf[at..done])?;
        }
        buf[done..].fill(0);
        Ok(length)
    }

    /// Reads versions that lay side by side when their places were looked at.
    fn read_run(
        &self,
        lies: Option<BlockAddr>,
        run: &[BlockRef],
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        let read = lies.map(|lies| (lies, self.journal.read_blocks(lies, bytes)));
        let blocks = run.iter().zip(bytes.as_chunks_mut().0);
        match read {
            Some((lies, Ok(()))) => {
                for (i, (version, bytes)) in blocks.enumerate() {
                    self.check(*version, lies.plus(i as u64), bytes)?;
                }
                Ok(())
            }
            // They were moved meanwhile, one here, one there.
            None | Some((_, Err(JournalError::Gone { .. }))) => {
                for (version, bytes) in blocks {
                    self.read_version(*version, bytes)?;
                }
                Ok(())
            }
            Some((_, Err(error))) => Err(error.into()),
        }
    }

    /// A reader for a whole file that reads ahead along its map, however the blocks lie in the journal.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::IsADirectory`], [`Kind::Invalid`].
    pub fn reader(&self, tree: &Fileset, ino: Ino) -> Result<FileReader<'_>, Error> {
        regular(tree, ino)?;
        Ok(FileReader {
            store: self,
            tree: tree.clone(),
            ino,
            ahead: 0,
            in_order: None,
            along: Along::default(),
        })
    }

    /// Tells the disk that a sequential reader of a file wants the next 4 MiB from a block on; gives the block up to which it was told. Quick
    /// however the file lies: for longer looks ahead there is [`Store::reader`].
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub fn read_ahead(&self, tree: &Fileset, ino: Ino, from: u64) -> Result<u64, Error> {
        let reader = self.reader(tree, ino)?;
        let to = from.saturating_add(AHEAD_BLOCKS);
        let runs = reader.runs(regular(tree, ino)?, from, to, MAX_GAP_BLOCKS);
        self.journal.prefetch(&mut runs.into_iter());
        Ok(to)
    }

    /// Reads a version where it lies now.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_version(
        &self,
        version: BlockRef,
        bytes: &mut [u8; BLOCK_SIZE],
    ) -> Result<(), Error> {
        let (mut before, mut asked) = (None, None);
        loop {
            let lies = self.present.see().find(version.addr());
            // Where nothing is, it is somewhere else by now, or nowhere. The writer is asked once for each place: it may be ever further on, and still not
            // have the version; and another reader may have followed it here meanwhile.
            let Some(lies) = lies.filter(|lies| before != Some(*lies)) else {
                if asked == Some(lies) {
                    return Err(given_back().into());
                }
                asked = Some(lies);
                self.look_again();
                continue;
            };
            match self.journal.read_block(lies, bytes) {
                Err(JournalError::Gone { .. }) => before = Some(lies),
                Err(error) => return Err(error.into()),
                Ok(()) => return self.check(version, lies, bytes),
            }
        }
    }

    fn check(&self, version: BlockRef, lies: BlockAddr, bytes: &[u8]) -> Result<(), Error> {
        if crc32fast::hash(bytes) == version.crc() {
            return Ok(());
        }
        let per_segment = u64::from(self.journal.blocks_per_segment());
        let (segment, block) = (lies.0 / per_segment, lies.0 % per_segment);
        Err(Damage::new("a block is not what was written")
            .in_file(format!("segment {segment}"), block * BLOCK)
            .into())
    }

    fn same_segment(&self, a: BlockAddr, b: BlockAddr) -> bool {
        let per_segment = u64::from(self.journal.blocks_per_segment());
        a.0 / per_segment == b.0 / per_segment
    }
}

/// Reads a file front to back, telling the disk early what comes next.
#[derive(Debug)]
pub struct FileReader<'a> {
    store: &'a Store,
    tree: Fileset,
    ino: Ino,
    /// The first block not yet announced.
    ahead: u64,
    /// The last segment that was said to be read in order.
    in_order: Option<u64>,
    along: Along,
}

/// Where in the journal a reader in order has come to. The kernel reads ahead for whoever leaves nothing out: the few blocks between two runs, headers mostly,
/// are read too, which takes half the time of two stretches that it cannot tell for one.
#[derive(Debug, Default)]
struct Along {
    end: Option<BlockAddr>,
    between: Vec<u8>,
}

impl Along {
    /// Reads what lies before the next run, where that is little, to no other purpose.
    fn reach(&mut self, store: &Store, first: BlockAddr, blocks: u64) {
        let gap = self.end.map(|end| (end, first.0.wrapping_sub(end.0)));
        if let Some((end, gap @ 1..=MAX_GAP_BLOCKS)) = gap
            && store.same_segment(end, first)
        {
            self.between.resize(gap as usize * BLOCK_SIZE, 0);
            // Whoever needs these bytes hears what is wrong with them.
            let _ = store.journal.read_blocks(end, &mut self.between);
        }
        self.end = Some(first.plus(blocks));
    }
}

impl FileReader<'_> {
    /// Reads at an offset, as [`Store::read`].
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let block = offset / BLOCK;
        if block + AHEAD_BLOCKS / 2 >= self.ahead {
            let from = self.ahead.max(block);
            self.announce(from, from.saturating_add(AHEAD_BLOCKS))?;
        }
        let along = self.in_order.is_some().then_some(&mut self.along);
        self.store
            .read_along(&self.tree, self.ino, offset, buf, along)
    }

    /// Where the next mapped byte at or after `offset` is, if any (`SEEK_DATA`).
    #[must_use]
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        let file = regular(&self.tree, self.ino).ok()?;
        let (block, _) = file.map.next_at_or_after(offset / BLOCK)?;
        Some((block * BLOCK).max(offset)).filter(|at| *at < file.size)
    }

    /// Where the next hole at or after `offset` begins, the end of the file at the latest (`SEEK_HOLE`).
    #[must_use]
    pub fn next_hole(&self, offset: u64) -> u64 {
        regular(&self.tree, self.ino).map_or(offset, |file| {
            file.map
                .next_gap(offset / BLOCK)
                .saturating_mul(BLOCK)
                .max(offset)
                .min(file.size)
        })
    }

    /// Tells the disk which runs will be read, sorted by where they lie.
    fn announce(&mut self, from: u64, to: u64) -> Result<(), Error> {
        let file = regular(&self.tree, self.ino)?;
        let runs = self.runs(file, from, to, 0);
        if runs.len() <= FRAGMENTED_RUNS {
            let per_segment = u64::from(self.store.journal.blocks_per_segment());
            for (first, _) in runs {
                let segment = first.0 / per_segment;
                if self.in_order != Some(segment) {
                    self.store.journal.read_in_order(segment);
                    self.in_order = Some(segment);
                }
            }
            self.ahead = to;
            return Ok(());
        }
        let to = from.saturating_add(FRAGMENTED_AHEAD_BLOCKS);
        let runs = self.runs(file, from, to, MAX_GAP_BLOCKS);
        self.store.journal.prefetch(&mut runs.into_iter());
        self.ahead = to;
        Ok(())
    }

    /// The runs of the journal that hold blocks `from` to `to` (exclusive), gaps up to `gap` blocks included; each in one segment.
    fn runs(&self, file: &FileBody, from: u64, to: u64, gap: u64) -> Vec<(BlockAddr, u32)> {
        let seen = self.store.present.see();
        let mapped = file.map.range(from, to - 1);
        let mut addrs: Vec<u64> = mapped
            .filter_map(|(_, version)| seen.find(version.addr()))
            .map(|lies| lies.0)
            .collect();
        addrs.sort_unstable();
        addrs.dedup();
        let mut runs: Vec<(BlockAddr, u32)> = Vec::new();
        for addr in addrs {
            match runs.last_mut() {
                Some((first, count))
                    if addr - first.0 <= u64::from(*count) + gap
                        && self.store.same_segment(*first, BlockAddr(addr)) =>
                {
                    *count = u32::try_from(addr - first.0 + 1).unwrap_or(*count);
                }
                _ => runs.push((BlockAddr(addr), 1)),
            }
        }
        runs
    }
}

fn regular(tree: &Fileset, ino: Ino) -> Result<&FileBody, Error> {
    let inode = tree
        .inode(ino)
        .ok_or_else(|| Refusal::new(Kind::NotFound, "the file is not there"))?;
    if tree.nodata && inode.file().is_some() {
        return Err(Refusal::new(Kind::NotAllowed, "the file cannot be read")
            .why("its checkpoint is nodata: it remembers what changed, and keeps none of it")
            .next("read it from a checkpoint with data: strand checkpoint list")
            .into());
    }
    match inode.file() {
        Some(file) => Ok(file),
        None if inode.is_dir() => Err(Refusal::new(Kind::IsADirectory, "it is a directory").into()),
        None => Err(Refusal::new(Kind::Invalid, "it is not a regular file").into()),
    }
}
