//! Folding a prefix of the journal, and what a fold has to know beforehand.

use crate::log::Logged;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::fold::Folder;
use strand_engine::{Error, Event, Placed, Seq, State};
use strand_journal::{Reader, Start};

/// What is said later in the journal about positions before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Recorded digests, by the position that they are of.
    pub(crate) digests: BTreeMap<Seq, u128>,
    /// Positions that later events go back to: a fold has to keep the state there.
    pub(crate) pins: BTreeSet<Seq>,
}

impl Marks {
    pub(crate) fn note(&mut self, logged: &Logged) {
        if let Event::DigestRecorded { at, digest } = &logged.event {
            self.digests.insert(*at, *digest);
        }
        self.pins.extend(logged.event.positions());
    }

    /// Reads the whole journal for marks.
    pub(crate) fn read(reader: &Reader) -> Result<Self, Error> {
        let mut marks = Self::default();
        for frame in reader.frames(reader.origin()) {
            for logged in crate::log::read_all(&frame.map_err(Error::Journal)?)? {
                marks.note(&logged);
            }
        }
        Ok(marks)
    }
}

/// Folds from a base up to `until`, or the end. `on` gets the state before each event. Damage ends the fold and stays in the folder.
pub(crate) fn fold(
    reader: &Reader,
    base: (State, Start),
    pins: BTreeSet<Seq>,
    until: Option<Seq>,
    on: &mut dyn FnMut(&State, &Placed<'_>),
) -> Result<Folder, Error> {
    let (state, start) = base;
    let mut folder = Folder::new(state, pins, until);
    if !folder.done() {
        for frame in reader.frames(start) {
            folder.frame(&frame.map_err(Error::Journal)?, on);
            if folder.done() {
                break;
            }
        }
    }
    Ok(folder)
}
