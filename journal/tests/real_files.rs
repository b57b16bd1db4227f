//! A journal in real files: segments made ahead, direct writes, what is still in memory.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use strand_journal::*;

fn open(disk: &Arc<dyn Disk>, access: Access) -> (Journal, Recovery) {
    let options = OpenOptions {
        access,
        ..OpenOptions::default()
    };
    Journal::open(Arc::clone(disk), options, &mut |_| Ok(())).unwrap()
}

#[test]
fn real_files_hold_a_journal_with_prepared_segments() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(&root).unwrap());
    let options = CreateOptions {
        segment_size: 2 << 20,
        ..options()
    };
    let journal = Journal::create(Arc::clone(&disk), options).unwrap();
    let block = [Block::from_slice(&[7; 4096])];
    let mut addrs = Vec::new();
    for i in 1..=700u64 {
        let placement = journal
            .place(&[Record {
                time: i,
                bytes: b"real",
                blocks: &block,
            }])
            .unwrap();
        journal.commit(placement.ticket).unwrap();
        addrs.push(placement.addrs[0]);
    }
    let mut buf = [0; BLOCK_SIZE];
    for addr in &addrs {
        journal.read_block(*addr, &mut buf).unwrap();
        assert_eq!(buf, [7; 4096]);
    }
    let blocked =
        Journal::open(Arc::clone(&disk), OpenOptions::default(), &mut |_| Ok(())).unwrap_err();
    let Error::Locked { holder } = blocked else {
        panic!("{blocked}")
    };
    assert_eq!(holder.pid, Some(std::process::id()));
    // No close: as after a kill.
    drop(journal);
    let (journal, recovery) = open(&disk, Access::ReadWrite);
    assert_eq!(
        (recovery.last, recovery.torn, recovery.damage),
        (700, None, None)
    );
    let reader = journal.reader();
    assert_eq!(
        reader
            .frames_back()
            .filter(|frame| frame.as_ref().unwrap().count > 0)
            .count(),
        700
    );
    assert!(reader.stray_blocks().unwrap().is_empty());
    journal.close().unwrap();
    drop(journal);
    let (_, recovery) = open(&disk, Access::ReadOnly);
    assert!(recovery.clean);
}

#[test]
fn what_was_just_written_is_read_from_memory_and_the_rest_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(&root).unwrap());
    let options = CreateOptions {
        segment_size: 8 << 20,
        ..options()
    };
    let journal = Journal::create(Arc::clone(&disk), options).unwrap();
    let many = vec![Block::from_slice(b"many"); 100];
    let mut expected = Vec::new();
    for i in 1..=500u64 {
        let three: Vec<Block> = (0..3)
            .map(|part| Block::from_slice(&(3 * i + part).to_le_bytes()))
            .collect();
        // Large groups, which are not kept, lie between.
        let blocks = if i % 250 == 0 { &many } else { &three };
        let placement = journal
            .place(&[Record {
                time: i,
                bytes: b"three",
                blocks,
            }])
            .unwrap();
        journal.commit(placement.ticket).unwrap();
        expected.push((placement.addrs[0], blocks.clone()));
    }
    for (addr, blocks) in &expected {
        let mut found = vec![0; blocks.len() * BLOCK_SIZE];
        journal.read_blocks(*addr, &mut found).unwrap();
        for (found, block) in found.chunks_exact(BLOCK_SIZE).zip(blocks) {
            assert!(found == block.bytes(), "{addr}");
        }
    }
    // Runs that begin and end anywhere, headers included, are what the file holds.
    let head = journal.head();
    assert_eq!(head.segment, 2);
    let per_segment = u64::from(journal.blocks_per_segment());
    for segment in 1..=2u64 {
        let file = std::fs::read(root.join(format!("journal/{segment:020}.seg"))).unwrap();
        let end = if segment == 2 {
            u64::from(head.block)
        } else {
            per_segment
        };
        for from in (0..end - 40).step_by(7) {
            let mut found = vec![0; 40 * BLOCK_SIZE];
            journal
                .read_blocks(BlockAddr(segment * per_segment + from), &mut found)
                .unwrap();
            let at = from as usize * BLOCK_SIZE;
            assert!(
                found == file[at..at + found.len()],
                "segment {segment}, block {from}"
            );
        }
    }
}

