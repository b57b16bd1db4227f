//! Space given back: mark what is alive, sweep the deadest segments.
//!
//! A segment goes in this order, each step durable before the next, so that a crash at any point loses nothing and costs at most some copies that are
//! made again: its events are archived; what is alive in it is copied to the head ([`Event::Relocated`](crate::Event::Relocated)); an event says that the
//! space is given back; the file goes. Whoever has the file open reads on; whoever finds it gone looks again where the version lies now.
//!
//! `mark` freezes the roots and finds out what is alive, `known` is what that tells of the segments, `sweep` empties them. Here is the order in which they go,
//! and when it is enough.

mod known;
mod mark;
mod sweep;

use super::Store;
use crate::block::BLOCK;
use crate::command::Command;
use crate::error::Error;
use crate::event::{Actor, MAX_RECLAIMED, MAX_RELOCATED};
use crate::ids::Seq;
use crate::jobs::{Job, JobKind};
pub(super) use known::Known;
use known::{Candidate, Found};
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use strand_journal::{Access, Error as JournalError, SegmentState};
pub(super) use sweep::runs_of;
use sweep::{Emptied, Sweep};

/// So many segments are emptied together at most, …
const MOST_TOGETHER: usize = 32;
/// … and so many blocks are copied (16 MiB), where there is room for that, or half a segment: space comes back soon where there is little.
const COPIED_TOGETHER: u64 = 4096;
/// What was marked serves until the journal has grown by this share of the store: by then a few per cent more are dead.
const GOOD_FOR: u64 = 32;

/// What to give back.
#[derive(Clone, Debug, Default)]
pub struct ReclaimOptions {
    /// Enough is enough once so many bytes are free; `None`: everything that is worth it.
    pub free: Option<u64>,
    /// Most bytes copied in a second.
    pub rate: Option<u64>,
    /// The whole history is given up first, and segments go that are nearly all alive.
    pub now: bool,
    /// A segment whose living blocks would take more per cent of a segment than this stays; `None`: 50, or 90 where `free` or `now` ask for it.
    pub most_live: Option<u8>,
}

/// A segment that could not be given back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Its number.
    pub segment: u64,
    /// Why it stays.
    pub why: String,
}

/// How a sweep over what was found ended.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Swept {
    /// Enough is free.
    Enough,
    /// Everything that was worth it is gone.
    All,
    /// By now others are deader.
    Old,
    /// There was no room for copies, or the job was told to end.
    Ended,
    /// Somebody else is in a hurry.
    Interrupted,
}

/// What was given back.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Reclaimed {
    /// How many segments.
    pub segments: u64,
    /// Their bytes, less those of their archives and of the copies.
    pub bytes_freed: u64,
    /// Bytes of living versions that were copied.
    pub bytes_copied: u64,
    /// Where the history begins now, if it moved on.
    pub history: Option<Seq>,
    /// Segments that stay for a reason that somebody should see to.
    pub left_alone: Vec<LeftAlone>,
    /// Bytes that could be given back besides: they lie scattered in segments that hold too much that is alive for it to be worth it.
    pub scattered: u64,
    /// It was told to end before it was done.
    pub cancelled: bool,
}

impl Store {
    /// Gives space back, in the calling thread: archives segments that are mostly dead, copies what is alive in them, and removes their files. Others
    /// read and write meanwhile. May be ended at any time by cancelling the job; what was done stays.
    ///
    /// # Errors
    /// [`Error::Journal`] where the store is open for reading only, where there is no room for a copy, and where the disk fails: the store is as usable as it was.
    pub fn reclaim(&self, options: &ReclaimOptions) -> Result<Reclaimed, Error> {
        let what = match options.now {
            true => "all that is dead, and the history",
            false => "what is dead",
        };
        let job = self.jobs.begin(JobKind::Reclaim, what, self.clock.wall());
        self.reclaim_as(options, job)
    }

    /// As [`Store::reclaim`], as a job that was begun already.
    ///
    /// # Errors
    /// As [`Store::reclaim`].
    pub fn reclaim_as(&self, options: &ReclaimOptions, job: Job) -> Result<Reclaimed, Error> {
        let found = self.reclaim_for(options, false, &job);
        job.end_with(&found, |done| done.cancelled);
        found
    }

