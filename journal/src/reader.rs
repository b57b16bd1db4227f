//! Reading frames while others write: forward, backward, and with their payload. Takes no lock that a writer waits for.

use std::sync::Arc;

use crate::address::{BlockAddr, Start};
use crate::block::is_blank;
use crate::error::Error;
use crate::frame::{Frame, FrameError, NO_BLOCK};
use crate::leaves::leaf;
use crate::recovery::Damage;
use crate::walk::{Stop, Walk, misplaced, read_frame};
use crate::writer::Core;
use crate::{BLOCK_SIZE, FrameError as Reason};

/// A reader of the durable part of a journal.
#[derive(Clone, Debug)]
pub struct Reader {
    core: Arc<Core>,
}

/// A payload block that cannot be read, or is not what its header says.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct BadBlock {
    /// Its address.
    pub addr: BlockAddr,
    /// Its segment.
    pub segment: u64,
    /// Its offset in the segment, in bytes.
    pub offset: u64,
    /// The number of the record it belongs to.
    pub number: u64,
    /// What is wrong.
    pub reason: BadReason,
}

/// What is wrong with a payload block.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum BadReason {
    /// The disk fails to read it.
    #[error("it cannot be read")]
    Unreadable,
    /// The crc32 in the core.
    #[error("the checksum is wrong")]
    Checksum,
    /// The leaf beside the core.
    #[error("the leaf is wrong")]
    Leaf,
    /// The leaves do not have the root that the core names.
    #[error("the leaves do not have the root of the core")]
    Root,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>) -> Reader {
        Reader { core }
    }

    /// Before the first frame that the store has: the very first, or the first behind its horizon, where older archives have
    /// moved away ([`Journal::move_archives_before`](crate::Journal::move_archives_before)).
    pub fn origin(&self) -> Start {
        self.core.segments.beginning()
    }

    /// The end of the last durable frame.
    pub fn end(&self) -> Start {
        self.core.state().flushed_end
    }

    /// The numbers of the segments whose files are there, ascending; not of those that only have an archive.
    pub fn segments(&self) -> Vec<u64> {
        self.core.segments.numbers()
    }

    /// Blocks of a segment.
    pub fn blocks_per_segment(&self) -> u32 {
        self.core.layout.blocks()
    }

    /// The frames from a place on, up to what is durable now; headers only, each checked by itself and against the one
    /// before. After an error there are no more; [`Error::Moved`] says that they moved away since the place was told.
    pub fn frames(&self, from: Start) -> FrameIter {
        FrameIter {
            core: Arc::clone(&self.core),
            at: from,
            end: self.end(),
            failed: false,
        }
    }

    /// The durable frames, newest first, back to [`Reader::origin`] as it is then. After an error there are no more.
    pub fn frames_back(&self) -> FramesBack {
        let end = self.end();
        FramesBack {
            core: Arc::clone(&self.core),
            next: end,
            later: None,
            failed: false,
        }
    }

    /// Whether a place is one of this journal's: it lies at or before the durable end, behind a frame that has its chain hash, and not before the origin: of a
    /// segment whose events have moved away the file may still be there, for its blocks, and nothing can be read on from there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holds(&self, start: &Start) -> Result<bool, Error> {
        let begins = self.origin();
        if *start == begins {
            return Ok(true);
        }
        let end = self.end();
        let beyond =
            start.number > end.number || (start.segment, start.block) > (end.segment, end.block);
        if beyond || start.number < begins.number || is_before(start, &begins) {
            return Ok(false);
        }
        Ok(misplaced(&self.core.segments, &self.core.layout, start)?.is_none())
    }

    /// The frame that begins at a block, whatever stands before it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if none does, [`Error::Io`].
    pub fn frame_at(&self, segment: u64, block: u32) -> Result<Frame, Error> {
        let frame = read_frame(
            &self.core.segments,
            &self.core.layout,
            segment,
            block,
            false,
        )?;
        frame.map_err(|reason| {
            damaged(
                Stop {
                    segment,
                    block,
                    reason,
                },
                0,
                0,
            )
        })
    }

    /// Reads a frame's payload from its segment, never from what the journal still has in memory. `buf` is as long as it.
    ///
    /// # Errors
    /// [`Error::Gone`] where the segment's file was given back, and for an archived frame; [`Error::Io`].
    pub fn read_payload(&self, frame: &Frame, buf: &mut [u8]) -> Result<(), Error> {
        if frame.archived {
            return Err(Error::Gone {
                segment: frame.segment,
            });
        }
        let first = frame.block + frame.header_blocks;
        self.core.segments.read(frame.segment, first, buf, false)
    }

    /// Reads the payload of a frame and checks crc32, leaf and root; gives the blocks that fail. One that the disk cannot read fails
    /// by itself: its neighbours are read.
    ///
    /// # Errors
    /// [`Error::Gone`] as for [`Reader::read_payload`], where the frame has payload; [`Error::Io`] where the segment cannot be opened.
    pub fn check_payload(&self, frame: &Frame) -> Result<Vec<BadBlock>, Error> {
        let mut bad = Vec::new();
        if frame.payload_blocks == 0 {
            return Ok(bad);
        }
        let mut payload = vec![0u8; frame.payload_blocks as usize * BLOCK_SIZE];
        let unreadable = match self.read_payload(frame, &mut payload) {
            Err(error) if error.is_unreadable() => self.read_apart(frame, &mut payload)?,
            other => other.map(|()| Vec::new())?,
        };
        let root_matches = frame.root_matches();
        let sums = frame.crcs().iter().zip(frame.leaves().chunks_exact(16));
        for (i, (bytes, (crc, noted))) in payload.as_chunks().0.iter().zip(sums).enumerate() {
            let reason = if unreadable.binary_search(&i).is_ok() {
                BadReason::Unreadable
            } else if crc32fast::hash(bytes) != crc {
                BadReason::Checksum
            } else if leaf(bytes)[..] != *noted {
                BadReason::Leaf
            } else if !root_matches {
                BadReason::Root
            } else {
                continue;
            };
            bad.push(self.bad_block(frame, i as u32, reason));
        }
        Ok(bad)
    }

    /// Reads a frame's payload block by block; gives those that the disk cannot read, ascending.
    fn read_apart(&self, frame: &Frame, payload: &mut [u8]) -> Result<Vec<usize>, Error> {
        let first = frame.block + frame.header_blocks;
        let mut unreadable = Vec::new();
        for (i, bytes) in payload.chunks_exact_mut(BLOCK_SIZE).enumerate() {
            let block = first + i as u32; // fewer than a segment's blocks
            match self.core.segments.read(frame.segment, block, bytes, false) {
                Err(error) if error.is_unreadable() => unreadable.push(i),
                other => other?,
            }
        }
        Ok(unreadable)
    }

    /// Blocks that belong to no frame and are not blank all the same, as segment and offset: behind the last frame of
    /// each segment nothing is ever written. Reads all headers and all unused blocks of the durable part's segments.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn stray_blocks(&self) -> Result<Vec<(u64, u64)>, Error> {
        let mut stray = Vec::new();
        let mut at = self.origin();
        let end = self.end();
        let mut frames = self.frames(at);
        while let Some(frame) = frames.next() {
            if frame?.segment != at.segment {
                self.stray_in(at.segment, at.block, &mut stray)?;
            }
            at = frames.position();
        }
        // Behind the head a writer may be at work: only a journal that nobody writes to can be told from it.
        let idle = self.core.is_idle() && !self.core.segments.is_beside();
        if idle && (self.end().segment, self.end().block) == (end.segment, end.block) {
            self.stray_in(end.segment, end.block, &mut stray)?;
        }
        Ok(stray)
    }

    fn stray_in(&self, segment: u64, from: u32, stray: &mut Vec<(u64, u64)>) -> Result<(), Error> {
        if !self.core.segments.in_file(segment) {
            return Ok(());
        }
        let mut bytes = vec![0u8; BLOCK_SIZE];
        for block in from..self.core.layout.blocks() {
            self.core.segments.read(segment, block, &mut bytes, false)?;
            if !is_blank(&bytes) {
                stray.push((segment, u64::from(block) * BLOCK_SIZE as u64));
            }
        }
        Ok(())
    }

    fn bad_block(&self, frame: &Frame, index: u32, reason: BadReason) -> BadBlock {
        let addr = frame.payload_addr().plus(u64::from(index));
        let owner = frame
            .entries()
            .flatten()
            .find(|entry| addr.0 < entry.first.0 + entry.crcs.len() as u64);
        let block = frame.block + frame.header_blocks + index;
        BadBlock {
            addr,
            segment: frame.segment,
            offset: u64::from(block) * BLOCK_SIZE as u64,
            number: owner.map_or(frame.first, |entry| entry.number),
            reason,
        }
    }
}

