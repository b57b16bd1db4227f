//! Many writers: they share flushes, each finds what it wrote, and nobody waits for ever.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use strand_journal::disk::{LayeredDisk, LayeredFile};
use strand_journal::*;

/// Wraps a disk whose next write panics.
#[derive(Debug)]
struct Panicking(MemoryDisk, Arc<AtomicBool>);

#[derive(Debug)]
struct PanickingFile(Arc<dyn DiskFile>, Arc<AtomicBool>);

impl LayeredDisk for Panicking {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&self.0)
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(PanickingFile(file, Arc::clone(&self.1)))
    }
}

impl LayeredFile for PanickingFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        Ok(&*self.0)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        assert!(!self.1.load(Ordering::Relaxed), "a disk that panics");
        self.0.write_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        self.0.sync_data()
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
