//! The frame headers from the first to the last: crc32, numbers, times, epochs, the chain, and that every record is an event.

use super::report::{AnchorResult, Finding, Findings, Totals};
use super::{Options, Phase, Progress};
use crate::log::Logged;
use crate::prefix::Marks;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::{Error, EventTime, Seq, Store};
use strand_journal::{BLOCK_SIZE, ChainHash, Frame, Reader, Start, StoreFile};

/// Frames are handed to the data check in pieces of at least this many blocks (8 MiB).
const CHUNK_BLOCKS: u64 = 2048;

/// A run of sound frames: from a place up to a segment and block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) start: Start,
    pub(crate) end: (u64, u32),
    pub(crate) blocks: u64,
}

/// What the walk found out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// The first number that is there.
    pub(crate) first: Seq,
    pub(crate) totals: Totals,
    pub(crate) chunks: Vec<Chunk>,
    /// What the events say of positions before them.
    pub(crate) marks: Marks,
    /// The state files, oldest first.
    pub(crate) state_files: Vec<(Seq, String)>,
    /// Chain hashes wanted: by the last number of a frame, one for each frame that ends with it.
    pub(crate) chains: BTreeMap<Seq, Vec<ChainHash>>,
    /// The last number that is reached from the first without a gap, its time and the chain hash there.
    pub(crate) proved: (Seq, EventTime, ChainHash),
    /// The last number seen at all.
    pub(crate) last: Seq,
}

impl Walked {
    /// Says whether a frame of the journal ends where `start` says it goes on, with that chain hash.
    pub(crate) fn has_chain(&self, start: &Start) -> bool {
        self.chains
            .get(&(start.number.saturating_sub(1)))
            .is_some_and(|hashes| hashes.contains(&start.chain))
    }

    pub(crate) fn anchor_result(&self, anchor: Option<(Seq, ChainHash)>) -> Option<AnchorResult> {
        let (seq, wanted) = anchor?;
        let found = self.chains.get(&seq).filter(|_| seq <= self.proved.0);
        Some(
            match found.map(|hashes| (hashes.contains(&wanted), hashes.first())) {
                Some((true, _)) => AnchorResult::Proved { seq },
                Some((false, Some(found))) => AnchorResult::Differs {
                    seq,
                    found: found.to_string(),
                },
                _ => AnchorResult::Missing {
                    seq,
                    last: self.last,
                },
            },
        )
    }
}

struct Walk<'a> {
    walked: Walked,
    wanted: BTreeSet<Seq>,
    findings: &'a mut Findings,
    progress: &'a (dyn Fn(Progress) + Sync),
    data: bool,
    bytes: u64,
    total_bytes: u64,
    open: Option<Chunk>,
}

/// Follows the headers. After damage it looks for the next sound frame and goes on there, so that later damage is found as well.
pub(crate) fn walk(
    store: &Store,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
    findings: &mut Findings,
) -> Result<Walked, Error> {
    let reader = store.journal().reader();
    let space = store.journal().space();
    let mut wanted: BTreeSet<Seq> = options.anchor.iter().map(|(seq, _)| *seq).collect();
    let state_files = super::states::list(store)?;
    wanted.extend(state_files.iter().map(|(seq, _)| *seq));
    let origin = reader.origin();
    let mut walk = Walk {
        walked: Walked {
            first: origin.number,
            proved: (origin.number - 1, origin.time, origin.chain),
            state_files,
            ..Walked::default()
        },
        findings,
        progress,
        data: options.data,
        bytes: 0,
        total_bytes: space.segments.saturating_mul(space.segment_size),
        open: None,
        wanted,
    };
    walk.walked.totals.segments = reader.segments().len() as u64;
    walk.note_chain(origin.number - 1, origin.chain);
    // Opening read it too; this is about the bytes as they are now.
    if let Err(error) = StoreFile::read(&**store.disk()) {
        let finding = Finding::damage("store-file", error.to_string());
        walk.findings.push(Finding {
            file: Some("STORE".into()),
            ..finding
        });
    }
    let mut start = origin;
    let mut gapless = true;
    loop {
        let (end, damage) = walk.stretch(&reader, start, gapless)?;
        walk.close_chunk();
        let Some(at) = damage else { break };
        gapless = false;
        let Some(next) = next_sound(&reader, at, end.number)? else {
            break;
        };
        start = next;
    }
    Ok(walk.walked)
}

