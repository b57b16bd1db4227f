//! What was placed is read back: in the open journal, after closing, after reopening, forward and backward.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

use std::sync::Arc;

use proptest::prelude::*;
use strand_journal::*;

fn open(disk: &MemoryDisk, access: Access) -> (Journal, Recovery, Vec<(u64, Vec<u8>)>) {
    let mut seen = Vec::new();
    let options = OpenOptions {
        access,
        ..OpenOptions::default()
    };
    let (journal, recovery) = Journal::open(Arc::new(disk.clone()), options, &mut |frame| {
        for entry in frame.entries() {
            let entry = entry?;
            seen.push((entry.number, entry.bytes.to_vec()));
        }
        Ok(())
    })
    .unwrap();
    (journal, recovery, seen)
}

#[test]
fn records_and_payload_survive_a_close_and_an_open() {
    let disk = MemoryDisk::new();
    let options = CreateOptions {
        segment_size: 64 << 10,
        store: StoreId([9; 16]),
        capacity: None,
    };
    let journal = Journal::create(Arc::new(disk.clone()), options).unwrap();
    let mut placed = Vec::new();
    for i in 1..=100u64 {
        let blocks: Vec<Block> = (0..i % 5)
            .map(|b| Block::from_slice(&[i as u8, b as u8]))
            .collect();
        let bytes = vec![i as u8; (i as usize * 37) % 500];
        let record = Record {
            time: i * 10,
            bytes: &bytes,
            blocks: &blocks,
        };
        let placement = journal.place(&[record]).unwrap();
        assert_eq!(placement.first, i);
        placed.push((placement.addrs[0], blocks.clone()));
        if i % 3 == 0 {
            journal.commit(placement.ticket).unwrap();
            assert!(journal.flushed() >= i);
        }
    }
    let check = |journal: &Journal| {
        let mut buf = [0u8; BLOCK_SIZE];
        for (addr, blocks) in &placed {
            for (i, block) in blocks.iter().enumerate() {
                journal.read_block(addr.plus(i as u64), &mut buf).unwrap();
                assert_eq!(&buf, block.bytes());
            }
        }
    };
    check(&journal);
    journal.close().unwrap();
    check(&journal);
    drop(journal);
    for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadWrite] {
        let (journal, recovery, seen) = open(&disk, access);
        assert_eq!(recovery.last, 100);
        assert!(recovery.torn.is_none() && recovery.damage.is_none());
        assert!(recovery.clean);
        assert_eq!(seen.len(), 100);
        for (i, (number, bytes)) in seen.iter().enumerate() {
            let n = i as u64 + 1;
            assert_eq!((*number, bytes.len()), (n, (n as usize * 37) % 500));
        }
        check(&journal);
        let reader = journal.reader();
        let forward: Vec<Frame> = reader.frames(reader.origin()).map(Result::unwrap).collect();
        let mut backward: Vec<Frame> = reader.frames_back().map(Result::unwrap).collect();
        backward.reverse();
        assert_eq!(forward.len(), backward.len());
        for (a, b) in forward.iter().zip(&backward) {
            assert_eq!((a.chain, a.block), (b.chain, b.block));
            assert!(reader.check_payload(a).unwrap().is_empty());
        }
        journal.close().unwrap();
    }
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Place(Vec<(usize, usize)>),
    Commit,
    Seal,
    Reopen { close: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let record = (
        prop_oneof![0usize..200, 3000usize..5000],
        prop_oneof![3 => 0usize..4, 1 => 0usize..15],
    );
    prop_oneof![
        6 => prop::collection::vec(record, 1..6).prop_map(Step::Place),
        3 => Just(Step::Commit),
        1 => Just(Step::Seal),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

fn contents(number: u64, bytes: usize, blocks: usize) -> (Vec<u8>, Vec<Block>) {
    let seed = number.to_le_bytes();
    let payload = (0..blocks)
        .map(|i| Block::from_slice(&[&seed[..], &[i as u8; 9]].concat()))
        .collect();
    (seed.iter().copied().cycle().take(bytes).collect(), payload)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is placed, committed, sealed, closed or dropped: records and payload come back, from the beginning and
    /// from every place that was sealed.
    #[test]
    fn any_history_is_read_back(steps in prop::collection::vec(step(), 1..40)) {
        let disk = MemoryDisk::new();
        let options = CreateOptions { segment_size: 64 << 10, store: StoreId([4; 16]), capacity: None };
        let mut journal = Journal::create(Arc::new(disk.clone()), options).unwrap();
        let mut all: Vec<(Vec<u8>, Vec<Block>, BlockAddr)> = Vec::new();
        let mut starts = Vec::new();
        for step in steps {
            match step {
                Step::Place(command) => {
                    let next = all.len() as u64 + 1;
                    let fresh: Vec<_> = command.iter().zip(next..).map(|(&(b, p), n)| contents(n, b, p)).collect();
                    let records: Vec<Record<'_>> = fresh.iter().zip(next..)
                        .map(|((bytes, blocks), n)| Record { time: n * 7, bytes, blocks })
                        .collect();
                    match journal.place(&records) {
                        Ok(placement) => {
                            prop_assert_eq!(placement.first, next);
                            let placed = fresh.into_iter().zip(placement.addrs);
                            all.extend(placed.map(|((bytes, blocks), addr)| (bytes, blocks, addr)));
                        }
                        // A long record with many blocks fits no segment of 16 blocks.
                        Err(error) => prop_assert_eq!(error.kind(), Kind::TooLarge),
                    }
                }
                Step::Commit => journal.commit(Ticket(all.len() as u64)).unwrap(),
                Step::Seal => starts.push(journal.seal().unwrap()),
                Step::Reopen { close } => {
                    if close {
                        journal.close().unwrap();
                    } else {
                        all.truncate(journal.flushed() as usize);
                    }
                    drop(journal);
                    let (opened, recovery, seen) = open(&disk, Access::ReadWrite);
                    prop_assert_eq!((recovery.torn, recovery.clean), (None, close));
                    prop_assert_eq!(seen.len(), all.len());
                    journal = opened;
                }
            }
        }
        journal.close().unwrap();
        drop(journal);
        starts.retain(|start| start.number <= all.len() as u64 + 1);
        for start in starts.into_iter().map(Some).chain([None]) {
            let mut next = start.map_or(1, |start| start.number);
            let options = OpenOptions { start, ..OpenOptions::default() };
            let (journal, recovery) = Journal::open(Arc::new(disk.clone()), options, &mut |frame| {
                for entry in frame.entries() {
                    let entry = entry?;
                    let (bytes, blocks, addr) = &all[entry.number as usize - 1];
                    assert_eq!((entry.number, entry.time, entry.bytes), (next, next * 7, &bytes[..]));
                    assert_eq!(entry.first, *addr);
                    assert!(entry.crcs.iter().eq(blocks.iter().map(Block::crc)));
                    next += 1;
                }
                Ok(())
            }).unwrap();
            prop_assert_eq!(next, all.len() as u64 + 1);
            prop_assert!(recovery.clean);
            let mut buf = [0u8; BLOCK_SIZE];
            for (_, blocks, addr) in &all {
                for (i, block) in blocks.iter().enumerate() {
                    journal.read_block(addr.plus(i as u64), &mut buf).unwrap();
                    prop_assert!(&buf == block.bytes());
                }
            }
            let reader = journal.reader();
            prop_assert!(reader.stray_blocks().unwrap().is_empty());
            let back: Vec<_> = reader.frames_back().map(|frame| frame.unwrap().chain).collect();
            let forward: Vec<_> = reader.frames(reader.origin()).map(|frame| frame.unwrap().chain).collect();
            prop_assert!(back.iter().rev().eq(&forward));
        }
    }
}
