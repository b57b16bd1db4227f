//! Flipped bytes, cut files, forged headers: never a wrong record; found, or cut as an unacknowledged tail.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;

use common::*;
use strand_journal::*;

/// A small journal, closed in good order, over three segments.
fn small(close: bool) -> (FaultyDisk, History) {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let script = [
        Step::Place(&[(30, 1)]),
        Step::Commit,
        Step::Place(&[(3, 0), (200, 2)]),
        Step::Commit,
        Step::Reopen,
        Step::Place(&[(5000, 2)]),
        Step::Commit,
        Step::Place(&[(9, 9), (8, 8)]),
        Step::Commit,
    ];
    let journal = run(&disk, &script, &mut history).unwrap();
    if close {
        journal.close().unwrap();
    }
    (disk, history)
}

/// As small as can be: two commands of few blocks.
fn tiny() -> (FaultyDisk, History) {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let script = [
        Step::Place(&[(30, 1)]),
        Step::Commit,
        Step::Place(&[(3, 0), (200, 1)]),
        Step::Commit,
    ];
    run(&disk, &script, &mut history).unwrap().close().unwrap();
    (disk, history)
}

type Seen = Vec<(u64, Vec<u8>)>;

fn read(disk: &FaultyDisk, known_flushed: u64) -> Result<(Journal, Recovery, Seen), Error> {
    let mut seen = Vec::new();
    let options = OpenOptions {
        known_flushed,
        ..OpenOptions::default()
    };
    let (journal, recovery) = Journal::open(Arc::new(disk.clone()), options, &mut |frame| {
        for entry in frame.entries() {
            let entry = entry?;
            seen.push((entry.number, entry.bytes.to_vec()));
        }
        Ok(())
    })?;
    Ok((journal, recovery, seen))
}

fn is_prefix(seen: &Seen, history: &History) -> bool {
    seen.iter().zip(1..).all(|((number, bytes), expected)| {
        *number == expected && *bytes == history.records[expected as usize - 1].0
    })
}

/// Whether anything at all tells that bytes are not what they were.
fn is_found(journal: &Journal, recovery: &Recovery) -> bool {
    let reader = journal.reader();
    if recovery.damage.is_some() || recovery.torn.is_some() {
        return true;
    }
    let mut bad = false;
    for frame in reader.frames(reader.origin()) {
        bad |= !reader.check_payload(&frame.unwrap()).unwrap().is_empty();
    }
    bad || !reader.stray_blocks().unwrap().is_empty()
}

fn segment_files(disk: &FaultyDisk) -> Vec<String> {
    disk.paths()
        .into_iter()
        .filter(|path| path.ends_with(".seg"))
        .collect()
}

/// Flips one bit in every `step`th byte that is used, and in some that are not.
fn flip_all(disk: &FaultyDisk, history: &History, step: usize) -> (u32, u32) {
    let (mut damaged, mut torn) = (0, 0);
    for path in segment_files(disk) {
        let bytes = disk.file_bytes(&path).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let offsets = (0..=used).step_by(step);
        for at in offsets.chain((used + 1..bytes.len()).step_by(step * 61)) {
            let mask = 1 << (at / step % 8);
            assert!(disk.flip(&path, at as u64, mask));
            let (journal, recovery, seen) = read(disk, 0).unwrap();
            assert!(is_prefix(&seen, history), "{path} {at}");
            assert!(is_found(&journal, &recovery), "{path} {at}");
            if seen.len() < history.records.len() {
                // Everything but the close frame was acknowledged, and the close frame knows.
                assert!(recovery.damage.is_some(), "{path} {at}: {recovery:?}");
                damaged += 1;
            }
            torn += u32::from(recovery.torn.is_some());
            drop(journal);
            disk.flip(&path, at as u64, mask);
        }
    }
    let (journal, recovery, seen) = read(disk, 0).unwrap();
    assert_eq!(seen.len(), history.records.len());
    assert!(recovery.clean && !is_found(&journal, &recovery));
    (damaged, torn)
}

