//! Segment files: their names, which there are, how many there may be, and the open files. How they are made is in `ahead`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::BLOCK_SIZE;
use crate::address::Start;
use crate::ahead::Ahead;
use crate::archive::{Shelf, read_horizon};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::frame::Layout;

/// The directory of the segments.
pub(crate) const DIR: &str = "journal";
/// Most files held open at once.
const MAX_OPEN: usize = 128;

/// The path of a segment.
pub(crate) fn path(segment: u64) -> String {
    format!("{DIR}/{segment:020}.seg")
}

/// What lies in the directory of the segments.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Listing {
    /// The numbers of the segments whose files are there, ascending.
    pub(crate) segments: Vec<u64>,
    /// The numbers of those that have archives, ascending.
    pub(crate) archives: Vec<u64>,
    /// Where the events begin that the store still has; None: at the origin.
    pub(crate) horizon: Option<Start>,
}

impl Listing {
    /// Other names, and numbers out of bounds, are none of ours.
    pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Listing, Error> {
        let names = disk
            .list(DIR)
            .map_err(|error| Error::io("list", DIR, error))?;
        let with = |suffix: &str| {
            let digits = names.iter().filter_map(|name| name.strip_suffix(suffix));
            let mut numbers: Vec<u64> = digits
                .filter(|digits| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
                .filter_map(|digits| digits.parse().ok())
                .filter(|&number| number >= 1 && number <= layout.last_segment())
                .collect();
            numbers.sort_unstable();
            numbers
        };
        let horizon = read_horizon(disk, layout.store)?;
        let beyond =
            |place: &Start| place.segment > layout.last_segment() || place.block > layout.blocks();
        if horizon.as_ref().is_some_and(beyond) {
            let reason = "it names a place beyond the last segment";
            return Err(Error::Horizon { reason });
        }
        Ok(Listing {
            segments: with(".seg"),
            archives: with(".arc"),
            horizon,
        })
    }
}

/// The segment files of a journal.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) writable: bool,
    /// Another process writes.
    beside: bool,
    /// What stands in for segments that were given back.
    pub(crate) shelf: Shelf,
    open: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
    /// Never held while the disk works.
    state: Mutex<State>,
    pub(crate) ahead: Ahead,
}

#[derive(Debug)]
pub(crate) struct State {
    /// The numbers that are there and may be entered.
    pub(crate) present: BTreeSet<u64>,
    /// Being made, by whoever needs it or ahead of its time.
    pub(crate) making: Option<u64>,
    capacity: Option<u64>,
    horizon: Option<Start>,
    /// Bytes of other files of the store, which count against its capacity.
    other_bytes: u64,
    /// Segments that must be left to make when ordinary work enters one.
    pub(crate) reserve: u64,
    /// Bytes that other files may come to take meanwhile: the segments of the reserve can be made then, too.
    besides: u64,
}

impl State {
    /// How many more segments the capacity allows.
    pub(crate) fn room(&self, segment_size: u64, archives: u64) -> u64 {
        let Some(capacity) = self.capacity else {
            return u64::MAX;
        };
        let others = archives.saturating_add(self.other_bytes);
        (capacity.saturating_sub(others) / segment_size).saturating_sub(self.present.len() as u64)
    }
}

