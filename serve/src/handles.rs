//! Open files and directories: what a handle's number stands for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strand_engine::{Actor, Ino, Names};

/// An open file.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The view it was opened in.
    pub(crate) view: u16,
    /// The file.
    pub(crate) ino: Ino,
    /// May write.
    pub(crate) writes: bool,
    /// Who opened it.
    pub(crate) opener: Arc<Actor>,
    /// The volume was set back under it: it writes no more.
    pub(crate) stale: AtomicBool,
    /// Where the last reading ended, in bytes.
    pub(crate) read_to: AtomicU64,
    /// The block up to which the disk knows what a sequential reader wants.
    pub(crate) ahead: AtomicU64,
}

/// How far the reading of a directory has come.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The entries when the reading began; changes made meanwhile are not seen, so that no entry comes twice or is missed.
    pub(crate) names: Names,
    /// Offset and name of the entry given last, so that reading on needs no counting.
    pub(crate) last: Option<(u64, Arc<[u8]>)>,
}

/// What a mount has open. Bounded by what processes may have open.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    next: AtomicU64,
    files: Mutex<HashMap<u64, Arc<Handle>>>,
    dirs: Mutex<HashMap<u64, Arc<Mutex<Listing>>>>,
}

impl Handles {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<Handle>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dirs(&self) -> MutexGuard<'_, HashMap<u64, Arc<Mutex<Listing>>>> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new open file.
    pub(crate) fn open(&self, handle: Handle) -> u64 {
        let number = self.number();
        self.files().insert(number, Arc::new(handle));
        number
    }

    /// An open file.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.files().get(&number).cloned()
    }

    /// Closes a file.
    pub(crate) fn close(&self, number: u64) -> Option<Arc<Handle>> {
        self.files().remove(&number)
    }

    /// All open files.
    pub(crate) fn all(&self) -> Vec<Arc<Handle>> {
        self.files().values().cloned().collect()
    }

    /// Says whether a handle from before the last swap may still write to a file, through a mapping at least.
    pub(crate) fn stale_writer(&self, ino: Ino) -> bool {
        let files = self.files();
        let mut writers = files.values().filter(|h| h.ino == ino && h.writes);
        writers.any(|h| h.stale.load(Ordering::Relaxed))
    }

    /// Says whether a file is open for writing.
    pub(crate) fn writer(&self, ino: Ino) -> bool {
        self.files().values().any(|h| h.ino == ino && h.writes)
    }

    /// Closes everything: the mount is gone.
    pub(crate) fn close_all(&self) -> Vec<Arc<Handle>> {
        self.dirs().clear();
        self.files().drain().map(|(_, handle)| handle).collect()
    }

    /// Numbers of handles open for writing, and of all.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let files = self.files();
        let writers = files.values().filter(|h| h.writes).count();
        (writers as u64, (files.len() + self.dirs().len()) as u64)
    }

    /// A new open directory.
    pub(crate) fn open_dir(&self, names: Names) -> u64 {
        let number = self.number();
        let listing = Listing { names, last: None };
        self.dirs().insert(number, Arc::new(Mutex::new(listing)));
        number
    }

    /// An open directory.
    pub(crate) fn dir(&self, number: u64) -> Option<Arc<Mutex<Listing>>> {
        self.dirs().get(&number).cloned()
    }

    /// Closes a directory.
    pub(crate) fn close_dir(&self, number: u64) {
        self.dirs().remove(&number);
    }
}
