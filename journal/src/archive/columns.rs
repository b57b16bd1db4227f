//! The cores of a run of frames as columns: what changes slowly stands together, so that it compresses to little, and what
//! follows from the frames before is left out. Putting it back gives the cores byte for byte, or an error.
//!
//! Numbers stand as *planes*: of all the varints of a column first the first bytes, then the second bytes of those that go
//! on, and so on. Records of one length, up to [`MAX_COLUMNS`], stand as columns too: first all their first bytes, then all
//! their second bytes. `docs/format.md` has the order.

use super::ArchiveError as Reason;
use crate::address::ChainHash;
use crate::frame::{Frame, Layout, NO_BLOCK, core};
use crate::{MAX_FRAME_BLOCKS, MAX_RECORD_BYTES, MAX_RECORD_PAYLOAD, varint};

/// Records up to this length are split into columns of one byte. Longer ones hold names and lists, which compress better whole.
const MAX_COLUMNS: usize = 32;
/// Bytes of the fewest that a record takes in a core: three varints.
const LEAST_RECORD: u64 = 3;

/// The cores of a run of frames, in the order in which they compress best.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) bytes: Vec<u8>,
    /// Where a column ends: what comes next has nothing in common with it.
    pub(super) ends: Vec<usize>,
}

impl Columns {
    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn numbers(&mut self, values: &[u64]) {
        let mut left: Vec<u64> = values.to_vec();
        while !left.is_empty() {
            let more = |value: u64| if value > 0x7f { 0x80 } else { 0 };
            let plane = left.iter().map(|&value| value as u8 & 0x7f | more(value));
            self.bytes.extend(plane);
            self.end();
            left.retain(|&value| value > 0x7f);
            left.iter_mut().for_each(|value| *value >>= 7);
        }
    }
}

/// What a chunk begins behind.
#[derive(Copy, Clone, Debug)]
pub(super) struct Behind {
    /// The block of the first frame.
    pub(super) block: u32,
    /// The number of its first record.
    pub(super) number: u64,
    /// The chain hash before it.
    pub(super) chain: ChainHash,
}

/// Puts frames that follow one another in one segment into columns. None if they do not.
pub(super) fn split(frames: &[Frame]) -> Option<Columns> {
    let first = frames.first()?;
    let mut columns = Columns::default();
    columns.numbers(&[match first.previous_block {
        NO_BLOCK => 0,
        previous => u64::from(first.block.checked_sub(previous)?),
    }]);
    split_fields(frames, &mut columns)?;
    for frame in frames.iter().filter(|frame| frame.payload_blocks > 0) {
        columns.bytes.extend_from_slice(&frame.root);
    }
    columns.end();
    for frame in frames {
        columns.bytes.extend_from_slice(frame.crc_bytes());
    }
    columns.end();
    split_records(frames, &mut columns)?;
    Some(columns)
}

/// What is not constant and does not follow from the frame before.
fn split_fields(frames: &[Frame], columns: &mut Columns) -> Option<()> {
    let mut fields: [Vec<u64>; 7] = Default::default();
    let (mut epoch, mut time) = (0, 0);
    let mut before: Option<&Frame> = None;
    for frame in frames {
        if let Some(before) = before {
            let follows = frame.segment == before.segment
                && frame.block == before.end_block()
                && frame.previous_block == before.block
                && frame.first == before.next_number()
                && frame.previous == before.chain;
            follows.then_some(())?;
        }
        let values = [
            u64::from(frame.flags()),
            u64::from(frame.header_blocks),
            u64::from(frame.payload_blocks),
            u64::from(frame.count),
            (frame.first - 1).checked_sub(frame.flushed)?,
            frame.epoch.checked_sub(epoch)?,
            frame.time.checked_sub(time)?,
        ];
        for (field, value) in fields.iter_mut().zip(values) {
            field.push(value);
        }
        (epoch, time) = (frame.epoch, frame.last_time);
        before = Some(frame);
    }
    fields.iter().for_each(|field| columns.numbers(field));
    Some(())
}

