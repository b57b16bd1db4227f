//! Where there is no room left: refusals that change nothing, and what still works.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::sync::Arc;

use common::*;
use strand_journal::*;

#[test]
fn a_full_journal_refuses_and_stays_usable() {
    let disk = FaultyDisk::new(1);
    let options = CreateOptions {
        capacity: Some(3 * SEGMENT),
        ..options()
    };
    let journal = Journal::create(Arc::new(disk.clone()), options).unwrap();
    let mut history = History::default();
    let free = journal.space().free_blocks;
    assert_eq!(free, 47);
    let mut ticket = Ticket(0);
    let error = loop {
        match history.place(&journal, &[(10, 6)]) {
            Ok(placed) => ticket = placed,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::NoSpace);
    let head = journal.head();
    let space = journal.space();
    assert!(space.free_blocks < 7 && space.segments == 3);
    history.place(&journal, &[(10, 9), (10, 9)]).unwrap_err();
    assert_eq!((journal.head(), journal.space()), (head, space));
    history.commit(&journal, ticket).unwrap();
    // What is left still takes small commands, and the store closes and opens again.
    let ticket = history.place(&journal, &[(10, 0)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    let last = history.acked;
    loop {
        match history.place(&journal, &[(3000, 0)]) {
            Ok(ticket) => history.commit(&journal, ticket).unwrap(),
            Err(error) => break assert_eq!(error.kind(), Kind::NoSpace),
        }
    }
    assert!(history.acked > last);
    journal.close().unwrap();
    drop(journal);
    for _ in 0..3 {
        let (journal, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
        assert_eq!(recovery.last, history.acked);
        assert!(recovery.damage.is_none());
        assert_eq!(
            history.place(&journal, &[(1, 0)]).unwrap_err().kind(),
            Kind::NoSpace
        );
        journal.close().unwrap();
    }
}

#[test]
fn a_full_disk_refuses_and_space_given_back_is_used() {
    let disk = FaultyDisk::new(1);
    let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
    let mut history = History::default();
    disk.limit_space(Some(SEGMENT + 4096));
    let ticket = history.place(&journal, &[(10, 8)]).unwrap();
    let error = history.place(&journal, &[(10, 8)]).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
    history.commit(&journal, ticket).unwrap();
    disk.limit_space(None);
    let ticket = history.place(&journal, &[(10, 8)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    drop(journal);
    check(&disk.crash(1), &history, "after a full disk");
}

#[test]
fn a_journal_filled_to_the_last_block_opens_and_begins_its_epoch_when_there_is_space() {
    let disk = FaultyDisk::new(1);
    let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
    let mut history = History::default();
    // 1 + 15 blocks: the segment is full.
    let ticket = history.place(&journal, &[(10, 14)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    disk.limit_space(Some(0));
    assert_eq!(journal.space().free_blocks, 0);
    journal.close().unwrap();
    drop(journal);
    let (journal, recovery) = reopen(&disk, Access::ReadWrite).unwrap();
    assert_eq!((recovery.last, recovery.torn), (1, None));
    assert_eq!(
        history.place(&journal, &[(1, 0)]).unwrap_err().kind(),
        Kind::NoSpace
    );
    disk.limit_space(None);
    let ticket = history.place(&journal, &[(1, 0)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    assert_eq!(journal.head().epoch, 2);
    drop(journal);
    check(&disk, &history, "late epoch");
}