    pub(in crate::store) fn reclaim_for(
        &self,
        options: &ReclaimOptions,
        urgent: bool,
        job: &Job,
    ) -> Result<Reclaimed, Error> {
        if self.options.access == Access::ReadOnly {
            return Err(JournalError::ReadOnly {
                state: "open for reading only",
            }
            .into());
        }
        let mut known = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Reclaimed::default();
        self.settle()?;
        done.history = match options.now {
            true => self.release_all_history()?,
            false => self.move_windows_on()?,
        };
        let mut before = match options.free {
            Some(_) => known.take().filter(|found| self.is_good(found)),
            None => None,
        };
        if self.is_enough(options) {
            *known = before.map_or_else(Known::default, Known::of);
            return Ok(done);
        }
        let pace = Pace::new(options.rate);
        let mut sweep = Sweep::new(self, job, pace);
        loop {
            let again = before.take();
            let is_new = again.is_none();
            let found = match again {
                Some(found) => Some(found),
                None => self.find(job)?,
            };
            let Some(mut found) = found else {
                done.cancelled = job.is_cancelled();
                break;
            };
            let most = self.most_living(options, (!is_new).then_some(&found));
            done.scattered = self.scattered(&found, most);
            job.set_total(found.worth(most) as u64 * self.segment_bytes());
            let swept = self.sweep(&mut found, most, options, urgent, &mut sweep, &mut done)?;
            if matches!(swept, Swept::Enough | Swept::Interrupted) {
                *known = Known::of(found);
            }
            // What was found before may be out of date: what is dead by now is found anew.
            match swept {
                Swept::Old => {}
                Swept::All if !is_new => {}
                _ => break,
            }
            // What a window shows is alive; while much is given back the journal grows, and they move on.
            if !options.now {
                self.keep_on_the_way();
                done.history = self.move_windows_on()?.or(done.history);
            }
        }
        done.bytes_freed = done.bytes_freed.saturating_sub(done.bytes_copied);
        Ok(done)
    }

    /// Empties the deadest segments and gives them back.
    fn sweep(
        &self,
        found: &mut Found,
        most: u64,
        options: &ReclaimOptions,
        urgent: bool,
        sweep: &mut Sweep<'_>,
        done: &mut Reclaimed,
    ) -> Result<Swept, Error> {
        loop {
            if self.is_enough(options) {
                return Ok(Swept::Enough);
            }
            if !urgent && self.upkeep.is_urgent() {
                return Ok(Swept::Interrupted); // somebody waits for room, and goes about it faster
            }
            let worth = found.next(most);
            if worth.is_empty() {
                return Ok(Swept::All);
            }
            let batch = worth[..self.together(worth, urgent)].to_vec();
            found.taken(batch.len());
            let emptied = sweep.empty(&batch, &found.marked.marks)?;
            done.bytes_copied = sweep.copied;
            done.left_alone.append(&mut sweep.left_alone);
            self.give_back(&emptied, done, sweep.job)?;
            if let Some(full) = sweep.full.take() {
                // What was given back until there was no room for more is not nothing.
                if done.segments == 0 {
                    return Err(full);
                }
                tracing::warn!(error = %full, "no room to give back more");
                return Ok(Swept::Ended);
            }
            if sweep.job.is_cancelled() {
                done.cancelled = true;
                return Ok(Swept::Ended);
            }
            // Whoever wants all that is dead gets what was so when he came.
            if options.free.is_some() && !self.is_good(found) {
                return Ok(Swept::Old);
            }
        }
    }

    fn is_enough(&self, options: &ReclaimOptions) -> bool {
        let free = || self.usable_blocks().saturating_mul(BLOCK);
        options.free.is_some_and(|wanted| free() >= wanted)
    }

    pub(in crate::store) fn segment_bytes(&self) -> u64 {
        u64::from(self.journal.blocks_per_segment()) * BLOCK
    }

    /// Marks what is alive, and says what that tells of the segments. `None` as [`Store::mark`].
    fn find(&self, job: &Job) -> Result<Option<Found>, Error> {
        let begun = Instant::now();
        let Some(marked) = self.mark(job)? else {
            return Ok(None);
        };
        let marking = begun.elapsed();
        let blocks = u64::from(self.journal.blocks_per_segment());
        let places = self.lock().state.places.clone();
        let sealed = self.journal.segments().into_iter();
        let sealed = sealed.filter(|s| s.state == SegmentState::Sealed);
        let candidates = sealed.filter_map(|segment| {
            Some(Candidate {
                number: segment.number,
                living: marked.living_in(&places, segment.number, blocks)?,
            })
        });
        let found = Found::new(candidates.collect(), marked);
        tracing::debug!(?marking, counting = ?(begun.elapsed() - marking), "what is alive is marked");
        Ok(Some(found))
    }

    /// Most living blocks of a segment that is worth it; of those found before, none that are much fuller than the deadest was.
    fn most_living(&self, options: &ReclaimOptions, before: Option<&Found>) -> u64 {
        let blocks = u64::from(self.journal.blocks_per_segment());
        let most = options.most_live.unwrap_or(match options {
            ReclaimOptions { now: true, .. } => 90,
            ReclaimOptions { free: Some(_), .. } => 90,
            _ => 50,
        });
        let copied = blocks * u64::from(most.min(100)) / 100;
        let group = self.write_blocks.min(MAX_RELOCATED);
        // As many as take no more than that with their headers.
        let mut fitting = (0..=copied).rev();
        let living = fitting.find(|living| copied_blocks(*living, group) <= copied);
        let living = living.unwrap_or(0);
        match before {
            Some(found) => living.min(found.least + blocks / 8),
            None => living,
        }
    }

