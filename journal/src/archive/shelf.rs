//! The archives of a journal: which there are, which stand in for their segments, and what of them is kept in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ArchiveError as Reason;
use super::file::{Head, path};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::frame::{Frame, FrameError, Layout};

/// Chunks kept in memory once decoded: each has at most 2 MiB of cores.
const MOST_CHUNKS: usize = 8;
/// Archives kept open.
const MOST_OPEN: usize = 32;

#[derive(Debug)]
pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The archives there are, with the bytes of those that were asked.
    sizes: BTreeMap<u64, Option<u64>>,
    /// How many were asked, and the bytes of those together.
    known: usize,
    bytes: u64,
    /// Those whose segment's file is gone.
    alone: BTreeSet<u64>,
    /// Used last at the back.
    open: VecDeque<(u64, Arc<Open>)>,
    chunks: VecDeque<(u64, usize, Arc<Vec<Frame>>)>,
}

impl State {
    /// Notes the size of an archive.
    fn note(&mut self, segment: u64, bytes: u64) {
        if let Some(Some(before)) = self.sizes.insert(segment, Some(bytes)) {
            self.known -= 1;
            self.bytes -= before;
        }
        self.known += 1;
        self.bytes += bytes;
    }
}

/// An archive whose head was read.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) head: Head,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Open {
    /// All its frames, chunk by chunk, each proven by the chain.
    pub(super) fn check(&self, layout: &Layout) -> Result<Result<(), Reason>, Error> {
        for index in 0..self.head.chunks.len() {
            if let Err(reason) = self.head.frames(&*self.file, layout, index)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }
}

