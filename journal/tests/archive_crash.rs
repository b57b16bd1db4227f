//! Power lost, calls failing and space running out at every disk call of archiving, releasing and moving away; and archives
//! that are not what they should be.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use common::*;
use strand_journal::*;

type Core = (u64, u32, ChainHash, Vec<u8>);

/// The frames from where the store begins, their cores and their places.
fn cores(journal: &Journal) -> Vec<Core> {
    let reader = journal.reader();
    let frames = reader.frames(reader.origin()).map(|frame| {
        let frame = frame.unwrap();
        (
            frame.segment,
            frame.block,
            frame.chain,
            frame.core().to_vec(),
        )
    });
    frames.collect()
}

/// A store whose script was run to the end, closed; what its frames are; a place in the middle of segment 5.
fn store() -> (FaultyDisk, Vec<Core>, Start) {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let journal = run(&disk, SCRIPT, &mut history).unwrap();
    journal.close().unwrap();
    let before = cores(&journal);
    let reader = journal.reader();
    let mut frames = reader.frames(reader.origin());
    let place = loop {
        let frame = frames.next().unwrap().unwrap();
        if frame.segment == 5 {
            break frames.position();
        }
    };
    drop(journal);
    (disk, before, place)
}

fn sealed(journal: &Journal) -> Vec<u64> {
    let infos = journal.segments().into_iter();
    infos
        .filter(|info| matches!(info.state, SegmentState::Sealed | SegmentState::Archived))
        .map(|info| info.number)
        .collect()
}

/// All that can be done, in the order in which it is done. Repeated, it goes on where it stopped.
fn upkeep(journal: &Journal, place: &Start, copied: &mut Vec<String>) -> Result<(), Error> {
    for segment in sealed(journal) {
        journal.archive(segment)?;
        if segment != 3 {
            journal.release(segment)?;
        }
    }
    let mut copy = |name: &str, bytes: &[u8]| {
        assert!(bytes.starts_with(b"STRANDAR"));
        copied.push(name.to_owned());
        Ok(())
    };
    journal.move_archives_before(place, Some(&mut copy))?;
    // The events of the segment whose file is still there have moved away, too.
    journal.archive(3)?;
    journal.release(3)?;
    Ok(())
}

/// What is read is what was there, from the beginning or from the place on.
fn check(journal: &Journal, before: &[Core], place: &Start, context: &str) {
    let origin = journal.reader().origin();
    let behind = |core: &&Core| (core.0, core.1) >= (origin.segment, origin.block);
    let expected: Vec<&Core> = before.iter().filter(behind).collect();
    assert!(
        origin == *place || expected.len() == before.len(),
        "{context}"
    );
    let found = cores(journal);
    let found: Vec<&Core> = found.iter().take(expected.len()).collect();
    assert_eq!(found, expected, "{context}");
}

fn open_after(disk: &FaultyDisk, before: &[Core], place: &Start, context: &str) -> Journal {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let (journal, recovery) = reopen(disk, access).unwrap();
        assert_eq!(recovery.damage, None, "{context}");
        check(&journal, before, place, context);
        if access == Access::ReadWrite {
            return journal;
        }
    }
    unreachable!()
}

#[test]
fn a_crash_at_every_call_loses_no_frame() {
    let (base, before, place) = store();
    let mut points = 0;
    let mut moved = 0;
    for call in 1.. {
        let disk = base.crash(call);
        let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
        disk.crash_at(disk.calls() + call);
        let outcome = upkeep(&journal, &place, &mut Vec::new());
        drop(journal);
        if !disk.is_dead() {
            outcome.unwrap();
            break;
        }
        assert!(outcome.is_err(), "call {call}");
        for seed in 0..12 {
            let context = format!("call {call}, seed {seed}");
            let disk = disk.crash(seed);
            let journal = open_after(&disk, &before, &place, &context);
            moved += u32::from(journal.reader().origin() == place);
            // What was to be removed is told from the frames that the store began with.
            journal.end_movement(1).unwrap();
            let begins = journal.reader().origin().segment;
            let infos = journal.segments().into_iter();
            let mut left = infos.filter(|info| info.number < begins);
            assert!(left.all(|info| info.archive_bytes == 0), "{context}");
            // And it goes on from there.
            upkeep(&journal, &place, &mut Vec::new()).unwrap();
            check(&journal, &before, &place, &context);
            points += 1;
        }
    }
    assert!(points > 500 && moved > 20, "{points} {moved}");
}

