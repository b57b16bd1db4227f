//! Reading beside the one writer, from another process: without a lock, and never further than a position that the writer
//! said is durable. What lies behind it, whole or half written, is not looked at: a tail is neither torn nor damage here.

use std::sync::Arc;

use crate::BLOCK_SIZE;
use crate::address::{ChainHash, Start};
use crate::disk::{Disk, Lock};
use crate::error::{Error, VisitError};
use crate::frame::{Frame, FrameError, Layout};
use crate::journal::Journal;
use crate::recovery::{Damage, bad_start};
use crate::segments::{Listing, Segments};
use crate::store_file::StoreFile;
use crate::walk::{Stop, Walk, misplaced};
use crate::writer::Core;

/// The end of a durable frame, as the writer tells it to others.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Durable {
    /// The last number that the frame holds, or that stands before it; 0 if there is none.
    pub number: u64,
    /// The chain hash of the frame.
    pub chain: ChainHash,
}

/// A reader beside the writer keeps nobody out.
#[derive(Debug)]
struct NoLock;

impl Lock for NoLock {}

impl Journal {
    /// The end of the last durable frame: what a reader beside this writer may be told.
    pub fn durable(&self) -> Durable {
        let end = self.position();
        Durable {
            number: end.number - 1,
            chain: end.chain,
        }
    }

    /// Opens a store that another process writes, for reading up to `until`, which that process said is durable. `visit` gets
    /// every frame from the start on. Nothing is locked, made or written.
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::NewerFormat`]; [`Error::BadStart`] where `start` does not belong to this journal or lies
    /// behind `until`; [`Error::Damaged`] where `until` cannot be reached; [`Error::Visit`], [`Error::Io`].
    pub fn open_beside(
        disk: Arc<dyn Disk>,
        start: Option<Start>,
        until: &Durable,
        visit: &mut dyn FnMut(&Frame) -> Result<(), VisitError>,
    ) -> Result<Journal, Error> {
        let store = StoreFile::read(&*disk)?;
        let layout = Layout {
            store: store.store,
            segment_size: store.segment_size,
        };
        let listing = Listing::read(&*disk, &layout)?;
        let segments = Segments::beside(Arc::clone(&disk), layout, store.capacity, &listing);
        let start = start.unwrap_or(segments.beginning());
        let wrong = if start.number > until.number.saturating_add(1) {
            Some("it lies behind the position wanted".into())
        } else {
            misplaced(&segments, &layout, &start)?
        };
        if let Some(reason) = wrong {
            return Err(bad_start(&start, reason));
        }
        let end = walk_to(&segments, layout, start, until, visit)?;
        let core = Core::new(layout, Arc::new(segments), end);
        Ok(Journal::assemble(core, disk, true, Box::new(NoLock)))
    }

    /// Goes on to `until`, in a journal opened by [`Journal::open_beside`]. `visit` gets the frames in between. A position that
    /// is reached already changes nothing. The caller follows from one thread at a time.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a journal that was opened otherwise; [`Error::Damaged`] where `until` cannot be reached: the
    /// journal then stands where it stood. [`Error::Visit`], [`Error::Io`].
    pub fn follow(
        &self,
        until: &Durable,
        visit: &mut dyn FnMut(&Frame) -> Result<(), VisitError>,
    ) -> Result<(), Error> {
        let segments = &self.core.segments;
        if !segments.is_beside() {
            return Err(Error::Misuse(
                "only a reader beside a writer follows".into(),
            ));
        }
        let at = self.position();
        if until.number < at.number {
            return Ok(());
        }
        segments.look_again()?;
        let end = walk_to(segments, self.core.layout, at, until, visit)?;
        self.core.told(end);
        Ok(())
    }
}

fn walk_to(
    segments: &Segments,
    layout: Layout,
    from: Start,
    until: &Durable,
    visit: &mut dyn FnMut(&Frame) -> Result<(), VisitError>,
) -> Result<Start, Error> {
    let mut walk = Walk::new(segments, layout, from);
    // Frames without records may follow one another at the same number: the chain tells them apart.
    while walk.at.number != until.number.saturating_add(1) || walk.at.chain != until.chain {
        let here = Stop {
            segment: walk.at.segment,
            block: walk.at.block,
            reason: FrameError::Chain,
        };
        if walk.at.number > until.number.saturating_add(1) {
            return Err(unreachable(here, &walk.at, until));
        }
        match walk.next(&|segment| segments.has(segment))? {
            Ok(frame) => visit(&frame).map_err(Error::Visit)?,
            Err(stop) => return Err(unreachable(stop, &walk.at, until)),
        }
    }
    Ok(walk.at)
}

fn unreachable(stop: Stop, at: &Start, until: &Durable) -> Error {
    Error::Damaged(Damage {
        segment: stop.segment,
        offset: u64::from(stop.block) * BLOCK_SIZE as u64,
        first_number: at.number,
        last_number: until.number,
        reason: stop.reason,
    })
}
