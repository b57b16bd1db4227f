//! A disk on which others take the space: at some allocation there is none. Allocations are counted from the moment the trap is set.

use crate::lockstep::SEGMENT_SIZE;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use strand_journal::disk::{Disk, DiskFile, FaultyDisk, LayeredDisk, LayeredFile};

/// What a store of the tests' segments keeps back of a disk: four segments for going back and for removals, two for what is moved, and as much again for state
/// files and archives, which are small, and what reckoning by whole segments leaves over.
const KEPT_BACK: u64 = 12 * SEGMENT_SIZE;

/// What happens at the allocation.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Trap {
    /// That one is refused; the next one finds room.
    Once(u64),
    /// From that one on the disk has no more than what is used then, and what the store keeps back for being emptied. What is removed gives room.
    From(u64),
    /// From that one on somebody else has filled it to the last block.
    Foreign(u64),
}

/// A disk that may be full.
#[derive(Clone, Debug)]
pub struct Crowded {
    inner: FaultyDisk,
    trap: Arc<Mutex<Option<Trap>>>,
    allocations: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Crowded {
    /// A disk with room.
    #[must_use]
    pub fn new(inner: FaultyDisk) -> Self {
        Self {
            inner,
            trap: Arc::default(),
            allocations: Arc::default(),
            refused: Arc::default(),
        }
    }

    /// Counts allocations from now on, and lets one of them fail.
    pub fn set(&self, trap: Option<Trap>) {
        self.allocations.store(0, Ordering::SeqCst);
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = trap;
    }

    /// There is room again.
    pub fn relieve(&self) {
        self.set(None);
        self.inner.limit_space(None);
    }

    /// Allocations since the trap was set.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::SeqCst)
    }

    /// Whether an allocation was refused.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > 0
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        let paths = self.inner.paths();
        let files = paths.iter().filter_map(|path| self.inner.file_bytes(path));
        files.map(|bytes| bytes.len() as u64).sum()
    }

    fn allocate<T>(&self, bytes: u64, done: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if bytes > 0 {
            let nth = self.allocations.fetch_add(1, Ordering::SeqCst) + 1;
            let trap = *self.trap.lock().unwrap_or_else(PoisonError::into_inner);
            match trap {
                Some(Trap::Once(which)) if which == nth => {
                    self.refused.fetch_add(1, Ordering::SeqCst);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(Trap::From(which)) if which == nth => {
                    self.inner.limit_space(Some(self.used() + KEPT_BACK));
                }
                Some(Trap::Foreign(which)) if which == nth => {
                    self.inner.limit_space(Some(self.used()));
                }
                _ => {}
            }
        }
        let done = done();
        let full = |e: &io::Error| e.kind() == io::ErrorKind::StorageFull;
        if done.as_ref().err().is_some_and(full) {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        done
    }
}

impl LayeredDisk for Crowded {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&self.inner)
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CrowdedFile {
            disk: self.clone(),
            file,
        })
    }

    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let made = self.allocate(len, || self.inner.create(path, len));
        made.map(|f| self.file(f))
    }
}

#[derive(Debug)]
struct CrowdedFile {
    disk: Crowded,
    file: Arc<dyn DiskFile>,
}

impl LayeredFile for CrowdedFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        Ok(&*self.file)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let end = offset + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let grown = end.saturating_sub(self.file.len()?);
        self.disk
            .allocate(grown, || self.file.write_at(parts, offset))
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        let grown = len.saturating_sub(self.file.len()?);
        self.disk.allocate(grown, || self.file.extend(len))
    }
}
