//! Events, newest first, a frame at a time.

use strand_engine::{ActorId, Damage, Error, Event, EventTime, Seq, Store, fold};
use strand_journal::{Entry, Frame};

/// One event as it stands in the journal.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its number.
    pub seq: Seq,
    /// Its time, in ns since the Unix epoch.
    pub time: EventTime,
    /// Who did it.
    pub actor: ActorId,
    /// The last event of its command: a commit boundary.
    pub last: bool,
    /// Number of payload blocks.
    pub blocks: u64,
    /// What happened.
    pub event: Event,
}

impl Logged {
    /// Reads a journal entry.
    ///
    /// # Errors
    /// Damage, where its bytes are no event.
    pub fn read(entry: &Entry<'_>) -> Result<Self, Error> {
        let decoded = fold::decode(entry).map_err(Error::Damage)?;
        Ok(Self {
            seq: entry.number,
            time: entry.time,
            actor: decoded.actor,
            last: decoded.last,
            blocks: entry.crcs.len() as u64,
            event: decoded.event,
        })
    }
}

/// The events of a store, newest first. Reads a frame when it is needed and keeps one at a time. Ends after an error.
pub struct NewestFirst {
    frames: Box<dyn Iterator<Item = Result<Frame, strand_journal::Error>> + Send>,
    /// Events of the current frame, oldest first.
    events: Vec<Logged>,
    failed: bool,
}

/// All events of the store, newest first.
#[must_use]
pub fn newest_first(store: &Store) -> NewestFirst {
    NewestFirst {
        frames: Box::new(store.journal().reader().frames_back()),
        events: Vec::new(),
        failed: false,
    }
}

impl NewestFirst {
    /// Nothing more.
    pub(crate) fn none() -> Self {
        Self {
            frames: Box::new(std::iter::empty()),
            events: Vec::new(),
            failed: false,
        }
    }
}

impl Iterator for NewestFirst {
    type Item = Result<Logged, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.events.pop() {
                return Some(Ok(event));
            }
            if self.failed {
                return None;
            }
            let read = match self.frames.next()? {
                Ok(frame) => read_all(&frame),
                Err(error) => Err(Error::Journal(error)),
            };
            match read {
                Ok(events) => self.events = events,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The events of a frame, oldest first.
pub(crate) fn read_all(frame: &Frame) -> Result<Vec<Logged>, Error> {
    let mut events = Vec::with_capacity(frame.count as usize);
    for entry in frame.entries() {
        // A frame is given out after its records were checked.
        let entry =
            entry.map_err(|error| Error::Damage(Damage::new(error.to_string()).at(frame.first)))?;
        events.push(Logged::read(&entry)?);
    }
    Ok(events)
}