fn damaged(stop: Stop, first_number: u64, last_number: u64) -> Error {
    Error::Damaged(Damage {
        segment: stop.segment,
        offset: u64::from(stop.block) * BLOCK_SIZE as u64,
        first_number,
        last_number,
        reason: stop.reason,
    })
}

/// Whether a place lies before the one where the store begins.
fn is_before(place: &Start, begins: &Start) -> bool {
    (place.segment, place.block) < (begins.segment, begins.block)
}

/// Frames in order.
#[derive(Debug)]
pub struct FrameIter {
    core: Arc<Core>,
    at: Start,
    end: Start,
    failed: bool,
}

impl FrameIter {
    /// The place behind the last frame given.
    pub fn position(&self) -> Start {
        self.at
    }
}

impl Iterator for FrameIter {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let done = (self.at.segment, self.at.block) >= (self.end.segment, self.end.block);
        if self.failed || done {
            return None;
        }
        let mut walk = Walk::new(&self.core.segments, self.core.layout, self.at);
        let last_segment = self.end.segment;
        let next = walk.next(&|segment| segment <= last_segment);
        self.at = walk.at;
        Some(match next {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(stop)) => {
                self.failed = true;
                let bad = damaged(stop, self.at.number, self.end.number - 1);
                Err(match self.core.segments.beginning_now() {
                    Ok(begins) if is_before(&self.at, &begins) => Error::Moved {
                        before: begins.number,
                    },
                    _ => bad,
                })
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        })
    }
}

