//! A disk for stores larger than the machine: as long as it is told so, segments are kept in memory without their payload.
//!
//! Headers, and so events, chain and maps, are real; payload blocks read as zeros. Everything else, and every segment made after
//! [`SparseDisk::keep_payload`], lies on the disk beneath.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strand_journal::disk::{LayeredDisk, LayeredFile};
use strand_journal::{BLOCK_SIZE, Disk, DiskFile, MemoryDisk};

/// Where segments lie.
const SEGMENTS: &str = "journal";

/// See the head of this module.
#[derive(Debug)]
pub(crate) struct SparseDisk {
    beneath: Arc<dyn Disk>,
    memory: MemoryDisk,
    keep: AtomicBool,
    /// The first four bytes of a payload block; a header begins otherwise.
    payload: [u8; 4],
}

impl SparseDisk {
    /// Drops blocks that begin with `payload`.
    pub(crate) fn new(beneath: Arc<dyn Disk>, payload: [u8; 4]) -> Self {
        let memory = MemoryDisk::new();
        Self {
            beneath,
            memory,
            keep: AtomicBool::new(false),
            payload,
        }
    }

    /// Segments made from now on are whole, and on the disk beneath.
    pub(crate) fn keep_payload(&self) {
        self.keep.store(true, Ordering::SeqCst);
    }

    fn in_memory(&self, path: &str) -> bool {
        self.memory.open_read(path).is_ok()
    }
}

fn is_segment(path: &str) -> bool {
    path.strip_prefix(SEGMENTS)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl LayeredDisk for SparseDisk {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&*self.beneath)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        if self.keep.load(Ordering::SeqCst) || !is_segment(path) {
            return self.beneath.create(path, len);
        }
        let file = self.memory.create(path, len)?;
        Ok(Arc::new(Headers {
            file,
            payload: self.payload,
        }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.memory.open(path) {
            Ok(file) => Ok(Arc::new(Headers {
                file,
                payload: self.payload,
            })),
            Err(_) => self.beneath.open(path),
        }
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.memory.open_read(path) {
            Ok(file) => Ok(file),
            Err(_) => self.beneath.open_read(path),
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = self.beneath.list(dir)?;
        if dir == SEGMENTS {
            names.extend(self.memory.list(dir)?);
            names.sort_unstable();
        }
        Ok(names)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if self.in_memory(path) {
            self.memory.remove(path)
        } else {
            self.beneath.remove(path)
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.in_memory(from) {
            self.memory.rename(from, to)
        } else {
            self.beneath.rename(from, to)
        }
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.memory.create_dir(path)?;
        self.beneath.create_dir(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.memory.free_bytes()
    }

    /// Whatever lies beneath: a clock that runs here measures what the caller does, not a thread of the journal's.
    fn background(&self) -> bool {
        false
    }
}

/// A segment that takes headers only.
#[derive(Debug)]
struct Headers {
    file: Arc<dyn DiskFile>,
    payload: [u8; 4],
}

impl LayeredFile for Headers {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        Ok(&*self.file)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            if part.len() != BLOCK_SIZE || !part.starts_with(&self.payload) {
                self.file.write_at(&[IoSlice::new(part)], at)?;
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