#[test]
fn every_byte_flipped_once_is_found_and_no_wrong_record_is_shown() {
    let (disk, history) = tiny();
    let (damaged, torn) = flip_all(&disk, &history, 1);
    // Two headers, and the close frame.
    assert!(damaged >= 3 * 4096 && torn >= 4096, "{damaged} {torn}");
}

#[test]
fn flips_in_runs_and_behind_segment_ends_are_found_too() {
    let (disk, history) = small(true);
    let (damaged, torn) = flip_all(&disk, &history, 29);
    assert!(damaged > 700 && torn > 100, "{damaged} {torn}");
}

#[test]
fn a_file_cut_at_any_byte_shows_a_prefix_or_damage() {
    let (disk, history) = small(true);
    let files = segment_files(&disk);
    for (i, path) in files.iter().enumerate() {
        let bytes = disk.file_bytes(path).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for cut in (0..used).step_by(23).chain([used - 1, used]) {
            disk.set_file_bytes(path, &bytes[..cut]);
            let (_, recovery, seen) = read(&disk, 0).unwrap();
            assert!(is_prefix(&seen, &history), "{path} {cut}");
            if seen.len() < history.records.len() && i + 1 < files.len() {
                assert!(recovery.damage.is_some(), "{path} {cut}");
            }
        }
        disk.set_file_bytes(path, &bytes);
    }
    let (disk, history) = tiny();
    let path = &segment_files(&disk)[0];
    let bytes = disk.file_bytes(path).unwrap();
    let close = bytes.iter().rposition(|&byte| byte != 0).unwrap() / BLOCK_SIZE * BLOCK_SIZE;
    for cut in 0..=close + BLOCK_SIZE {
        disk.set_file_bytes(path, &bytes[..cut]);
        let (_, recovery, seen) = read(&disk, 0).unwrap();
        assert!(is_prefix(&seen, &history), "{cut}");
        // The last block of payload ends in zeros, which nobody misses.
        let whole = cut >= close - (BLOCK_SIZE - 4000);
        assert_eq!(seen.len() == history.records.len(), whole, "{cut}");
        assert_eq!(recovery.clean, cut == close + BLOCK_SIZE, "{cut}");
        // A state file that knows more makes it damage, but for the last payload, which then is not looked at.
        let (_, recovery, _) = read(&disk, 3).unwrap();
        assert_eq!(recovery.damage.is_some(), cut < close - BLOCK_SIZE, "{cut}");
    }
    // A cut last file can be written again once it is opened: to its full length.
    disk.set_file_bytes(path, &bytes[..2 * BLOCK_SIZE]);
    let (journal, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
    assert_eq!(recovery.torn.unwrap().reason, FrameError::Payload);
    journal.close().unwrap();
    assert_eq!(disk.file_bytes(path).unwrap().len() as u64, SEGMENT);
}

#[test]
fn a_missing_segment_is_damage() {
    for missing in 1..3 {
        let (disk, history) = small(true);
        disk.remove(&segment_files(&disk)[missing - 1]).unwrap();
        let (_, recovery, seen) = read(&disk, 0).unwrap();
        assert!(is_prefix(&seen, &history));
        let damage = recovery.damage.unwrap();
        assert_eq!(damage.first_number, seen.len() as u64 + 1);
        assert_eq!(damage.last_number, history.records.len() as u64);
        assert!(matches!(
            reopen(&disk, Access::ReadWrite),
            Err(Error::Damaged(_))
        ));
    }
}

#[test]
fn damage_names_its_place_and_forbids_writing_and_a_torn_tail_does_not() {
    // The same frame is bad; only what is known to have been flushed differs.
    let (disk, history) = small(false);
    let last = history.records.len() as u64;
    let (journal, _, _) = read(&disk, 0).unwrap();
    let frame = journal.reader().frames_back().next().unwrap().unwrap();
    drop(journal);
    let files = segment_files(&disk);
    let offset = u64::from(frame.block) * BLOCK_SIZE as u64;
    disk.flip(&files[frame.segment as usize - 1], offset + 200, 1);

    let (_, recovery, _) = read(&disk, last).unwrap();
    let damage = recovery.damage.unwrap();
    assert_eq!((damage.segment, damage.offset), (frame.segment, offset));
    assert_eq!(damage.last_number, last);
    assert_eq!(damage.reason, FrameError::Checksum);
    let text = damage.to_string();
    assert!(text.contains(&format!("offset {offset}")), "{text}");

    let before = disk.file_bytes(&files[2]).unwrap();
    let (_, recovery, _) = read(&disk, 0).unwrap();
    let torn = recovery.torn.unwrap();
    assert_eq!(recovery.damage, None);
    assert!(torn.bytes >= BLOCK_SIZE as u64);
    assert_eq!(
        disk.file_bytes(&files[2]).unwrap(),
        before,
        "reading changed something"
    );
    let (_, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
    assert_eq!(recovery.torn.unwrap(), torn);
    let (_, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
    assert_eq!(recovery.torn, None, "what was cut is not reported again");
}

#[test]
fn a_payload_that_never_arrived_cuts_the_tail() {
    let (disk, history) = small(false);
    let (journal, _, _) = read(&disk, 0).unwrap();
    let frame = journal.reader().frames_back().next().unwrap().unwrap();
    drop(journal);
    assert!(frame.payload_blocks > 0);
    let path = &segment_files(&disk)[frame.segment as usize - 1];
    disk.flip(
        path,
        u64::from(frame.end_block()) * BLOCK_SIZE as u64 - 1,
        4,
    );
    let (_, recovery, seen) = read(&disk, 0).unwrap();
    assert_eq!(recovery.torn.unwrap().reason, FrameError::Payload);
    // The run began one frame earlier: a command is there whole or not at all.
    assert_eq!(seen.len(), history.records.len() - 2);
}

#[test]
fn a_misdirected_header_is_not_taken_for_the_frame_that_is_missing() {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let journal = run(&disk, &[], &mut history).unwrap();
    let ticket = history.place(&journal, &[(5, 1)]).unwrap();
    let writes = disk
        .log()
        .iter()
        .filter(|&&kind| kind == CallKind::Write)
        .count() as u64;
    disk.misdirect_nth_write(writes + 1, 8 * BLOCK_SIZE as u64);
    history.commit(&journal, ticket).unwrap();
    let ticket = history.place(&journal, &[(5, 1)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    drop(journal);
    let (_, recovery, seen) = read(&disk, 0).unwrap();
    assert!(seen.is_empty());
    assert_eq!(recovery.damage.unwrap().first_number, 1);
}

#[test]
fn a_start_that_does_not_belong_here_is_refused() {
    let (disk, _) = small(true);
    let (journal, recovery, _) = read(&disk, 0).unwrap();
    let good = recovery.end;
    drop(journal);
    let open = |start| {
        let options = OpenOptions {
            start: Some(start),
            ..OpenOptions::default()
        };
        Journal::open(Arc::new(disk.clone()), options, &mut |_| Ok(()))
    };
    let (_, from_end) = open(good).unwrap();
    assert_eq!((from_end.frames, from_end.last), (0, recovery.last));
    let bad = [
        Start {
            segment: 99,
            ..good
        },
        Start { segment: 0, ..good },
        Start {
            segment: u64::MAX,
            ..good
        },
        Start {
            block: u32::MAX,
            ..good
        },
        Start {
            previous_block: u32::MAX,
            ..good
        },
        Start {
            previous_block: 0,
            ..good
        },
        Start {
            number: good.number + 1,
            ..good
        },
        Start { number: 0, ..good },
        Start {
            chain: ChainHash::default(),
            ..good
        },
        Start {
            time: good.time + 1,
            ..good
        },
        Start {
            epoch: good.epoch + 1,
            ..good
        },
    ];
    for start in bad {
        let error = open(start).unwrap_err();
        assert_eq!(error.kind(), Kind::BadStart, "{start:?}: {error}");
    }
}

/// Fields of a header at their extremes, with a checksum that is right: refused or read as damage, never a panic, a hang
/// or an absurd allocation.
#[test]
fn hostile_headers_are_refused() {
    let (disk, history) = small(true);
    let (journal, _, _) = read(&disk, 0).unwrap();
    let frames: Vec<Frame> = journal
        .reader()
        .frames(journal.reader().origin())
        .map(Result::unwrap)
        .collect();
    drop(journal);
    let fields = [
        (8, 2),
        (10, 2),
        (12, 2),
        (14, 2),
        (32, 8),
        (40, 4),
        (44, 4),
        (48, 8),
        (56, 4),
        (60, 4),
    ];
    let more = [
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (120, 8),
        (152, 4),
        (160, 4),
        (164, 2),
    ];
    for frame in &frames {
        let path = segments_path(frame.segment);
        let whole = disk.file_bytes(&path).unwrap();
        let at = frame.block as usize * BLOCK_SIZE;
        let len = frame.header_blocks as usize * BLOCK_SIZE;
        for (offset, size) in fields.into_iter().chain(more) {
            for value in [
                0,
                1,
                2,
                7,
                0x7f,
                0xff,
                0x1ff,
                0x200,
                0xffff,
                u64::from(u32::MAX),
                u64::MAX,
                1 << 63,
            ] {
                let mut bytes = whole.clone();
                let field = &mut bytes[at + offset..at + offset + size];
                field.copy_from_slice(&value.to_le_bytes()[..size]);
                let crc = crc32fast::hash(&bytes[at..at + len - 4]);
                bytes[at + len - 4..at + len].copy_from_slice(&crc.to_le_bytes());
                if bytes == whole {
                    continue;
                }
                disk.set_file_bytes(&path, &bytes);
                let (journal, recovery, seen) = read(&disk, 0).unwrap();
                assert!(seen.len() <= history.records.len());
                let last = frame.first + u64::from(frame.count) == history.records.len() as u64 + 1;
                if !last {
                    assert!(
                        recovery.damage.is_some(),
                        "frame {} offset {offset} value {value}",
                        frame.first
                    );
                }
                drop(journal);
            }
        }
        disk.set_file_bytes(&path, &whole);
    }
}

fn segments_path(segment: u64) -> String {
    format!("journal/{segment:020}.seg")
}

#[test]
fn names_that_are_no_segments_are_passed_over() {
    let (disk, history) = small(true);
    for name in [
        "x.seg",
        "00000000000000000000.seg",
        "99999999999999999999.seg",
        "00000000000000000009.tmp",
    ] {
        disk.set_file_bytes(&format!("journal/{name}"), b"nonsense");
    }
    let (_, recovery, seen) = read(&disk, 0).unwrap();
    assert!(recovery.clean);
    assert_eq!(seen.len(), history.records.len());
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let disk = FaultyDisk::new(1);
    assert_eq!(read(&disk, 0).unwrap_err().kind(), Kind::NotAStore);
    let (disk, _) = small(true);
    for path in segment_files(&disk) {
        disk.remove(&path).unwrap();
    }
    // STORE is written behind the first frame: an empty journal under it is damage, not a fresh store.
    let (_, recovery, _) = read(&disk, 0).unwrap();
    assert!(recovery.damage.is_some());
    assert_eq!(
        reopen(&disk, Access::ReadWrite).unwrap_err().kind(),
        Kind::Damaged
    );
    disk.set_file_bytes("STORE", &[0; 5000]);
    assert_eq!(read(&disk, 0).unwrap_err().kind(), Kind::NotAStore);
}
