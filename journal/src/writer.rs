//! The state of a journal's head, and what a leader does with it: build headers, write runs, flush, publish.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::BLOCK_SIZE;
use crate::address::{BlockAddr, ChainHash, Start};
use crate::ahead::FILL_AHEAD;
use crate::barrier::{Barrier, Flush};
use crate::block::Block;
use crate::error::Error;
use crate::frame::{Layout, NO_BLOCK, Placed, write_header};
use crate::recent::Recent;
use crate::segments::{self, Segments};

/// Fences remembered beyond this number are forgotten, oldest first.
const MAX_FENCES: usize = 64;
/// A batch up to this size is a small one.
const SMALL_BATCH_BLOCKS: u32 = 64;
/// From so many small batches on, less the large ones by their weight, it is worth to write zeros ahead of the head.
const MANY_SMALL: u32 = 64;
/// No more are counted: what was long ago does not matter.
const MOST_SMALL: u32 = 256;
/// A large batch weighs as much as so many small ones.
const LARGE_WEIGHT: u32 = 16;
/// Segments kept ready behind the head while large batches come: making one takes a few flushes.
const AHEAD: u64 = 3;

/// What the writers and the leader share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) layout: Layout,
    pub(crate) segments: Arc<Segments>,
    pub(crate) barrier: Barrier,
    state: Mutex<State>,
    writer: Mutex<Writer>,
    /// Every block below this address is in its file.
    written_below: AtomicU64,
    /// No block below this address is kept in memory.
    recent_from: AtomicU64,
}

/// Where the next frame goes, and which frames wait to be written.
#[derive(Debug)]
pub(crate) struct State {
    /// The next number.
    pub(crate) next: u64,
    /// Time of the last record.
    pub(crate) time: u64,
    pub(crate) epoch: u64,
    /// Where the next frame goes if no frame is open.
    pub(crate) segment: u64,
    pub(crate) block: u32,
    pub(crate) previous_block: u32,
    pub(crate) open: Option<Placed>,
    /// Closed frames in order, not yet flushed.
    pending: VecDeque<Arc<Placed>>,
    /// Frames that went past the page cache.
    recent: Recent,
    /// The end of the last flushed frame.
    pub(crate) flushed_end: Start,
    /// Numbers whose frame ends are wanted, and the places once known.
    wanted: BTreeSet<u64>,
    fences: BTreeMap<u64, Start>,
    /// The epoch's first frame has still to be written, for want of space.
    pub(crate) epoch_due: bool,
    pub(crate) closed: bool,
    /// How many small batches came of late, less the large ones by their weight.
    small_batches: u32,
}

/// What only a leader touches.
#[derive(Debug)]
struct Writer {
    chain: ChainHash,
    /// The headers of the batch; where it is small, its payload too: one aligned piece is written faster than many.
    scratch: Scratch,
    /// The chain after each frame of the batch.
    chains: Vec<ChainHash>,
}

