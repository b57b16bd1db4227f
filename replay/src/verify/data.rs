//! Every payload block: crc32, leaf, root. In parallel, a piece of some MiB at a time.

use super::place::Trees;
use super::report::{Finding, Findings};
use super::walk::{Chunk, Walked};
use super::{Phase, Progress};
use crate::log::Logged;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{Error, Event, Store};
use strand_journal::{BLOCK_SIZE, BadBlock, Frame, Journal, LEAF_SIZE, Reader, leaves};

/// A bad block, and the event that wrote it.
struct Bad {
    block: BadBlock,
    written: Option<Event>,
    /// Which payload block of the event it is.
    index: u64,
}

/// Reads all payload; gives the number of bytes read.
pub(crate) fn check(
    store: &Store,
    walked: &Walked,
    progress: &(dyn Fn(Progress) + Sync),
    findings: &mut Findings,
) -> Result<u64, Error> {
    let reader = store.journal().reader();
    let total = walked.totals.payload_blocks * BLOCK_SIZE as u64;
    let done = AtomicU64::new(0);
    let checked: Result<Vec<Vec<Bad>>, Error> = walked
        .chunks
        .par_iter()
        .with_max_len(1)
        .map_init(Vec::new, |buffer, chunk| {
            let bad = check_chunk(store.journal(), &reader, chunk, buffer)?;
            let bytes = chunk.blocks * BLOCK_SIZE as u64;
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress(Progress {
                phase: Phase::Data,
                done,
                total,
            });
            Ok(bad)
        })
        .collect();
    let bad: Vec<Bad> = checked?.into_iter().flatten().collect();
    if !bad.is_empty() {
        let trees = Trees::showing(&store.state(), bad.iter().map(|b| b.block.addr.0));
        for bad in &bad {
            findings.push(finding(bad, &trees));
        }
    }
    Ok(total)
}

fn check_chunk(
    journal: &Journal,
    reader: &Reader,
    chunk: &Chunk,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Bad>, Error> {
    let mut found = Vec::new();
    for frame in reader.frames(chunk.start) {
        let frame = frame.map_err(Error::Journal)?;
        if !is_sound(journal, &frame, buffer)? {
            for block in reader.check_payload(&frame).map_err(Error::Journal)? {
                found.push(Bad::of(&frame, block));
            }
        }
        if (frame.segment, frame.end_block()) >= chunk.end {
            break;
        }
    }
    Ok(found)
}

/// Says whether every payload block of a frame has its crc32 and its leaf, and the leaves their root. One read, one buffer for all.
fn is_sound(journal: &Journal, frame: &Frame, buffer: &mut Vec<u8>) -> Result<bool, Error> {
    let length = frame.payload_blocks as usize * BLOCK_SIZE;
    if length == 0 {
        return Ok(true);
    }
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let payload = &mut buffer[..length];
    journal
        .read_blocks(frame.payload_addr(), payload)
        .map_err(Error::Journal)?;
    let blocks: Vec<&[u8; BLOCK_SIZE]> = payload.as_chunks().0.iter().collect();
    let mut found = vec![[0; LEAF_SIZE]; blocks.len()];
    leaves(&blocks, &mut found);
    let crcs = blocks.iter().map(|bytes| crc32fast::hash(&bytes[..]));
    let sound = crcs.eq(frame.crcs().iter()) && *found.as_flattened() == *frame.leaves();
    Ok(sound && frame.root_matches())
}

impl Bad {
    fn of(frame: &Frame, block: BadBlock) -> Self {
        let entry = frame.entries().flatten().find(|e| e.number == block.number);
        let index = entry.map_or(0, |e| block.addr.0.saturating_sub(e.first.0));
        Self {
            block,
            written: entry.and_then(|e| Logged::read(&e).ok()).map(|l| l.event),
            index,
        }
    }
}

fn finding(bad: &Bad, trees: &Trees) -> Finding {
    let BadBlock {
        addr,
        segment,
        offset,
        number,
        reason,
    } = bad.block;
    let mut finding = Finding::damage("payload", format!("a data block is damaged: {reason}"))
        .on_disk(segment, offset)
        .at(number);
    if let Some(Event::Written {
        volume, ino, block, ..
    }) = bad.written
    {
        finding.volume = Some(trees.volume(volume));
        finding.file = Some(trees.file(volume, ino));
        finding.block = Some(block + bad.index);
    }
    finding.shown_by = trees.shown_by(addr.0);
    finding
}
