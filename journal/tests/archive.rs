//! Segments that were archived and given back: everything above their frames reads on, and their blocks are gone.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use strand_journal::*;

fn sealed(journal: &Journal) -> Vec<u64> {
    let infos = journal.segments().into_iter();
    infos
        .filter(|info| info.state == SegmentState::Sealed)
        .map(|info| info.number)
        .collect()
}

fn give_back_all(journal: &Journal) -> Vec<u64> {
    let sealed = sealed(journal);
    for &segment in &sealed {
        journal.archive(segment).unwrap();
        assert_eq!(journal.release(segment).unwrap(), SEGMENT);
    }
    sealed
}

/// Everything that a frame's core says.
fn cores(
    frames: impl Iterator<Item = Result<Frame, Error>>,
) -> Vec<(u64, u32, ChainHash, Vec<u8>)> {
    frames
        .map(|frame| {
            let frame = frame.unwrap();
            (
                frame.segment,
                frame.block,
                frame.chain,
                frame.core().to_vec(),
            )
        })
        .collect()
}

fn forward(journal: &Journal) -> Vec<(u64, u32, ChainHash, Vec<u8>)> {
    let reader = journal.reader();
    cores(reader.frames(reader.origin()))
}

fn scripted(disk: &FaultyDisk) -> (Journal, History) {
    let mut history = History::default();
    let journal = run(disk, SCRIPT, &mut history).unwrap();
    let last = Ticket(history.records.len() as u64);
    history.commit(&journal, last).unwrap();
    (journal, history)
}

