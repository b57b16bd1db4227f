//! The history window: how far back the store can be viewed, and by which steps that moves on.
//!
//! A window can begin where the state is known, so that what was alive there can be marked: at a state that this process kept on its way (a frozen
//! root, cheap), or passed when it folded the journal at the opening, at a state file, or at the present.

use super::Store;
use crate::block::BLOCK;
use crate::command::Command;
use crate::decide::is_past;
use crate::error::Error;
use crate::event::Actor;
use crate::ids::Seq;
use crate::marks::roots_of;
use crate::space::Retention;
use crate::state::State;
use crate::statefile;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use strand_journal::{Access, BlockAddr};

/// The most states that are kept on the way.
const MOST_KEPT: usize = 32;
/// States passed at an opening lie so many blocks apart at least: the smallest segment.
const LEAST_PASSED: u64 = 16;
/// A window is cut into so many steps.
const STEPS: u64 = 16;
/// Whether a step has passed is asked after so many events.
const ASK_EVERY: u64 = 16;
/// Every commit can be viewed for so long (24 h), where nothing else was set, …
pub(super) const DEFAULT_AGE: u64 = 24 * 3_600_000_000_000;
/// … or within so much of the capacity, whichever is less.
pub(super) const DEFAULT_SHARE: u64 = 10;

/// The states kept on the way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    kept: Mutex<VecDeque<Kept>>,
    /// What is known of the state files without loading them; `None`: no window can begin at its state.
    files: Mutex<BTreeMap<Seq, Option<Place>>>,
    /// The durable number when it was last asked whether a step had passed.
    asked: AtomicU64,
}

/// A state that a window can begin at.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) state: State,
    /// What was born here or later is younger than the state.
    pub(super) young: BlockAddr,
    /// [`Store::elapsed`] then.
    pub(super) elapsed: u64,
}

/// Where a window can begin, without the state there.
#[derive(Copy, Clone, Debug)]
struct Place {
    boundary: Seq,
    young: BlockAddr,
    elapsed: u64,
}

impl Kept {
    fn place(&self) -> Place {
        Place {
            boundary: self.state.boundary,
            young: self.young,
            elapsed: self.elapsed,
        }
    }
}

/// States passed while the journal is folded at an opening, at equal distances: of too many every second goes.
#[derive(Debug)]
pub(super) struct Passed {
    kept: VecDeque<Kept>,
    /// Blocks of the journal between two of them.
    every: u64,
}

impl Passed {
    pub(super) fn none() -> Self {
        Self {
            kept: VecDeque::new(),
            every: LEAST_PASSED,
        }
    }

    /// The state before an event, whose first block lies at an address or would.
    pub(super) fn pass(&mut self, state: &State, young: BlockAddr) {
        let due = |last: &Kept| young.0.saturating_sub(last.young.0) >= self.every;
        if state.seq != state.boundary || !self.kept.back().is_none_or(due) {
            return;
        }
        self.kept.push_back(Kept {
            state: state.clone(),
            young,
            elapsed: state.elapsed,
        });
        if self.kept.len() >= MOST_KEPT {
            let mut at = 0;
            self.kept.retain(|_| {
                at += 1;
                at % 2 == 0
            });
            self.every *= 2;
        }
    }
}

/// How things stood when the store was opened.
#[derive(Copy, Clone, Debug)]
pub(super) struct Opened {
    /// [`State::elapsed`].
    pub(super) elapsed: u64,
    /// The monotonic clock.
    pub(super) monotonic: u64,
    /// The journal's end.
    pub(super) head: BlockAddr,
}