    /// Bytes that segments with more living blocks than these would give back.
    fn scattered(&self, found: &Found, most: u64) -> u64 {
        let blocks = u64::from(self.journal.blocks_per_segment());
        let group = self.write_blocks.min(MAX_RELOCATED);
        let dead = found.beyond(most);
        let dead = dead.map(|c| blocks.saturating_sub(copied_blocks(c.living, group)));
        dead.sum::<u64>() * BLOCK
    }

    /// Whether what was found of the segments before is good enough still: the journal has not grown much since.
    fn is_good(&self, found: &Found) -> bool {
        let grown = self
            .journal
            .head()
            .next_addr
            .0
            .saturating_sub(found.marked.head.0);
        let blocks = self.journal.space().segments * u64::from(self.journal.blocks_per_segment());
        grown <= blocks / GOOD_FOR
    }

    /// How many of the next segments are emptied together.
    fn together(&self, next: &[Candidate], urgent: bool) -> usize {
        // Small segments are not filled by few, and many together need fewer flushes. Half of what is left stays: for those who write meanwhile, and to record
        // that space is given back.
        let space = self.journal.space();
        let room = match urgent {
            true => space.blocks_with_reserve / 2,
            false => space.free_blocks / 2,
        };
        let half = u64::from(self.journal.blocks_per_segment()) / 2;
        let most = half.max(room.min(COPIED_TOGETHER));
        let mut living = 0;
        let fit = next.iter().take(MOST_TOGETHER.min(MAX_RECLAIMED));
        let fit = fit.take_while(|c| {
            // An archive takes about a sixty-fourth of its segment.
            living += c.living + half / 32;
            living <= most
        });
        fit.count().max(1)
    }

    /// Records that the segments are given back, durably, then removes their files.
    fn give_back(&self, emptied: &[Emptied], done: &mut Reclaimed, job: &Job) -> Result<(), Error> {
        if emptied.is_empty() {
            return Ok(());
        }
        let blocks = self.journal.blocks_per_segment();
        let ranges = emptied
            .iter()
            .map(|e| (e.segment * u64::from(blocks), blocks));
        let command = Command::ReclaimSegments {
            ranges: ranges.collect(),
        };
        let recorded = self.submit(&Actor::program(), command)?;
        self.commit(recorded.ticket)?;
        let numbers: Vec<u64> = emptied.iter().map(|e| e.segment).collect();
        let freed = self.journal.release_all(&numbers)?;
        for (segment, freed) in emptied.iter().zip(freed) {
            done.segments += 1;
            done.bytes_freed += freed.saturating_sub(segment.archive_bytes);
            job.add_done(self.segment_bytes());
        }
        Ok(())
    }

    /// Removes files of segments whose giving back was recorded: whoever recorded it may have died before.
    pub(in crate::store) fn release_again(&self) {
        if self.options.access == Access::ReadOnly {
            return;
        }
        let reclaimed = self.lock().state.places.reclaimed.clone();
        if reclaimed.is_empty() {
            return;
        }
        let blocks = u64::from(self.journal.blocks_per_segment());
        let given_back = |number: u64| {
            let before = reclaimed.get_prev(&(number * blocks));
            before.is_some_and(|(_, end)| number * blocks < *end)
        };
        let segments = self.journal.segments().into_iter();
        for segment in segments.filter(|s| s.state == SegmentState::Sealed) {
            if given_back(segment.number)
                && let Err(error) = self.journal.release(segment.number)
            {
                tracing::warn!(%error, segment = segment.number, "a segment that was given back stays");
            }
        }
    }
}

/// Blocks that the copies of so many living ones take, with the headers of frames of so many.
fn copied_blocks(living: u64, group: u64) -> u64 {
    living + living.div_ceil(group) * (1 + group / 128)
}

/// How fast copies are made.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self {
            rate: rate.filter(|rate| *rate > 0),
            begun: Instant::now(),
            bytes: 0,
        }
    }

    /// So many bytes more were copied: waits until they may have been, or somebody is in a hurry.
    pub(super) fn wait(&mut self, bytes: u64, hurry: &dyn Fn() -> bool) {
        /// A wait is cut into pieces, so that a job can be ended.
        const PIECE: Duration = Duration::from_millis(50);
        let Some(rate) = self.rate else { return };
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        while !hurry()
            && let Some(left) = due.checked_sub(self.begun.elapsed())
        {
            std::thread::sleep(left.min(PIECE));
        }
    }
}