#[test]
fn a_released_segment_reads_the_same_forward_backward_and_at_a_place() {
    let disk = FaultyDisk::new(1);
    let (journal, _) = scripted(&disk);
    let reader = journal.reader();
    let before = forward(&journal);
    let places: Vec<Start> = {
        let mut frames = reader.frames(reader.origin());
        let mut places = vec![frames.position()];
        while frames.next().is_some() {
            places.push(frames.position());
        }
        places
    };
    let released = give_back_all(&journal);
    assert!(released.len() > 4, "{released:?}");
    assert_eq!(forward(&journal), before);
    let mut back = cores(reader.frames_back());
    back.reverse();
    assert_eq!(back, before);
    for place in &places {
        assert!(reader.holds(place).unwrap(), "{place:?}");
        let elsewhere = Start {
            number: place.number + 1,
            ..*place
        };
        assert!(!reader.holds(&elsewhere).unwrap());
    }
    for (segment, block, _, core) in &before {
        let frame = reader.frame_at(*segment, *block).unwrap();
        assert_eq!(frame.core(), core);
        assert_eq!(frame.archived, released.contains(segment));
        assert!(frame.root_matches());
        if frame.end_block() > block + 1 {
            reader.frame_at(*segment, block + 1).unwrap_err();
        }
    }
    drop(journal);
    // Recovery from the origin, and from every place in between.
    for access in [Access::ReadOnly, Access::ReadWrite] {
        for start in places.iter().map(Some).chain([None]) {
            let mut seen = 0;
            let options = OpenOptions {
                access: Access::ReadOnly,
                start: start.copied(),
                known_flushed: start.map_or(0, |start| start.number - 1),
                ..OpenOptions::default()
            };
            let (journal, recovery) = Journal::open(Arc::new(disk.clone()), options, &mut |_| {
                seen += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!((recovery.damage, recovery.torn), (None, None));
            assert_eq!(forward(&journal)[..before.len()], before);
        }
        let (journal, recovery) = reopen(&disk, access).unwrap();
        assert_eq!(recovery.last, before_last(&journal));
        assert!(journal.reader().stray_blocks().unwrap().is_empty());
    }
}

fn before_last(journal: &Journal) -> u64 {
    journal.head().number
}

#[test]
fn a_reader_beside_the_writer_finds_archives_where_segments_were() {
    let disk = FaultyDisk::new(1);
    let (journal, mut history) = scripted(&disk);
    let before = forward(&journal);
    let mut seen = Vec::new();
    let beside = Journal::open_beside(
        Arc::new(disk.clone()),
        None,
        &journal.durable(),
        &mut |_| Ok(()),
    )
    .unwrap();
    let released = give_back_all(&journal);
    // It has looked before: the files that it holds open read on, the frames of the others come from their archives.
    assert_eq!(forward(&beside), before);
    let ticket = history.place(&journal, &[(10, 2)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    beside.follow(&journal.durable(), &mut |_| Ok(())).unwrap();
    assert_eq!(forward(&beside), forward(&journal));
    let again = Journal::open_beside(
        Arc::new(disk.clone()),
        None,
        &journal.durable(),
        &mut |frame| {
            seen.push(frame.archived);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(forward(&again), forward(&journal));
    let archived = before.iter().filter(|frame| released.contains(&frame.0));
    assert_eq!(
        seen.iter().filter(|&&archived| archived).count(),
        archived.count()
    );
}

#[test]
fn blocks_of_a_released_segment_are_gone_and_the_others_are_not() {
    let disk = FaultyDisk::new(1);
    drop(scripted(&disk));
    // Nothing of it is in memory any more.
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    let reader = journal.reader();
    let frames: Vec<Frame> = reader.frames(reader.origin()).map(Result::unwrap).collect();
    let released = give_back_all(&journal);
    let mut gone = 0;
    let mut buf = [0; BLOCK_SIZE];
    for frame in frames.iter().filter(|frame| frame.payload_blocks > 0) {
        let mut payload = vec![0; frame.payload_blocks as usize * BLOCK_SIZE];
        let read = [
            journal.read_block(frame.payload_addr(), &mut buf),
            journal.read_blocks(frame.payload_addr(), &mut payload),
            reader.read_payload(frame, &mut payload),
            reader
                .check_payload(frame)
                .map(|bad| assert!(bad.is_empty())),
        ];
        for read in read {
            if released.contains(&frame.segment) {
                let error = read.unwrap_err();
                assert!(matches!(error, Error::Gone { segment } if segment == frame.segment));
                assert_eq!(error.kind(), Kind::Gone);
                gone += 1;
            } else {
                read.unwrap();
            }
        }
        if released.contains(&frame.segment) {
            let archived = reader.frame_at(frame.segment, frame.block).unwrap();
            assert!(archived.leaves().is_empty());
            assert_eq!(
                reader.check_payload(&archived).unwrap_err().kind(),
                Kind::Gone
            );
        }
    }
    assert!(gone > 20, "{gone}");
}

#[test]
fn only_sealed_segments_are_archived_and_only_archived_ones_released() {
    let disk = FaultyDisk::new(1);
    let (journal, _) = scripted(&disk);
    let head = journal.head().segment;
    for segment in [0, head, head + 1, u64::MAX] {
        assert_eq!(journal.archive(segment).unwrap_err().kind(), Kind::Misuse);
        assert_eq!(journal.release(segment).unwrap_err().kind(), Kind::Misuse);
    }
    assert_eq!(journal.release(1).unwrap_err().kind(), Kind::Misuse);
    let first = journal.archive(1).unwrap();
    let calls = disk.calls();
    assert_eq!(journal.archive(1).unwrap(), first, "again");
    assert_eq!(disk.calls(), calls, "nothing is written twice");
    assert_eq!(journal.release(1).unwrap(), SEGMENT);
    assert_eq!(journal.release(1).unwrap(), 0);
    assert_eq!(journal.archive(1).unwrap(), first);
    let infos = journal.segments();
    assert_eq!(infos[0].state, SegmentState::Archived);
    assert_eq!(
        (infos[0].file_bytes, infos[0].archive_bytes),
        (0, first.bytes)
    );
    assert_eq!(infos[1].state, SegmentState::Sealed);
    assert_eq!(infos.last().unwrap().state, SegmentState::Head);
    assert_eq!(infos.last().unwrap().number, head);
    drop(journal);
    let (journal, _) = reopen(&disk, Access::ReadOnly).unwrap();
    assert_eq!(journal.archive(2).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(journal.release(1).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(journal.segments()[0], infos[0]);
}

/// What [`a_one_block_write_takes_at_most_twelve_bytes`] measured is printed with `--nocapture`.
#[test]
fn a_one_block_write_takes_at_most_twelve_bytes() {
    let disk = MemoryDisk::new();
    let options = CreateOptions {
        segment_size: 16 << 20,
        ..options()
    };
    let journal = Journal::create(Arc::new(disk), options).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut time = 1_800_000_000_000_000_000u64;
    let mut writes = 0;
    while journal.head().segment < 3 {
        let mut ticket = Ticket(0);
        for _ in 0..64 {
            time += 2_000 + next(20_000);
            // As an event has it: actor, kind, volume, file, one of 2^18 blocks, no new size.
            let block = next(1 << 18);
            let varint = [
                block as u8 | 0x80,
                (block >> 7) as u8 | 0x80,
                (block >> 14) as u8,
            ];
            let bytes = [&[3, 24, 1, 0xb7, 0x02][..], &varint, &[0]].concat();
            let payload = Block::from_slice(&next(u64::MAX).to_le_bytes());
            let record = Record {
                time,
                bytes: &bytes,
                blocks: &[payload],
            };
            ticket = journal.place(&[record]).unwrap().ticket;
            writes += 1;
        }
        time += 200_000 + next(100_000);
        journal.commit(ticket).unwrap();
    }
    let before = forward(&journal);
    let archived = journal.archive(1).unwrap();
    journal.release(1).unwrap();
    assert_eq!(forward(&journal), before);
    let each = archived.bytes as f64 / archived.events as f64;
    println!("{each:.2} bytes for each of {} writes", archived.events);
    assert!(writes > archived.events && archived.events > 3900);
    assert!(each <= 12.0, "{each}");
}

#[test]
fn chunks_of_a_large_archive_are_read_one_by_one() {
    let disk = MemoryDisk::new();
    let options = CreateOptions {
        segment_size: 8 << 20,
        ..options()
    };
    let journal = Journal::create(Arc::new(disk), options).unwrap();
    let mut time = 0;
    while journal.head().segment < 3 {
        // Records of many lengths, the longest alone in a frame of many header blocks.
        let long: Vec<u8> = (0..60_000u32).map(|i| (i * i / 7) as u8).collect();
        for len in [0, 1, 5, 31, 32, 33, 200, 60_000] {
            time += 1 + u64::from(time % 3 == 0) * (1 << 40);
            let blocks = vec![Block::from_slice(&[len as u8]); len % 3];
            let record = Record {
                time,
                bytes: &long[..len],
                blocks: &blocks,
            };
            let ticket = journal.place(&[record]).unwrap().ticket;
            if len % 2 == 0 {
                journal.commit(ticket).unwrap();
            }
        }
    }
    journal.seal().unwrap();
    let before = forward(&journal);
    let archived = journal.archive(1).unwrap();
    journal.release(1).unwrap();
    assert!(archived.bytes < 1 << 20, "{}", archived.bytes);
    assert_eq!(forward(&journal), before);
    let mut back = cores(journal.reader().frames_back());
    back.reverse();
    assert_eq!(back, before);
}

#[test]
fn archives_and_other_files_count_against_the_capacity() {
    let disk = FaultyDisk::new(1);
    let options = CreateOptions {
        capacity: Some(4 * SEGMENT),
        ..options()
    };
    let journal = Journal::create(Arc::new(disk.clone()), options).unwrap();
    let mut history = History::default();
    let fill = |history: &mut History| loop {
        match history.place(&journal, &[(10, 14)]) {
            Ok(ticket) => history.commit(&journal, ticket).unwrap(),
            Err(error) => break assert_eq!(error.kind(), Kind::NoSpace),
        }
    };
    fill(&mut history);
    assert_eq!(
        (journal.space().segments, journal.space().free_blocks),
        (4, 1)
    );
    journal.archive(1).unwrap();
    journal.release(1).unwrap();
    // The archive takes a few hundred bytes of the segment that came free.
    let space = journal.space();
    assert_eq!((space.segments, space.archived_segments), (3, 1));
    assert!(space.archive_bytes > 200 && space.archive_bytes < 1000);
    assert_eq!(space.free_blocks, 1);
    fill(&mut history);
    assert_eq!(journal.space().segments, 3);
    journal.archive(2).unwrap();
    journal.release(2).unwrap();
    assert_eq!(journal.space().free_blocks, 1 + 16);
    journal.set_other_bytes(SEGMENT);
    assert_eq!(journal.space().free_blocks, 1);
    journal.set_other_bytes(4096);
    fill(&mut history);
    assert_eq!(journal.space().segments, 3);
    drop(journal);
    check_numbers(&disk, &history);
}

/// Opens the store and compares the records, whose blocks may be gone.
fn check_numbers(disk: &FaultyDisk, history: &History) {
    let mut seen = Vec::new();
    Journal::open(
        Arc::new(disk.clone()),
        OpenOptions::default(),
        &mut |frame| {
            seen.extend(frame.entries().flatten().map(|entry| entry.bytes.to_vec()));
            Ok(())
        },
    )
    .unwrap();
    let expected: Vec<Vec<u8>> = history
        .records
        .iter()
        .map(|(bytes, _)| bytes.clone())
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_reserve_is_left_to_what_gives_space_back() {
    let disk = FaultyDisk::new(1);
    let options = CreateOptions {
        capacity: Some(5 * SEGMENT),
        ..options()
    };
    let journal = Journal::create(Arc::new(disk.clone()), options).unwrap();
    // What other files may come to take is left as well.
    journal.set_reserve(2, 1);
    assert_eq!(journal.space().free_blocks, 15 + 16);
    journal.set_reserve(2, 0);
    assert_eq!(journal.space().free_blocks, 15 + 32);
    let block = vec![Block::from_slice(b"x"); 14];
    let mut time = 0;
    let mut record = || {
        time += 1;
        Record {
            time,
            bytes: b"reserve",
            blocks: &block,
        }
    };
    for segment in [1, 2, 3] {
        journal.place(&[record()]).unwrap();
        assert_eq!(journal.head().segment, segment);
    }
    assert_eq!(
        journal.place(&[record()]).unwrap_err().kind(),
        Kind::NoSpace
    );
    assert_eq!(journal.space().free_blocks, 1);
    for segment in [4, 5] {
        journal.place_from_reserve(&[record()]).unwrap();
        assert_eq!(journal.head().segment, segment);
        assert_eq!(
            journal.place(&[record()]).unwrap_err().kind(),
            Kind::NoSpace
        );
    }
    assert_eq!(
        journal.place_from_reserve(&[record()]).unwrap_err().kind(),
        Kind::NoSpace
    );
    journal.seal().unwrap();
    for segment in [1, 2, 3, 4] {
        journal.archive(segment).unwrap();
        journal.release(segment).unwrap();
        // Archives take a part of a segment, too.
        let refused = journal.place(&[record()]).is_err();
        assert_eq!(refused, segment < 4, "{segment}: {:?}", journal.space());
    }
    assert_eq!(journal.head().segment, 6);
}

#[test]
fn who_reads_and_who_writes_does_so_while_segments_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path().join("store")).unwrap());
    let journal = Journal::create(disk, options()).unwrap();
    let done = AtomicBool::new(false);
    let mut history = History::default();
    let counts = std::thread::scope(|scope| {
        // Frames in both directions, payload or the word that it is gone; never anything else.
        let read = || {
            let reader = journal.reader();
            let (mut gone, mut read) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let forward: Vec<Frame> =
                    reader.frames(reader.origin()).map(Result::unwrap).collect();
                let mut number = 1;
                for frame in &forward {
                    assert_eq!(frame.first, number);
                    number = frame.next_number();
                    match reader.check_payload(frame) {
                        Ok(bad) => read += usize::from(bad.is_empty()),
                        Err(Error::Gone { segment }) => {
                            gone += usize::from(segment == frame.segment)
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                let back = reader.frames_back().map(Result::unwrap).count();
                assert!(back >= forward.len());
            }
            (gone, read)
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for i in 0..150 {
            let ticket = history
                .place(&journal, &[(20, 1 + i % 5), (30, 0)])
                .unwrap();
            history.commit(&journal, ticket).unwrap();
            // The newest sealed segment: readers are there.
            if let Some(segment) = sealed(&journal).pop() {
                journal.archive(segment).unwrap();
                journal.release(segment).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    for (gone, read) in counts {
        assert!(gone > 0 && read > 0, "{gone} {read}");
    }
    let space = journal.space();
    assert_eq!(
        (space.segments, space.archived_segments),
        (1, journal.head().segment - 1)
    );
    let archives = journal
        .segments()
        .into_iter()
        .map(|info| info.archive_bytes);
    assert_eq!(space.archive_bytes, archives.sum::<u64>());
}