/// Waits for what a thread does by itself.
fn soon(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn spares(journal: &Journal) -> usize {
    let infos = journal.segments().into_iter();
    infos
        .filter(|info| info.state == SegmentState::Spare)
        .count()
}

fn journal_of(segment_size: u64, dir: &tempfile::TempDir) -> Journal {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path().join("store")).unwrap());
    let options = CreateOptions {
        segment_size,
        ..options()
    };
    Journal::create(disk, options).unwrap()
}

#[test]
fn segments_are_ready_before_large_writes_need_them_and_hold_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_of(2 << 20, &dir);
    let large = vec![Block::from_slice(b"large"); 200];
    for time in 1..=20 {
        let record = Record {
            time,
            bytes: b"large",
            blocks: &large,
        };
        let ticket = journal.place(&[record]).unwrap().ticket;
        journal.commit(ticket).unwrap();
        assert!(soon(|| spares(&journal) == 3), "{:?}", journal.segments());
    }
    assert_eq!(journal.zeros_written(), 0);
    journal.close().unwrap();
    assert_eq!(spares(&journal), 1, "the others are given back");
}

#[test]
fn small_commits_find_the_next_segment_filled_with_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_of(2 << 20, &dir);
    let small = [Block::from_slice(b"small")];
    // A little more than half of the segment.
    for time in 1..=130 {
        let record = Record {
            time,
            bytes: b"small",
            blocks: &small,
        };
        let ticket = journal.place(&[record]).unwrap().ticket;
        journal.commit(ticket).unwrap();
    }
    assert!(
        soon(|| journal.zeros_written() >= 1 << 20),
        "{}",
        journal.zeros_written()
    );
    assert_eq!(spares(&journal), 1);
    journal.close().unwrap();
    drop(journal);
    // A segment that was made ahead is still good after an opening.
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(dir.path().join("store")).unwrap());
    let (journal, recovery) = open(&disk, Access::ReadWrite);
    assert!(recovery.clean);
    assert_eq!(spares(&journal), 1);
}

/// However small commits and large ones take turns, no zero falls on a frame.
#[test]
fn zeros_are_written_ahead_of_small_commits_and_on_nothing_that_was_placed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal_of(4 << 20, &dir);
    let content =
        |time: u64| Block::from_slice(&[[time as u8 | 1; 8], time.to_le_bytes()].concat());
    let mut dice = 88_172_645_463_325_252_u64;
    let mut places = Vec::new();
    for time in 1..=2500 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        // A large one now and then, and a few times many of them.
        let large = dice.is_multiple_of(40) || time % 1000 > 980;
        let blocks = vec![
            content(time);
            if large {
                200
            } else {
                1 + (dice >> 32) as usize % 3
            }
        ];
        let record = Record {
            time,
            bytes: b"some",
            blocks: &blocks,
        };
        let placement = journal.place(&[record]).unwrap();
        places.push((placement.addrs[0], blocks.len() as u64));
        if !dice.is_multiple_of(3) {
            journal.commit(placement.ticket).unwrap();
        }
    }
    assert!(
        journal.zeros_written() > 8 << 20,
        "{}",
        journal.zeros_written()
    );
    journal.close().unwrap();
    drop(journal);
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(dir.path().join("store")).unwrap());
    let (journal, recovery) = open(&disk, Access::ReadOnly);
    assert!(recovery.clean);
    assert!(journal.reader().stray_blocks().unwrap().is_empty());
    let mut bytes = [0; BLOCK_SIZE];
    for (time, (first, count)) in (1..).zip(places) {
        let expected = content(time);
        for i in 0..count {
            journal.read_block(first.plus(i), &mut bytes).unwrap();
            assert_eq!(&bytes, expected.bytes(), "number {time}, block {i}");
        }
    }
}

#[test]
fn segments_made_ahead_leave_the_reserve_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path().join("store")).unwrap());
    let options = CreateOptions {
        segment_size: 2 << 20,
        capacity: Some(5 * (2 << 20)),
        ..options()
    };
    let journal = Journal::create(disk, options).unwrap();
    journal.set_reserve(2, 0);
    let large = vec![Block::from_slice(b"large"); 250];
    let mut time = 0;
    let refused = loop {
        time += 1;
        let record = Record {
            time,
            bytes: b"large",
            blocks: &large,
        };
        match journal.place(&[record]) {
            Ok(placement) => journal.commit(placement.ticket).unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), Kind::NoSpace);
    // Two frames a segment, but for the first, which begins with the epoch's.
    assert_eq!((journal.head().segment, time), (3, 7));
    journal.close().unwrap();
}
