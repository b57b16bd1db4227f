//! Many writers: they share flushes, each finds what it wrote, and nobody waits for ever.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use strand_journal::disk::{Lock, LockError};
use strand_journal::*;

/// Wraps a disk whose next write panics.
#[derive(Debug)]
struct Panicking(MemoryDisk, Arc<AtomicBool>);

#[derive(Debug)]
struct PanickingFile(Arc<dyn DiskFile>, Arc<AtomicBool>);

impl Disk for Panicking {
    fn create(&self, path: &str, len: u64) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(PanickingFile(
            self.0.create(path, len)?,
            Arc::clone(&self.1),
        )))
    }
    fn open(&self, path: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        self.0.open(path)
    }
    fn open_read(&self, path: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        self.0.open_read(path)
    }
    fn list(&self, dir: &str) -> std::io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn remove(&self, path: &str) -> std::io::Result<()> {
        self.0.remove(path)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn create_dir(&self, path: &str) -> std::io::Result<()> {
        self.0.create_dir(path)
    }
    fn sync_dir(&self, path: &str) -> std::io::Result<()> {
        self.0.sync_dir(path)
    }
    fn free_bytes(&self) -> std::io::Result<u64> {
        self.0.free_bytes()
    }
    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.0.lock_exclusive(timeout)
    }
    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.0.lock_shared(timeout)
    }
}

impl DiskFile for PanickingFile {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn read_direct(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_direct(buf, offset)
    }
    fn write_at(&self, parts: &[std::io::IoSlice<'_>], offset: u64) -> std::io::Result<()> {
        assert!(!self.1.load(Ordering::Relaxed), "a disk that panics");
        self.0.write_at(parts, offset)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        self.0.sync_data()
    }
    fn extend(&self, len: u64) -> std::io::Result<()> {
        self.0.extend(len)
    }
    fn punch(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.0.punch(offset, len)
    }
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let armed = Arc::new(AtomicBool::new(false));
    let disk = Panicking(MemoryDisk::new(), Arc::clone(&armed));
    let options = CreateOptions {
        segment_size: 1 << 20,
        ..options()
    };
    let journal = Journal::create(Arc::new(disk), options).unwrap();
    let clock = std::sync::Mutex::new(0u64);
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let ticket = {
                            let mut time = clock.lock().unwrap();
                            *time += 1;
                            if *time == 200 {
                                armed.store(true, Ordering::Relaxed);
                            }
                            match journal.place(&[Record {
                                time: *time,
                                bytes: b"x",
                                blocks: &[],
                            }]) {
                                Ok(placement) => placement.ticket,
                                Err(error) => return error.kind() == Kind::Poisoned,
                            }
                        };
                        if let Err(error) = journal.commit(ticket) {
                            return error.kind() == Kind::Poisoned;
                        }
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or(true))
            .collect()
    });
    assert_eq!(outcomes, [true; 8]);
    assert_eq!(
        journal.commit(Ticket(journal.placed())).unwrap_err().kind(),
        Kind::Poisoned
    );
}

#[test]
fn many_writers_share_flushes_and_each_finds_its_record() {
    let disk = MemoryDisk::new();
    let slow = Arc::new(SlowDisk::new(
        Arc::new(disk.clone()),
        Duration::from_micros(300),
    ));
    let options = CreateOptions {
        segment_size: 1 << 20,
        ..options()
    };
    let journal = Journal::create(slow, options).unwrap();
    let clock = std::sync::Mutex::new(0u64);
    let per_writer = 100u64;
    let placed: Vec<(u64, u8, BlockAddr)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..12u8)
            .map(|writer| {
                let (journal, clock) = (&journal, &clock);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for _ in 0..per_writer {
                        let block = [Block::from_slice(&[writer; 100])];
                        let placement = {
                            let mut time = clock.lock().unwrap();
                            *time += 1;
                            let record = Record {
                                time: *time,
                                bytes: &[writer],
                                blocks: &block,
                            };
                            journal.place(&[record]).unwrap()
                        };
                        journal.commit(placement.ticket).unwrap();
                        assert!(journal.flushed() >= placement.first);
                        mine.push((placement.first, writer, placement.addrs[0]));
                    }
                    mine
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let frames = journal.reader().frames(journal.reader().origin()).count() as u64;
    assert!(
        frames < 12 * per_writer / 3,
        "{frames} frames: no flush was shared"
    );
    drop(journal);
    let mut seen = vec![None; 12 * per_writer as usize + 1];
    let (journal, _) = Journal::open(Arc::new(disk), OpenOptions::default(), &mut |frame| {
        for entry in frame.entries() {
            let entry = entry?;
            seen[entry.number as usize] = Some((entry.bytes[0], entry.first));
        }
        Ok(())
    })
    .unwrap();
    let mut buf = [0; BLOCK_SIZE];
    for (number, writer, addr) in placed {
        assert_eq!(seen[number as usize], Some((writer, addr)));
        journal.read_block(addr, &mut buf).unwrap();
        assert_eq!(buf[..100], [writer; 100]);
    }
}
