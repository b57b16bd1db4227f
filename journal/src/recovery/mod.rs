//! Opening a journal: what survived, what is cut, what is damage.
//!
//! The walk goes from frame to frame and reads headers only. The *durable mark* is the highest `flushed` of any valid
//! header, or of a state file: what it covers needs no look at the payload, and may never be missing. Frames past the mark
//! are read again past the page cache, payload and all. Where the walk ends, everything behind is searched for proof that
//! more was durable (`scan`): then this is damage, and the journal opens for reading only; else it is a torn tail, and
//! cut. Before anything is acknowledged, an opening for writing flushes what it kept and begins a new epoch.

mod report;

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Start;
use crate::disk::{Disk, Lock, LockError};
use crate::error::{Error, VisitError};
use crate::frame::{Frame, FrameError, Layout};
use crate::journal::Journal;
use crate::scan::{self, Behind};
use crate::segments::{self, Listing, Segments};
use crate::store_file::StoreFile;
use crate::walk::{Stop, Walk, is_nothing, misplaced};
use crate::writer::Core;
use crate::{BLOCK_SIZE, MAX_RUN_HEADER_BLOCKS};

pub use report::{Damage, Recovery, Torn};

/// What a journal is opened for.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Access {
    /// Nothing is written, beside other readers.
    #[default]
    ReadOnly,
    /// The one writer.
    ReadWrite,
}

/// How to open a journal.
#[derive(Copy, Clone, Debug, Default)]
pub struct OpenOptions {
    /// For reading or for writing.
    pub access: Access,
    /// Where to begin; None: at the origin.
    pub start: Option<Start>,
    /// A number that is known to be durable, from a state file; 0 if none is.
    pub known_flushed: u64,
    /// How long to wait for the lock.
    pub lock_timeout: Duration,
    /// Where no more blocks than this are free, the epoch's first frame is put off to the first command: an opening that does
    /// nothing takes no room then.
    pub spare_blocks: u64,
}

pub(crate) fn lock(
    disk: &dyn Disk,
    shared: bool,
    timeout: Duration,
) -> Result<Box<dyn Lock>, Error> {
    let lock = if shared {
        disk.lock_shared(timeout)
    } else {
        disk.lock_exclusive(timeout)
    };
    lock.map_err(|error| match error {
        LockError::Held(holder) => Error::Locked { holder },
        LockError::Io(error) => Error::io("lock", "lock", error),
    })
}

impl Journal {
    /// Opens a store. `visit` gets every surviving frame from the start on, in order; an error of its stops the opening.
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::NewerFormat`], [`Error::Locked`]; [`Error::BadStart`] where `start` does not
    /// belong to this journal; [`Error::Damaged`] for writing (for reading, [`Recovery::damage`] says so);
    /// [`Error::Visit`], [`Error::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        options: OpenOptions,
        visit: &mut dyn FnMut(&Frame) -> Result<(), VisitError>,
    ) -> Result<(Journal, Recovery), Error> {
        let read_only = options.access == Access::ReadOnly;
        StoreFile::read(&*disk)?;
        let lock = lock(&*disk, read_only, options.lock_timeout)?;
        // Read again under the lock: creation may have been at work.
        let store = StoreFile::read(&*disk)?;
        let layout = Layout {
            store: store.store,
            segment_size: store.segment_size,
        };
        let listing = Listing::read(&*disk, &layout)?;
        let segments = Segments::new(
            Arc::clone(&disk),
            layout,
            !read_only,
            store.capacity,
            &listing,
        );
        let start = options.start.unwrap_or(segments.beginning());
        if let Some(reason) = misplaced(&segments, &layout, &start)? {
            return Err(bad_start(&start, reason));
        }
        let mut recover = Recover {
            segments: &segments,
            layout,
            mark: options.known_flushed.max(start.number.saturating_sub(1)),
            held: VecDeque::new(),
            held_headers: 0,
            visit,
            end: start,
            frames: 0,
            last_close: false,
            unproven: BTreeSet::new(),
            spares: 0,
        };
        let recovery = recover.run(start)?;
        let Recover {
            unproven, spares, ..
        } = recover;
        if let Some(torn) = &recovery.torn {
            tracing::warn!("{torn}");
        }
        match recovery.damage {
            Some(damage) if !read_only => return Err(Error::Damaged(damage)),
            Some(damage) => tracing::warn!("{damage}"),
            None => {}
        }
        if !read_only {
            settle(&segments, &layout, &recovery, &unproven, spares)?;
        }
        let core = Core::new(layout, Arc::new(segments), recovery.end);
        let journal = Journal::assemble(core, disk, read_only, lock);
        if !read_only {
            if journal.space().free_blocks <= options.spare_blocks {
                journal.begin_epoch_later();
            } else {
                match journal.begin_epoch() {
                    Err(Error::NoSpace { .. }) => journal.begin_epoch_later(),
                    other => other?,
                }
            }
            for segment in journal.core.segments.numbers() {
                let block = match segment.cmp(&recovery.end.segment) {
                    Ordering::Less => continue,
                    Ordering::Equal => recovery.end.block,
                    Ordering::Greater => 0,
                };
                journal.core.segments.forget(segment, block)?;
            }
        }
        Ok((journal, recovery))
    }
}

