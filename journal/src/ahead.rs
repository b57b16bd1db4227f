//! Making segments: a segment is created, sized and synced, and its directory synced, before a frame enters it.
//!
//! Small segments are made when they are needed, on the thread that needs them, always by the same calls. Large ones are made
//! ahead of their time by a thread, so that a writer finds them ready however fast it goes; for small synchronous commits it also
//! writes zeros some way ahead of the head, because written blocks flush faster than unwritten ones. It goes as fast as the head goes.
//!
//! No zero may fall on a frame. So a frame is opened only below the *claimed* address, zeros go only above it, and whoever claims
//! what is being filled at that moment waits for the piece.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::BLOCK_SIZE;
use crate::address::BlockAddr;
use crate::block::Slab;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::segments::{self, DIR, Segments, State, path};

/// Segments up to this size are filled with zeros when they are made.
const SMALL_SEGMENT: u64 = 1 << 20;
/// Segments made far ahead take no more than this part of what the disk has left: others need it, too. The next one is made whatever is left:
/// it is what removals and rollbacks have where others fill the disk to the last block.
const PART_OF_DISK: u64 = 8;
/// Between two pieces of zeros the thread pauses as long as the last one took, but no longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// Blocks of a piece of zeros: 1 MiB.
const FILL_PIECE: u64 = 256;
/// So many blocks of zeros are wanted ahead of the head (16 MiB): less than it takes to write them while the head goes there.
pub(crate) const FILL_AHEAD: u64 = 4096;
/// Blocks claimed beyond what is needed (1 MiB), so that not every frame claims.
const CLAIM_STEP: u64 = 256;

/// Who asks for a segment.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Asker {
    /// Ordinary work leaves the reserve alone.
    Ordinary,
    /// What gives space back in the end, and may use the reserve for it.
    Reclaim,
}

/// The part of the segments that makes them.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// The highest segment that a frame has entered.
    entered: AtomicU64,
    /// Frames lie below this address; zeros go above it. Changed under `fill` only.
    claimed: AtomicU64,
    fill: Mutex<Fill>,
    /// Told when a piece of zeros was written.
    filled: Condvar,
    /// Told whenever a segment was made, or could not be.
    made: Condvar,
    orders: Mutex<Orders>,
    ordered: Condvar,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    zeros: AtomicU64,
}

/// What the thread is to do.
#[derive(Debug, Default)]
struct Orders {
    /// The head's segment.
    head: u64,
    /// Segments up to this one are to be made.
    up_to: u64,
    /// What could not be made is left to whoever needs it.
    given_up: u64,
    /// Zeros are wanted up to this address.
    fill_to: u64,
    stop: bool,
}

/// How far the zeros are.
#[derive(Debug, Default)]
struct Fill {
    /// Everything between what was claimed and this address is written.
    to: u64,
    /// The addresses of the piece that is being written.
    piece: Option<Range<u64>>,
}

/// What it does next.
enum Work {
    Make(u64),
    /// Zeros into so many blocks from this address on, all of one segment.
    Fill(BlockAddr, u64),
}

impl Ahead {
    pub(crate) fn new(entered: u64) -> Ahead {
        Ahead {
            entered: AtomicU64::new(entered),
            // Where nothing is ever filled, there is nothing to claim.
            claimed: AtomicU64::new(u64::MAX),
            fill: Mutex::default(),
            filled: Condvar::new(),
            made: Condvar::new(),
            orders: Mutex::default(),
            ordered: Condvar::new(),
            thread: Mutex::default(),
            zeros: AtomicU64::new(0),
        }
    }

    /// Segments above `last` were removed.
    pub(crate) fn entered_again(&self, last: u64) {
        self.entered.store(last, Ordering::Release);
    }

    /// Whether a segment was entered before, and a frame may go up to this address of it: nothing has to be done for it.
    pub(crate) fn has_entered(&self, segment: u64, end: BlockAddr) -> bool {
        segment <= self.entered.load(Ordering::Acquire)
            && end.0 <= self.claimed.load(Ordering::Acquire)
    }

    /// Lets frames go up to this address; waits for a piece of zeros that is being written there.
    fn claim(&self, end: BlockAddr) {
        let mut fill = self.fill();
        let claimed = self.claimed.load(Ordering::Acquire);
        let wanted = end.0.saturating_add(CLAIM_STEP);
        while fill
            .piece
            .as_ref()
            .is_some_and(|piece| piece.start < wanted)
        {
            let woken = self.filled.wait(fill);
            fill = woken.unwrap_or_else(PoisonError::into_inner);
        }
        self.claimed.store(wanted.max(claimed), Ordering::Release);
        fill.to = fill.to.max(wanted);
    }