impl Walk<'_> {
    /// Follows frames until the end or damage; gives where it stopped, and the damaged place.
    fn stretch(
        &mut self,
        reader: &Reader,
        start: Start,
        gapless: bool,
    ) -> Result<(Start, Option<(u64, u32)>), Error> {
        let mut frames = reader.frames(start);
        let mut before = start;
        while let Some(next) = frames.next() {
            match next {
                Ok(frame) => {
                    self.frame(&frame, before, gapless);
                    before = frames.position();
                }
                Err(strand_journal::Error::Damaged(damage)) => {
                    let what = format!(
                        "{}; the frame with number {} cannot be read",
                        damage.reason, damage.first_number
                    );
                    let finding =
                        Finding::damage("header", what).on_disk(damage.segment, damage.offset);
                    self.findings.push(finding.at(damage.first_number));
                    // An offset in a segment of at most 1 GiB.
                    let block = (damage.offset / BLOCK_SIZE as u64) as u32;
                    return Ok((before, Some((damage.segment, block))));
                }
                Err(error) if error.is_unreadable() => {
                    let what = format!(
                        "{error}; the frame with number {} cannot be read",
                        before.number
                    );
                    // Where a segment is full, the next frame stands in the one behind it.
                    let (segment, block) = match reader.frame_at(before.segment, before.block) {
                        // It may be read at the second try.
                        Ok(_) => (before.segment, before.block),
                        Err(error) if error.is_unreadable() => (before.segment, before.block),
                        Err(_) => (before.segment + 1, 0),
                    };
                    let offset = u64::from(block) * BLOCK_SIZE as u64;
                    let finding = Finding::damage("header", what).on_disk(segment, offset);
                    self.findings.push(finding.at(before.number));
                    return Ok((before, Some((segment, block))));
                }
                Err(error) => return Err(Error::Journal(error)),
            }
        }
        Ok((before, None))
    }

    fn frame(&mut self, frame: &Frame, before: Start, gapless: bool) {
        let totals = &mut self.walked.totals;
        totals.frames += 1;
        totals.events += u64::from(frame.count);
        match frame.archived {
            true => totals.given_back += u64::from(frame.payload_blocks),
            false => totals.payload_blocks += u64::from(frame.payload_blocks),
        }
        totals.epochs += u64::from(frame.epoch_first);
        totals.bytes_read += u64::from(frame.header_blocks) * BLOCK_SIZE as u64;
        // Where the payload is read, that check looks at the root too.
        if !self.data && !frame.root_matches() {
            let offset = u64::from(frame.block) * BLOCK_SIZE as u64;
            let what = "the leaves beside a frame's core do not have its root";
            self.findings.push(
                Finding::damage("header", what)
                    .on_disk(frame.segment, offset)
                    .at(frame.first),
            );
        }
        self.events(frame);
        self.note_chain(frame.last(), frame.chain);
        self.walked.last = self.walked.last.max(frame.last());
        if gapless {
            self.walked.proved = (frame.last(), frame.last_time, frame.chain);
        }
        self.add_to_chunk(frame, before);
        let blocks = u64::from(frame.header_blocks + frame.payload_blocks);
        self.bytes += blocks * BLOCK_SIZE as u64;
        (self.progress)(Progress {
            phase: Phase::Headers,
            done: self.bytes,
            total: self.total_bytes.max(self.bytes),
        });
    }

    fn events(&mut self, frame: &Frame) {
        for entry in frame.entries().flatten() {
            match Logged::read(&entry) {
                Ok(logged) => self.walked.marks.note(&logged),
                Err(error) => {
                    let offset = u64::from(frame.block) * BLOCK_SIZE as u64;
                    let finding = Finding::damage("event", error.to_string());
                    self.findings
                        .push(finding.on_disk(frame.segment, offset).at(entry.number));
                }
            }
        }
    }

    fn note_chain(&mut self, last: Seq, chain: ChainHash) {
        if self.wanted.contains(&last) {
            self.walked.chains.entry(last).or_default().push(chain);
        }
    }

    fn add_to_chunk(&mut self, frame: &Frame, before: Start) {
        let chunk = self.open.get_or_insert(Chunk {
            start: before,
            end: (0, 0),
            blocks: 0,
        });
        chunk.end = (frame.segment, frame.end_block());
        chunk.blocks += match frame.archived {
            true => 0,
            false => u64::from(frame.payload_blocks),
        };
        if chunk.blocks >= CHUNK_BLOCKS {
            self.close_chunk();
        }
    }

    fn close_chunk(&mut self) {
        self.walked.chunks.extend(self.open.take());
    }
}

/// The place before the next sound frame behind a damaged one.
fn next_sound(reader: &Reader, damaged: (u64, u32), expected: Seq) -> Result<Option<Start>, Error> {
    let end = reader.end();
    let (mut segment, mut block) = (damaged.0, damaged.1.saturating_add(1));
    while (segment, block) < (end.segment, end.block) {
        if block >= reader.blocks_per_segment() {
            (segment, block) = (segment + 1, 0);
            continue;
        }
        match reader.frame_at(segment, block) {
            Ok(frame) if frame.first >= expected => return Ok(Some(before(&frame))),
            Ok(frame) => block = frame.end_block(),
            Err(strand_journal::Error::Damaged(_)) => block += 1,
            // An archive is read in large pieces: behind one that fails, the next segment.
            Err(error) if error.is_unreadable() => match reader.segments().contains(&segment) {
                true => block += 1,
                false => block = reader.blocks_per_segment(),
            },
            Err(error) => return Err(Error::Journal(error)),
        }
    }
    Ok(None)
}

/// The place before a frame, as the frame itself tells it.
fn before(frame: &Frame) -> Start {
    Start {
        number: frame.first,
        segment: frame.segment,
        block: frame.block,
        previous_block: frame.previous_block,
        chain: frame.previous,
        time: frame.time.saturating_sub(1),
        epoch: frame.epoch - u64::from(frame.epoch_first),
    }
}
