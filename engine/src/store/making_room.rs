//! Room made before it is missing, and what gives way when it is: dead versions first, then history, the oldest first, then checkpoints that may go.
//! Nothing that is held, leased or in use, and nothing for the sake of an administrative command.

use super::Store;
use crate::block::BLOCK;
use crate::command::Command;
use crate::error::Error;
use crate::event::Actor;
use crate::jobs::{Job, JobKind};
use crate::refusal::Kind;
use crate::store::reclaim::ReclaimOptions;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use strand_journal::{Access, Error as JournalError};

/// A command is tried so often: others may take the room that was made for it.
const TRIES: usize = 4;
/// History is given up in so many steps at most, each with a mark of its own.
const STEPS: usize = 4;
/// Space runs low below two segments and this share of the capacity: what is kept free of a full store costs copies of what lives, …
const LOW_SHARE: u64 = 256;
/// … and what is nearly all dead goes anyway whenever the journal has grown by this share of the store, …
const GROWN_SHARE: u64 = 4;
/// … and by so many segments at least.
const GROWN_SEGMENTS: u64 = 16;
/// Per cent of a segment that may be alive in what goes anyway.
const NEARLY_DEAD: u8 = 10;
/// Bytes copied in a second where nobody waits for it.
const QUIET_RATE: u64 = 64 << 20;

/// What is remembered between two looks at the room.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Held by whoever makes room.
    making: Mutex<()>,
    /// The journal's end when it was last swept.
    swept: AtomicU64,
    /// How many wait for room.
    waiting: AtomicU64,
    /// The room is small enough for a command to be refused.
    pub(super) tight: AtomicBool,
    /// Whoever asks for something makes the room for it.
    pub(super) elsewhere: AtomicBool,
}

impl Upkeep {
    /// Whether somebody waits for room.
    pub(super) fn is_urgent(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn making(&self) -> Making<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        Making {
            upkeep: self,
            _one: one,
        }
    }
}

/// How a sweep ended.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Swept {
    /// What was dead is given back, as far as there was room for copies.
    Done,
    /// The disk has no room for what it takes to give anything back.
    Stuck,
}

