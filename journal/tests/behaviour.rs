//! Placing, committing, refusing, poisoning, opening and closing, beside the crashes.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use strand_journal::*;

fn memory() -> (MemoryDisk, Journal) {
    let disk = MemoryDisk::new();
    let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
    (disk, journal)
}

fn open(disk: &dyn Fn() -> Arc<dyn Disk>, access: Access) -> (Journal, Recovery) {
    Journal::open(
        disk(),
        OpenOptions {
            access,
            ..OpenOptions::default()
        },
        &mut |_| Ok(()),
    )
    .unwrap()
}

#[test]
fn addresses_are_known_before_anything_is_written_and_grow() {
    let (_, journal) = memory();
    let mut history = History::default();
    let mut last = BlockAddr::NONE;
    let mut all = Vec::new();
    for i in 0..60u64 {
        let blocks: Vec<Block> = (0..i % 4)
            .map(|b| Block::from_slice(&[i as u8, b as u8]))
            .collect();
        let record = Record {
            time: i + 1,
            bytes: b"r",
            blocks: &blocks,
        };
        let placement = journal.place(&[record]).unwrap();
        assert!(placement.addrs[0] >= last);
        last = placement.addrs[0].plus(i % 4);
        all.push((placement.addrs[0], blocks));
        history.acked = placement.ticket.0;
    }
    assert_eq!(journal.flushed(), 0);
    let check = || {
        let mut buf = [0; BLOCK_SIZE];
        for (first, blocks) in &all {
            for (i, block) in blocks.iter().enumerate() {
                journal.read_block(first.plus(i as u64), &mut buf).unwrap();
                assert_eq!(&buf, block.bytes());
            }
            let mut run = vec![0; blocks.len() * BLOCK_SIZE];
            journal.read_blocks(*first, &mut run).unwrap();
            assert!(
                run.chunks_exact(BLOCK_SIZE)
                    .zip(blocks)
                    .all(|(a, b)| a == b.bytes())
            );
        }
    };
    check();
    journal.commit(Ticket(60)).unwrap();
    check();
    journal.prefetch(
        &mut all
            .iter()
            .map(|(first, blocks)| (*first, blocks.len() as u32)),
    );
}

#[test]
fn small_commands_share_a_frame_and_a_flush() {
    let disk = FaultyDisk::new(1);
    let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
    let mut history = History::default();
    let before = disk.calls();
    let mut ticket = Ticket(0);
    for _ in 0..10 {
        ticket = history.place(&journal, &[(20, 1)]).unwrap();
    }
    journal.commit(ticket).unwrap();
    assert_eq!(disk.calls() - before, 2, "{:?}", disk.log());
    let frames: Vec<Frame> = journal.reader().frames_back().map(Result::unwrap).collect();
    assert_eq!(
        (
            frames[0].count,
            frames[0].header_blocks,
            frames[0].payload_blocks
        ),
        (10, 1, 10)
    );
    journal.commit(ticket).unwrap();
    assert_eq!(disk.calls() - before, 2);
}

#[test]
fn a_command_beyond_a_frame_is_a_run_and_one_that_fits_is_not() {
    let (disk, journal) = memory();
    let mut history = History::default();
    let ticket = history
        .place(&journal, &[(10, 8), (10, 8), (10, 8), (10, 1)])
        .unwrap();
    let joined = history.place(&journal, &[(10, 1)]).unwrap();
    history.commit(&journal, joined).unwrap();
    assert!(ticket < joined);
    let reader = journal.reader();
    let frames: Vec<Frame> = reader.frames(reader.origin()).map(Result::unwrap).collect();
    let shape: Vec<(u32, bool)> = frames
        .iter()
        .map(|frame| (frame.count, frame.more))
        .collect();
    assert_eq!(shape, [(0, false), (1, true), (1, true), (3, false)]);
    journal.close().unwrap();
    drop(journal);
    let (_, recovery) = open(&|| Arc::new(disk.clone()), Access::ReadOnly);
    assert_eq!(recovery.last, 5);
}