fn split_records(frames: &[Frame], columns: &mut Columns) -> Option<()> {
    let (mut deltas, mut blocks, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_length: Vec<Vec<&[u8]>> = vec![Vec::new(); MAX_COLUMNS + 1];
    let mut longer = Vec::new();
    for frame in frames {
        let mut time = frame.time;
        for (i, entry) in frame.entries().enumerate() {
            let entry = entry.ok()?;
            if i > 0 {
                deltas.push(entry.time - time);
            }
            time = entry.time;
            blocks.push(entry.crcs.len() as u64);
            lengths.push(entry.bytes.len() as u64);
            match by_length.get_mut(entry.bytes.len()) {
                Some(alike) => alike.push(entry.bytes),
                None => longer.push(entry.bytes),
            }
        }
    }
    for column in [&deltas, &blocks, &lengths] {
        columns.numbers(column);
    }
    for (length, alike) in by_length.iter().enumerate() {
        if alike.is_empty() {
            continue;
        }
        for at in 0..length {
            columns.bytes.extend(alike.iter().map(|record| record[at]));
            columns.end();
        }
    }
    for record in longer {
        columns.bytes.extend_from_slice(record);
    }
    columns.end();
    Some(())
}

/// Takes columns off the front.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Reason::Columns)?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many numbers. Memory is asked for once their first bytes are there.
    fn numbers(&mut self, count: usize) -> Result<Vec<u64>, Reason> {
        let plane = self.take(count)?;
        let mut values: Vec<u64> = plane.iter().map(|&byte| u64::from(byte & 0x7f)).collect();
        let goes_on = |byte: u8| byte & 0x80 != 0;
        let mut open: Vec<usize> = (0..count).filter(|&i| goes_on(plane[i])).collect();
        for shift in (7..70).step_by(7) {
            if open.is_empty() {
                return Ok(values);
            }
            let plane = self.take(open.len())?;
            for (&i, &byte) in open.iter().zip(plane) {
                let part = u64::from(byte & 0x7f);
                // The shortest form alone: the last byte is not zero, the tenth is one bit.
                if byte == 0 || (shift == 63 && byte != 1) {
                    return Err(Reason::Columns);
                }
                values[i] |= part << shift;
            }
            let mut bytes = plane.iter();
            open.retain(|_| bytes.next().is_some_and(|&byte| goes_on(byte)));
        }
        Ok(values)
    }
}

/// Sums that stay in bounds.
fn sum(values: &[u64], limit: u64) -> Result<usize, Reason> {
    let total = values
        .iter()
        .try_fold(0u64, |sum, &value| sum.checked_add(value))
        .filter(|&total| total <= limit)
        .ok_or(Reason::Columns)?;
    usize::try_from(total).map_err(|_| Reason::Columns)
}

/// The columns of a chunk, taken apart.
struct Apart<'a> {
    back: u64,
    fields: [Vec<u64>; 7],
    roots: std::slice::Iter<'a, [u8; 32]>,
    crcs: &'a [u8],
    deltas: std::vec::IntoIter<u64>,
    blocks: std::vec::IntoIter<u64>,
    lengths: std::vec::IntoIter<u64>,
    /// For each length the columns, how many records have it, and how many have been put back.
    by_length: Vec<(&'a [u8], usize, usize)>,
    longer: &'a [u8],
}