impl Shelf {
    /// `archives` and `segments`: the numbers of those files that are there.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        archives: &[u64],
        segments: &BTreeSet<u64>,
    ) -> Shelf {
        let shelf = Shelf {
            disk,
            layout,
            state: Mutex::default(),
        };
        shelf.look_again(archives, segments);
        shelf
    }

    /// Notes what is there now.
    pub(crate) fn look_again(&self, archives: &[u64], segments: &BTreeSet<u64>) {
        let mut state = self.state();
        let sizes = std::mem::take(&mut state.sizes);
        (state.known, state.bytes) = (0, 0);
        for &number in archives {
            state.sizes.insert(number, None);
            if let Some(&Some(bytes)) = sizes.get(&number) {
                state.note(number, bytes);
            }
        }
        state.alone = archives
            .iter()
            .copied()
            .filter(|number| !segments.contains(number))
            .collect();
        let State { open, sizes, .. } = &mut *state;
        open.retain(|(number, _)| sizes.contains_key(number));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether frames of a segment are to be read from its archive.
    pub(crate) fn stands_in(&self, segment: u64) -> bool {
        self.state().alone.contains(&segment)
    }

    /// Whether a segment has an archive.
    pub(crate) fn has(&self, segment: u64) -> bool {
        self.state().sizes.contains_key(&segment)
    }

    /// The numbers of the archives, ascending.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.state().sizes.keys().copied().collect()
    }

    /// Archives, and their bytes together. Asks the disk for those not asked before.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let unknown: Vec<u64> = {
            let state = self.state();
            if state.known == state.sizes.len() {
                return (state.sizes.len() as u64, state.bytes);
            }
            let sizes = state.sizes.iter();
            let unknown = sizes.filter(|(_, bytes)| bytes.is_none());
            unknown.map(|(&number, _)| number).collect()
        };
        for number in unknown {
            self.size(number);
        }
        let state = self.state();
        (state.sizes.len() as u64, state.bytes)
    }

    /// Bytes of an archive; 0 where there is none.
    pub(crate) fn size(&self, segment: u64) -> u64 {
        match self.state().sizes.get(&segment) {
            Some(Some(bytes)) => return *bytes,
            Some(None) => {}
            None => return 0,
        }
        let file = self.disk.open_read(&path(segment));
        let bytes = file.and_then(|file| file.len()).unwrap_or(0);
        let mut state = self.state();
        if state.sizes.get(&segment) == Some(&None) {
            state.note(segment, bytes);
        }
        bytes
    }

    /// A new archive, or another one in the place of the old.
    pub(super) fn added(&self, segment: u64, bytes: u64) {
        let mut state = self.state();
        state.note(segment, bytes);
        state.open.retain(|(number, _)| *number != segment);
        state.chunks.retain(|(number, ..)| *number != segment);
    }

    /// The segment's file goes: its archive stands in for it from now on.
    pub(crate) fn left_alone(&self, segment: u64) {
        self.state().alone.insert(segment);
    }

    /// An archive moved away.
    pub(super) fn removed(&self, segment: u64) {
        let mut state = self.state();
        if let Some(Some(bytes)) = state.sizes.remove(&segment) {
            state.known -= 1;
            state.bytes -= bytes;
        }
        state.alone.remove(&segment);
        state.open.retain(|(number, _)| *number != segment);
        state.chunks.retain(|(number, ..)| *number != segment);
    }

    /// An archive, read now; None if there is none.
    pub(super) fn fresh(&self, segment: u64) -> Result<Option<Result<Open, Reason>>, Error> {
        let path = path(segment);
        let file = match self.disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        let head = Head::read(&*file, &self.layout, segment)?;
        Ok(Some(head.map(|head| Open { head, file })))
    }

    fn open(&self, segment: u64) -> Result<Option<Result<Arc<Open>, Reason>>, Error> {
        {
            let mut state = self.state();
            let found = state.open.iter().position(|(number, _)| *number == segment);
            if let Some(found) = found.and_then(|at| state.open.remove(at)) {
                let open = Arc::clone(&found.1);
                state.open.push_back(found);
                return Ok(Some(Ok(open)));
            }
        }
        let open = match self.fresh(segment)? {
            Some(Ok(open)) => Arc::new(open),
            Some(Err(reason)) => return Ok(Some(Err(reason))),
            None => return Ok(None),
        };
        let mut state = self.state();
        state.open.push_back((segment, Arc::clone(&open)));
        if state.open.len() > MOST_OPEN {
            state.open.pop_front();
        }
        Ok(Some(Ok(open)))
    }

    fn chunk(&self, open: &Open, index: usize) -> Result<Result<Arc<Vec<Frame>>, Reason>, Error> {
        let segment = open.head.segment;
        {
            let mut state = self.state();
            let mut chunks = state.chunks.iter();
            let found = chunks.position(|(number, at, _)| (*number, *at) == (segment, index));
            if let Some(found) = found.and_then(|at| state.chunks.remove(at)) {
                let frames = Arc::clone(&found.2);
                state.chunks.push_back(found);
                return Ok(Ok(frames));
            }
        }
        let frames = match open.head.frames(&*open.file, &self.layout, index)? {
            Ok(frames) => Arc::new(frames),
            Err(reason) => return Ok(Err(reason)),
        };
        let mut state = self.state();
        state
            .chunks
            .push_back((segment, index, Arc::clone(&frames)));
        if state.chunks.len() > MOST_CHUNKS {
            state.chunks.pop_front();
        }
        Ok(Ok(frames))
    }

    /// The frame that begins at a block of an archived segment.
    pub(crate) fn frame(
        &self,
        segment: u64,
        block: u32,
    ) -> Result<Result<Frame, FrameError>, Error> {
        let bad = |reason| Ok(Err(FrameError::Archive(reason)));
        let open = match self.open(segment)? {
            Some(Ok(open)) => open,
            Some(Err(reason)) => return bad(reason),
            None => return Ok(Err(FrameError::Short)),
        };
        if block >= open.head.end {
            return Ok(Err(FrameError::Short));
        }
        let frames = match self.chunk(&open, open.head.chunk_of(block))? {
            Ok(frames) => frames,
            Err(reason) => return bad(reason),
        };
        let found = frames.binary_search_by_key(&block, |frame| frame.block);
        Ok(match found {
            Ok(at) => Ok(frames[at].clone()),
            Err(_) => Err(FrameError::Magic),
        })
    }
}
