//! Where a command goes: pure sums over records and the rest of a segment. Nothing here writes or waits.
//!
//! A command joins the open frame if it fits its slack. Otherwise it begins a frame of its own: whole in the rest of
//! this segment, or at the beginning of the next; a command beyond one frame, or one that would leave much of this segment
//! empty, becomes a run of frames, each filled as far as whole records go, all but the last marked `more`.

use std::ops::Range;

use crate::block::Block;
use crate::error::Error;
use crate::frame::{Layout, Placed, header_blocks_for, record_len};
use crate::{
    BLOCK_SIZE, MAX_FRAME_BLOCKS, MAX_RECORD_BYTES, MAX_RECORD_PAYLOAD, MAX_RUN_HEADER_BLOCKS,
};

/// One record to be placed.
#[derive(Copy, Clone, Debug)]
pub struct Record<'a> {
    /// ns since the Unix epoch, strictly increasing from record to record.
    pub time: u64,
    /// At most [`MAX_RECORD_BYTES`].
    pub bytes: &'a [u8],
    /// At most [`MAX_RECORD_PAYLOAD`], and at most [`max_record_blocks`] for small segments.
    pub blocks: &'a [Block],
}

/// Room that is left in the header of a small segment's only frame for the bytes of a record.
const SMALL_RECORD: usize = 1024;

/// Where fewer blocks (128 KiB) are left of a segment, a command that fits one frame goes to the next whole: a frame in each costs
/// one write and one flush more.
pub(crate) const WORTH_FILLING: u32 = 32;

/// Most payload blocks of a record (of at most 1 KiB) in segments of this size: [`MAX_RECORD_PAYLOAD`], or less where
/// the segment is small.
pub fn max_record_blocks(segment_size: u64) -> u32 {
    record_blocks_in(u32::try_from(segment_size / BLOCK_SIZE as u64).unwrap_or(u32::MAX))
}

/// Most payload blocks of a record (of at most 1 KiB) whose frame has so many blocks.
pub fn record_blocks_in(blocks: u32) -> u32 {
    let room = blocks.min(MAX_FRAME_BLOCKS);
    let mut payload = MAX_RECORD_PAYLOAD.min(room.saturating_sub(1));
    while payload > 0 && header_blocks_for(payload, SMALL_RECORD) + payload > room {
        payload -= 1;
    }
    payload
}

/// A frame to be opened: which of the command's records it takes, and where.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Part {
    pub(crate) records: Range<usize>,
    pub(crate) segment: u64,
    pub(crate) block: u32,
    pub(crate) header_blocks: u32,
}