#[test]
fn a_failing_call_is_reported_and_a_second_try_succeeds() {
    let (base, before, place) = store();
    for call in 1.. {
        let disk = base.crash(call);
        let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
        let first = disk.calls();
        disk.fail_call(first + call);
        let outcome = upkeep(&journal, &place, &mut Vec::new());
        if disk.calls() < first + call {
            outcome.unwrap();
            break;
        }
        let context = format!("call {call}");
        match outcome {
            Err(error) => assert_eq!(error.kind(), Kind::Io, "{context}: {error}"),
            // What was to be removed was already gone.
            Ok(()) => assert_eq!(disk.log()[(first + call) as usize - 1], CallKind::Remove),
        }
        // The writer is none the worse for it.
        journal.health().unwrap();
        check(&journal, &before, &place, &context);
        open_elsewhere(&disk, call, &before, &place);
        upkeep(&journal, &place, &mut Vec::new()).unwrap();
        check(&journal, &before, &place, &context);
        journal.close().unwrap();
        open_elsewhere(&disk, call, &before, &place);
    }
}

fn open_elsewhere(disk: &FaultyDisk, call: u64, before: &[Core], place: &Start) {
    for seed in 0..3 {
        open_after(
            &disk.crash(seed),
            before,
            place,
            &format!("failed call {call}, seed {seed}"),
        );
    }
}

#[test]
fn without_space_nothing_is_lost_and_nothing_left_behind() {
    let (base, before, place) = store();
    for room in [0, 1, 200, 400, 500, 700] {
        let disk = base.crash(room);
        let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
        let paths = disk.paths();
        disk.limit_space(Some(base_bytes(&disk) + room));
        let mut refused = 0;
        for segment in sealed(&journal) {
            if let Err(error) = journal.archive(segment) {
                assert_eq!(error.kind(), Kind::NoSpace, "{error}");
                refused += 1;
            }
        }
        assert!(refused > 0, "{room}");
        let left = disk
            .paths()
            .into_iter()
            .filter(|path| !paths.contains(path));
        assert!(
            left.clone().all(|path| path.ends_with(".arc")),
            "{:?}",
            left.collect::<Vec<_>>()
        );
        check(&journal, &before, &place, "full");
        disk.limit_space(None);
        upkeep(&journal, &place, &mut Vec::new()).unwrap();
        check(&journal, &before, &place, "space again");
    }
}

