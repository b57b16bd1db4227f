//! A process that is killed: from some call on its disk answers nothing, but the machine lives on, and with it the page cache. What was written
//! and not flushed can be read by the next process, and is lost if the power goes after that.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strand_journal::disk::{Disk, DiskFile, Lock, LockError};

/// A disk that stops answering after so many flushes.
#[derive(Clone, Debug)]
pub struct Killed {
    inner: Arc<dyn Disk>,
    flushes_left: Arc<AtomicU64>,
}

impl Killed {
    /// `inner`, until after `flushes` flushes: the next one is not done, nor anything after it.
    #[must_use]
    pub fn after(inner: Arc<dyn Disk>, flushes: u64) -> Self {
        Self {
            inner,
            flushes_left: Arc::new(AtomicU64::new(flushes + 1)),
        }
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.flushes_left.load(Ordering::SeqCst) == 0
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead() {
            Err(io::Error::other("the process was killed"))
        } else {
            Ok(())
        }
    }

    fn flush(&self) -> io::Result<()> {
        let left = self
            .flushes_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                Some(n.saturating_sub(1))
            });
        if left.unwrap_or(0) <= 1 {
            Err(io::Error::other("the process was killed"))
        } else {
            Ok(())
        }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(KilledFile {
            disk: self.clone(),
            file,
        })
    }
}

impl Disk for Killed {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        self.inner.create(path, len).map(|f| self.file(f))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        self.inner.open(path).map(|f| self.file(f))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        self.inner.open_read(path).map(|f| self.file(f))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.alive()?;
        self.inner.list(dir)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.alive()?;
        self.inner.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.alive()?;
        self.inner.rename(from, to)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.alive()?;
        self.inner.create_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.flush()?;
        self.inner.sync_dir(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.alive()?;
        self.inner.free_bytes()
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.lock_exclusive(timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.inner.lock_shared(timeout)
    }
}

#[derive(Debug)]
struct KilledFile {
    disk: Killed,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for KilledFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.alive()?;
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.alive()?;
        self.file.read_at(buf, offset)
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.alive()?;
        self.file.read_direct(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.write_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flush()?;
        self.file.sync_data()
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.extend(len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.punch(offset, len)
    }
}