/// Held while room is made.
struct Making<'a> {
    upkeep: &'a Upkeep,
    _one: MutexGuard<'a, ()>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.upkeep.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Store {
    /// From now on the caller makes room: whoever changes files and finds none is refused at once, and may try again after [`Store::make_room`] (for a promise
    /// of room: after [`Store::make_dead_room`]). For those who hold what others wait for while they change something: making room takes long.
    pub fn make_room_elsewhere(&self) {
        self.upkeep.elsewhere.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_room_made_elsewhere(&self) -> bool {
        self.upkeep.elsewhere.load(Ordering::Relaxed)
    }

    /// Does what nobody gives anything up for, and may find no room: then what is dead goes, and no more.
    pub(super) fn with_dead_room<T>(
        &self,
        act: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match act() {
            Err(error) if error.kind() == Kind::NoSpace && !self.is_read_only() => {
                self.make_dead_room()?;
                act()
            }
            other => other,
        }
    }

    /// Gives back what is dead until a command finds room, as far as that goes; nothing is given up. May take seconds.
    ///
    /// # Errors
    /// As [`Store::reclaim`].
    pub fn make_dead_room(&self) -> Result<(), Error> {
        if self.is_read_only() {
            return Ok(());
        }
        let _one = self.upkeep.making();
        let now = self.clock.wall();
        let job = self.jobs.begin(JobKind::Reclaim, "room for a command", now);
        let blocks = self.reserve_blocks + u64::from(self.journal.blocks_per_segment());
        self.sweep_until(blocks, &job)?;
        self.lock().room = super::Room::default();
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.options.access == Access::ReadOnly
    }

    /// Does something that may find no room; if so, makes some and does it again.
    pub(super) fn with_room<T>(
        &self,
        blocks: u64,
        act: &mut dyn FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            let full = match act() {
                Err(error) if error.kind() == Kind::NoSpace && tries < TRIES => error,
                other => return other,
            };
            if self.is_room_made_elsewhere() {
                return Err(full);
            }
            tries += 1;
            if !self.make_room(blocks)? {
                return Err(full);
            }
        }
    }

    /// Gives up what may be given up until so many blocks can be written; says whether they can. Others may take them meanwhile. May take seconds.
    ///
    /// # Errors
    /// As [`Store::reclaim`], [`Store::submit`] and [`Store::commit`].
    pub fn make_room(&self, blocks: u64) -> Result<bool, Error> {
        if self.is_read_only() {
            return Ok(false);
        }
        let _one = self.upkeep.making();
        // As `decide` reckons it, and some more, so that the next one finds room too.
        let least = blocks.saturating_add(blocks / 64 + 8 + self.reserve_blocks);
        let wanted = least.saturating_add(u64::from(self.journal.blocks_per_segment()));
        let enough = |store: &Store| store.usable_blocks() >= least;
        if enough(self) {
            self.lock().room = super::Room::default();
            return Ok(true);
        }
        tracing::warn!(blocks, "the store is full: what may be given up is");
        let now = self.clock.wall();
        let job = self.jobs.begin(JobKind::Reclaim, "room for a command", now);
        let made = self.give_up_until(wanted, &enough, &job);
        self.lock().room = super::Room::default();
        made
    }

    fn give_up_until(
        &self,
        wanted: u64,
        enough: &dyn Fn(&Store) -> bool,
        job: &Job,
    ) -> Result<bool, Error> {
        self.trim_for_room();
        match self.give_up_history_until(wanted, enough, job) {
            Ok(Some(enough)) => return Ok(enough),
            Ok(None) => {}
            // What is alive at the present can be told without it.
            Err(error) if !self.is_window_readable() => {
                tracing::error!(%error, "the history cannot be read: all of it is given up for space");
            }
            Err(error) => return Err(error),
        }
        tracing::warn!("all history is given up for space");
        self.release_all_history()?;
        // Now those may go that lay within it.
        self.trim_for_room();
        loop {
            if let Some(enough) = self.swept(wanted, enough, job)? {
                return Ok(enough);
            }
            match self.submit(&Actor::program(), Command::GiveWay) {
                Ok(done) => self.commit(done.ticket)?,
                Err(error) if error.kind() == Kind::NoSpace => return Ok(false),
                Err(error) => return Err(error),
            }
            self.release_all_history()?;
        }
    }

    /// Lets archives go that are no longer to be kept. Where they cannot, space is given back all the same.
    fn trim_for_room(&self) {
        if let Err(error) = self.trim_archives() {
            tracing::warn!(%error, "archives that are no longer to be kept stay");
        }
    }

    /// Gives history up, step by step, but for the last one.
    fn give_up_history_until(
        &self,
        wanted: u64,
        enough: &dyn Fn(&Store) -> bool,
        job: &Job,
    ) -> Result<Option<bool>, Error> {
        if let Some(enough) = self.swept(wanted, enough, job)? {
            return Ok(Some(enough));
        }
        let steps = self.steps_of_history();
        for step in steps.chunks(steps.len().div_ceil(STEPS).max(1)) {
            if let Some(before) = step.last()
                && self.release_history(*before)?.is_some()
            {
                tracing::warn!(seq = before, "history before this is given up for space");
                if let Some(enough) = self.swept(wanted, enough, job)? {
                    return Ok(Some(enough));
                }
            }
        }
        Ok(None)
    }

    /// Sweeps; says whether that made room enough, and where not, whether to give up more (`None`): not for a job that was told to end, nor where the disk itself
    /// has no room even to give something back. Whatever were given up then would free nothing.
    fn swept(
        &self,
        wanted: u64,
        enough: &dyn Fn(&Store) -> bool,
        job: &Job,
    ) -> Result<Option<bool>, Error> {
        let swept = self.sweep_until(wanted, job)?;
        if enough(self) {
            return Ok(Some(true));
        }
        Ok((swept == Swept::Stuck || job.is_cancelled()).then_some(false))
    }

    /// Gives back what is dead until so many blocks can be placed, as far as there is room for copies.
    fn sweep_until(&self, wanted: u64, job: &Job) -> Result<Swept, Error> {
        let options = ReclaimOptions {
            free: Some(wanted.saturating_mul(BLOCK)),
            ..ReclaimOptions::default()
        };
        match self.reclaim_for(&options, true, job) {
            Err(Error::Journal(JournalError::NoSpace {
                source: Some(error),
                ..
            })) => {
                tracing::warn!(%error, "the disk is full: nothing can be given back");
                Ok(Swept::Stuck)
            }
            Err(error) if error.kind() == Kind::NoSpace => Ok(Swept::Done),
            other => other.map(|_| Swept::Done),
        }
    }

    /// Bytes that can be placed below which space runs low.
    fn low_water(&self) -> u64 {
        let segment = self.segment_bytes();
        let all = self
            .capacity
            .unwrap_or_else(|| self.journal.space().segments.saturating_mul(segment));
        2 * segment + all / LOW_SHARE
    }

    /// Whether writers would wait for room soon.
    pub(super) fn is_very_low(&self) -> bool {
        self.usable_blocks().saturating_mul(BLOCK) <= self.low_water() / 2
    }

    /// What is to be done now and then in a store that stays open, on a thread that nobody waits for: states kept on the way, archives let go of that
    /// are more than is to be kept, space given back before it runs out, and segments that are nearly all dead anyway.
    ///
    /// # Errors
    /// As [`Store::reclaim`]. It may be tried again.
    pub fn housekeep(&self) -> Result<(), Error> {
        if self.is_read_only() {
            return Ok(());
        }
        self.health()?;
        self.keep_on_the_way();
        // Whatever is in its way, space is given back all the same.
        let trimmed = self.trim_archives().map(|_| ());
        self.give_back_in_time().and(trimmed)
    }

    /// Space, before it runs out.
    fn give_back_in_time(&self) -> Result<(), Error> {
        let space = self.journal.space();
        let (segment, grown) = (space.segment_size, self.grown());
        let free = self.usable_of(space.free_blocks).saturating_mul(BLOCK);
        let low = self.low_water();
        let much = (space.segments / GROWN_SHARE).max(GROWN_SEGMENTS) * segment;
        let options = if free < low && grown >= segment {
            ReclaimOptions {
                free: Some(low + low / 2),
                // Where it is very low, writers would wait soon.
                rate: (free > low / 2).then_some(QUIET_RATE),
                ..ReclaimOptions::default()
            }
        } else if grown >= much {
            ReclaimOptions {
                rate: Some(QUIET_RATE),
                most_live: Some(NEARLY_DEAD),
                ..ReclaimOptions::default()
            }
        } else {
            return Ok(());
        };
        let done = self.reclaim(&options);
        let head = self.journal.head().next_addr.0;
        self.upkeep.swept.store(head, Ordering::Relaxed);
        match done {
            // Whoever needs the room gives up more.
            Err(error) if error.kind() == Kind::NoSpace => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Gives space back at the end of a session at rest, where it runs low.
    pub(super) fn housekeep_at_rest(&self) -> Result<(), Error> {
        let free = self.usable_blocks().saturating_mul(BLOCK);
        match free < self.low_water() && self.grown() >= self.segment_bytes() {
            true => self.housekeep(),
            false => Ok(()),
        }
    }

    /// Bytes by which the journal has grown since it was last swept here, or opened.
    fn grown(&self) -> u64 {
        let swept = self.upkeep.swept.load(Ordering::Relaxed);
        let since = swept.max(self.opened.head.0);
        let head = self.journal.head().next_addr.0;
        head.saturating_sub(since).saturating_mul(BLOCK)
    }
}
