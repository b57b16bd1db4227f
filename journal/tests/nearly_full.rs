//! A disk that has little left: what is made ahead all the same, and what is not.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use strand_journal::disk::LayeredDisk;
use strand_journal::*;

/// Files with so much room as somebody else leaves.
#[derive(Debug)]
struct Shared(FileDisk, Arc<AtomicU64>);

impl LayeredDisk for Shared {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&self.0)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.1.load(Ordering::Relaxed))
    }
}

fn spares(journal: &Journal) -> usize {
    let infos = journal.segments();
    let spare = |info: &&SegmentInfo| info.state == SegmentState::Spare;
    infos.iter().filter(spare).count()
}

/// Removals and rollbacks on a disk that others fill to the last block have at least the next segment.
#[test]
fn the_next_segment_is_made_ahead_however_little_is_left_and_no_other() {
    const SEGMENT: u64 = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    let left = Arc::new(AtomicU64::new(3 * SEGMENT));
    let files = FileDisk::create(dir.path().join("store")).unwrap();
    let disk = Arc::new(Shared(files, Arc::clone(&left)));
    let options = CreateOptions {
        segment_size: SEGMENT,
        ..options()
    };
    let journal = Journal::create(disk, options).unwrap();
    let large = vec![Block::from_slice(b"large"); 200];
    let record = Record {
        time: 1,
        bytes: b"large",
        blocks: &large,
    };
    let ticket = journal.place(&[record]).unwrap().ticket;
    journal.commit(ticket).unwrap();
    let begun = Instant::now();
    while spares(&journal) == 0 && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(spares(&journal), 1);
    // Somebody takes the rest; what was made is still there.
    left.store(0, Ordering::Relaxed);
    let blocks = &large[..100];
    for time in 2..6 {
        let record = Record {
            time,
            bytes: b"more",
            blocks,
        };
        let ticket = journal.place(&[record]).unwrap().ticket;
        journal.commit(ticket).unwrap();
    }
    assert_eq!(journal.head().segment, 2);
    journal.close().unwrap();
}

/// What archives and state files come to take is kept from ordinary work; the segment that is kept beside it is there still when they have taken it.
#[test]
fn the_reserve_is_there_also_when_other_files_have_taken_what_was_set_aside_for_them() {
    const SEGMENT: u64 = 64 << 10;
    let options = CreateOptions {
        segment_size: SEGMENT,
        capacity: Some(4 * SEGMENT),
        ..options()
    };
    let journal = Journal::create(Arc::new(MemoryDisk::new()), options).unwrap();
    journal.set_reserve(1, SEGMENT);
    let before = journal.space();
    let per_segment = SEGMENT / BLOCK_SIZE as u64;
    assert_eq!(
        before.blocks_with_reserve,
        before.free_blocks + 2 * per_segment
    );
    journal.set_other_bytes(2 * SEGMENT);
    let space = journal.space();
    assert!(space.free_blocks < per_segment, "{space:?}");
    assert_eq!(space.blocks_with_reserve, space.free_blocks + per_segment);
    let block = [Block::from_slice(b"block")];
    let record = |time| Record {
        time,
        bytes: b"event",
        blocks: &block,
    };
    let mut time = 1;
    while let Ok(placed) = journal.place(&[record(time)]) {
        journal.commit(placed.ticket).unwrap();
        time += 1;
    }
    assert_eq!(journal.head().segment, 1);
    let ticket = journal.place_from_reserve(&[record(time)]).unwrap().ticket;
    journal.commit(ticket).unwrap();
    assert_eq!(journal.head().segment, 2);
}
