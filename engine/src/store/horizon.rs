//! Where the store's events begin. Older ones can be moved away; a base state then stands for them: an ordinary state file that is never removed.

use super::history::reach;
use super::{Store, background::prune, open::base_for};
use crate::command::Command;
use crate::damage::Damage;
use crate::error::Error;
use crate::event::Actor;
use crate::fold::decode;
use crate::ids::Seq;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::statefile;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use strand_journal::{CopyArchive, Disk, SegmentState, Start, StoreId};

/// What moved away.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct MovedArchives {
    /// The first event that is still in the store.
    pub before: Seq,
    /// Archives that are gone from it.
    pub archives: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is known between two movements of archives.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Held by whoever moves archives away.
    one: Mutex<()>,
    /// With this beginning of the oldest window and so many bytes of archives none could go.
    in_vain: Mutex<Option<(Seq, u64)>>,
}

impl Leaving {
    /// For whoever moves archives; `None` where somebody does.
    fn begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.one.try_lock() {
            Ok(one) => Some(one),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The state before the first event that a store still has, and where that event stands.
///
/// # Errors
/// [`Damage`] where the base state cannot be read; [`strand_journal::Error::Moved`] where more has moved away meanwhile.
pub(super) fn beginning(
    disk: &dyn Disk,
    store: StoreId,
    origin: Start,
) -> Result<(State, Start), Error> {
    let Some(covered) = origin.number.checked_sub(1).filter(|seq| *seq > 0) else {
        return Ok((State::empty(), origin));
    };
    let damage = match statefile::load(disk, &statefile::name(covered), store) {
        Ok((state, start)) if start == origin => return Ok((state, start)),
        Ok(_) => Damage::new("it belongs to another journal"),
        Err(damage) => damage,
    };
    match strand_journal::horizon(disk, store)? {
        Some(now) if now.number > origin.number => Err(strand_journal::Error::Moved {
            before: now.number,
        }
        .into()),
        _ => Err(Damage::new(format!(
            "the events up to seq {covered} have been moved away, and the state that stands for them cannot be read: {damage}"
        ))
        .into()),
    }
}

impl Store {
    /// The state before the first event that the store still has, and where that event stands: what every fold from the start begins with.
    ///
    /// # Errors
    /// [`Damage`] where older events have been moved away and the base state cannot be read; [`Kind::Stale`] where more of them have moved away
    /// meanwhile.
    pub fn beginning(&self) -> Result<(State, Start), Error> {
        let origin = self.journal.reader().origin();
        beginning(&*self.disk, self.journal.store(), origin)
    }

    /// Moves the archives of events before a number out of the store, as many as whole segments hold: `copy` gets each of them first. A base state stays, and an event says so.
    /// No view of the live volumes reaches back before it then. Where later events go back to an earlier position, less is moved: what it gives says how much.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] for a number that is not reached; [`Kind::Busy`] where archives are being moved already; [`Error::Journal`] where `copy` or
    /// the disk fails: nothing is lost, and it may be tried again. Where `copy` fails, no history was given up.
    pub fn move_archives(
        &self,
        before: Seq,
        copy: Option<&mut CopyArchive<'_>>,
    ) -> Result<MovedArchives, Error> {
        let now = self.state().boundary;
        if before > now {
            return Err(
                Refusal::new(Kind::OutOfRange, format!("seq {before} is out of reach"))
                    .why(reach(self.first_reached(), now))
                    .into(),
            );
        }
        let Some(_one) = self.leaving.begin() else {
            return Err(Refusal::new(
                Kind::Busy,
                "events are being moved out of the store already",
            )
            .next("strand job list")
            .into());
        };
        self.sync()?;
        let seen = self.journal.position();
        let begins = self.journal.reader().origin().segment;
        // For less than a whole segment nothing is given up.
        match self
            .base_place(before)?
            .filter(|place| place.segment > begins)
        {
            Some(place) => self.move_before(place, &seen, copy),
            None => Ok(self.nothing_moved()),
        }
    }

    fn nothing_moved(&self) -> MovedArchives {
        MovedArchives {
            before: self.journal.reader().origin().number,
            ..MovedArchives::default()
        }
    }

    /// Moves archives away, up to a place that no event before `seen` reaches back behind.
    fn move_before(
        &self,
        place: Start,
        seen: &Start,
        copy: Option<&mut CopyArchive<'_>>,
    ) -> Result<MovedArchives, Error> {
        // Before anything is given up: whoever takes the copies may fail, or take long.
        if let Some(copy) = copy {
            self.journal.copy_archives_before(&place, copy)?;
        }
        self.release_history(place.number)?;
        // From now on nothing goes back to before that; meanwhile something may have.
        let place = match self.reaches_back(seen, place.number)? {
            None => place,
            Some(seq) => match self.base_place(seq + 1)? {
                Some(earlier) if earlier.segment > self.journal.reader().origin().segment => {
                    earlier
                }
                _ => return Ok(self.nothing_moved()),
            },
        };
        let base = self.state_at(place.number - 1)?;
        let alone = self.state_files.alone();
        statefile::write(&*self.disk, &base, &place, self.journal.store())?;
        drop(base);
        // The store begins with what can be read, or not there.
        beginning(&*self.disk, self.journal.store(), place)?;
        let moved = self.journal.move_archives_before(&place, None)?;
        // Each movement leaves a base state; those before are of no use any more.
        if let Err(error) = prune(&self.journal, &*self.disk, &self.state()) {
            tracing::warn!(%error, "state files that are of no use any more stay");
        }
        drop(alone);
        self.tell_horizon()?;
        Ok(MovedArchives {
            before: place.number,
            archives: moved.archives,
            bytes: moved.bytes,
        })
    }

    /// Records the horizon, where the journal has moved on and its event is missing: a crash came between.
    pub(super) fn tell_horizon(&self) -> Result<(), Error> {
        let origin = self.journal.reader().origin();
        let known = self.state().horizon;
        if origin.number <= 1 || known >= origin.number {
            return Ok(());
        }
        // It may not all be gone, and once this is told nobody knows any more what was to go.
        if let Err(error) = self.journal.end_movement(known) {
            tracing::warn!(%error, "archives that moved away are still there");
        }
        let command = Command::MoveArchive {
            before: origin.number,
            chain: origin.chain.0,
        };
        let done = self.submit(&Actor::program(), command)?;
        self.commit(done.ticket)
    }

    /// Lets go of the oldest archived events, where they take more than the store is to keep of them ([`State::audit`]), but of none within a
    /// history window. Some more than need be goes at once, so that this is not done all the time.
    ///
    /// # Errors
    /// As [`Store::move_archives`].
    pub fn trim_archives(&self) -> Result<MovedArchives, Error> {
        let state = self.state();
        let Some(keep) = state.audit else {
            return Ok(MovedArchives::default());
        };
        let window = state.oldest_window();
        drop(state);
        // What lies before the horizon is not the store's any more.
        let begins = self.journal.reader().origin().segment;
        let mut segments = self.journal.segments();
        segments.retain(|segment| segment.number >= begins);
        let mut bytes: u64 = segments.iter().map(|s| s.archive_bytes).sum();
        if bytes <= keep {
            return Ok(MovedArchives::default());
        }
        // Somebody moves them away already, perhaps slowly.
        let Some(_one) = self.leaving.begin() else {
            return Ok(MovedArchives::default());
        };
        let all = bytes;
        let mut first = None;
        for segment in segments {
            let archived = segment.state == SegmentState::Archived || segment.archive_bytes > 0;
            if !archived || bytes <= keep / 4 * 3 {
                first = Some(segment.number);
                break;
            }
            bytes = bytes.saturating_sub(segment.archive_bytes);
        }
        let Some(first) = first else {
            return Ok(MovedArchives::default());
        };
        let reader = self.journal.reader();
        let before = reader.frame_at(first, 0)?.first;
        let before = window.unwrap_or(before).min(before);
        match self.place_to_trim(before, first, all)? {
            Some((place, seen)) => self.move_before(place, &seen, None),
            None => Ok(MovedArchives::default()),
        }
    }

    /// Where the store is to begin, so that archives of events before `before`, which is no later than segment `first`, can go; and the journal's end then.
    /// `None` where none can: that is told cheaply, for it is asked all the time. `bytes` are those of all archives.
    fn place_to_trim(
        &self,
        before: Seq,
        first: u64,
        bytes: u64,
    ) -> Result<Option<(Start, Start)>, Error> {
        let reader = self.journal.reader();
        let origin = reader.origin();
        // A whole segment has to lie before it.
        if first <= origin.segment || reader.frame_at(origin.segment + 1, 0)?.first > before {
            return Ok(None);
        }
        let in_vain = || {
            let known = self.leaving.in_vain.lock();
            known.unwrap_or_else(PoisonError::into_inner)
        };
        if *in_vain() == Some((before, bytes)) {
            return Ok(None);
        }
        self.sync()?;
        let seen = self.journal.position();
        let place = self.base_place(before)?;
        let place = place.filter(|place| place.segment > origin.segment);
        if place.is_none() {
            *in_vain() = Some((before, bytes));
        }
        Ok(place.map(|place| (place, seen)))
    }

    /// The last place before an event that a base state can stand for: nothing behind it goes back to anything before it. `None` where that is
    /// where the store's events begin already.
    fn base_place(&self, before: Seq) -> Result<Option<Start>, Error> {
        let reader = self.journal.reader();
        let origin = reader.origin();
        let mut before = before;
        loop {
            let (_, start) = base_for(&*self.disk, &self.journal, before.saturating_sub(1))?;
            let mut frames = reader.frames(start);
            let mut place = start;
            while let Some(frame) = frames.next() {
                let frame = frame?;
                if frame.next_number() > before {
                    break;
                }
                if !frame.more {
                    place = frames.position();
                }
            }
            if place.number <= origin.number {
                return Ok(None);
            }
            match self.reaches_back(&place, place.number)? {
                // The state just after that event is what is gone back to: the base must not be later.
                Some(seq) => before = seq + 1,
                None => return Ok(Some(place)),
            }
        }
    }

    /// The earliest position before an event that an event at or behind a place goes back to.
    fn reaches_back(&self, place: &Start, before: Seq) -> Result<Option<Seq>, Error> {
        let mut earliest = None;
        for frame in self.journal.reader().frames(*place) {
            let frame = frame?;
            for entry in frame.entries() {
                let entry = entry.map_err(|e| Damage::new(e.to_string()).at(frame.first))?;
                let event = decode(&entry)?.event;
                let earlier = event.positions().filter(|seq| *seq + 1 < before);
                earliest = earlier.chain(earliest).min();
            }
        }
        Ok(earliest)
    }
}