impl Core {
    pub(crate) fn new(layout: Layout, segments: Arc<Segments>, end: Start) -> Core {
        segments.begin_at(layout.addr(end.segment, end.block));
        Core {
            layout,
            segments,
            barrier: Barrier::new(end.number - 1),
            written_below: AtomicU64::new(layout.addr(end.segment, end.block).0),
            recent_from: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                next: end.number,
                time: end.time,
                epoch: end.epoch,
                segment: end.segment,
                block: end.block,
                previous_block: end.previous_block,
                open: None,
                pending: VecDeque::new(),
                recent: Recent::default(),
                flushed_end: end,
                wanted: BTreeSet::new(),
                fences: BTreeMap::new(),
                epoch_due: false,
                closed: false,
                small_batches: 0,
            }),
            writer: Mutex::new(Writer {
                chain: end.chain,
                scratch: Scratch::default(),
                chains: Vec::new(),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a run of blocks lies in its file, rather than in a frame not yet written.
    pub(crate) fn is_written(&self, first: BlockAddr, blocks: u64) -> bool {
        first.0.saturating_add(blocks) <= self.written_below.load(Ordering::Acquire)
    }

    /// How many of a run's first blocks, all written, can only be read from their file.
    pub(crate) fn on_disk(&self, first: BlockAddr, blocks: u64) -> u64 {
        self.recent_from
            .load(Ordering::Acquire)
            .saturating_sub(first.0)
            .min(blocks)
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.pending.is_empty() && state.open.is_none()
    }

    /// The writer is another process, which says that the journal is durable up to this place.
    pub(crate) fn told(&self, end: Start) {
        let mut state = self.state();
        state.next = end.number;
        state.time = end.time;
        state.epoch = end.epoch;
        state.segment = end.segment;
        state.block = end.block;
        state.previous_block = end.previous_block;
        state.flushed_end = end;
        drop(state);
        self.written_below.store(
            self.layout.addr(end.segment, end.block).0,
            Ordering::Release,
        );
        self.barrier.told(end.number - 1);
    }

    /// One write for each contiguous run, then one flush for each file touched.
    fn write_frames(&self, batch: &[Arc<Placed>]) -> Result<(), Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Writer {
            chain,
            scratch,
            chains,
        } = &mut *writer;
        let flushed = self.barrier.flushed();
        let gathered = blocks_of(batch) <= SMALL_BATCH_BLOCKS;
        chains.clear();
        let mut next = *chain;
        let prepared = |frames| match gathered {
            true => blocks_of(frames) as usize,
            false => header_blocks_of(frames) as usize,
        };
        let mut rest = scratch.take(prepared(batch));
        for run in batch.chunk_by(|a, b| a.segment == b.segment && a.end() == b.block) {
            let (bytes, others) = rest.split_at_mut(prepared(run) * BLOCK_SIZE);
            rest = others;
            let mut left = &mut *bytes;
            for frame in run {
                let (header, behind) = left.split_at_mut(frame.header_blocks as usize * BLOCK_SIZE);
                header.fill(0);
                next = write_header(frame, &self.layout, flushed, &next, header);
                chains.push(next);
                left = behind;
                if gathered {
                    let (payload, behind) = left.split_at_mut(frame.blocks.len() * BLOCK_SIZE);
                    for (place, block) in payload.chunks_exact_mut(BLOCK_SIZE).zip(&frame.blocks) {
                        place.copy_from_slice(&block.bytes()[..]);
                    }
                    left = behind;
                }
            }
            if gathered {
                self.write_run(run, &[IoSlice::new(bytes)])?;
            } else {
                self.write_run(run, &parts(run, bytes))?;
            }
        }
        for run in batch.chunk_by(|a, b| a.segment == b.segment) {
            self.segments.sync(run[0].segment)?;
        }
        *chain = next;
        self.publish(batch, chains);
        Ok(())
    }

    fn write_run(&self, run: &[Arc<Placed>], parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let (segment, block) = (run[0].segment, run[0].block);
        self.segments
            .file(segment)?
            .write_at(parts, u64::from(block) * BLOCK_SIZE as u64)
            .map_err(|error| Error::io("write", &segments::path(segment), error))
    }

    /// Takes the flushed frames off the queue and notes where the durable journal ends.
    fn publish(&self, batch: &[Arc<Placed>], chains: &[ChainHash]) {
        let small = blocks_of(batch) <= SMALL_BATCH_BLOCKS;
        let mut guard = self.state();
        let state = &mut *guard;
        for frame in state.pending.drain(..batch.len()) {
            if small {
                state.recent.keep(frame);
            }
        }
        if let Some((segment, block)) = state.recent.oldest() {
            let from = self.layout.addr(segment, block).0;
            self.recent_from.store(from, Ordering::Release);
        }
        for (frame, chain) in batch.iter().zip(chains) {
            let end = end_of(frame, *chain);
            if state.wanted.remove(&(end.number - 1)) {
                state.fences.insert(end.number - 1, end);
            }
            state.flushed_end = end;
        }
        let end = state.flushed_end;
        while state.fences.len() > MAX_FENCES {
            state.fences.pop_first();
        }
        self.written_below.store(
            self.layout.addr(end.segment, end.block).0,
            Ordering::Release,
        );
        state.small_batches = match small {
            true => (state.small_batches + 1).min(MOST_SMALL),
            false => state.small_batches.saturating_sub(LARGE_WEIGHT),
        };
        let many_small = state.small_batches >= MANY_SMALL;
        drop(guard);
        self.prepare(&end, small, many_small);
    }

    /// Has the next segments made: one at half of the present one, more while large batches come. Has zeros written ahead of small ones.
    fn prepare(&self, end: &Start, small: bool, many_small: bool) {
        let half = end.block > self.layout.blocks() / 2;
        let up_to = match (small, half) {
            (false, _) => end.segment + AHEAD,
            (true, true) => end.segment + 1,
            (true, false) => end.segment,
        };
        if small && !half && !many_small {
            return; // nothing to order
        }
        let fill_to = match many_small {
            true => self.layout.addr(end.segment, end.block).plus(FILL_AHEAD),
            false => BlockAddr::NONE,
        };
        self.segments.prepare(end.segment, up_to, fill_to);
    }
}

/// Memory that begins at a multiple of the block size, as writes past the page cache want it.
#[derive(Debug, Default)]
struct Scratch(Vec<u8>);

impl Scratch {
    /// So many blocks, with any content.
    fn take(&mut self, blocks: usize) -> &mut [u8] {
        let len = blocks * BLOCK_SIZE;
        if self.0.len() < len + BLOCK_SIZE {
            self.0.resize(len + BLOCK_SIZE, 0);
        }
        let start = self.0.as_ptr().align_offset(BLOCK_SIZE).min(BLOCK_SIZE);
        &mut self.0[start..start + len]
    }
}

fn blocks_of(frames: &[Arc<Placed>]) -> u32 {
    frames
        .iter()
        .map(|frame| frame.header_blocks + frame.payload())
        .sum()
}

fn header_blocks_of(frames: &[Arc<Placed>]) -> u32 {
    frames.iter().map(|frame| frame.header_blocks).sum()
}

/// The parts of a run whose headers stand in `headers`, in order.
fn parts<'a>(run: &'a [Arc<Placed>], mut headers: &'a [u8]) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(run.iter().map(|frame| 1 + frame.blocks.len()).sum());
    for frame in run {
        let (header, others) = headers.split_at(frame.header_blocks as usize * BLOCK_SIZE);
        parts.push(IoSlice::new(header));
        let blocks = frame.blocks.iter();
        parts.extend(blocks.map(|block| IoSlice::new(&block.bytes()[..])));
        headers = others;
    }
    parts
}

