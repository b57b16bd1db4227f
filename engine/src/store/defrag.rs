//! Files put in order. Overwrites go to the head of the journal, so that a file written here and there lies scattered; its blocks are copied one after
//! another, and stay the versions they are: images show the same, and follow.

use super::Store;
use super::reclaim::{Pace, runs_of};
use crate::block::{BLOCK, BlockRef};
use crate::command::Command;
use crate::error::Error;
use crate::event::{Actor, MAX_RELOCATED};
use crate::ids::{Ino, VolumeId};
use crate::jobs::Job;
use crate::refusal::{Kind, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use strand_journal::{Access, BLOCK_SIZE, Block, Slab, Ticket};

/// So many blocks are looked at, and read ahead of, at once (16 MiB). They are flushed together.
const WINDOW_BLOCKS: usize = 4096;
/// Where runs are as long as this on average (256 KiB), nothing is gained by copying.
const GOOD_RUN: usize = 64;

/// What was put in order.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Defragged {
    /// Files looked at.
    pub files: u64,
    /// Files of which something was moved.
    pub moved: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// It was told to end before it was done.
    pub cancelled: bool,
}

impl Store {
    /// Puts a file of a live volume in order, or all of them, where they lie scattered: at most `rate` bytes are copied in a second. Others read and write
    /// meanwhile. What was copied is dead where it lay, and goes with its segments.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Invalid`] for what is no file, [`Kind::NoSpace`] where there is little room; [`Error::Damage`] where a block cannot be read.
    pub fn defrag(
        &self,
        volume: VolumeId,
        file: Option<Ino>,
        rate: Option<u64>,
        job: Job,
    ) -> Result<Defragged, Error> {
        let done = self.defrag_files(volume, file, Pace::new(rate), &job);
        job.end_with(&done, |done| done.cancelled);
        done
    }

    fn defrag_files(
        &self,
        volume: VolumeId,
        file: Option<Ino>,
        mut pace: Pace,
        job: &Job,
    ) -> Result<Defragged, Error> {
        if self.options.access == Access::ReadOnly {
            return Err(Refusal::new(Kind::ReadOnly, "the store is open for reading only").into());
        }
        let missing = || Refusal::new(Kind::NotFound, "the volume is not there");
        let tree = self.live(volume).ok_or_else(missing)?;
        let files: Vec<(Ino, u64)> = match file {
            Some(ino) => {
                let missing = || Refusal::new(Kind::NotFound, "the file is not there");
                let inode = tree.inode(ino).ok_or_else(missing)?;
                if inode.file().is_none() {
                    return Err(Refusal::new(Kind::Invalid, "it is not a regular file").into());
                }
                vec![(ino, inode.blocks())]
            }
            None => {
                let files = tree.inodes.iter().filter(|(_, inode)| inode.blocks() > 1);
                files
                    .map(|(ino, inode)| (Ino(ino), inode.blocks()))
                    .collect()
            }
        };
        drop(tree);
        job.set_total(files.iter().map(|(_, blocks)| blocks * BLOCK).sum());
        let mut done = Defragged::default();
        for (ino, _) in files {
            let before = done.bytes;
            let mut next = Some(0);
            while let Some(from) = next.filter(|_| !job.is_cancelled()) {
                next = self.defrag_window(volume, ino, from, &mut done, &mut pace, job)?;
            }
            done.cancelled |= job.is_cancelled();
            if done.cancelled {
                break;
            }
            done.files += 1;
            done.moved += u64::from(done.bytes > before);
        }
        Ok(done)
    }

    /// Puts the next blocks of a file in order; gives where to go on.
    fn defrag_window(
        &self,
        volume: VolumeId,
        ino: Ino,
        from: u64,
        done: &mut Defragged,
        pace: &mut Pace,
        job: &Job,
    ) -> Result<Option<u64>, Error> {
        // As it is now: what was overwritten since need not be moved.
        let Some(tree) = self.live(volume) else {
            return Ok(None);
        };
        let Some(file) = tree.inode(ino).and_then(|inode| inode.file()) else {
            return Ok(None);
        };
        let mapped = file.map.range(from, u64::MAX).take(WINDOW_BLOCKS);
        let (blocks, versions): (Vec<u64>, Vec<BlockRef>) = mapped.map(|(b, v)| (b, *v)).unzip();
        let Some(last) = blocks.last() else {
            return Ok(None);
        };
        let group = usize::try_from(self.write_blocks.min(MAX_RELOCATED)).unwrap_or(1);
        let scattered: Vec<&[BlockRef]> = versions
            .chunks(group)
            .filter(|group| self.is_scattered(group))
            .collect();
        if !scattered.is_empty() {
            self.read_ahead(&tree, ino, from)?;
        }
        let mut ticket = None;
        for group in scattered {
            if job.is_cancelled() {
                break;
            }
            let (placed, bytes) = self.put_together(group)?;
            ticket = placed.or(ticket);
            done.bytes += bytes;
            pace.wait(bytes, &|| job.is_cancelled() || self.upkeep.is_urgent());
        }
        if let Some(ticket) = ticket {
            self.commit(ticket)?;
        }
        job.add_done(versions.len() as u64 * BLOCK);
        Ok(last.checked_add(1))
    }

    /// Whether blocks that follow one another in a file lie in many short runs.
    fn is_scattered(&self, versions: &[BlockRef]) -> bool {
        let seen = self.present.see();
        let lies: Vec<Option<u64>> = versions
            .iter()
            .map(|version| Some(seen.find(version.addr())?.0))
            .collect();
        let follows = |pair: &&[Option<u64>]| pair[0].map(|at| at + 1) == pair[1];
        let runs = lies.len() - lies.windows(2).filter(follows).count();
        runs > lies.len().div_ceil(GOOD_RUN)
    }

    /// Copies versions one after another to the head.
    fn put_together(&self, versions: &[BlockRef]) -> Result<(Option<Ticket>, u64), Error> {
        let mut met = BTreeSet::new();
        let versions: Vec<BlockRef> = versions
            .iter()
            .filter(|version| met.insert(version.addr()))
            .copied()
            .collect();
        let needed = versions.len() as u64;
        if self.usable_blocks() < self.reserve_blocks + 4 * needed {
            return Err(
                Refusal::new(Kind::NoSpace, "there is little room to copy files in")
                    .why("what is copied takes its space twice until its old segments go")
                    .next("strand space reclaim")
                    .into(),
            );
        }
        let mut slab = Slab::new(versions.len());
        for (version, bytes) in versions
            .iter()
            .zip(slab.bytes_mut().as_chunks_mut::<BLOCK_SIZE>().0)
        {
            match self.read_version(*version, bytes) {
                // It was overwritten meanwhile, and is gone already.
                Err(error) if error.kind() == Kind::Stale => return Ok((None, 0)),
                other => other?,
            }
        }
        let indices: Vec<usize> = (0..versions.len()).collect();
        let payload = Block::of_slab(&Arc::new(slab), &indices);
        let births: Vec<u64> = versions.iter().map(|version| version.addr().0).collect();
        let command = Command::Relocate {
            births: runs_of(&births),
        };
        match self.submit_with(&Actor::program(), command, &payload) {
            Ok(placed) => Ok((Some(placed.ticket), needed * BLOCK)),
            Err(error) if error.kind() == Kind::Stale => Ok((None, 0)),
            Err(error) => Err(error),
        }
    }
}
