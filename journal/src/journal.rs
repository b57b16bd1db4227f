//! The journal: placing, committing, reading blocks. Opening is in `recovery`, flushing in `writer` and `barrier`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::address::{BlockAddr, ChainHash, Start, StoreId, Ticket};
use crate::ahead::Asker;
use crate::disk::{Disk, Lock};
use crate::error::Error;
use crate::frame::{Layout, flags};
use crate::placement::{self, Part, Record};
use crate::reader::Reader;
use crate::segments::{self, Listing, Segments};
use crate::store_file::{self, StoreFile, check_segment_size};
use crate::walk::read_frame;
use crate::writer::{Core, State};
use crate::{BLOCK_SIZE, DEFAULT_SEGMENT_SIZE, MAX_FRAME_BLOCKS};

/// How a store is cut.
#[derive(Copy, Clone, Debug)]
pub struct CreateOptions {
    /// Bytes of a segment: a power of two from 64 KiB to 1 GiB.
    pub segment_size: u64,
    /// The store's id: random, made by the caller.
    pub store: StoreId,
    /// Bytes that the segments may take together, at least two segments; None: what the disk has.
    pub capacity: Option<u64>,
}

impl CreateOptions {
    /// Segments of 64 MiB, as large as the disk.
    pub fn new(store: StoreId) -> CreateOptions {
        CreateOptions {
            segment_size: DEFAULT_SEGMENT_SIZE,
            store,
            capacity: None,
        }
    }
}

/// Where a command was placed.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Number of the first record.
    pub first: u64,
    /// For each record the address that its first payload block has, or would have.
    pub addrs: Vec<BlockAddr>,
    /// What [`Journal::commit`] waits for.
    pub ticket: Ticket,
}

/// The journal's end.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Head {
    /// The last number placed; 0 if there is none.
    pub number: u64,
    /// Chain hash of the last frame flushed.
    pub chain: ChainHash,
    /// The open-epoch.
    pub epoch: u64,
    /// Address of the next block to be placed, if it stays in this segment.
    pub next_addr: BlockAddr,
    /// The last durable number.
    pub flushed: u64,
    /// Time of the last record placed, in ns since the Unix epoch; 0 if there is none.
    pub time: u64,
    /// Segment of `next_addr`.
    pub segment: u64,
    /// Block of `next_addr`.
    pub block: u32,
}

/// An open journal. All methods may be called from many threads.
#[derive(Debug)]
pub struct Journal {
    pub(crate) core: Arc<Core>,
    disk: Arc<dyn Disk>,
    pub(crate) read_only: bool,
    /// Held while the epoch's first frame is written late.
    late: Mutex<()>,
    /// Held by whoever archives segments, gives them back, or moves archives: one after the other.
    pub(crate) upkeep: Mutex<()>,
    // Given back last.
    _lock: Box<dyn Lock>,
}

impl Journal {
    /// Makes a store in an empty directory and opens it. The file `STORE` is written last: a crash before leaves no store,
    /// and creation may be tried again.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Locked`], [`Error::Misuse`] for impossible options, [`Error::NoSpace`], [`Error::Io`].
    pub fn create(disk: Arc<dyn Disk>, options: CreateOptions) -> Result<Journal, Error> {
        check_segment_size(options.segment_size)?;
        if options
            .capacity
            .is_some_and(|bytes| bytes < 2 * options.segment_size)
        {
            return Err(Error::Misuse("a capacity is at least two segments".into()));
        }
        let lock = crate::recovery::lock(&*disk, false, std::time::Duration::ZERO)?;
        let layout = Layout {
            store: options.store,
            segment_size: options.segment_size,
        };
        disk.create_dir(segments::DIR)
            .map_err(|error| Error::io("make", segments::DIR, error))?;
        clear_unfinished(&disk, &layout)?;
        let listing = Listing::read(&*disk, &layout)?;
        let segments = Segments::new(Arc::clone(&disk), layout, true, options.capacity, &listing);
        let core = Core::new(layout, Arc::new(segments), Start::origin(options.store));
        let journal = Journal {
            core: Arc::new(core),
            disk,
            read_only: false,
            late: Mutex::new(()),
            upkeep: Mutex::new(()),
            _lock: lock,
        };
        journal.begin_epoch()?;
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let file = StoreFile {
            store: options.store,
            segment_size: options.segment_size,
            capacity: options.capacity,
            created: u64::try_from(created.as_nanos()).unwrap_or(u64::MAX),
        };
        let written = journal.disk.write_small(store_file::PATH, &file.encode());
        written.map_err(|error| Error::io("write", store_file::PATH, error))?;
        Ok(journal)
    }