    fn fill(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of zeros written ahead.
    pub(crate) fn zeros_written(&self) -> u64 {
        self.zeros.load(Ordering::Relaxed)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segments {
    /// The first frame comes at this address or behind it: from now on there may be zeros to be written ahead.
    pub(crate) fn begin_at(&self, head: BlockAddr) {
        if self.fills() {
            self.ahead.claimed.store(head.0, Ordering::Release);
        }
    }

    /// Whether zeros are ever written ahead.
    fn fills(&self) -> bool {
        self.writable && self.layout.segment_size > SMALL_SEGMENT && self.disk.background()
    }

    /// Makes sure that every segment up to `last` may be entered, and frames may go up to an address in it, and notes that they will. Works
    /// on the disk where segments were not made ahead.
    pub(crate) fn ensure(
        &self,
        last: u64,
        end: BlockAddr,
        needed: u64,
        asker: Asker,
    ) -> Result<(), Error> {
        if last > self.ahead.entered.load(Ordering::Acquire) {
            self.enter(last, needed, asker)?;
        }
        if !self.ahead.has_entered(last, end) {
            self.ahead.claim(end);
        }
        Ok(())
    }

    fn enter(&self, last: u64, needed: u64, asker: Asker) -> Result<(), Error> {
        let refused = Error::NoSpace {
            needed,
            source: None,
        };
        if asker == Asker::Ordinary && self.left_behind(last) < self.reserve() {
            return Err(refused);
        }
        let archives = self.shelf.totals().1;
        let mut state = self.state();
        loop {
            while state.making.is_some_and(|number| number <= last) {
                let woken = self.ahead.made.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            let next = next_of(&state);
            if next > last {
                break;
            }
            let room = state.room(self.layout.segment_size, archives);
            if room == 0 || next > self.layout.last_segment() {
                return Err(refused);
            }
            state.making = Some(next);
            drop(state);
            self.make(next).map_err(|error| match error {
                Error::Io {
                    action,
                    path,
                    source,
                } => segments::no_space(action, &path, needed, source),
                other => other,
            })?;
            state = self.state();
        }
        drop(state);
        self.ahead.entered.fetch_max(last, Ordering::AcqRel);
        Ok(())
    }

    /// Segments that are ready, or could still be made, once all up to `last` are entered.
    fn left_behind(&self, last: u64) -> u64 {
        let (growth, _) = self.can_grow_by();
        let state = self.state();
        let ready = state.present.range(last + 1..).count() as u64;
        let to_make = (last + 1).saturating_sub(next_of(&state));
        ready.saturating_add(growth).saturating_sub(to_make)
    }

    /// Makes the segment that is noted as being made.
    fn make(&self, segment: u64) -> Result<Arc<dyn DiskFile>, Error> {
        /// Whoever waits for the segment goes on, also when this thread dies.
        struct Finished<'a>(&'a Segments);
        impl Drop for Finished<'_> {
            fn drop(&mut self) {
                self.0.state().making = None;
                self.0.ahead.made.notify_all();
            }
        }
        let _finished = Finished(self);
        let size = self.layout.segment_size;
        let file = create(&*self.disk, segment, size, size <= SMALL_SEGMENT)?;
        Self::keep(&mut self.open_files(), segment, &file);
        self.state().present.insert(segment);
        Ok(file)
    }

    /// Orders segments up to `up_to` to be made on a thread, the head being in `head`, and zeros to be written up to an address. Does nothing but
    /// order.
    pub(crate) fn prepare(self: &Arc<Self>, head: u64, up_to: u64, fill_to: BlockAddr) {
        if !self.fills() {
            return;
        }
        let mut orders = self.ahead.orders();
        // Not for every block that the head goes.
        let fill = fill_to.0 >= orders.fill_to.saturating_add(FILL_PIECE);
        if orders.stop || (up_to <= orders.up_to && !fill) {
            return;
        }
        orders.head = head.max(orders.head);
        orders.up_to = up_to.max(orders.up_to);
        if fill {
            orders.fill_to = fill_to.0;
        }
        drop(orders);
        self.ahead.ordered.notify_one();
        self.start();
    }

    /// A segment was given back: what could not be made for want of room may be made now, before somebody waits for it.
    pub(crate) fn room_again(&self) {
        drop(self.ahead.orders());
        self.ahead.ordered.notify_one();
    }

    /// Starts the thread, where it does not run yet.
    fn start(self: &Arc<Self>) {
        let mut thread = self.thread();
        if thread.is_some() {
            return;
        }
        let segments = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("segments".into())
            .spawn(move || segments.work());
        match spawned {
            Ok(handle) => *thread = Some(handle),
            Err(error) => tracing::debug!(%error, "no thread to prepare segments with"),
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<thread::JoinHandle<()>>> {
        let thread = self.ahead.thread.lock();
        thread.unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut zeros = None;
        while let Some(work) = self.next_work() {
            match work {
                // Whoever needs the segment will be told why it cannot be made.
                Work::Make(segment) => {
                    if let Err(error) = self.make(segment) {
                        tracing::debug!(%error, "cannot prepare segment {segment}");
                        self.ahead.orders().given_up = segment;
                    }
                }
                Work::Fill(at, blocks) => {
                    let begun = Instant::now();
                    let zeros = zeros.get_or_insert_with(|| Slab::new(FILL_PIECE as usize));
                    if let Err(error) = self.write_zeros(at, blocks, zeros) {
                        tracing::debug!(%error, "cannot write zeros ahead");
                    }
                    self.ahead.fill().piece = None;
                    self.ahead.filled.notify_all();
                    // Half of the disk's time is for those who wait for it.
                    thread::sleep(begun.elapsed().min(LONGEST_PAUSE));
                }
            }
        }
    }

    /// Waits for something to do; None when all is over. A segment to be made goes before zeros.
    fn next_work(&self) -> Option<Work> {
        loop {
            let (archives, on_disk) = (self.shelf.totals().1, self.disk_room());
            let orders = self.ahead.orders();
            if orders.stop {
                return None;
            }
            let mut state = self.state();
            let next = next_of(&state);
            let on_disk = match next > orders.head + 1 {
                true => on_disk / PART_OF_DISK,
                false => on_disk,
            };
            let room = state.room(self.layout.segment_size, archives).min(on_disk);
            let ordered = next <= orders.up_to && next > orders.given_up;
            if ordered && room > state.reserve && state.making.is_none() {
                state.making = Some(next);
                return Some(Work::Make(next));
            }
            if let Some(work) = self.piece_of_zeros(orders.fill_to, &state) {
                return Some(work);
            }
            drop(state);
            drop(self.ahead.ordered.wait(orders));
        }
    }

    /// The next piece below an address, noted as being written.
    fn piece_of_zeros(&self, up_to: u64, state: &State) -> Option<Work> {
        let blocks = u64::from(self.layout.blocks());
        let mut fill = self.ahead.fill();
        let from = fill.to.max(self.ahead.claimed.load(Ordering::Acquire));
        let (segment, block) = self.layout.split(BlockAddr(from));
        if from >= up_to || !state.present.contains(&segment) {
            return None;
        }
        let count = FILL_PIECE.min(blocks - u64::from(block));
        (fill.to, fill.piece) = (from + count, Some(from..from + count));
        Some(Work::Fill(BlockAddr(from), count))
    }

    /// Writes a piece of zeros. The next commit makes it durable: whoever flushed here would take the news of a failure away from it.
    fn write_zeros(&self, at: BlockAddr, blocks: u64, zeros: &Slab) -> Result<(), Error> {
        let (segment, block) = self.layout.split(at);
        let zeros = &zeros.bytes()[..blocks as usize * BLOCK_SIZE];
        let written = self
            .file(segment)?
            .write_at(&[IoSlice::new(zeros)], u64::from(block) * BLOCK_SIZE as u64);
        written.map_err(|error| Error::io("write", &path(segment), error))?;
        let bytes = zeros.len() as u64;
        self.ahead.zeros.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what was made far ahead and never entered: the next opening wants one segment at most. Best effort.
    pub(crate) fn trim(&self, head: u64) {
        if !self.disk.background() {
            return;
        }
        if let Err(error) = self.remove_after(head + 1) {
            tracing::debug!(%error, "cannot remove the segments made ahead");
        }
    }

    /// Ends the thread, if there is one.
    pub(crate) fn join(&self) {
        self.ahead.orders().stop = true;
        self.ahead.ordered.notify_all();
        let handle = self.thread().take();
        if let Some(handle) = handle {
            // A panic there has been printed, and nothing depends on it.
            let _ = handle.join();
        }
    }
}

/// The number that the next segment made will have.
fn next_of(state: &State) -> u64 {
    state.present.last().copied().unwrap_or(0) + 1
}

/// Makes a segment file, durable with its name.
fn create(
    disk: &dyn Disk,
    segment: u64,
    size: u64,
    prepared: bool,
) -> Result<Arc<dyn DiskFile>, Error> {
    let path = path(segment);
    let made = if prepared {
        disk.create_prepared(&path, size)
    } else {
        disk.create(&path, size)
            .and_then(|file| file.sync_data().map(|()| file))
    };
    let file = made.map_err(|error| discard(disk, &path, Error::io("create", &path, error)))?;
    match disk.sync_dir(DIR) {
        Ok(()) => Ok(file),
        Err(error) => Err(discard(disk, &path, Error::io("flush", DIR, error))),
    }
}

/// A segment that was not made whole goes away again, so that a later try may make it.
fn discard(disk: &dyn Disk, path: &str, error: Error) -> Error {
    if let Err(second) = disk.remove(path)
        && second.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%second, "cannot remove the unfinished {path}");
    }
    error
}