fn base_bytes(disk: &FaultyDisk) -> u64 {
    let sizes = disk
        .paths()
        .into_iter()
        .filter_map(|path| disk.file_bytes(&path));
    sizes.map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn what_moves_away_is_handed_over_first_and_the_store_begins_behind_it() {
    let (disk, before, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    let archives = |disk: &FaultyDisk| {
        let paths = disk.paths().into_iter();
        paths
            .filter(|path| path.ends_with(".arc"))
            .collect::<Vec<_>>()
    };
    let last = *sealed(&journal).last().unwrap();
    let mut copied = Vec::new();
    // A copy that fails leaves everything as it is.
    let mut full = |_: &str, _: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
    let error = journal
        .move_archives_before(&place, Some(&mut full))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert_eq!(journal.reader().origin().number, 1);
    upkeep(&journal, &place, &mut copied).unwrap();
    let names: Vec<String> = (1..=4).map(|number| format!("{number:020}.arc")).collect();
    assert_eq!(copied, names, "also that of a segment whose file is there");
    assert_eq!(journal.reader().origin(), place);
    let expected: Vec<String> = (5..=last).map(|n| format!("journal/{n:020}.arc")).collect();
    assert_eq!(archives(&disk), expected);
    let back: Vec<Frame> = journal.reader().frames_back().map(Result::unwrap).collect();
    assert_eq!(back.last().unwrap().first, place.number);
    // Never back, and nowhere that is no place.
    let error = journal
        .move_archives_before(&Start::origin(STORE), None)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::BadStart);
    let nowhere = Start {
        number: place.number + 1,
        ..place
    };
    let error = journal.move_archives_before(&nowhere, None).unwrap_err();
    assert_eq!(error.kind(), Kind::BadStart);
    // The same place again, and a later one.
    assert_eq!(
        journal.move_archives_before(&place, None).unwrap(),
        Moved::default()
    );
    let end = journal.position();
    let moved = journal.move_archives_before(&end, None).unwrap();
    assert_eq!(moved.archives, last - 4);
    assert!(archives(&disk).is_empty());
    drop(journal);
    let journal = open_after(&disk, &before, &end, "moved");
    assert_eq!(journal.reader().origin(), end);
    drop(journal);
    // Without the horizon nobody knows where the store begins.
    disk.remove("journal/HORIZON").unwrap();
    let error = reopen(&disk, Access::ReadWrite).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(
        error
            .to_string()
            .contains("journal/00000000000000000001.seg is missing"),
        "{error}"
    );
}

#[test]
fn archives_that_are_put_back_are_left_alone() {
    let (disk, before, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    let mut copies = Vec::new();
    let mut copy = |name: &str, bytes: &[u8]| {
        copies.push((format!("journal/{name}"), bytes.to_vec()));
        Ok(())
    };
    for segment in sealed(&journal) {
        journal.archive(segment).unwrap();
        journal.release(segment).unwrap();
    }
    journal
        .move_archives_before(&place, Some(&mut copy))
        .unwrap();
    drop(journal);
    assert_eq!(copies.len(), 4);
    for (path, bytes) in &copies {
        disk.set_file_bytes(path, bytes);
    }
    let journal = open_after(&disk, &before, &place, "put back");
    assert_eq!(
        journal.end_movement(place.number).unwrap(),
        Moved::default()
    );
    let last = *sealed(&journal).last().unwrap();
    let moved = journal
        .move_archives_before(&journal.position(), None)
        .unwrap();
    assert_eq!(moved.archives, last - 4);
    for (path, bytes) in &copies {
        assert_eq!(disk.file_bytes(path).as_ref(), Some(bytes), "{path}");
    }
}

#[test]
fn what_moves_away_while_it_is_read_is_no_damage() {
    for beside in [true, false] {
        let (disk, _, place) = store();
        let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
        for segment in sealed(&journal) {
            journal.archive(segment).unwrap();
            journal.release(segment).unwrap();
        }
        let shared: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
        let other = Journal::open_beside(shared, Some(place), &journal.durable(), &mut |_| Ok(()));
        let other = other.unwrap();
        let reader = if beside { &other } else { &journal }.reader();
        assert_eq!(reader.origin().number, 1);
        let mut frames = reader.frames(reader.origin());
        frames.next().unwrap().unwrap();
        let mut back = reader.frames_back();
        back.next().unwrap().unwrap();
        journal.move_archives_before(&place, None).unwrap();
        let error = frames.find_map(Result::err).unwrap();
        assert_eq!(error.kind(), Kind::Gone, "{error}");
        assert!(error.to_string().contains(&place.number.to_string()));
        let last = back.map(Result::unwrap).last().unwrap();
        // What is left of a segment in its own file or archive may still be read.
        assert!(last.first <= place.number);
    }
}

#[test]
fn nothing_waits_for_a_slow_copy() {
    let (disk, _, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    let mut copied = 0;
    // Whoever keeps the copies is slow, and others go on.
    let mut slow = |_: &str, _: &[u8]| {
        copied += 1;
        for segment in sealed(&journal) {
            journal.archive(segment).unwrap();
            journal.release(segment).unwrap();
        }
        Ok(())
    };
    journal.copy_archives_before(&place, &mut slow).unwrap();
    assert_eq!(copied, 4);
    assert_eq!(journal.reader().origin().number, 1);
    assert_eq!(
        journal.move_archives_before(&place, None).unwrap().archives,
        4
    );
}

#[test]
fn a_damaged_horizon_is_named() {
    let (disk, _, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    upkeep(&journal, &place, &mut Vec::new()).unwrap();
    drop(journal);
    disk.flip("journal/HORIZON", 30, 1);
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let error = reopen(&disk, access).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(
            error.to_string().contains("journal/HORIZON is damaged"),
            "{error}"
        );
    }
}

#[test]
fn what_stands_before_the_horizon_may_be_damaged_and_what_stands_behind_it_may_not() {
    let (disk, before, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    upkeep(&journal, &place, &mut Vec::new()).unwrap();
    journal.close().unwrap();
    drop(journal);
    let archive = "journal/00000000000000000005.arc";
    let mut outcomes = [0, 0];
    let length = disk.file_bytes(archive).unwrap().len() as u64;
    for at in 0..length {
        let disk = disk.crash(0);
        disk.flip(archive, at, 1);
        let (journal, recovery) = reopen(&disk, Access::ReadOnly).unwrap();
        assert_eq!(journal.reader().origin(), place);
        match recovery.damage {
            None => check(&journal, &before, &place, "before the horizon"),
            Some(damage) => assert_eq!((damage.segment, recovery.end), (5, place)),
        }
        drop(journal);
        outcomes[usize::from(recovery.damage.is_some())] += 1;
        assert_eq!(
            reopen(&disk, Access::ReadWrite).is_err(),
            recovery.damage.is_some()
        );
    }
    assert_eq!(outcomes[0], 0, "an archive proves itself as a whole");
    // In a segment's file, frames stand for themselves.
    let (disk, before, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    journal.move_archives_before(&place, None).unwrap();
    drop(journal);
    let segment = "journal/00000000000000000005.seg";
    disk.flip(segment, u64::from(place.previous_block) * 4096 + 40, 1);
    open_after(&disk, &before, &place, "the frame before the horizon");
    disk.flip(segment, u64::from(place.block) * 4096 + 40, 1);
    let (_, recovery) = reopen(&disk, Access::ReadOnly).unwrap();
    let damage = recovery.damage.unwrap();
    assert_eq!(
        (damage.segment, damage.offset),
        (5, u64::from(place.block) * 4096)
    );
    reopen(&disk, Access::ReadWrite).unwrap_err();
    // Nor may all be gone.
    for path in disk
        .paths()
        .into_iter()
        .filter(|path| path.ends_with("seg"))
    {
        disk.remove(&path).unwrap();
    }
    let (_, recovery) = reopen(&disk, Access::ReadOnly).unwrap();
    assert_eq!(recovery.damage.unwrap().reason, FrameError::Missing);
    reopen(&disk, Access::ReadWrite).unwrap_err();
}

/// What an opening says of a store whose archive of segment 2 has these bytes.
fn opened_with(disk: &FaultyDisk, bytes: &[u8]) -> Error {
    let disk = disk.crash(0);
    disk.set_file_bytes("journal/00000000000000000002.arc", bytes);
    let (journal, recovery) = reopen(&disk, Access::ReadOnly).unwrap();
    let damage = recovery.damage.unwrap();
    assert_eq!(damage.segment, 2);
    for frame in journal.reader().frames_back() {
        if let Err(error) = frame {
            assert_eq!(error.kind(), Kind::Damaged);
        }
    }
    drop(journal);
    reopen(&disk, Access::ReadWrite).unwrap_err()
}

#[test]
fn an_archive_that_is_not_as_it_was_written_is_damage_that_names_it() {
    let (disk, before, _) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    for segment in sealed(&journal) {
        journal.archive(segment).unwrap();
        journal.release(segment).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    let good = disk.file_bytes("journal/00000000000000000002.arc").unwrap();
    let other = disk.file_bytes("journal/00000000000000000004.arc").unwrap();
    let mut bad: Vec<Vec<u8>> = (0..good.len())
        .step_by(7)
        .map(|cut| good[..cut].to_vec())
        .collect();
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        bad.push(flipped);
    }
    bad.push([&good[..], b"x"].concat());
    bad.push(other);
    // Lengths beyond all limits under a right checksum.
    for (at, len) in [
        (12, 4),
        (40, 8),
        (48, 8),
        (56, 4),
        (60, 4),
        (128, 8),
        (136, 8),
    ] {
        for value in [0u8, 0x7f, 0xff] {
            bad.push(resealed(&good, at, len, value));
        }
    }
    // The same in the table.
    for at in [0, 4, 8, 48, 52, 56, 60] {
        for value in [0u8, 0x7f, 0xff] {
            bad.push(resealed(&good, 144 + at, 4, value));
        }
    }
    for bytes in bad.iter().filter(|bytes| **bytes != good) {
        let error = opened_with(&disk, bytes);
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(
            error
                .to_string()
                .contains("archive journal/00000000000000000002.arc"),
            "{error}"
        );
    }
    // The journal's own check refuses to give a segment back for it; a file that is there wins.
    disk.set_file_bytes("journal/00000000000000000002.arc", &good);
    let (journal, _) = reopen(&disk, Access::ReadOnly).unwrap();
    assert_eq!(cores(&journal)[..before.len()], before);
}

/// Overwrites a field, and puts the head's checksum right.
fn resealed(good: &[u8], at: usize, len: usize, value: u8) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[at..at + len].fill(value);
    let crc_at = 144 + 64;
    let crc = crc32fast::hash(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn a_segment_stays_where_its_archive_is_bad_and_is_archived_anew() {
    let (disk, before, place) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    journal.archive(2).unwrap();
    disk.flip("journal/00000000000000000002.arc", 250, 4);
    let error = journal.release(2).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("00002.arc"), "{error}");
    check(&journal, &before, &place, "the segment's file wins");
    let again = journal.archive(2).unwrap();
    assert!(again.bytes > 0);
    journal.release(2).unwrap();
    check(&journal, &before, &place, "archived anew");
}

#[test]
fn an_archive_behind_which_nothing_is_left_is_damage_and_no_torn_tail() {
    let (disk, _, _) = store();
    let (journal, _) = reopen(&disk, Access::ReadWrite).unwrap();
    let sealed = sealed(&journal);
    for &segment in &sealed {
        journal.archive(segment).unwrap();
        journal.release(segment).unwrap();
    }
    let head = journal.head().segment;
    drop(journal);
    let path = format!("journal/{head:020}.seg");
    disk.remove(&path).unwrap();
    let error = reopen(&disk, Access::ReadWrite).unwrap_err();
    assert!(
        error.to_string().contains(&format!("{path} is missing")),
        "{error}"
    );
    let (journal, _) = reopen(&disk, Access::ReadOnly).unwrap();
    assert_eq!(journal.segments().len(), sealed.len());
}