#[test]
fn limits_are_refused_and_change_nothing() {
    let (_, journal) = memory();
    let block = Block::from_slice(b"x");
    let many = vec![block.clone(); 300];
    let long = vec![1u8; MAX_RECORD_BYTES + 1];
    let place = |time, bytes, blocks| {
        journal.place(&[Record {
            time,
            bytes,
            blocks,
        }])
    };
    assert_eq!(place(1, &long, &[]).unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(place(1, b"", &many).unwrap_err().kind(), Kind::TooLarge);
    // Within the general limits, but not within a segment of 16 blocks.
    assert_eq!(
        place(1, &long[..MAX_RECORD_BYTES], &[]).unwrap_err().kind(),
        Kind::TooLarge
    );
    assert_eq!(
        place(1, b"", &many[..16]).unwrap_err().kind(),
        Kind::TooLarge
    );
    assert_eq!(place(0, b"", &[]).unwrap_err().kind(), Kind::Misuse);
    assert_eq!(journal.placed(), 0);
    let fits = max_record_blocks(SEGMENT) as usize;
    let placement = place(5, &long[..1024], &many[..fits]).unwrap();
    assert_eq!(
        place(5, b"", &[]).unwrap_err().kind(),
        Kind::Misuse,
        "time must go forward"
    );
    journal.commit(placement.ticket).unwrap();
    assert_eq!(journal.commit(Ticket(9)).unwrap_err().kind(), Kind::Misuse);
    let mut buf = [0; BLOCK_SIZE];
    for addr in [0, 15, 1 << 40, u64::MAX] {
        assert_eq!(
            journal
                .read_block(BlockAddr(addr), &mut buf)
                .unwrap_err()
                .kind(),
            Kind::Misuse
        );
    }
    let empty = journal.place(&[]).unwrap();
    assert_eq!((empty.ticket.0, empty.addrs.len()), (1, 0));
    journal.commit(empty.ticket).unwrap();
}

#[test]
fn a_failed_flush_poisons_everybody_and_nothing_is_retried() {
    for kind in [CallKind::Write, CallKind::Sync] {
        let disk = FaultyDisk::new(1);
        let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
        let mut history = History::default();
        let ticket = history.place(&journal, &[(10, 1)]).unwrap();
        history.commit(&journal, ticket).unwrap();
        let placed = history.place(&journal, &[(10, 1)]).unwrap();
        let addr = journal.head().next_addr;
        let done = disk.log().iter().filter(|&&other| other == kind).count() as u64;
        disk.fail_nth(kind, done + 1);
        let error = journal.commit(placed).unwrap_err();
        assert_eq!(error.kind(), Kind::Poisoned);
        assert!(error.to_string().contains("the disk failed"), "{error}");
        let calls = disk.calls();
        assert_eq!(journal.commit(placed).unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(
            history.place(&journal, &[(1, 0)]).unwrap_err().kind(),
            Kind::Poisoned
        );
        assert_eq!(journal.seal().unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(journal.close().unwrap_err().kind(), Kind::Poisoned);
        assert_eq!(disk.calls(), calls, "something was tried again");
        // What was durable can be read, what was not is not shown as truth.
        let mut buf = [0; BLOCK_SIZE];
        journal.read_block(BlockAddr(addr.0 - 3), &mut buf).unwrap();
        assert_eq!(&buf, history.records[0].1[0].bytes());
        assert_eq!(
            journal
                .read_block(BlockAddr(addr.0 - 1), &mut buf)
                .unwrap_err()
                .kind(),
            Kind::Poisoned
        );
        assert_eq!(
            journal
                .reader()
                .frames_back()
                .next()
                .unwrap()
                .unwrap()
                .last(),
            1
        );
    }
}

#[test]
fn what_lies_behind_a_cut_never_comes_back() {
    let mut met = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let mut history = History::default();
        let journal = run(&disk, &[], &mut history).unwrap();
        // Three frames written, none flushed: the first is lost, the others arrive.
        disk.fail_nth(
            CallKind::Sync,
            disk.log()
                .iter()
                .filter(|&&kind| kind == CallKind::Sync)
                .count() as u64
                + 1,
        );
        let mut ticket = Ticket(0);
        for _ in 0..3 {
            ticket = history.place(&journal, &[(10, 3)]).unwrap();
            journal.fence();
        }
        journal.commit(ticket).unwrap_err();
        let path = "journal/00000000000000000001.seg";
        let cached = disk.file_bytes(path).unwrap();
        drop(journal);
        let found = disk.crash(seed);
        let mut bytes = cached.clone();
        bytes[BLOCK_SIZE..2 * BLOCK_SIZE].fill(0);
        found.set_file_bytes(path, &bytes);
        // The first recovery crashes before its epoch is flushed, whatever it has written by then.
        for second in 1..12 {
            let disk = found.crash(second);
            disk.crash_at(second);
            let died = reopen(&disk, Access::ReadWrite).is_err();
            let disk = disk.crash(seed * 100 + second);
            let mut history = History {
                created: true,
                ..History::default()
            };
            let (journal, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
            assert_eq!((recovery.last, recovery.damage), (0, None));
            // New frames of the same shape end where the ghosts begin.
            let ticket = history.place(&journal, &[(10, 2)]).unwrap();
            history.commit(&journal, ticket).unwrap();
            let end = journal.head().block as usize;
            drop(journal);
            // Recovery wrote zeros over them; even if it had not, chain and epoch give them away.
            let clean = disk.file_bytes(path).unwrap();
            let ghosts = end * BLOCK_SIZE;
            assert!(clean[ghosts..].iter().all(|&byte| byte == 0));
            let mut haunted = clean.clone();
            haunted[ghosts..].copy_from_slice(&cached[ghosts..]);
            disk.set_file_bytes(path, &haunted);
            let (_, recovery) = reopen(&disk, Access::ReadOnly).unwrap();
            assert_eq!((recovery.last, recovery.damage), (1, None));
            let reason = recovery.torn.unwrap().reason;
            if end == 5 {
                assert_eq!(reason, FrameError::Chain);
                met += 1;
            }
            disk.set_file_bytes(path, &clean);
            check(&disk, &history, &format!("seed {seed}, second {second}"));
            if !died {
                break;
            }
        }
    }
    assert!(met > 20, "{met}");
}

#[test]
fn one_writer_or_many_readers() {
    let (disk, writer) = memory();
    let open = |access| {
        let options = OpenOptions {
            access,
            lock_timeout: Duration::from_millis(5),
            ..OpenOptions::default()
        };
        Journal::open(Arc::new(disk.clone()), options, &mut |_| Ok(())).map(|(journal, _)| journal)
    };
    assert_eq!(open(Access::ReadOnly).unwrap_err().kind(), Kind::Locked);
    assert_eq!(open(Access::ReadWrite).unwrap_err().kind(), Kind::Locked);
    drop(writer);
    let reader = open(Access::ReadOnly).unwrap();
    let second = open(Access::ReadOnly).unwrap();
    assert_eq!(open(Access::ReadWrite).unwrap_err().kind(), Kind::Locked);
    let refused = reader
        .place(&[Record {
            time: 1,
            bytes: b"x",
            blocks: &[],
        }])
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::ReadOnly);
    reader.close().unwrap();
    drop((reader, second));
    let writer = open(Access::ReadWrite).unwrap();
    writer.close().unwrap();
    let refused = writer
        .place(&[Record {
            time: 1,
            bytes: b"x",
            blocks: &[],
        }])
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::ReadOnly);
    writer.close().unwrap();
}

#[test]
fn a_fence_gives_the_place_behind_its_number_even_when_others_place_on() {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let journal = run(&disk, &[], &mut history).unwrap();
    let empty = journal.seal().unwrap();
    assert_eq!(empty.number, 1);
    history.place(&journal, &[(10, 2)]).unwrap();
    let fence = journal.fence();
    let ticket = history.place(&journal, &[(10, 3)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    let start = journal.start_after(fence).unwrap();
    assert_eq!(start.number, fence.0 + 1);
    assert_eq!(journal.position().number, 3);
    assert_eq!(journal.seal().unwrap(), journal.position());
    assert_eq!(
        journal.start_after(Ticket(77)).unwrap_err().kind(),
        Kind::Misuse
    );
    drop(journal);
    for start in [empty, start] {
        let mut numbers = Vec::new();
        let options = OpenOptions {
            start: Some(start),
            known_flushed: start.number - 1,
            ..OpenOptions::default()
        };
        Journal::open(Arc::new(disk.clone()), options, &mut |frame| {
            numbers.extend(frame.entries().flatten().map(|entry| entry.number));
            Ok(())
        })
        .unwrap();
        assert_eq!(numbers, (start.number..=2).collect::<Vec<u64>>());
    }
}

#[test]
fn a_visitor_can_stop_the_opening() {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    drop(run(&disk, SCRIPT, &mut history).unwrap());
    let stopped = Journal::open(
        Arc::new(disk.clone()),
        OpenOptions::default(),
        &mut |frame| {
            if frame.count > 0 {
                Err("enough".into())
            } else {
                Ok(())
            }
        },
    );
    let error = stopped.unwrap_err();
    assert_eq!(error.kind(), Kind::Visit);
    assert!(error.to_string().contains("enough"));
}

#[test]
fn a_store_is_not_made_over_another() {
    let (disk, journal) = memory();
    journal.close().unwrap();
    drop(journal);
    let again = Journal::create(Arc::new(disk.clone()), options()).unwrap_err();
    assert_eq!(again.kind(), Kind::Exists);
    // Records without a STORE are not thrown away either.
    let faulty = FaultyDisk::new(1);
    let mut history = History::default();
    drop(run(&faulty, SCRIPT, &mut history).unwrap());
    faulty.remove("STORE").unwrap();
    assert_eq!(
        Journal::create(Arc::new(faulty), options())
            .unwrap_err()
            .kind(),
        Kind::Exists
    );
    let odd = CreateOptions {
        segment_size: 12345,
        ..options()
    };
    assert_eq!(
        Journal::create(Arc::new(MemoryDisk::new()), odd)
            .unwrap_err()
            .kind(),
        Kind::Misuse
    );
}
