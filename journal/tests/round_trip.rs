//! What was placed is read back: in the open journal, after closing, after reopening, forward and backward.

use std::sync::Arc;

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