impl<'a> Apart<'a> {
    /// `cores`: bytes of the cores that are to come out; everything else is bounded by it.
    fn new(bytes: &'a [u8], frames: usize, cores: usize) -> Result<Apart<'a>, Reason> {
        let mut rest = Rest(bytes);
        let back = rest.numbers(1)?[0];
        let mut fields: [Vec<u64>; 7] = Default::default();
        for field in &mut fields {
            *field = rest.numbers(frames)?;
        }
        let [_, _, payload, counts, ..] = &fields;
        let with_payload = payload.iter().filter(|&&blocks| blocks > 0).count();
        let roots = rest.take(32 * with_payload)?.as_chunks().0.iter();
        let crcs = rest.take(4 * sum(payload, cores as u64 / 4)?)?;
        let records = sum(counts, cores as u64 / LEAST_RECORD)?;
        let with_records = counts.iter().filter(|&&count| count > 0).count();
        let deltas = rest.numbers(records - with_records)?;
        let blocks = rest.numbers(records)?;
        let lengths = rest.numbers(records)?;
        sum(&lengths, cores as u64)?;
        let mut alike = [0usize; MAX_COLUMNS + 1];
        let mut longer = 0;
        for &length in &lengths {
            // No longer than the cores: it fits.
            match alike.get_mut(length as usize) {
                Some(count) => *count += 1,
                None => longer += length as usize,
            }
        }
        let mut by_length = Vec::with_capacity(alike.len());
        for (length, count) in alike.into_iter().enumerate() {
            by_length.push((rest.take(length * count)?, count, 0));
        }
        let longer = rest.take(longer)?;
        if !rest.0.is_empty() {
            return Err(Reason::Columns);
        }
        Ok(Apart {
            back,
            fields,
            roots,
            crcs,
            deltas: deltas.into_iter(),
            blocks: blocks.into_iter(),
            lengths: lengths.into_iter(),
            by_length,
            longer,
        })
    }

    /// The next record, with the time since the one before.
    fn record(&mut self, delta: u64, out: &mut Vec<u8>) -> Result<(), Reason> {
        let blocks = self.blocks.next().ok_or(Reason::Columns)?;
        let length = self.lengths.next().ok_or(Reason::Columns)?;
        if blocks > u64::from(MAX_RECORD_PAYLOAD) || length > MAX_RECORD_BYTES as u64 {
            return Err(Reason::Columns);
        }
        varint::put(out, delta);
        varint::put(out, blocks);
        varint::put(out, length);
        let length = length as usize;
        match self.by_length.get_mut(length) {
            Some((columns, count, done)) => {
                out.extend((0..length).map(|at| columns[at * *count + *done]));
                *done += 1;
            }
            None => {
                let (record, rest) = self
                    .longer
                    .split_at_checked(length)
                    .ok_or(Reason::Columns)?;
                out.extend_from_slice(record);
                self.longer = rest;
            }
        }
        Ok(())
    }

    fn records(&mut self, count: u64, out: &mut Vec<u8>) -> Result<(), Reason> {
        for i in 0..count {
            let delta = match i {
                0 => 0,
                _ => self.deltas.next().ok_or(Reason::Columns)?,
            };
            self.record(delta, out)?;
        }
        Ok(())
    }
}

/// Puts the frames back that [`split`] took apart, and the chain hash after them. Every frame is checked as one that was read
/// from its segment.
pub(super) fn join(
    bytes: &[u8],
    layout: &Layout,
    segment: u64,
    behind: Behind,
    frames: usize,
    cores: usize,
) -> Result<(Vec<Frame>, ChainHash), Reason> {
    let mut apart = Apart::new(bytes, frames, cores)?;
    let mut joined: Vec<Frame> = Vec::with_capacity(frames);
    let mut left = cores;
    let mut block = behind.block;
    let mut previous_block = match apart.back {
        0 => NO_BLOCK,
        back => u64::from(block)
            .checked_sub(back)
            .and_then(|previous| u32::try_from(previous).ok())
            .ok_or(Reason::Columns)?,
    };
    let (mut number, mut chain, mut epoch, mut time) = (behind.number, behind.chain, 0u64, 0u64);
    for i in 0..frames {
        let [flags, header, payload, count, lag, epoch_step, time_step] =
            std::array::from_fn(|field| apart.fields[field][i]);
        let small = header.saturating_add(payload) <= u64::from(MAX_FRAME_BLOCKS);
        if !small || flags > u64::from(u16::MAX) || count > u64::from(u32::MAX) {
            return Err(Reason::Columns);
        }
        let add = |a: u64, b: u64| a.checked_add(b).ok_or(Reason::Columns);
        epoch = add(epoch, epoch_step)?;
        time = add(time, time_step)?;
        let flushed = number.checked_sub(1).and_then(|last| last.checked_sub(lag));
        let root = if payload == 0 {
            &[0; 32]
        } else {
            apart.roots.next().ok_or(Reason::Columns)?
        };
        let (crcs, rest) = apart
            .crcs
            .split_at_checked(4 * payload as usize)
            .ok_or(Reason::Columns)?;
        apart.crcs = rest;
        let fields = core::Fields {
            flags: flags as u16,
            header_blocks: header as u16,
            payload_blocks: payload as u16,
            segment,
            block,
            previous_block,
            first: number,
            count: count as u32,
            flushed: flushed.ok_or(Reason::Columns)?,
            epoch,
            time,
            previous: chain,
        };
        let mut core = vec![0; core::FIXED];
        core.extend_from_slice(crcs);
        apart.records(count, &mut core)?;
        let records_len = u32::try_from(core.len() - core::FIXED - crcs.len());
        let records_len = records_len.map_err(|_| Reason::Columns)?;
        fields.put(&layout.store, records_len, root, &mut core);
        left = left.checked_sub(core.len()).ok_or(Reason::Columns)?;
        let frame = Frame::from_core(core, segment, block, layout);
        let frame = frame.map_err(|_| Reason::Columns)?;
        (number, chain, time) = (frame.next_number(), frame.chain, frame.last_time);
        (previous_block, block) = (frame.block, frame.end_block());
        joined.push(frame);
    }
    if left > 0 {
        return Err(Reason::Columns);
    }
    Ok((joined, chain))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Block, CreateOptions, Journal, MemoryDisk, Record, StoreId};