/// The place behind a frame that was written.
fn end_of(frame: &Placed, chain: ChainHash) -> Start {
    Start {
        number: frame.next_number(),
        segment: frame.segment,
        block: frame.end(),
        previous_block: frame.block,
        chain,
        time: frame.last_time,
        epoch: frame.epoch,
    }
}

impl Flush for Core {
    type Batch = Vec<Arc<Placed>>;

    fn take(&self) -> (Self::Batch, u64) {
        let mut state = self.state();
        state.close_open();
        let batch = state.pending.iter().cloned().collect();
        (batch, state.next - 1)
    }

    fn write(&self, batch: Self::Batch) -> Result<(), Error> {
        if batch.is_empty() {
            Ok(())
        } else {
            self.write_frames(&batch)
        }
    }
}

impl State {
    /// No later command joins the open frame.
    pub(crate) fn close_open(&mut self) {
        if let Some(frame) = self.open.take() {
            self.pending.push_back(Arc::new(frame));
        }
    }

    /// Opens a frame and moves the head behind its header. The frame before must be closed.
    pub(crate) fn open_frame(&mut self, segment: u64, block: u32, header_blocks: u32, flags: u16) {
        self.close_open();
        let previous_block = if block == 0 {
            NO_BLOCK
        } else {
            self.previous_block
        };
        self.segment = segment;
        self.block = block + header_blocks;
        self.previous_block = block;
        self.open = Some(Placed {
            segment,
            block,
            previous_block,
            header_blocks,
            flags,
            epoch: self.epoch,
            first: self.next,
            count: 0,
            time: self.time,
            last_time: self.time,
            records: Vec::new(),
            blocks: Vec::new(),
        });
    }

    /// Adds a record to the open frame, which has room for it; gives segment and block of its first payload block.
    pub(crate) fn push(&mut self, time: u64, bytes: &[u8], blocks: &[Block]) -> (u64, u32) {
        let at = (self.segment, self.block);
        if let Some(frame) = &mut self.open {
            frame.push(time, bytes, blocks);
            self.block = frame.end();
        }
        self.next += 1;
        self.time = time;
        at
    }

    /// The block at an address, if it was written a moment ago.
    pub(crate) fn recent(&self, segment: u64, block: u32) -> Option<&Block> {
        self.recent.find(segment, block)
    }

    /// The block at an address, if it waits to be written.
    pub(crate) fn waiting(&self, segment: u64, block: u32) -> Option<&Block> {
        self.pending
            .iter()
            .map(|frame| &**frame)
            .chain(&self.open)
            .filter(|frame| frame.segment == segment)
            .find_map(|frame| {
                let index = block.checked_sub(frame.block + frame.header_blocks)?;
                frame.blocks.get(index as usize)
            })
    }

    /// Asks for the place behind the last number; true if it is known already.
    pub(crate) fn want(&mut self, number: u64) {
        if self.pending.is_empty() && self.open.is_none() {
            self.fences.insert(number, self.flushed_end);
        } else {
            self.wanted.insert(number);
        }
    }

    /// The place behind `number`, if it was asked for and is durable.
    pub(crate) fn fence(&self, number: u64) -> Option<Start> {
        self.fences.get(&number).copied()
    }
}