    pub(crate) fn assemble(
        core: Core,
        disk: Arc<dyn Disk>,
        read_only: bool,
        lock: Box<dyn Lock>,
    ) -> Journal {
        Journal {
            core: Arc::new(core),
            disk,
            read_only,
            late: Mutex::new(()),
            upkeep: Mutex::new(()),
            _lock: lock,
        }
    }

    /// Starts a new open-epoch with an empty frame, and flushes it.
    pub(crate) fn begin_epoch(&self) -> Result<(), Error> {
        {
            let mut state = self.core.state();
            state.epoch += 1;
            if let Err(error) = self.open_empty(&mut state, flags::EPOCH) {
                state.epoch -= 1;
                return Err(error);
            }
        }
        self.core.barrier.force(&*self.core)
    }

    /// A full disk is no reason not to open: the epoch then begins with the first command that finds space.
    pub(crate) fn begin_epoch_later(&self) {
        self.core.state().epoch_due = true;
    }

    /// A frame without records, in a place of its own.
    fn open_empty(&self, state: &mut State, flags: u16) -> Result<(), Error> {
        let blocks = self.core.layout.blocks();
        let (segment, block) = if state.block < blocks {
            (state.segment, state.block)
        } else {
            (state.segment + 1, 0)
        };
        let end = self.core.layout.addr(segment, block + 1);
        self.core.segments.ensure(segment, end, 1, Asker::Reclaim)?;
        state.open_frame(segment, block, 1, flags);
        state.close_open();
        Ok(())
    }

    pub(crate) fn writable(&self, state: &State) -> Result<(), Error> {
        self.core.barrier.check()?;
        if self.read_only {
            return Err(Error::ReadOnly {
                state: "open for reading only",
            });
        }
        if state.closed {
            return Err(Error::ReadOnly { state: "closed" });
        }
        Ok(())
    }

