//! Where the store's events begin. Older ones can be moved away; a base state then stands for them: an ordinary state file that is never removed.

use super::{Store, open::base_for};
use crate::command::Command;
use crate::damage::Damage;
use crate::error::Error;
use crate::event::{Actor, Event, Source};
use crate::fold::decode;
use crate::ids::Seq;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::statefile;
use strand_journal::{CopyArchive, Disk, SegmentState, Start, StoreId};

/// What moved away.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct MovedArchives {
    /// The first event that is still in the store.
    pub before: Seq,
    /// Archives that are gone from it.
    pub archives: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The state before the first event that a store still has, and where that event stands.
///
/// # Errors
/// [`Damage`] where the base state cannot be read.
pub(super) fn beginning(
    disk: &dyn Disk,
    store: StoreId,
    origin: Start,
) -> Result<(State, Start), Damage> {
    let Some(covered) = origin.number.checked_sub(1).filter(|seq| *seq > 0) else {
        return Ok((State::empty(), origin));
    };
    let missing = |damage: &Damage| {
        Damage::new(format!(
            "the events up to seq {covered} have been moved away, and the state that stands for them cannot be read: {damage}"
        ))
    };
    let name = statefile::name(covered);
    match statefile::load(disk, &name, store) {
        Ok((state, start)) if start == origin => Ok((state, start)),
        Ok(_) => Err(missing(&Damage::new("it belongs to another journal"))),
        Err(damage) => Err(missing(&damage)),
    }
}

impl Store {
    /// The state before the first event that the store still has, and where that event stands: what every fold from the start begins with.
    ///
    /// # Errors
    /// [`Damage`] where older events have been moved away and the base state cannot be read.
    pub fn beginning(&self) -> Result<(State, Start), Error> {
        let origin = self.journal.reader().origin();
        Ok(beginning(&*self.disk, self.journal.store(), origin)?)
    }

    /// Moves the archives of events before a number out of the store, as many as whole segments hold: `copy` gets each of them first. A base state stays, and an event says so.
    /// No view of the live volumes reaches back before it then. Where later events go back to an earlier position, less is moved: what it gives says how much.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] for a number that is not reached; [`Error::Journal`] where `copy` or the disk fails: nothing is lost, and it may be tried again.
    pub fn move_archives(
        &self,
        before: Seq,
        copy: Option<&mut CopyArchive<'_>>,
    ) -> Result<MovedArchives, Error> {
        let now = self.state().boundary;
        if before > now {
            return Err(
                Refusal::new(Kind::OutOfRange, format!("seq {before} is out of reach"))
                    .why(format!("seq 1 to {now} can be reached"))
                    .into(),
            );
        }
        self.sync()?;
        let origin = self.journal.reader().origin();
        let Some(place) = self.base_place(before)? else {
            return Ok(MovedArchives {
                before: origin.number,
                ..MovedArchives::default()
            });
        };
        let own = Actor::program();
        let released = self.submit(
            &own,
            Command::ReleaseHistory {
                before: place.number,
            },
        )?;
        self.commit(released.ticket)?;
        let base = self.state_at(place.number - 1)?;
        statefile::write(&*self.disk, &base, &place, self.journal.store())?;
        drop(base);
        let moved = self.journal.move_archives_before(&place, copy)?;
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
        if origin.number <= 1 || self.state().horizon >= origin.number {
            return Ok(());
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
        let window = oldest_window(&state);
        drop(state);
        let segments = self.journal.segments();
        let mut bytes: u64 = segments.iter().map(|s| s.archive_bytes).sum();
        if bytes <= keep {
            return Ok(MovedArchives::default());
        }
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
        let before = self.journal.reader().frame_at(first, 0)?.first;
        match window.unwrap_or(before).min(before) {
            0 => Ok(MovedArchives::default()),
            before => self.move_archives(before, None),
        }
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
            match self.reaches_back(&place)? {
                // The state just after that event is what is gone back to: the base must not be later.
                Some(seq) => before = seq + 1,
                None => return Ok(Some(place)),
            }
        }
    }

    /// The earliest position before a place that an event behind it goes back to.
    fn reaches_back(&self, place: &Start) -> Result<Option<Seq>, Error> {
        let mut earliest = None;
        for frame in self.journal.reader().frames(*place) {
            let frame = frame?;
            for entry in frame.entries() {
                let entry = entry.map_err(|e| Damage::new(e.to_string()).at(frame.first))?;
                let mut source = |source: &Source| {
                    if let Source::Position(_, seq) = source
                        && *seq + 1 < place.number
                    {
                        earliest = Some(earliest.map_or(*seq, |known: Seq| known.min(*seq)));
                    }
                };
                match decode(&entry)?.event {
                    Event::RolledBack { volumes, .. } => {
                        volumes.iter().for_each(|(_, s)| source(s))
                    }
                    Event::CloneCreated { source: from, .. }
                    | Event::FileRestored { source: from, .. } => source(&from),
                    _ => {}
                }
            }
        }
        Ok(earliest)
    }
}

/// Where the oldest of the history windows begins; `None` without volumes.
pub(super) fn oldest_window(state: &State) -> Option<Seq> {
    let volumes = state.volumes.values().chain(state.removed_volumes.values());
    volumes.map(|v| v.history).min()
}
