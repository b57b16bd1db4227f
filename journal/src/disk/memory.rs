//! A disk in memory, for speed and for tests: everything is durable at once, nothing fails but a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{Disk, DiskFile, Lock, LockError};
use crate::error::Holder;

/// Files in memory. Clones show the same files, so that a store can be closed and opened again.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tree: Mutex<Tree>,
    locks: Locks,
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<String, Arc<MemoryFile>>,
    dirs: BTreeSet<String>,
    limit: Option<u64>,
}

impl MemoryDisk {
    /// An empty disk without a bound.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An empty disk on which `bytes` can be allocated.
    pub fn with_limit(bytes: u64) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.tree().limit = Some(bytes);
        disk
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.inner
            .tree
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn free(&self) -> u64 {
        let used: u64 = self.files.values().map(|file| file.size()).sum();
        self.limit.unwrap_or(1 << 60).saturating_sub(used)
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut tree = self.tree();
        if tree.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if len > tree.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let file = Arc::new(MemoryFile {
            bytes: RwLock::new(bytes),
        });
        tree.files.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.create(path, len)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.tree().files.get(path) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let tree = self.tree();
        if !dir.is_empty() && !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = tree.files.keys().chain(&tree.dirs);
        let mut names: Vec<String> = paths.filter_map(|path| name_in(path, dir)).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match self.tree().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut tree = self.tree();
        match tree.files.remove(from) {
            Some(file) => {
                tree.files.insert(to.to_owned(), file);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.tree().dirs.insert(path.to_owned());
        Ok(())
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.tree().free())
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.locks.take(true, timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.locks.take(false, timeout)
    }
}

/// The name of `path` in `dir`, if it lies there and no deeper.
pub(super) fn name_in(path: &str, dir: &str) -> Option<String> {
    let rest = if dir.is_empty() {
        path
    } else {
        path.strip_prefix(dir)?.strip_prefix('/')?
    };
    (!rest.is_empty() && !rest.contains('/')).then(|| rest.to_owned())
}

#[derive(Debug)]
struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryFile {
    fn size(&self) -> u64 {
        self.bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        Ok(copy_from(&bytes, buf, offset))
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let mut at = usize::try_from(offset).map_err(io::Error::other)?;
        for part in parts {
            let end = at
                .checked_add(part.len())
                .ok_or(io::ErrorKind::FileTooLarge)?;
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(part);
            at = end;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let end = usize::try_from(offset.saturating_add(len))
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
        bytes[start..end].fill(0);
        Ok(())
    }
}

/// Copies what `bytes` has from `offset` on.
pub(super) fn copy_from(bytes: &[u8], buf: &mut [u8], offset: u64) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let len = buf.len().min(bytes.len() - start);
    buf[..len].copy_from_slice(&bytes[start..start + len]);
    len
}

/// The lock of a disk without a kernel: a count of readers and a flag for the writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<Holders>>);

#[derive(Debug, Default)]
struct Holders {
    readers: usize,
    writer: bool,
}

#[derive(Debug)]
struct HeldMemory {
    locks: Locks,
    writer: bool,
}

impl Lock for HeldMemory {}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        let mut holders = self.locks.holders();
        if self.writer {
            holders.writer = false;
        } else {
            holders.readers -= 1;
        }
    }
}

impl Locks {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, writer: bool, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        let since = Instant::now();
        loop {
            let mut holders = self.holders();
            if !holders.writer && (!writer || holders.readers == 0) {
                if writer {
                    holders.writer = true;
                } else {
                    holders.readers += 1;
                }
                return Ok(Box::new(HeldMemory {
                    locks: self.clone(),
                    writer,
                }));
            }
            drop(holders);
            if since.elapsed() >= timeout {
                let pid = Some(std::process::id());
                return Err(LockError::Held(Holder {
                    pid,
                    since: None,
                    command: String::new(),
                }));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}