impl Store {
    /// Time that passed, in ns, as ages count it: in the events, and while this process runs by the clock that nobody sets.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        self.elapsed_at(self.lock().state.elapsed)
    }

    fn elapsed_at(&self, in_events: u64) -> u64 {
        let here = self.clock.monotonic().saturating_sub(self.opened.monotonic);
        in_events.max(self.opened.elapsed.saturating_add(here))
    }

    /// How far a window reaches in this store where nothing was set.
    fn default_retention(&self) -> Retention {
        Retention {
            age: Some(DEFAULT_AGE),
            bytes: self.capacity.map(|capacity| capacity / DEFAULT_SHARE),
        }
    }

    /// How far a retention reaches in this store: as it says, or as the default does.
    #[must_use]
    pub fn reach(&self, retention: Retention) -> Retention {
        retention.or(self.default_retention())
    }

    /// Keeps the present state where a step of the window has passed since the last one kept. Cheap where not.
    pub(super) fn keep_on_the_way(&self) {
        if self.options.access == Access::ReadOnly {
            return;
        }
        let flushed = self.journal.flushed();
        if flushed.saturating_sub(self.window.asked.load(Ordering::Relaxed)) < ASK_EVERY {
            return;
        }
        self.window.asked.store(flushed, Ordering::Relaxed);
        let mut kept = self.kept();
        let (head, elapsed) = (self.journal.head().next_addr.0, self.elapsed_at(0));
        let step = self.step();
        let (before, then) = kept
            .back()
            .map_or((self.opened.head.0, self.opened.elapsed), |last| {
                (last.young.0, last.elapsed)
            });
        let grown = head.saturating_sub(before).saturating_mul(BLOCK) >= step.bytes;
        if !grown && elapsed.saturating_sub(then) < step.age {
            return;
        }
        let now = self.keep_now();
        let past = self.newest_past(&now.state, &kept);
        let base = now.state.oldest_window().unwrap_or(now.state.boundary);
        kept.push_back(now);
        thin(&mut kept, base, past);
    }

    /// Keeps the states that were passed at the opening, as far as they are wanted.
    pub(super) fn keep_passed(&self, passed: Passed) {
        if self.options.access == Access::ReadOnly {
            return;
        }
        let now = self.state();
        let mut found = passed.kept;
        // Of the journal's end something may have been cut off since.
        found.retain(|kept| kept.state.boundary <= now.boundary);
        let past = self.newest_past(&now, &found);
        thin(
            &mut found,
            now.oldest_window().unwrap_or(now.boundary),
            past,
        );
        *self.kept() = found;
    }

    /// The present state, to be kept.
    fn keep_now(&self) -> Kept {
        // Between commands the state is at a boundary.
        let inner = self.lock();
        Kept {
            state: inner.state.clone(),
            young: self.journal.head().next_addr,
            elapsed: self.elapsed_at(inner.state.elapsed),
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        let kept = self.window.kept.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
    }

    /// The steps by which states are kept.
    fn step(&self) -> Step {
        let state = self.lock().state.volumes.clone();
        let least = u64::from(self.journal.blocks_per_segment()) * BLOCK;
        let mut step = Step {
            age: DEFAULT_AGE / STEPS,
            bytes: self
                .capacity
                .map_or(u64::MAX, |capacity| capacity / DEFAULT_SHARE / STEPS),
        };
        for retention in state.values().map(|v| v.retention) {
            step.age = step.age.min(retention.age.unwrap_or(u64::MAX) / STEPS);
            step.bytes = step.bytes.min(retention.bytes.unwrap_or(u64::MAX) / STEPS);
        }
        step.bytes = step.bytes.max(least);
        step
    }

    /// The position of the newest state kept that lies before the windows of all volumes.
    fn newest_past(&self, now: &State, kept: &VecDeque<Kept>) -> Option<Seq> {
        let mut past = kept.iter().rev().map(Kept::place);
        let past = past.find(|place| self.is_past(now, *place));
        past.map(|place| place.boundary)
    }

    /// Whether a place lies before what every volume's retention reaches.
    fn is_past(&self, now: &State, place: Place) -> bool {
        let head = self.journal.head().next_addr;
        let bytes = head.0.saturating_sub(place.young.0).saturating_mul(BLOCK);
        let age = self.elapsed_at(now.elapsed).saturating_sub(place.elapsed);
        is_past(now, self.default_retention(), age, bytes)
    }

    /// The places that windows can begin at, from a position on, oldest first: state files, and states kept on the way.
    fn candidates(&self, from: Seq) -> Vec<Place> {
        let files = statefile::list(&*self.disk).unwrap_or_default();
        let files = files.iter().filter(|(seq, _)| *seq >= from);
        let mut found: Vec<Place> = files
            .filter_map(|(seq, name)| self.place_of(*seq, name))
            .collect();
        let kept = self.kept();
        let kept = kept.iter().map(Kept::place);
        found.extend(kept.filter(|place| place.boundary >= from));
        found.sort_by_key(|place| place.boundary);
        found.dedup_by_key(|place| place.boundary);
        found
    }

    /// The place of a state file. One that this process has not written is loaded for it, but once.
    fn place_of(&self, seq: Seq, name: &str) -> Option<Place> {
        if let Some(known) = self.files().get(&seq) {
            return *known;
        }
        let place = self.load(name).map(|kept| kept.place());
        self.remember(seq, place);
        place
    }

    /// The state that a state file has, if it loads, stands at a boundary and belongs to this journal.
    fn load(&self, name: &str) -> Option<Kept> {
        let (state, start) = statefile::load(&*self.disk, name, self.journal.store()).ok()?;
        if state.seq != state.boundary || !self.journal.reader().holds(&start).unwrap_or(false) {
            return None;
        }
        let blocks = u64::from(self.journal.blocks_per_segment());
        let young = BlockAddr(start.segment * blocks + u64::from(start.block));
        Some(Kept {
            young,
            elapsed: self.elapsed_of(&state, young),
            state,
        })
    }

    /// Remembers the place of a state that is frozen for a state file.
    pub(super) fn froze(&self, state: &State) {
        let place = Place {
            boundary: state.boundary,
            young: self.journal.head().next_addr,
            elapsed: self.elapsed_at(state.elapsed),
        };
        self.remember(state.seq, (state.seq == state.boundary).then_some(place));
    }

    fn remember(&self, seq: Seq, place: Option<Place>) {
        let mut files = self.files();
        files.insert(seq, place);
        while files.len() > MOST_KEPT {
            files.pop_first();
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<Seq, Option<Place>>> {
        let files = self.window.files.lock();
        files.unwrap_or_else(PoisonError::into_inner)
    }

    /// When a state that a file has was the present, as [`Store::elapsed`] counts: the time in the events lags behind where nothing happened for long. Where that
    /// is not remembered, it counts as no older than the events say, so that nothing goes before its time.
    fn elapsed_of(&self, state: &State, young: BlockAddr) -> u64 {
        if young <= self.opened.head {
            return state.elapsed;
        }
        if let Some(Some(place)) = self.files().get(&state.seq) {
            return place.elapsed;
        }
        let in_events = self.lock().state.elapsed;
        let age = in_events.saturating_sub(state.elapsed);
        self.elapsed_at(in_events).saturating_sub(age)
    }

    /// The newest state kept at or before a position.
    pub(super) fn newest_kept(&self, at: Seq) -> Option<Kept> {
        let kept = self.kept();
        kept.iter().rev().find(|k| k.state.boundary <= at).cloned()
    }

    /// The newest known state at or before the beginning of the oldest window. `None` where there is none: nothing is dead then.
    pub(super) fn window_base(&self, oldest: Seq) -> Option<Kept> {
        let newest = self.newest_kept(oldest);
        let from = newest.as_ref().map_or(0, |kept| kept.state.boundary + 1);
        let files = statefile::list(&*self.disk).unwrap_or_default();
        let files = files.iter().rev();
        files
            .filter(|(seq, _)| (from..=oldest).contains(seq))
            .find_map(|(_, name)| self.load(name))
            .or(newest)
    }

    /// Moves the windows on to where the retentions of all volumes allow it; gives the position where they begin now, if they moved.
    ///
    /// # Errors
    /// As [`Store::submit`] and [`Store::commit`].
    pub fn move_windows_on(&self) -> Result<Option<Seq>, Error> {
        let now = self.state();
        let oldest = now.oldest_window().unwrap_or(now.boundary);
        let past = self.candidates(oldest.saturating_add(1));
        match past
            .into_iter()
            .rev()
            .find(|place| self.is_past(&now, *place))
        {
            Some(place) => self.release_history(place.boundary),
            None => Ok(None),
        }
    }

    /// The steps in which the history could be given up, oldest first; behind the last one only the present is left.
    pub(super) fn steps_of_history(&self) -> Vec<Seq> {
        let now = self.state();
        let oldest = now.oldest_window().unwrap_or(now.boundary);
        let candidates = self.candidates(oldest.saturating_add(1));
        candidates.iter().map(|place| place.boundary).collect()
    }

    /// Gives up all history: only the present and the checkpoints can be viewed from now on.
    ///
    /// # Errors
    /// As [`Store::submit`] and [`Store::commit`].
    pub fn release_all_history(&self) -> Result<Option<Seq>, Error> {
        // What waits to be handed down would be alive with the position where the windows begin.
        self.settle()?;
        let before = count_roots(&self.state());
        let released = self.release_to_present()?;
        // At that position, what only undo could bring back was there still, and is alive with it: it goes where they begin after it was forgotten.
        match released.is_some() && count_roots(&self.state()) < before {
            true => Ok(self.release_to_present()?.or(released)),
            false => Ok(released),
        }
    }

    fn release_to_present(&self) -> Result<Option<Seq>, Error> {
        let now = self.keep_now();
        let before = now.state.boundary;
        self.kept().push_back(now);
        let released = self.release_history(before);
        // Where it failed the windows begin where they did.
        if released.is_ok() {
            thin(&mut self.kept(), before, Some(before));
        }
        released
    }

    pub(super) fn release_history(&self, before: Seq) -> Result<Option<Seq>, Error> {
        let done = self.submit(&Actor::program(), Command::ReleaseHistory { before })?;
        if done.events.is_empty() {
            return Ok(None);
        }
        self.commit(done.ticket)?;
        Ok(Some(before))
    }
}

/// How many roots a state keeps alive.
fn count_roots(state: &State) -> usize {
    let mut roots = Vec::new();
    roots_of(state, &mut roots);
    roots.len()
}

struct Step {
    age: u64,
    bytes: u64,
}

/// Of the states that lie before what can be asked for only two are wanted: where the windows begin now (at `oldest`), and where they would begin
/// next (`past`). Of too many others every second goes.
fn thin(kept: &mut VecDeque<Kept>, oldest: Seq, past: Option<Seq>) {
    let base = kept.iter().rev().map(|k| k.state.boundary);
    let base = base.clone().find(|seq| *seq <= oldest);
    let past = past.unwrap_or(0);
    kept.retain(|k| k.state.boundary >= past || Some(k.state.boundary) == base);
    if kept.len() > MOST_KEPT {
        let newest = kept.len() - 1;
        let mut at = 0;
        kept.retain(|k| {
            at += 1;
            at % 2 == 0 || at > newest || Some(k.state.boundary) == base
        });
    }
}
