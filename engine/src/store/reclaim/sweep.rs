//! Segments emptied: their events archived, what is alive in them copied to the head. All or nothing for each: a segment with a version that cannot be
//! read stays as it is.

use super::{LeftAlone, Pace, known::Candidate};
use crate::block::BLOCK;
use crate::command::Command;
use crate::error::Error;
use crate::event::{Actor, MAX_RELOCATED};
use crate::jobs::Job;
use crate::marks::Marks;
use crate::refusal::Kind;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use strand_journal::{
    BLOCK_SIZE, Block, BlockAddr, Error as JournalError, Slab, Ticket, record_blocks_in,
};

/// Copies that wait for a flush, at most, in blocks (16 MiB).
const UNFLUSHED: u64 = 4096;

/// Copies leave this part of a segment free: for what is recorded of them.
const PART_FOR_RECORDS: u64 = 8;

/// A segment in which nothing is alive any more.
pub(super) struct Emptied {
    pub(super) segment: u64,
    pub(super) archive_bytes: u64,
}

/// A living version, where it lies.
#[derive(Copy, Clone, Debug)]
struct Survivor {
    birth: u64,
    lies: u64,
    crc: u32,
}

/// Empties segments, batch after batch.
pub(super) struct Sweep<'a> {
    store: &'a Store,
    pub(super) job: &'a Job,
    pace: Pace,
    unflushed: u64,
    ticket: Option<Ticket>,
    /// Bytes copied.
    pub(super) copied: u64,
    pub(super) left_alone: Vec<LeftAlone>,
    /// There was no room for a copy.
    pub(super) full: Option<Error>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(store: &'a Store, job: &'a Job, pace: Pace) -> Self {
        Self {
            store,
            job,
            pace,
            unflushed: 0,
            ticket: None,
            copied: 0,
            left_alone: Vec::new(),
            full: None,
        }
    }

    /// Archives segments and copies what is alive in them, durably; gives those in which nothing is left. None where the job was told to end.
    pub(super) fn empty(
        &mut self,
        batch: &[Candidate],
        marks: &Marks,
    ) -> Result<Vec<Emptied>, Error> {
        let mut emptied = BTreeMap::new();
        let mut survivors = Vec::new();
        let numbers: Vec<u64> = batch.iter().map(|candidate| candidate.number).collect();
        self.read_ahead(&numbers);
        let archived = self.store.journal.archive_all(&numbers)?;
        for (number, archived) in numbers.into_iter().zip(archived) {
            let archived = match archived {
                Ok(archived) => archived,
                Err(error @ JournalError::Damaged(_)) => {
                    self.leave(number, format!("it cannot be archived: {error}"));
                    continue;
                }
                Err(error) if error.is_unreadable() => {
                    self.leave(number, format!("it cannot be read: {error}"));
                    continue;
                }
                // What is empty by now can go all the same.
                Err(error @ JournalError::NoSpace { .. }) => {
                    self.full = Some(error.into());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (found, living) = match self.survivors(number, marks) {
                Err(Error::Journal(error)) if error.is_unreadable() => {
                    self.leave(number, format!("it cannot be read: {error}"));
                    continue;
                }
                other => other?,
            };
            if found.len() as u64 != living {
                let why = format!(
                    "{} of {living} living blocks are found in its frames",
                    found.len(),
                );
                self.leave(number, why);
                continue;
            }
            survivors.extend(found);
            emptied.insert(number, archived.bytes);
        }
        match self.copy(&survivors, &mut emptied) {
            // What is empty by now can go all the same.
            Err(error) if error.kind() == Kind::NoSpace => self.full = Some(error),
            other => other?,
        }
        if self.job.is_cancelled() {
            return Ok(Vec::new());
        }
        self.still_empty(&survivors, &mut emptied);
        let emptied = emptied.into_iter();
        Ok(emptied
            .map(|(segment, archive_bytes)| Emptied {
                segment,
                archive_bytes,
            })
            .collect())
    }

    fn leave(&mut self, segment: u64, why: String) {
        tracing::warn!(segment, %why, "a segment stays");
        self.left_alone.push(LeftAlone { segment, why });
    }

    /// Tells the disk that whole segments are read soon: what is alive in them lies in many short runs.
    fn read_ahead(&self, segments: &[u64]) {
        let blocks = self.store.journal.blocks_per_segment();
        let whole = segments
            .iter()
            .map(|segment| (BlockAddr(segment * u64::from(blocks)), blocks));
        self.store.journal.prefetch(&mut whole.into_iter());
    }

    /// The living versions of a segment, with the checksums that its frames have of them; and how many there should be.
    fn survivors(&self, segment: u64, marks: &Marks) -> Result<(Vec<Survivor>, u64), Error> {
        let reader = self.store.journal.reader();
        let blocks = u64::from(self.store.journal.blocks_per_segment());
        let places = self.store.present.see();
        let living = places.living(marks, segment * blocks, (segment + 1) * blocks);
        let mut found = Vec::new();
        let mut block = 0;
        while block < self.store.journal.blocks_per_segment() {
            let frame = match reader.frame_at(segment, block) {
                Ok(frame) => frame,
                // The end of what is written, or damage: the caller counts.
                Err(JournalError::Damaged(_)) => break,
                Err(error) => return Err(error.into()),
            };
            block = frame.end_block();
            for entry in frame.entries() {
                let Ok(entry) = entry else {
                    return Ok((found, living));
                };
                for (i, crc) in entry.crcs.iter().enumerate() {
                    let lies = entry.first.0 + i as u64;
                    let birth = places.resident(lies);
                    let there = places.find(BlockAddr(birth)) == Some(BlockAddr(lies));
                    if there && marks.is_alive(birth) {
                        found.push(Survivor { birth, lies, crc });
                    }
                }
            }
        }
        Ok((found, living))
    }

    /// Copies survivors to the head, durably. Segments with one that cannot be read are no longer among those emptied.
    fn copy(
        &mut self,
        survivors: &[Survivor],
        emptied: &mut BTreeMap<u64, u64>,
    ) -> Result<(), Error> {
        self.copy_groups(survivors, emptied)?;
        self.flush()
    }

    fn copy_groups(
        &mut self,
        survivors: &[Survivor],
        emptied: &mut BTreeMap<u64, u64>,
    ) -> Result<(), Error> {
        let mut rest = survivors;
        while !rest.is_empty() && !self.job.is_cancelled() {
            let (group, left) = rest.split_at(rest.len().min(self.group()));
            rest = left;
            let blocks = match self.read(group) {
                // One after the other: the others are no worse for it.
                Err(Error::Journal(error)) if error.is_unreadable() && group.len() > 1 => {
                    for one in group.chunks(1) {
                        self.copy_groups(one, emptied)?;
                    }
                    continue;
                }
                Err(Error::Journal(error)) if error.is_unreadable() => {
                    let lies = group[0].lies;
                    let segment = self.segment_of(lies);
                    if emptied.remove(&segment).is_some() {
                        self.leave(segment, format!("block {lies} cannot be read: {error}"));
                    }
                    continue;
                }
                other => other?,
            };
            let mut sound = Vec::with_capacity(group.len());
            for (survivor, block) in group.iter().zip(blocks) {
                let segment = self.segment_of(survivor.lies);
                if block.crc() == survivor.crc {
                    sound.push((survivor.birth, block));
                } else if emptied.remove(&segment).is_some() {
                    self.leave(segment, format!("block {} of it is damaged", survivor.lies));
                }
            }
            self.relocate(sound)?;
        }
        Ok(())
    }

    /// How many versions the next record takes.
    fn group(&self) -> usize {
        let journal = &self.store.journal;
        let most = self.store.write_blocks.min(MAX_RELOCATED);
        let rest = match journal.rest_of_segment() {
            0 => most,
            rest => u64::from(record_blocks_in(rest)),
        };
        usize::try_from(most.min(rest).max(1)).unwrap_or(1)
    }

    fn segment_of(&self, address: u64) -> u64 {
        address / u64::from(self.store.journal.blocks_per_segment())
    }

    fn read(&self, group: &[Survivor]) -> Result<Vec<Block>, Error> {
        let mut slab = Slab::new(group.len());
        let bytes = slab.bytes_mut();
        let mut at = 0;
        for run in group.chunk_by(|a, b| {
            b.lies == a.lies + 1 && self.segment_of(a.lies) == self.segment_of(b.lies)
        }) {
            let end = at + run.len() * BLOCK_SIZE;
            let first = BlockAddr(run[0].lies);
            self.store.journal.read_blocks(first, &mut bytes[at..end])?;
            at = end;
        }
        let indices: Vec<usize> = (0..group.len()).collect();
        Ok(Block::of_slab(&Arc::new(slab), &indices))
    }

    fn relocate(&mut self, sound: Vec<(u64, Block)>) -> Result<(), Error> {
        let (births, blocks): (Vec<u64>, Vec<Block>) = sound.into_iter().unzip();
        if births.is_empty() {
            return Ok(());
        }
        // Where there is no room to record that a segment is given back, copies are worth nothing.
        let per_segment = u64::from(self.store.journal.blocks_per_segment());
        let kept = births.len() as u64 + per_segment / PART_FOR_RECORDS;
        if self.store.journal.space().blocks_with_reserve < kept {
            self.flush()?;
            let needed = births.len() as u64;
            return Err(JournalError::NoSpace {
                needed,
                source: None,
            }
            .into());
        }
        let command = Command::Relocate {
            births: runs_of(&births),
        };
        let placed = match self.store.submit_with(&Actor::program(), command, &blocks) {
            Ok(placed) => placed,
            // Its space was given back by somebody else meanwhile.
            Err(error) if error.kind() == Kind::Stale => return Ok(()),
            Err(error) => {
                self.flush()?;
                return Err(error);
            }
        };
        self.ticket = Some(placed.ticket);
        self.copied += blocks.len() as u64 * BLOCK;
        self.unflushed += blocks.len() as u64;
        if self.unflushed >= UNFLUSHED {
            self.flush()?;
        }
        let (job, store) = (self.job, self.store);
        let hurry = || job.is_cancelled() || store.upkeep.is_urgent() || store.is_very_low();
        self.pace.wait(blocks.len() as u64 * BLOCK, &hurry);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.unflushed = 0;
        match self.ticket.take() {
            Some(ticket) => self.store.commit(ticket),
            None => Ok(()),
        }
    }

    /// Keeps only the segments that every survivor has left.
    fn still_empty(&self, survivors: &[Survivor], emptied: &mut BTreeMap<u64, u64>) {
        let places = self.store.present.see();
        for survivor in survivors {
            if let Some(lies) = places.find(BlockAddr(survivor.birth)) {
                emptied.remove(&self.segment_of(lies.0));
            }
        }
    }
}

/// Runs of neighbours, in this order.
pub(in crate::store) fn runs_of(births: &[u64]) -> Vec<(u64, u32)> {
    let mut runs: Vec<(u64, u32)> = Vec::new();
    for birth in births {
        match runs.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == *birth => *count += 1,
            _ => runs.push((*birth, 1)),
        }
    }
    runs
}