    const LAYOUT: Layout = Layout {
        store: StoreId([9; 16]),
        segment_size: 1 << 20,
    };

    fn frames() -> Vec<Frame> {
        let options = CreateOptions {
            segment_size: LAYOUT.segment_size,
            store: LAYOUT.store,
            capacity: None,
        };
        let journal = Journal::create(Arc::new(MemoryDisk::new()), options).unwrap();
        for i in 1..=30u64 {
            let blocks = vec![Block::from_slice(&i.to_le_bytes()); (i % 4) as usize];
            let record = Record {
                time: i * i * 1000,
                bytes: &vec![i as u8; (i * i % 47) as usize],
                blocks: &blocks,
            };
            let ticket = journal.place(&[record]).unwrap().ticket;
            if i % 3 == 0 {
                journal.commit(ticket).unwrap();
            }
        }
        let reader = journal.reader();
        reader.frames(reader.origin()).map(Result::unwrap).collect()
    }

    fn joined(bytes: &[u8], frames: &[Frame]) -> Result<(Vec<Frame>, ChainHash), Reason> {
        let first = &frames[0];
        let behind = Behind {
            block: first.block,
            number: first.first,
            chain: first.previous,
        };
        let cores = frames.iter().map(|frame| frame.core().len()).sum();
        join(bytes, &LAYOUT, 1, behind, frames.len(), cores)
    }

    #[test]
    fn cores_come_back_byte_for_byte_from_any_frame_on() {
        let frames = frames();
        assert!(frames.len() > 8);
        for from in 0..frames.len() {
            let frames = &frames[from..];
            let columns = split(frames).unwrap();
            assert!(columns.bytes.len() < frames.iter().map(|frame| frame.core().len()).sum());
            let (found, chain) = joined(&columns.bytes, frames).unwrap();
            assert_eq!(chain, frames.last().unwrap().chain);
            for (found, frame) in found.iter().zip(frames) {
                assert_eq!(found.core(), frame.core());
                assert_eq!((found.last_time, found.archived), (frame.last_time, true));
            }
        }
        assert!(split(&[frames[1].clone(), frames[0].clone()]).is_none());
        assert!(split(&[]).is_none());
    }

    #[test]
    fn columns_that_are_not_as_they_were_give_an_error_or_another_chain() {
        let frames = frames();
        let good = split(&frames).unwrap().bytes;
        let chain = frames.last().unwrap().chain;
        let mut refused = 0;
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at] ^ 0x80] {
                let mut bad = good.clone();
                bad[at] = value;
                match joined(&bad, &frames) {
                    Ok((_, found)) => assert_eq!(found == chain, bad == good, "{at}"),
                    Err(_) => refused += 1,
                }
            }
            joined(&good[..at], &frames).unwrap_err();
        }
        assert!(refused > 500, "{refused}");
    }
}
