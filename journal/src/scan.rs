//! Looking behind a bad frame: is there proof that it was durable once?
//!
//! Such proof is a valid header of this store, standing where it says it stands, that was built after the bad number had
//! been flushed (its `flushed` covers it), or that belongs to a later epoch than the walk has seen: an epoch's first frame is
//! flushed before anything else of it is written. Frames that a former recovery cut away prove nothing: they were built
//! before their own cut, so their `flushed` lies below it, and their epoch is not later.

use crate::BLOCK_SIZE;
use crate::address::Start;
use crate::block::is_blank;
use crate::error::Error;
use crate::frame::{Frame, Layout, looks_like_frame};
use crate::segments::{Segments, path};
use crate::walk::read_frame;

/// Blocks read at once.
const WINDOW: usize = 256;

/// What lies behind a place.
#[derive(Clone, Default, Debug)]
pub(crate) struct Behind {
    /// The highest `flushed` that was found, if it proves something.
    pub(crate) mark: Option<u64>,
    /// A frame of a later epoch was found.
    pub(crate) later_epoch: bool,
    /// For each segment looked at, in order: its number, and the block behind the last one that is not all zeros.
    pub(crate) ends: Vec<(u64, u32)>,
}

/// Scans from `end` on, in its segment and all later ones. A frame at `except` does not count.
pub(crate) fn behind(
    segments: &Segments,
    layout: &Layout,
    end: &Start,
    except: Option<(u64, u32)>,
) -> Result<Behind, Error> {
    let mut behind = Behind::default();
    for segment in segments
        .numbers()
        .into_iter()
        .filter(|&segment| segment >= end.segment)
    {
        let from = if segment == end.segment { end.block } else { 0 };
        let scanned = scan_segment(segments, layout, segment, from, &mut |frame| {
            if Some((frame.segment, frame.block)) == except {
                return;
            }
            if frame.flushed >= end.number {
                behind.mark = behind.mark.max(Some(frame.flushed));
            }
            behind.later_epoch |= frame.epoch > end.epoch;
        })?;
        behind.ends.push((segment, scanned));
    }
    Ok(behind)
}

/// Calls `found` for every valid frame from `from` on, skips the payloads of those, and gives the block behind the last
/// one that is not all zeros.
fn scan_segment(
    segments: &Segments,
    layout: &Layout,
    segment: u64,
    from: u32,
    found: &mut dyn FnMut(&Frame),
) -> Result<u32, Error> {
    segments.forget(segment, from)?;
    let file = segments.file(segment)?;
    let io = |error| Error::io("read", &path(segment), error);
    let mut window = vec![0u8; WINDOW * BLOCK_SIZE];
    let mut end = from;
    let mut block = from;
    while block < layout.blocks() {
        let offset = u64::from(block) * BLOCK_SIZE as u64;
        let Some(data) = file.next_data(offset).map_err(io)? else {
            break;
        };
        if data > offset {
            block = block.max(u32::try_from(data / BLOCK_SIZE as u64).unwrap_or(u32::MAX));
            if block >= layout.blocks() {
                break;
            }
        }
        let count = WINDOW.min((layout.blocks() - block) as usize);
        let piece = &mut window[..count * BLOCK_SIZE];
        let got = file
            .read_at(piece, u64::from(block) * BLOCK_SIZE as u64)
            .map_err(io)?;
        if got == 0 {
            break;
        }
        piece[got..].fill(0);
        let mut next = block + count as u32;
        for (i, bytes) in piece.chunks_exact(BLOCK_SIZE).enumerate() {
            if is_blank(bytes) {
                continue;
            }
            let here = block + i as u32;
            end = here + 1;
            if looks_like_frame(bytes)
                && let Ok(frame) = read_frame(segments, layout, segment, here, false)?
            {
                found(&frame);
                end = frame.end_block();
                next = end;
                break;
            }
        }
        block = next;
    }
    Ok(end)
}