struct Recover<'a> {
    segments: &'a Segments,
    layout: Layout,
    mark: u64,
    /// Frames that are not visited yet: past the mark, or of a run that is not complete.
    held: VecDeque<Frame>,
    held_headers: u32,
    visit: &'a mut dyn FnMut(&Frame) -> Result<(), VisitError>,
    /// Behind the last frame visited.
    end: Start,
    frames: u64,
    last_close: bool,
    /// Segments with frames past the mark.
    unproven: BTreeSet<u64>,
    /// Blank segments right behind the end: made ahead, and still good.
    spares: u64,
}

impl Recover<'_> {
    fn run(&mut self, start: Start) -> Result<Recovery, Error> {
        let mut walk = Walk::new(self.segments, self.layout, start);
        let mut stop = loop {
            match walk.next(&|segment| self.segments.has(segment))? {
                Ok(frame) => {
                    if let Some(stop) = self.hold(frame)? {
                        break stop;
                    }
                }
                Err(stop) => break stop,
            }
        };
        // The frames held are past the mark so far, or an unfinished run. What lies behind may still raise the mark.
        let mut behind = self.look_behind(&walk.at, None)?;
        if let Some(bad) = self.release_rest()? {
            // Where a run is not complete, the place of the frame that is missing says more.
            match (bad.reason, stop.reason) {
                (FrameError::RunUnfinished, FrameError::Blank) => stop.reason = bad.reason,
                (FrameError::RunUnfinished, _) => {}
                _ => stop = bad,
            }
        }
        if (self.end.segment, self.end.block) != (walk.at.segment, walk.at.block) {
            // An epoch's first frame that stands at the cut, and may still look whole in the cache, does not speak for
            // itself.
            let at_cut = self.held.front().filter(|frame| frame.epoch_first);
            let except = at_cut.map(|frame| (frame.segment, frame.block));
            let end = self.end;
            behind = self.look_behind(&end, except)?;
        }
        Ok(self.judge(stop, behind))
    }

    /// Takes a frame that the walk found; visits what is proven. A stop ends the walk before its time.
    fn hold(&mut self, frame: Frame) -> Result<Option<Stop>, Error> {
        self.mark = self.mark.max(frame.flushed);
        self.held_headers += frame.header_blocks;
        self.held.push_back(frame);
        self.release_proven()?;
        if self.held_headers <= MAX_RUN_HEADER_BLOCKS {
            return Ok(None);
        }
        // Too much to hold: no writer leaves so much unproven, but a hostile journal may. The oldest run is checked
        // now, or is beyond all limits.
        let Some(len) = self.first_run() else {
            return Ok(self
                .held
                .front()
                .map(|frame| stop_at(frame, FrameError::RunTooLong)));
        };
        self.check_and_release(len)
    }

    /// Length of the first complete run among the frames held.
    fn first_run(&self) -> Option<usize> {
        self.held
            .iter()
            .position(|frame| !frame.more)
            .map(|last| last + 1)
    }

    fn release_proven(&mut self) -> Result<(), Error> {
        while let Some(len) = self.first_run() {
            // A frame without records counts as its next number: no `flushed` speaks of the frame itself.
            if self.held[len - 1].last().max(self.held[len - 1].first) > self.mark {
                return Ok(());
            }
            self.release(len)?;
        }
        Ok(())
    }

    fn release(&mut self, len: usize) -> Result<(), Error> {
        for frame in self.held.drain(..len) {
            self.held_headers -= frame.header_blocks;
            self.frames += 1;
            self.last_close = frame.close;
            self.end = frame.behind();
            (self.visit)(&frame).map_err(Error::Visit)?;
        }
        Ok(())
    }

    /// Visits what is still held, as far as it proves itself; gives the place and reason of the first that does not.
    fn release_rest(&mut self) -> Result<Option<Stop>, Error> {
        self.release_proven()?;
        while let Some(len) = self.first_run() {
            if let Some(bad) = self.check_and_release(len)? {
                return Ok(Some(bad));
            }
        }
        Ok(self
            .held
            .front()
            .map(|frame| stop_at(frame, FrameError::RunUnfinished)))
    }

    fn check_and_release(&mut self, len: usize) -> Result<Option<Stop>, Error> {
        let mut bad = None;
        for frame in self.held.iter().take(len) {
            if let Err(reason) = self.check_on_medium(frame)? {
                bad = self.held.front().map(|first| stop_at(first, reason));
                break;
            }
        }
        if bad.is_none() {
            let touched = self.held.iter().take(len).map(|frame| frame.segment);
            self.unproven.extend(touched);
            self.release(len)?;
        }
        Ok(bad)
    }

    /// Whether the medium holds this frame, header and payload.
    fn check_on_medium(&self, frame: &Frame) -> Result<Result<(), FrameError>, Error> {
        // Only what is durable is archived, and the chain has proven the core.
        if frame.archived {
            return Ok(Ok(()));
        }
        let mut bytes =
            vec![0u8; (frame.header_blocks + frame.payload_blocks) as usize * BLOCK_SIZE];
        self.segments
            .read(frame.segment, frame.block, &mut bytes, true)?;
        let (header, payload) = bytes.split_at(frame.header().len());
        if header != frame.header() {
            return Ok(Err(FrameError::Checksum));
        }
        let mut blocks = payload.chunks_exact(BLOCK_SIZE).zip(frame.crcs().iter());
        let whole = blocks.all(|(block, crc)| crc32fast::hash(block) == crc);
        Ok(if whole {
            Ok(())
        } else {
            Err(FrameError::Payload)
        })
    }

    /// Searches what lies behind `end` for proof that more was durable; raises the mark.
    fn look_behind(&mut self, end: &Start, except: Option<(u64, u32)>) -> Result<Behind, Error> {
        let behind = scan::behind(self.segments, &self.layout, end, except)?;
        self.mark = self.mark.max(behind.mark.unwrap_or(0));
        Ok(behind)
    }

    /// Where frames end although more was durable, the file that should have gone on may be missing as a whole: then that is
    /// what is wrong. It is surely so where a later one is there.
    fn named(&self, stop: Stop, behind: &Behind) -> Stop {
        if !is_nothing(stop.reason) {
            return stop;
        }
        let there = |segment: u64| self.segments.has(segment);
        let later = |segment: u64| behind.ends.iter().any(|&(found, _)| found > segment);
        let next = stop.segment + 1;
        let missing = if !there(stop.segment) {
            stop.segment
        } else if !there(next)
            && (later(next)
                || stop.block == self.layout.blocks()
                || self.segments.shelf.stands_in(stop.segment))
        {
            next
        } else {
            return stop;
        };
        Stop {
            segment: missing,
            block: 0,
            reason: FrameError::Missing,
        }
    }

    /// Torn or damaged, once everything has been seen.
    fn judge(&mut self, stop: Stop, behind: Behind) -> Recovery {
        let end = self.end;
        let mut recovery = Recovery {
            last: end.number - 1,
            torn: None,
            damage: None,
            epoch: end.epoch,
            clean: false,
            frames: self.frames,
            end,
        };
        // A segment is archived once something behind it is durable.
        let archived = self.segments.shelf.numbers();
        let beyond = archived.last().is_some_and(|&last| last >= end.segment);
        let lost = self.mark >= end.number || behind.later_epoch || beyond;
        // Creation flushes the first frame before it writes `STORE`. And what the horizon stands in is never removed.
        let headless = end == Start::origin(self.layout.store)
            || (end == self.segments.beginning() && !self.segments.has(end.segment));
        if lost || headless {
            let stop = self.named(stop, &behind);
            recovery.damage = Some(Damage {
                segment: stop.segment,
                offset: u64::from(stop.block) * BLOCK_SIZE as u64,
                first_number: end.number,
                last_number: self.mark.max(end.number - 1),
                reason: stop.reason,
            });
            return recovery;
        }
        let origin = self.layout.addr(end.segment, end.block).0;
        let last = behind.ends.iter().map(|&(segment, block)| {
            let from = if segment == end.segment { end.block } else { 0 };
            if block > from {
                self.layout.addr(segment, block).0
            } else {
                0
            }
        });
        let bytes = last.max().unwrap_or(0).saturating_sub(origin) * BLOCK_SIZE as u64;
        if bytes > 0 {
            recovery.torn = Some(Torn {
                segment: end.segment,
                block: end.block,
                number: end.number,
                reason: stop.reason,
                bytes,
            });
        }
        recovery.clean = self.last_close && bytes == 0;
        let behind_end = behind
            .ends
            .iter()
            .filter(|&&(segment, _)| segment > end.segment);
        let blank = (end.segment + 1..).zip(behind_end);
        let blank = blank.take_while(|(expected, found)| **found == (*expected, 0));
        self.spares = if bytes == 0 { blank.count() as u64 } else { 0 };
        recovery
    }
}