impl Segments {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        writable: bool,
        capacity: Option<u64>,
        listing: &Listing,
    ) -> Segments {
        let present: BTreeSet<u64> = listing.segments.iter().copied().collect();
        Segments {
            shelf: Shelf::new(Arc::clone(&disk), layout, &listing.archives, &present),
            disk,
            layout,
            writable,
            beside: false,
            open: Mutex::default(),
            ahead: Ahead::new(present.last().copied().unwrap_or(0)),
            state: Mutex::new(State {
                present,
                making: None,
                capacity,
                horizon: listing.horizon,
                other_bytes: 0,
                reserve: 0,
                besides: 0,
            }),
        }
    }

    /// For a reader beside the writer.
    pub(crate) fn beside(
        disk: Arc<dyn Disk>,
        layout: Layout,
        capacity: Option<u64>,
        listing: &Listing,
    ) -> Segments {
        Segments {
            beside: true,
            ..Segments::new(disk, layout, false, capacity, listing)
        }
    }

    pub(crate) fn is_beside(&self) -> bool {
        self.beside
    }

    /// Looks again which segments there are: another process makes them.
    pub(crate) fn look_again(&self) -> Result<(), Error> {
        let listing = Listing::read(&*self.disk, &self.layout)?;
        let present: BTreeSet<u64> = listing.segments.iter().copied().collect();
        // A file held open keeps its space, also when it has no name any more.
        self.open_files()
            .retain(|segment, _| present.contains(segment));
        self.shelf.look_again(&listing.archives, &present);
        let mut state = self.state();
        state.present = present;
        state.horizon = listing.horizon;
        Ok(())
    }

    /// Whether the frames of a segment can be read, from its file or from its archive.
    pub(crate) fn has(&self, segment: u64) -> bool {
        self.in_file(segment) || self.shelf.has(segment)
    }

    /// Whether a segment's file is there.
    pub(crate) fn in_file(&self, segment: u64) -> bool {
        self.state().present.contains(&segment)
    }

    /// The segment before the first frame that the store still has: where reading begins.
    pub(crate) fn beginning(&self) -> Start {
        let horizon = self.state().horizon;
        horizon.unwrap_or(Start::origin(self.layout.store))
    }

    /// As [`Segments::beginning`], as it is now where another process writes.
    pub(crate) fn beginning_now(&self) -> Result<Start, Error> {
        if !self.beside {
            return Ok(self.beginning());
        }
        let horizon = read_horizon(&*self.disk, self.layout.store)?;
        Ok(horizon.unwrap_or(Start::origin(self.layout.store)))
    }

    pub(crate) fn set_beginning(&self, place: Start) {
        self.state().horizon = Some(place);
    }

    pub(crate) fn set_other_bytes(&self, bytes: u64) {
        self.state().other_bytes = bytes;
    }

    pub(crate) fn set_reserve(&self, segments: u64, besides: u64) {
        let mut state = self.state();
        (state.reserve, state.besides) = (segments, besides);
    }

    /// Removes a segment's file, whose frames are read from its archive from now on. What holds the file open reads on. The removal is durable with the
    /// directory's next flush ([`Segments::sync_segments`]).
    pub(crate) fn give_back(&self, segment: u64) -> Result<(), Error> {
        self.shelf.left_alone(segment);
        let path = path(segment);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, error));
            }
            _ => {}
        }
        self.open_files().remove(&segment);
        self.state().present.remove(&segment);
        self.room_again();
        Ok(())
    }

    /// Makes the names of the directory durable.
    pub(crate) fn sync_segments(&self) -> Result<(), Error> {
        self.disk
            .sync_dir(DIR)
            .map_err(|error| Error::io("flush", DIR, error))
    }

    pub(crate) fn open_files(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn DiskFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments whose files are there, ascending.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.state().present.iter().copied().collect()
    }

    /// The file of a segment, for reading, and for writing where the journal may be written.
    pub(crate) fn file(&self, segment: u64) -> Result<Arc<dyn DiskFile>, Error> {
        let mut open = self.open_files();
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let path = path(segment);
        let file = if self.writable {
            self.disk.open(&path)
        } else {
            self.disk.open_read(&path)
        };
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Gone { segment },
            _ => Error::io("open", &path, error),
        })?;
        Self::keep(&mut open, segment, &file);
        Ok(file)
    }

    pub(crate) fn keep(
        open: &mut BTreeMap<u64, Arc<dyn DiskFile>>,
        segment: u64,
        file: &Arc<dyn DiskFile>,
    ) {
        if open.len() >= MAX_OPEN {
            // The lowest goes: the newest segments are the busiest.
            open.pop_first();
        }
        open.insert(segment, Arc::clone(file));
    }

    /// How many more segments can be made while ordinary work leaves room for what other files come to take, those of the reserve included; and how many by
    /// whoever gives space back: those files are there by then, or take what is left.
    pub(crate) fn can_grow_by(&self) -> (u64, u64) {
        let archives = self.shelf.totals().1;
        let state = self.state();
        let by_numbers = self.layout.last_segment() - state.present.last().copied().unwrap_or(0);
        let room = |others| state.room(self.layout.segment_size, others);
        let (ordinary, all) = (room(archives.saturating_add(state.besides)), room(archives));
        drop(state);
        let most = by_numbers.min(self.disk_room());
        (ordinary.min(most), all.min(most))
    }

    /// Segments that the disk has room for. One that does not say is asked again when a segment is made.
    pub(crate) fn disk_room(&self) -> u64 {
        let size = self.layout.segment_size;
        self.disk.free_bytes().map_or(u64::MAX, |free| free / size)
    }

    /// Segments that ordinary work leaves alone.
    pub(crate) fn reserve(&self) -> u64 {
        self.state().reserve
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        self.state().capacity
    }

    /// Reads from one segment; what lies beyond the end of its file reads as zeros.
    pub(crate) fn read(
        &self,
        segment: u64,
        block: u32,
        buf: &mut [u8],
        direct: bool,
    ) -> Result<(), Error> {
        let file = self.file(segment)?;
        let offset = u64::from(block) * BLOCK_SIZE as u64;
        let got = if direct {
            file.read_direct(buf, offset)
        } else {
            file.read_at(buf, offset)
        };
        let got = got.map_err(|error| Error::io("read", &path(segment), error))?;
        buf[got..].fill(0);
        Ok(())
    }

    /// Removes all segments above `last`, and forgets them.
    pub(crate) fn remove_after(&self, last: u64) -> Result<(), Error> {
        let mut state = self.state();
        let doomed: Vec<u64> = state.present.range(last + 1..).rev().copied().collect();
        for &segment in &doomed {
            self.open_files().remove(&segment);
            let path = path(segment);
            self.disk
                .remove(&path)
                .map_err(|error| Error::io("remove", &path, error))?;
            state.present.remove(&segment);
        }
        if !doomed.is_empty() {
            self.disk
                .sync_dir(DIR)
                .map_err(|error| Error::io("flush", DIR, error))?;
        }
        self.ahead.entered_again(last);
        Ok(())
    }

    /// Lets the cache forget a segment from a block on. Whatever read there, read ahead: in unwritten space that makes large
    /// pages of zeros, which hide from [`DiskFile::next_data`] that nothing is there, and slow down small writes into them.
    pub(crate) fn forget(&self, segment: u64, block: u32) -> Result<(), Error> {
        self.file(segment)?
            .advise_unneeded(u64::from(block) * BLOCK_SIZE as u64);
        Ok(())
    }

    pub(crate) fn sync(&self, segment: u64) -> Result<(), Error> {
        self.file(segment)?
            .sync_data()
            .map_err(|error| Error::io("flush", &path(segment), error))
    }

    pub(crate) fn sync_dir(&self) -> Result<(), Error> {
        // The store's own directory too: whoever made the store may have died before its names were durable.
        for dir in ["", DIR] {
            self.disk
                .sync_dir(dir)
                .map_err(|error| Error::io("flush", dir, error))?;
        }
        Ok(())
    }
}

/// A full disk is a refusal, anything else a failure.
pub(crate) fn no_space(action: &'static str, path: &str, needed: u64, source: io::Error) -> Error {
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return Error::NoSpace {
            needed,
            source: Some(source),
        };
    }
    Error::io(action, path, source)
}
