//! A disk with slow flushes: what a commit costs on a disk whose cache must be emptied each time.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Disk, DiskFile, Lock, LockError};

/// Another disk, with a fixed delay added to every [`DiskFile::sync_data`].
#[derive(Debug)]
pub struct SlowDisk {
    inner: Arc<dyn Disk>,
    delay: Duration,
}

impl SlowDisk {
    /// `inner` with `delay` added to each flush.
    pub fn new(inner: Arc<dyn Disk>, delay: Duration) -> SlowDisk {
        SlowDisk { inner, delay }
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile {
            inner: file,
            delay: self.delay,
        })
    }
}

impl Disk for SlowDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.create(path, len)?))
    }

    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.create_prepared(path, len)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open(path)?))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open_read(path)?))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.lock_exclusive(timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.lock_shared(timeout)
    }

    fn background(&self) -> bool {
        self.inner.background()
    }
}

#[derive(Debug)]
struct SlowFile {
    inner: Arc<dyn DiskFile>,
    delay: Duration,
}

impl DiskFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_direct(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.inner.write_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        thread::sleep(self.delay);
        self.inner.sync_data()
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        self.inner.extend(len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(offset)
    }

    fn advise_willneed(&self, offset: u64, len: u64) {
        self.inner.advise_willneed(offset, len);
    }

    fn advise_unneeded(&self, offset: u64) {
        self.inner.advise_unneeded(offset);
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.punch(offset, len)
    }
}