/// Checks the limits that hold for every record, and that time goes forward from `time` on.
pub(crate) fn check(records: &[Record<'_>], mut time: u64) -> Result<(), Error> {
    let limit = |what, size: usize, limit: usize| {
        if size > limit {
            return Err(Error::TooLarge {
                what,
                size: size as u64,
                limit: limit as u64,
            });
        }
        Ok(())
    };
    for record in records {
        limit(
            "the bytes of a record",
            record.bytes.len(),
            MAX_RECORD_BYTES,
        )?;
        limit(
            "the payload of a record, in blocks,",
            record.blocks.len(),
            MAX_RECORD_PAYLOAD as usize,
        )?;
        if record.time <= time {
            return Err(Error::Misuse(format!(
                "a record's time {} does not lie after the one before, {time}",
                record.time
            )));
        }
        time = record.time;
    }
    Ok(())
}

/// Whether the whole command fits into the open frame.
pub(crate) fn joins(open: &Placed, records: &[Record<'_>], layout: &Layout) -> bool {
    let (payload, bytes) = sums(records, open.last_time);
    u32::try_from(payload)
        .is_ok_and(|payload| payload <= MAX_FRAME_BLOCKS && open.has_room(payload, bytes, layout))
        && u32::try_from(records.len()).is_ok_and(|count| open.count.checked_add(count).is_some())
}

/// Payload blocks and bytes in the core of `records`, the first one's delta counted from `time`.
fn sums(records: &[Record<'_>], mut time: u64) -> (usize, usize) {
    let (mut payload, mut bytes) = (0, 0);
    for record in records {
        payload += record.blocks.len();
        bytes += record_len(
            record.time.saturating_sub(time),
            record.blocks.len(),
            record.bytes.len(),
        );
        time = record.time;
    }
    (payload, bytes)
}

/// The frames that a command takes from (`segment`, `block`) on.
pub(crate) fn plan(
    records: &[Record<'_>],
    mut segment: u64,
    mut block: u32,
    layout: &Layout,
) -> Result<Vec<Part>, Error> {
    let whole = fill(records, 0, MAX_FRAME_BLOCKS.min(layout.blocks()));
    let one_frame = whole.end == records.len();
    let mut parts = Vec::with_capacity(1);
    let mut at = 0;
    let mut headers = 0;
    while at < records.len() {
        let room = layout.blocks() - block;
        let filled = fill(records, at, room.min(MAX_FRAME_BLOCKS));
        // Half of the rest, or it is not worth it: a large record does not follow its small one over there.
        let fills = room >= WORTH_FILLING && filled.blocks() >= room / 2;
        let taken = if one_frame && filled.end < records.len() && !fills {
            at
        } else {
            filled.end
        };
        if taken == at {
            if block == 0 {
                let record = &records[at];
                return Err(Error::TooLarge {
                    what: "a record with its payload, in blocks of this segment size,",
                    size: u64::from(alone(record)),
                    limit: u64::from(MAX_FRAME_BLOCKS.min(layout.blocks())),
                });
            }
            (segment, block) = (segment + 1, 0);
            continue;
        }
        parts.push(Part {
            records: at..taken,
            segment,
            block,
            header_blocks: filled.header_blocks,
        });
        headers += filled.header_blocks;
        if headers > MAX_RUN_HEADER_BLOCKS {
            return Err(Error::TooLarge {
                what: "a command, in header blocks,",
                size: u64::from(headers),
                limit: u64::from(MAX_RUN_HEADER_BLOCKS),
            });
        }
        block += filled.blocks();
        at = taken;
    }
    Ok(parts)
}

/// Blocks of a frame that holds this record alone.
fn alone(record: &Record<'_>) -> u32 {
    let payload = u32::try_from(record.blocks.len()).unwrap_or(u32::MAX);
    let bytes = record_len(0, record.blocks.len(), record.bytes.len());
    header_blocks_for(payload, bytes).saturating_add(payload)
}

struct Filled {
    end: usize,
    header_blocks: u32,
    payload: u32,
}

impl Filled {
    fn blocks(&self) -> u32 {
        self.header_blocks + self.payload
    }
}

/// As many whole records from `at` on as a frame of `room` blocks takes.
fn fill(records: &[Record<'_>], at: usize, room: u32) -> Filled {
    let mut filled = Filled {
        end: at,
        header_blocks: 0,
        payload: 0,
    };
    let mut bytes = 0;
    let mut time = records.get(at).map_or(0, |record| record.time);
    for record in &records[at..] {
        let payload = filled.payload + u32::try_from(record.blocks.len()).unwrap_or(u32::MAX / 2);
        bytes += record_len(
            record.time.saturating_sub(time),
            record.blocks.len(),
            record.bytes.len(),
        );
        let header_blocks = header_blocks_for(payload, bytes);
        if header_blocks.saturating_add(payload) > room {
            break;
        }
        filled = Filled {
            end: filled.end + 1,
            header_blocks,
            payload,
        };
        time = record.time;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::StoreId;

    fn layout(segment_size: u64) -> Layout {
        Layout {
            store: StoreId([1; 16]),
            segment_size,
        }
    }

    fn records<'a>(blocks: &'a [Block], each: &[usize]) -> Vec<Record<'a>> {
        each.iter()
            .enumerate()
            .map(|(i, &n)| Record {
                time: i as u64 + 1,
                bytes: b"abc",
                blocks: &blocks[..n],
            })
            .collect()
    }

    #[test]
    fn a_command_that_fits_one_frame_is_not_split_at_a_segment_end() {
        let blocks = vec![Block::from_slice(b"x"); 8];
        let command = records(&blocks, &[4, 4]);
        let parts = plan(&command, 3, 10, &layout(64 << 10)).unwrap();
        assert_eq!(
            parts,
            [Part {
                records: 0..2,
                segment: 4,
                block: 0,
                header_blocks: 1
            }]
        );
    }

    #[test]
    fn a_command_beyond_a_frame_becomes_a_run_that_uses_the_rest_of_the_segment() {
        let blocks = vec![Block::from_slice(b"x"); 8];
        let command = records(&blocks, &[8, 8, 8]);
        let parts = plan(&command, 3, 5, &layout(64 << 10)).unwrap();
        assert_eq!(
            parts,
            [
                Part {
                    records: 0..1,
                    segment: 3,
                    block: 5,
                    header_blocks: 1
                },
                Part {
                    records: 1..2,
                    segment: 4,
                    block: 0,
                    header_blocks: 1
                },
                Part {
                    records: 2..3,
                    segment: 5,
                    block: 0,
                    header_blocks: 1
                },
            ]
        );
    }

    #[test]
    fn a_command_is_split_where_much_of_a_segment_would_stay_empty() {
        let blocks = vec![Block::from_slice(b"x"); 254];
        let split = |each: &[usize], block| {
            let parts = plan(&records(&blocks, each), 3, block, &layout(1 << 20)).unwrap();
            let place = |part: &Part| (part.records.clone(), part.segment, part.block);
            parts.iter().map(place).collect::<Vec<_>>()
        };
        // 100 blocks are left: 98 and their header block fill them.
        assert_eq!(split(&[98, 156], 156), [(0..1, 3, 156), (1..2, 4, 0)]);
        // A small record does not fill them, and one that is too long does not either.
        assert_eq!(split(&[2, 200], 156), [(0..2, 4, 0)]);
        assert_eq!(split(&[200], 156), [(0..1, 4, 0)]);
        // Too little is left.
        assert_eq!(split(&[30, 100], 225), [(0..2, 4, 0)]);
        assert_eq!(split(&[30, 100], 224), [(0..1, 3, 224), (1..2, 4, 0)]);
    }

    #[test]
    fn a_record_that_can_never_fit_is_too_large() {
        let blocks = vec![Block::from_slice(b"x"); 16];
        for n in [15, 16] {
            let fits = plan(&records(&blocks, &[n]), 1, 3, &layout(64 << 10)).is_ok();
            assert_eq!(fits, n <= max_record_blocks(64 << 10) as usize, "{n}");
        }
    }

    #[test]
    fn the_largest_record_fits_every_larger_segment() {
        assert_eq!(max_record_blocks(64 << 10), 15);
        assert_eq!(max_record_blocks(1 << 20), 254);
        assert_eq!(max_record_blocks(64 << 20), MAX_RECORD_PAYLOAD);
        let blocks = vec![Block::from_slice(b"x"); MAX_RECORD_PAYLOAD as usize];
        let bytes = vec![1; MAX_RECORD_BYTES];
        let record = Record {
            time: 1,
            bytes: &bytes,
            blocks: &blocks,
        };
        assert_eq!(plan(&[record], 1, 0, &layout(2 << 20)).unwrap().len(), 1);
    }
}