pub(crate) fn bad_start(place: &Start, reason: String) -> Error {
    Error::BadStart {
        segment: place.segment,
        block: place.block,
        reason,
    }
}

fn stop_at(frame: &Frame, reason: FrameError) -> Stop {
    Stop {
        segment: frame.segment,
        block: frame.block,
        reason,
    }
}

/// Makes the kept part durable and the rest harmless, before an epoch begins. A crash at any point leaves what the next
/// recovery cuts in the same place.
fn settle(
    segments: &Segments,
    layout: &Layout,
    recovery: &Recovery,
    unproven: &BTreeSet<u64>,
    spares: u64,
) -> Result<(), Error> {
    let end = &recovery.end;
    for &segment in unproven {
        segments.sync(segment)?;
    }
    segments.sync_dir()?;
    segments.remove_after(end.segment + spares)?;
    for segment in segments
        .numbers()
        .into_iter()
        .filter(|&segment| segment >= end.segment)
    {
        let path = segments::path(segment);
        let file = segments.file(segment)?;
        let len = file
            .len()
            .map_err(|error| Error::io("read", &path, error))?;
        if len < layout.segment_size {
            file.extend(layout.segment_size)
                .map_err(|error| segments::no_space("extend", &path, 1, error))?;
        }
        segments.sync(segment)?;
    }
    if let Some(torn) = &recovery.torn {
        // Chain and epoch keep what was cut from ever being believed; zeros keep it from being reported again.
        let file = segments.file(end.segment)?;
        let path = segments::path(end.segment);
        let write = |error| Error::io("write", &path, error);
        let from = u64::from(end.block) * BLOCK_SIZE as u64;
        let to = from.saturating_add(torn.bytes).min(layout.segment_size);
        let zeros = vec![0u8; 1 << 20];
        let mut at = from;
        while at < to {
            let part = usize::try_from(to - at)
                .unwrap_or(usize::MAX)
                .min(zeros.len());
            file.write_at(&[IoSlice::new(&zeros[..part])], at)
                .map_err(write)?;
            at += part as u64;
        }
        segments.sync(end.segment)?;
    }
    Ok(())
}
