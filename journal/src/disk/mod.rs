//! The disk seam: all that a store asks of a file system, small enough to fake.
//!
//! [`FileDisk`] is the real one, [`MemoryDisk`] keeps files in memory, [`FaultyDisk`] loses, tears and refuses on
//! demand, [`SlowDisk`] makes flushes slow. A disk over another is a [`LayeredDisk`], which says what it changes and no more. No rule of
//! the journal lives here.
//!
//! Paths are relative to the store's directory, with `/` between the parts; `""` is the directory itself.

mod bulk;
mod composed;
mod faulty;
mod file;
mod file_lock;
mod layered;
mod memory;
mod slow;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

pub use faulty::{CallKind, FaultyDisk};
pub use file::FileDisk;
pub use layered::{LayeredDisk, LayeredFile};
pub use memory::MemoryDisk;
pub use slow::SlowDisk;

use crate::error::Holder;

/// Why a lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else has it.
    Held(Holder),
    /// The disk failed.
    Io(io::Error),
}

/// A held lock. Dropping it gives the lock back.
pub trait Lock: Send + Sync + Debug {}

/// A store's directory.
pub trait Disk: Send + Sync + Debug {
    /// A new file of `len` zero bytes whose space is allocated now, so that a full disk shows here and not later.
    /// Nothing is durable before [`DiskFile::sync_data`] and [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`; `StorageFull`, with nothing left behind; others.
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Like [`Disk::create`], then filled with written zeros and synced: overwriting written blocks flushes about twice
    /// as fast as filling unwritten ones.
    ///
    /// # Errors
    /// As for [`Disk::create`].
    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        composed::create_prepared(self, path, len)
    }

    /// An existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` and others.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// An existing file for reading.
    ///
    /// # Errors
    /// `NotFound` and others.
    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound` and others.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` and others.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Renames a file within its directory, replacing what has the new name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` and others.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes a directory; an existing one is fine. Durable after [`Disk::sync_dir`] of its parent.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Bytes that may still be allocated.
    ///
    /// # Errors
    /// What the file system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Takes the lock that one writer alone may have.
    ///
    /// # Errors
    /// [`LockError::Held`] when the time is over.
    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError>;

    /// Takes the lock that readers share, and that keeps a writer out.
    ///
    /// # Errors
    /// [`LockError::Held`] when the time is over.
    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError>;

    /// Whether work may be done on threads of its own. A disk whose calls a test counts says no.
    fn background(&self) -> bool {
        false
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// `NotFound`, `FileTooLarge`, others.
    fn read_small(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        composed::read_small(self, path, limit)
    }

    /// Replaces a whole file, all or nothing, and durably: a temporary file, its flush, a rename, the directory's flush.
    ///
    /// # Errors
    /// What the file system says; the old file is then still there.
    fn write_small(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        composed::write_small(self, path, bytes)
    }

    /// The first step of [`Disk::write_small`], for those who write many small files and flush them together: the temporary file
    /// ([`temporary_of`]), written and not flushed.
    ///
    /// # Errors
    /// What the file system says; what is left of the temporary file is overwritten by the next try.
    fn prepare_small(&self, path: &str, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        composed::prepare_small(self, path, bytes)
    }
}

/// The name that a small file has until it is whole.
pub fn temporary_of(path: &str) -> String {
    format!("{path}.tmp")
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        composed::is_empty(self)
    }

    /// Fills `buf` from `offset` on and says how much: less than asked only at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Like [`DiskFile::read_at`], but what the medium holds: after a failed flush the page cache lies.
    ///
    /// # Errors
    /// What the file system says.
    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all parts, one after the other, from `offset` on. What is large, or one part that is aligned to 4096 bytes in memory,
    /// may go past the page cache.
    ///
    /// # Errors
    /// What the file system says; then any part may have been written.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes everything written to this file durable, its length included.
    ///
    /// # Errors
    /// What the file system says; then nothing is known, and a second try proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file `len` bytes long again, with allocated space, where it was cut shorter.
    ///
    /// # Errors
    /// `StorageFull` and others.
    fn extend(&self, len: u64) -> io::Result<()>;

    /// The first offset from `offset` on that may hold something else than zeros; None if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }

    /// Says that a range will be read soon. Best effort.
    fn advise_willneed(&self, _offset: u64, _len: u64) {}

    /// Says that the file is mostly read in long stretches, front to back. Best effort.
    fn advise_sequential(&self) {}

    /// Says that what is cached from `offset` to the end is of no more use. Best effort; what is not flushed yet stays.
    fn advise_unneeded(&self, _offset: u64) {}

    /// Gives the space of a range back; it reads as zeros afterwards.
    ///
    /// # Errors
    /// What the file system says.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
}
