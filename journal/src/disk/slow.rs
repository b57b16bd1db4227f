//! A disk with slow flushes: what a commit costs on a disk whose cache must be emptied each time.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Disk, DiskFile, LayeredDisk, LayeredFile};

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
}

impl LayeredDisk for SlowDisk {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&*self.inner)
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile {
            inner: file,
            delay: self.delay,
        })
    }

    /// As the disk beneath does it, without the delay: preparing is done ahead, and no commit waits for it.
    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.create_prepared(path, len)?))
    }
}

#[derive(Debug)]
struct SlowFile {
    inner: Arc<dyn DiskFile>,
    delay: Duration,
}

impl LayeredFile for SlowFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        Ok(&*self.inner)
    }

    fn sync_data(&self) -> io::Result<()> {
        thread::sleep(self.delay);
        self.inner.sync_data()
    }
}