    /// Gives the records of one command their numbers and addresses: all, or none. Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::TooLarge`], [`Error::Misuse`] for times that do not go forward: nothing was changed.
    /// [`Error::Poisoned`], [`Error::ReadOnly`]; [`Error::Io`] if a segment could not be made.
    pub fn place(&self, records: &[Record<'_>]) -> Result<Placement, Error> {
        self.place_as(records, Asker::Ordinary)
    }

    /// As [`Journal::place`], for what gives space back in the end: it may use the segments of the reserve
    /// ([`Journal::set_reserve`]).
    ///
    /// # Errors
    /// As for [`Journal::place`].
    pub fn place_from_reserve(&self, records: &[Record<'_>]) -> Result<Placement, Error> {
        self.place_as(records, Asker::Reclaim)
    }

    fn place_as(&self, records: &[Record<'_>], asker: Asker) -> Result<Placement, Error> {
        let mut state = self.core.state();
        self.writable(&state)?;
        if state.epoch_due {
            drop(state);
            self.late_epoch()?;
            state = self.core.state();
        }
        let mut parts = Vec::new();
        // Where a segment has to be made first, others go on meanwhile.
        while !self.find_place(&mut state, records, &mut parts)? {
            let (last, end) = parts.last().map_or((0, BlockAddr::NONE), |part| {
                (part.segment, self.farthest(part))
            });
            let new = parts.iter().filter(|part| part.segment > state.segment);
            let needed = new.map(|part| blocks_of(part, records)).sum();
            drop(state);
            self.core.segments.ensure(last, end, needed, asker)?;
            state = self.core.state();
            self.writable(&state)?;
        }
        let mut placed = Placement {
            first: state.next,
            addrs: Vec::with_capacity(records.len()),
            ticket: Ticket(state.next - 1 + records.len() as u64),
        };
        if parts.is_empty() {
            self.push_all(&mut state, records, &mut placed.addrs);
            return Ok(placed);
        }
        for (i, part) in parts.iter().enumerate() {
            let more = if i + 1 < parts.len() { flags::MORE } else { 0 };
            state.open_frame(part.segment, part.block, part.header_blocks, more);
            self.push_all(
                &mut state,
                &records[part.records.clone()],
                &mut placed.addrs,
            );
        }
        Ok(placed)
    }

    /// Finds the frames that the records take, none where they join the open one. False where a segment for them has not been entered, or
    /// zeros may be written there.
    fn find_place(
        &self,
        state: &mut State,
        records: &[Record<'_>],
        parts: &mut Vec<Part>,
    ) -> Result<bool, Error> {
        let layout = &self.core.layout;
        parts.clear();
        placement::check(records, state.time)?;
        let open = state.open.as_ref();
        if open.is_some_and(|open| placement::joins(open, records, layout)) {
            return Ok(true);
        }
        *parts = placement::plan(records, state.segment, state.block, layout)?;
        let ahead = &self.core.segments.ahead;
        let entered = |last: &Part| ahead.has_entered(last.segment, self.farthest(last));
        Ok(parts.last().is_none_or(entered))
    }

    /// Where a frame ends at most, when others have joined it.
    fn farthest(&self, part: &Part) -> BlockAddr {
        let layout = &self.core.layout;
        let end = part.block.saturating_add(MAX_FRAME_BLOCKS);
        layout.addr(part.segment, end.min(layout.blocks()))
    }

    fn push_all(&self, state: &mut State, records: &[Record<'_>], addrs: &mut Vec<BlockAddr>) {
        for record in records {
            let (segment, block) = state.push(record.time, record.bytes, record.blocks);
            addrs.push(self.core.layout.addr(segment, block));
        }
    }

    /// The epoch frame that found no space when the store was opened. It is flushed before any record is placed.
    fn late_epoch(&self) -> Result<(), Error> {
        let _alone = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if self.core.state().epoch_due {
            self.begin_epoch()?;
            self.core.state().epoch_due = false;
        }
        Ok(())
    }

    /// Returns when every number up to the ticket is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with what failed; [`Error::Misuse`] for a ticket that was never given.
    pub fn commit(&self, ticket: Ticket) -> Result<(), Error> {
        if self.core.barrier.flushed() >= ticket.0 {
            return Ok(());
        }
        if ticket.0 > self.placed() {
            return Err(Error::Misuse(format!(
                "number {} was never placed",
                ticket.0
            )));
        }
        self.core.barrier.wait(ticket.0, &*self.core)
    }

    /// The last durable number.
    pub fn flushed(&self) -> u64 {
        self.core.barrier.flushed()
    }

    /// The last number placed.
    pub fn placed(&self) -> u64 {
        self.core.state().next - 1
    }

    /// The journal's end.
    pub fn head(&self) -> Head {
        let flushed = self.flushed();
        let state = self.core.state();
        Head {
            number: state.next - 1,
            chain: state.flushed_end.chain,
            epoch: state.epoch,
            next_addr: self.core.layout.addr(state.segment, state.block),
            flushed,
            time: state.time,
            segment: state.segment,
            block: state.block,
        }
    }

    /// The end of the last flushed frame: everything below its number is durable.
    pub fn position(&self) -> Start {
        self.core.state().flushed_end
    }

    /// Closes the open frame, so that a frame ends behind the last number placed, and gives that number. The caller keeps
    /// others from placing meanwhile if it needs to know what the number covers; it need not keep them out until
    /// [`Journal::start_after`], which waits for the flush.
    pub fn fence(&self) -> Ticket {
        let mut state = self.core.state();
        let number = state.next - 1;
        state.close_open();
        state.want(number);
        Ticket(number)
    }

    /// The place right behind a fence, once it is durable: commits first.
    ///
    /// # Errors
    /// As for [`Journal::commit`]; [`Error::Misuse`] where no fence was set, or long ago.
    pub fn start_after(&self, fence: Ticket) -> Result<Start, Error> {
        self.commit(fence)?;
        let start = self.core.state().fence(fence.0);
        start.ok_or_else(|| Error::Misuse(format!("no fence stands behind number {}", fence.0)))
    }

    /// Closes the open frame, commits, and gives the place right behind it.
    ///
    /// # Errors
    /// As for [`Journal::commit`].
    pub fn seal(&self) -> Result<Start, Error> {
        let fence = self.fence();
        self.start_after(fence)
    }

    /// As [`Journal::close`], without the last frame: where every block counts.
    ///
    /// # Errors
    /// As [`Journal::close`].
    pub fn close_without_frame(&self) -> Result<(), Error> {
        self.finish(false)
    }

    /// Commits everything and says in a last frame that the store was closed in good order. Without space for that frame,
    /// or opened for reading, only the first. No command is taken afterwards.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`].
    pub fn close(&self) -> Result<(), Error> {
        self.finish(true)
    }

    fn finish(&self, last_frame: bool) -> Result<(), Error> {
        if self.read_only {
            return Ok(());
        }
        self.core.barrier.check()?;
        let placed = {
            let mut state = self.core.state();
            if state.closed {
                return Ok(());
            }
            state.closed = true;
            Ticket(state.next - 1)
        };
        self.commit(placed)?;
        if last_frame {
            self.close_frame()?;
        }
        self.core.segments.join();
        let head = self.core.state().segment;
        self.core.segments.trim(head);
        Ok(())
    }

    /// The last frame, if there is room for it.
    fn close_frame(&self) -> Result<(), Error> {
        {
            let mut state = self.core.state();
            if state.epoch_due {
                return Ok(());
            }
            match self.open_empty(&mut state, flags::CLOSE) {
                Ok(()) => {}
                Err(Error::NoSpace { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.core.barrier.force(&*self.core)
    }

    /// Fails where a write or flush has failed: nothing is taken any more, and what was placed and not flushed is no truth.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn health(&self) -> Result<(), Error> {
        self.core.barrier.check()
    }

    /// Bytes of zeros written into segments ahead of small commits, since the opening: what a flush of written blocks costs more in
    /// bytes.
    pub fn zeros_written(&self) -> u64 {
        self.core.segments.ahead.zeros_written()
    }

    /// A reader of frames, independent of the writers.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.core))
    }

    /// The store's id.
    pub fn store(&self) -> StoreId {
        self.core.layout.store
    }

    /// Blocks of a segment: what addresses count in.
    pub fn blocks_per_segment(&self) -> u32 {
        self.core.layout.blocks()
    }

    /// The disk, for what else lies in the store's directory.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.core.segments.join();
    }
}

fn blocks_of(part: &Part, records: &[Record<'_>]) -> u64 {
    let payload: usize = records[part.records.clone()]
        .iter()
        .map(|record| record.blocks.len())
        .sum();
    u64::from(part.header_blocks) + payload as u64
}

/// Removes what a creation left that ended before its `STORE`; refuses where more lies than that.
fn clear_unfinished(disk: &Arc<dyn Disk>, layout: &Layout) -> Result<(), Error> {
    let exists = |reason: &str| {
        Err(Error::Exists {
            reason: reason.to_owned(),
        })
    };
    match disk.open_read(store_file::PATH) {
        Ok(_) => return exists("the file STORE is there"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("open", store_file::PATH, error)),
    }
    let listing = Listing::read(&**disk, layout)?;
    if !listing.archives.is_empty() || listing.horizon.is_some() {
        return exists("there are archives without a file STORE");
    }
    if listing.segments.is_empty() {
        return Ok(());
    }
    if listing.segments != [1] {
        return exists("there are segments without a file STORE");
    }
    let segments = Segments::new(Arc::clone(disk), *layout, true, None, &listing);
    let mut second = [0u8; BLOCK_SIZE];
    segments.read(1, 1, &mut second, false)?;
    let used = second.iter().any(|&byte| byte != 0);
    if used || read_frame(&segments, layout, 1, 0, false)?.is_ok_and(|frame| frame.count > 0) {
        return exists("there is a segment with records, without a file STORE");
    }
    segments.remove_after(0)
}