/// Frames, newest first.
#[derive(Debug)]
pub struct FramesBack {
    core: Arc<Core>,
    /// Behind the frame to be given next: its segment, its first block in `previous_block`, its chain hash.
    next: Start,
    /// The frame given last: the first of its segment when `previous_block` names none.
    later: Option<(u64, u64)>,
    failed: bool,
}

impl FramesBack {
    fn step(&mut self) -> Result<Option<Frame>, Error> {
        let begins = self.core.segments.beginning();
        if self.next.chain == begins.chain || is_before(&self.next, &begins) {
            return Ok(None);
        }
        let (segment, block) = if self.next.previous_block == NO_BLOCK {
            self.last_of(self.next.segment - 1)?
        } else {
            (self.next.segment, self.next.previous_block)
        };
        let bad = |reason| {
            damaged(
                Stop {
                    segment,
                    block,
                    reason,
                },
                self.next.number - 1,
                self.next.number - 1,
            )
        };
        let frame = read_frame(
            &self.core.segments,
            &self.core.layout,
            segment,
            block,
            false,
        )?
        .map_err(bad)?;
        if frame.chain != self.next.chain {
            return Err(bad(Reason::Chain));
        }
        if frame.next_number() != self.next.number {
            return Err(bad(Reason::Number));
        }
        self.later = Some((frame.segment, frame.first));
        self.next = Start {
            number: frame.first,
            segment,
            block: frame.block,
            previous_block: frame.previous_block,
            chain: frame.previous,
            time: frame.time,
            epoch: frame.epoch,
        };
        Ok(Some(frame))
    }

    /// The frame of a segment that has the chain hash wanted, found by following headers from its beginning.
    fn last_of(&self, segment: u64) -> Result<(u64, u32), Error> {
        let mut block = 0;
        let mut reason = FrameError::Short;
        if segment > 0 {
            while block < self.core.layout.blocks() {
                match read_frame(
                    &self.core.segments,
                    &self.core.layout,
                    segment,
                    block,
                    false,
                )? {
                    Ok(frame) if frame.chain == self.next.chain => return Ok((segment, block)),
                    Ok(frame) => block = frame.end_block(),
                    Err(error) => {
                        reason = error;
                        break;
                    }
                }
            }
        }
        Err(damaged(
            Stop {
                segment,
                block,
                reason,
            },
            self.next.number - 1,
            self.next.number - 1,
        ))
    }
}

impl Iterator for FramesBack {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut step = self.step();
        if let Err(Error::Damaged(_)) = step
            && let Ok(begins) = self.core.segments.beginning_now()
            && (is_before(&self.next, &begins) || self.next.chain == begins.chain)
        {
            // The writer, in another process, moved it away meanwhile.
            step = Ok(None);
        }
        self.failed = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
