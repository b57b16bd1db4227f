//! Every payload block: crc32, leaf, root. In parallel, a piece of some MiB at a time.

use super::place::Trees;
use super::report::{Finding, Findings, Report};
use super::walk::{Chunk, Walked};
use super::{Phase, Progress};
use crate::log::Logged;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::last_verify::{BadVersion, MAX_BAD};
use strand_engine::{Error, Event, Ino, Store, VolumeId};
use strand_journal::{BLOCK_SIZE, BadBlock, Frame, LEAF_SIZE, Reader, leaves};

/// A bad block, and the version in it.
struct Bad {
    block: BadBlock,
    /// The address of the version's birth.
    birth: u64,
    /// Where it was written to, or where a tree shows it.
    of: Option<Of>,
}

/// A block of a file.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(crate) struct Of {
    pub(crate) volume: VolumeId,
    pub(crate) ino: Ino,
    pub(crate) block: u64,
}

/// Reads all payload, and notes what cannot be read.
pub(crate) fn check(
    store: &Store,
    walked: &Walked,
    progress: &(dyn Fn(Progress) + Sync),
    findings: &mut Findings,
    report: &mut Report,
) -> Result<(), Error> {
    let reader = store.journal().reader();
    let total = walked.totals.payload_blocks * BLOCK_SIZE as u64;
    let done = AtomicU64::new(0);
    let checked: Result<Vec<Vec<Bad>>, Error> = walked
        .chunks
        .par_iter()
        .with_max_len(1)
        .map_init(Vec::new, |buffer, chunk| {
            let bad = check_chunk(&reader, chunk, buffer)?;
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
    let mut bad: Vec<Bad> = checked?.into_iter().flatten().collect();
    if !bad.is_empty() {
        let trees = Trees::showing(&store.state(), bad.iter().map(|b| b.birth));
        for bad in &mut bad {
            bad.of = bad.of.or(trees.first_place(bad.birth));
        }
        for run in bad.chunk_by(|a, b| a.goes_on_in(b, &trees)) {
            findings.push(finding(run, &trees));
        }
    }
    let versions = bad.iter().filter_map(Bad::version);
    report.bad_versions = versions.clone().take(MAX_BAD).collect();
    report.more_bad_versions = versions.skip(MAX_BAD).count() as u64;
    report.totals.bytes_read += total;
    report.data = true;
    Ok(())
}

fn check_chunk(reader: &Reader, chunk: &Chunk, buffer: &mut Vec<u8>) -> Result<Vec<Bad>, Error> {
    let mut found = Vec::new();
    for frame in reader.frames(chunk.start) {
        let frame = frame.map_err(Error::Journal)?;
        if !frame.archived && !is_sound(reader, &frame, buffer)? {
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

/// Says whether every payload block of a frame can be read and has its crc32 and its leaf, and the leaves their root. One read, one buffer for all.
fn is_sound(reader: &Reader, frame: &Frame, buffer: &mut Vec<u8>) -> Result<bool, Error> {
    let length = frame.payload_blocks as usize * BLOCK_SIZE;
    if length == 0 {
        return Ok(true);
    }
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let payload = &mut buffer[..length];
    match reader.read_payload(frame, payload) {
        // Beside a writer, a segment may be given back while this runs.
        Err(strand_journal::Error::Gone { .. }) => return Ok(true),
        // Which of its blocks, a look at each will tell.
        Err(error) if error.is_unreadable() => return Ok(false),
        other => other.map_err(Error::Journal)?,
    }
    let blocks: Vec<&[u8; BLOCK_SIZE]> = payload.as_chunks().0.iter().collect();
    let mut found = vec![[0; LEAF_SIZE]; blocks.len()];
    leaves(&blocks, &mut found);
    let crcs = blocks.iter().map(|bytes| crc32fast::hash(&bytes[..]));
    let sound = crcs.eq(frame.crcs().iter()) && *found.as_flattened() == *frame.leaves();
    Ok(sound && frame.root_matches())
}

impl Bad {
    /// Which version it is, where its event could be read.
    fn version(&self) -> Option<BadVersion> {
        let of = self.of?;
        Some(BadVersion {
            addr: self.birth,
            segment: self.block.segment,
            offset: self.block.offset,
            ino: of.ino,
            block: of.block,
        })
    }

    /// Whether `next` is the next block of the same file, bad in the same way and shown by the same trees.
    fn goes_on_in(&self, next: &Bad, trees: &Trees) -> bool {
        let (Some(of), Some(then)) = (self.of, next.of) else {
            return false;
        };
        let following = Of {
            block: of.block + 1,
            ..of
        };
        following == then
            && (self.block.segment, self.block.reason) == (next.block.segment, next.block.reason)
            && trees.shown_by(self.birth) == trees.shown_by(next.birth)
    }

    fn of(frame: &Frame, block: BadBlock) -> Self {
        let entry = frame.entries().flatten().find(|e| e.number == block.number);
        let index = entry.map_or(0, |e| block.addr.0.saturating_sub(e.first.0));
        let event = entry.and_then(|e| Logged::read(&e).ok()).map(|l| l.event);
        let (birth, of) = match event {
            Some(Event::Written {
                volume, ino, block, ..
            }) => (
                None,
                Some(Of {
                    volume,
                    ino,
                    block: block + index,
                }),
            ),
            Some(Event::Relocated { births }) => (born_at(&births, index), None),
            _ => (None, None),
        };
        Self {
            block,
            birth: birth.unwrap_or(block.addr.0),
            of,
        }
    }
}

/// The birth of the version that a payload block of a move holds.
fn born_at(births: &[(u64, u32)], index: u64) -> Option<u64> {
    let mut before = 0;
    for (first, count) in births {
        let count = u64::from(*count);
        if index < before + count {
            return Some(first + (index - before));
        }
        before += count;
    }
    None
}

/// A run of bad blocks that lie side by side in one file: one finding.
fn finding(run: &[Bad], trees: &Trees) -> Finding {
    let (first, last) = (&run[0], &run[run.len() - 1]);
    let BadBlock {
        segment,
        offset,
        number,
        reason,
        ..
    } = first.block;
    let what = match run.len() {
        1 => format!("a data block is damaged: {reason}"),
        more => format!("{more} data blocks are damaged: {reason}"),
    };
    let mut finding = Finding::damage("payload", what)
        .on_disk(segment, offset)
        .at(number);
    finding.blocks = run.len() as u64;
    finding.last_seq = Some(last.block.number).filter(|&last| last != number);
    if let Some(of) = first.of {
        finding.volume = Some(trees.volume(of.volume));
        finding.file = Some(trees.file(of.volume, of.ino));
        finding.block = Some(of.block);
    }
    finding.shown_by = trees.shown_by(first.birth);
    finding
}
