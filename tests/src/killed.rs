//! A process that is killed: from some call on its disk answers nothing, but the machine lives on, and with it the page cache. What was written
//! and not flushed can be read by the next process, and is lost if the power goes after that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_journal::disk::{Disk, DiskFile, LayeredDisk, LayeredFile};

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
}

impl LayeredDisk for Killed {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        self.alive()?;
        Ok(&*self.inner)
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(KilledFile {
            disk: self.clone(),
            file,
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.flush()?;
        self.inner.sync_dir(path)
    }
}

#[derive(Debug)]
struct KilledFile {
    disk: Killed,
    file: Arc<dyn DiskFile>,
}

impl LayeredFile for KilledFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        self.disk.alive()?;
        Ok(&*self.file)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flush()?;
        self.file.sync_data()
    }
}
