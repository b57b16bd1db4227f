//! Following frames: from a place to the next frame, with all checks that tie it to the one before.

use crate::BLOCK_SIZE;
use crate::address::Start;
use crate::error::Error;
use crate::frame::Layout;
use crate::frame::{Frame, FrameError, NO_BLOCK, shape};
use crate::segments::Segments;

/// A reader of frames that stands between two of them.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) segments: &'a Segments,
    pub(crate) layout: Layout,
    /// Where it stands.
    pub(crate) at: Start,
}

/// A place without a valid next frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Stop {
    pub(crate) segment: u64,
    pub(crate) block: u32,
    pub(crate) reason: FrameError,
}

/// Reads and checks the header at a place, whatever frame it is, from the segment's file or from its archive.
pub(crate) fn read_frame(
    segments: &Segments,
    layout: &Layout,
    segment: u64,
    block: u32,
    direct: bool,
) -> Result<Result<Frame, FrameError>, Error> {
    if block >= layout.blocks() {
        return Ok(Err(FrameError::Short));
    }
    if segments.shelf.stands_in(segment) {
        return segments.shelf.frame(segment, block);
    }
    match read_in_file(segments, layout, segment, block, direct) {
        // It may have been given back just now. Without an archive, nothing is there.
        Err(Error::Gone { .. }) => segments.shelf.frame(segment, block),
        other => other,
    }
}

fn read_in_file(
    segments: &Segments,
    layout: &Layout,
    segment: u64,
    block: u32,
    direct: bool,
) -> Result<Result<Frame, FrameError>, Error> {
    let mut header = vec![0u8; BLOCK_SIZE];
    segments.read(segment, block, &mut header, direct)?;
    let (header_blocks, _) = match shape(&header, block, layout) {
        Ok(shape) => shape,
        Err(error) => return Ok(Err(error)),
    };
    if header_blocks > 1 {
        header.resize(header_blocks as usize * BLOCK_SIZE, 0);
        segments.read(segment, block + 1, &mut header[BLOCK_SIZE..], direct)?;
    }
    Ok(Frame::parse(header, segment, block, layout))
}

impl<'a> Walk<'a> {
    pub(crate) fn new(segments: &'a Segments, layout: Layout, at: Start) -> Walk<'a> {
        Walk {
            segments,
            layout,
            at,
        }
    }

    /// The next frame, or why there is none. A frame that did not fit into the rest of the segment stands at the
    /// beginning of the next; the chain proves that nothing lies between.
    pub(crate) fn next(
        &mut self,
        present: &dyn Fn(u64) -> bool,
    ) -> Result<Result<Frame, Stop>, Error> {
        let (segment, block) = (self.at.segment, self.at.block);
        let here = if present(segment) {
            self.try_at(segment, block)?
        } else {
            Err(FrameError::Short)
        };
        let reason = match here {
            Ok(frame) => return Ok(Ok(self.step(frame))),
            Err(reason) => reason,
        };
        let mut stop = Stop {
            segment,
            block,
            reason,
        };
        if block > 0 && present(segment + 1) {
            match self.try_at(segment + 1, 0)? {
                Ok(frame) => return Ok(Ok(self.step(frame))),
                // Nothing was to be here, and something wrong is there: that is the place to name.
                Err(reason) if !is_nothing(reason) && is_nothing(stop.reason) => {
                    stop = Stop {
                        segment: segment + 1,
                        block: 0,
                        reason,
                    };
                }
                Err(_) => {}
            }
        }
        Ok(Err(stop))
    }

    fn try_at(&self, segment: u64, block: u32) -> Result<Result<Frame, FrameError>, Error> {
        let frame = read_frame(self.segments, &self.layout, segment, block, false)?;
        Ok(frame.and_then(|frame| self.follows(&frame).map(|()| frame)))
    }

    /// Whether `frame` is the one that comes next.
    fn follows(&self, frame: &Frame) -> Result<(), FrameError> {
        let at = &self.at;
        let previous_block = if frame.block == 0 {
            NO_BLOCK
        } else {
            at.previous_block
        };
        if frame.first != at.number {
            Err(FrameError::Number)
        } else if frame.previous != at.chain {
            Err(FrameError::Chain)
        } else if frame.previous_block != previous_block {
            Err(FrameError::Previous)
        } else if at.epoch.checked_add(u64::from(frame.epoch_first)) != Some(frame.epoch) {
            Err(FrameError::Epoch)
        } else if (frame.count > 0) != (frame.time > at.time) || frame.time < at.time {
            Err(FrameError::Time)
        } else {
            Ok(())
        }
    }

    fn step(&mut self, frame: Frame) -> Frame {
        self.at = frame.behind();
        frame
    }
}

/// Whether a reason says that nothing is there, rather than something wrong.
pub(crate) fn is_nothing(reason: FrameError) -> bool {
    matches!(reason, FrameError::Blank | FrameError::Short)
}

/// Why a place is none of this journal's; None where it is one. Where the store begins nothing needs to stand before it: behind a
/// horizon the first frame proves the place, by the chain hash that both name. Any other stands behind a frame that has its chain hash.
pub(crate) fn misplaced(
    segments: &Segments,
    layout: &Layout,
    place: &Start,
) -> Result<Option<String>, Error> {
    if *place == Start::origin(layout.store) || *place == segments.beginning() {
        return Ok(None);
    }
    if !segments.has(place.segment) {
        return Ok(Some("the segment is missing".into()));
    }
    if place.previous_block >= place.block {
        return Ok(Some("it names no frame before".into()));
    }
    let (segment, block) = (place.segment, place.previous_block);
    Ok(match read_frame(segments, layout, segment, block, false)? {
        Ok(frame) if frame.behind() == *place => None,
        Ok(_) => Some("another frame stands before it".into()),
        Err(reason) => Some(reason.to_string()),
    })
}
