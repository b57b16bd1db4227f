//! A memory disk whose pages the kernel has handed out before the clock runs, as a journal prepares its segments ahead: else a third of
//! what a commit costs there would be the kernel clearing pages.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use strand_journal::disk::LayeredDisk;
use strand_journal::{DEFAULT_SEGMENT_SIZE, Disk, DiskFile, MemoryDisk};

/// See the head of this module.
#[derive(Debug)]
pub(crate) struct TouchedDisk {
    memory: MemoryDisk,
    /// Paths of files of a segment's size, all their pages touched.
    spare: Mutex<Vec<String>>,
}

impl TouchedDisk {
    /// A disk with so many segments ready.
    pub(crate) fn new(segments: usize) -> io::Result<Self> {
        let memory = MemoryDisk::new();
        let zeros = vec![0; 1 << 20];
        let mut spare = Vec::new();
        for n in 0..segments {
            let path = format!("spare-{n}");
            let file = memory.create(&path, DEFAULT_SEGMENT_SIZE)?;
            for at in (0..DEFAULT_SEGMENT_SIZE).step_by(zeros.len()) {
                file.write_at(&[IoSlice::new(&zeros)], at)?;
            }
            spare.push(path);
        }
        Ok(Self {
            memory,
            spare: Mutex::new(spare),
        })
    }
}

impl LayeredDisk for TouchedDisk {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&self.memory)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = if len == DEFAULT_SEGMENT_SIZE {
            spare.pop()
        } else {
            None
        };
        match found {
            Some(ready) => {
                self.memory.rename(&ready, path)?;
                self.memory.open(path)
            }
            None => self.memory.create(path, len),
        }
    }
}
