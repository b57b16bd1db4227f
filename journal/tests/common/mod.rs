//! A scripted history on a faulty disk, and the check of what survived it.
#![allow(dead_code)] // Each test file uses its part.

use std::sync::Arc;

use strand_journal::*;

pub(crate) const STORE: StoreId = StoreId([0x5a; 16]);
pub(crate) const SEGMENT: u64 = 64 << 10;

/// What was placed, and how much of it was acknowledged.
#[derive(Clone, Default, Debug)]
pub(crate) struct History {
    /// Creation was acknowledged.
    pub(crate) created: bool,
    /// Bytes and payload blocks of each record, by number - 1.
    pub(crate) records: Vec<(Vec<u8>, Vec<Block>)>,
    /// The last number of each command.
    pub(crate) commands: Vec<u64>,
    /// The last number acknowledged.
    pub(crate) acked: u64,
}

/// One step of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A command: for each record its bytes and its payload blocks.
    Place(&'static [(usize, usize)]),
    Commit,
    /// Close in good order and open again.
    Reopen,
    /// Drop without closing and open again.
    Drop,
}

/// Crosses several segments of 64 KiB; has groups, runs with `more`, records without payload, reopenings.
pub(crate) const SCRIPT: &[Step] = &[
    Step::Place(&[(30, 1)]),
    Step::Commit,
    Step::Place(&[(10, 0)]),
    Step::Place(&[(300, 2), (5, 0), (40, 1)]),
    Step::Place(&[(9, 1)]),
    Step::Commit,
    Step::Place(&[(6000, 3)]),
    Step::Commit,
    // A run over three segments.
    Step::Place(&[(100, 7), (100, 9), (100, 8), (20, 2), (20000, 1)]),
    Step::Commit,
    Step::Reopen,
    Step::Place(&[(50, 1)]),
    Step::Commit,
    Step::Place(&[(50, 4)]),
    Step::Place(&[(50, 12)]),
    Step::Commit,
    Step::Drop,
    Step::Place(&[(50, 1), (60, 14), (70, 14)]),
    Step::Place(&[(1, 0)]),
    Step::Commit,
    Step::Place(&[(2, 1)]),
];

pub(crate) fn options() -> CreateOptions {
    CreateOptions {
        segment_size: SEGMENT,
        store: STORE,
        capacity: None,
    }
}

/// The contents of the `number`th record.
pub(crate) fn record(number: u64, bytes: usize, blocks: usize) -> (Vec<u8>, Vec<Block>) {
    let byte = |i: usize| (number as usize * 31 + i * 7) as u8 | 1;
    let payload = |b: usize| Block::from_slice(&vec![byte(b + 3); 4000]);
    (
        (0..bytes).map(byte).collect(),
        (0..blocks).map(payload).collect(),
    )
}

impl History {
    /// Places a command with the next numbers, and notes it.
    pub(crate) fn place(
        &mut self,
        journal: &Journal,
        command: &[(usize, usize)],
    ) -> Result<Ticket, Error> {
        let next = self.records.len() as u64 + 1;
        let fresh: Vec<(Vec<u8>, Vec<Block>)> = command
            .iter()
            .zip(next..)
            .map(|(&(bytes, blocks), number)| record(number, bytes, blocks))
            .collect();
        let records: Vec<Record<'_>> = fresh
            .iter()
            .zip(next..)
            .map(|((bytes, blocks), number)| Record {
                time: number * 1000,
                bytes,
                blocks,
            })
            .collect();
        let placement = journal.place(&records)?;
        assert_eq!(placement.first, next);
        self.records.extend(fresh);
        self.commands.push(self.records.len() as u64);
        Ok(placement.ticket)
    }

    pub(crate) fn commit(&mut self, journal: &Journal, ticket: Ticket) -> Result<(), Error> {
        journal.commit(ticket)?;
        self.acked = self.acked.max(ticket.0);
        Ok(())
    }
}

pub(crate) fn reopen(disk: &FaultyDisk, access: Access) -> Result<(Journal, Recovery), Error> {
    let options = OpenOptions {
        access,
        ..OpenOptions::default()
    };
    Journal::open(Arc::new(disk.clone()), options, &mut |_| Ok(()))
}

/// Runs a script until its end or the first failure. What was done stands in `history` either way.
pub(crate) fn run(
    disk: &FaultyDisk,
    script: &[Step],
    history: &mut History,
) -> Result<Journal, Error> {
    let mut journal = Journal::create(Arc::new(disk.clone()), options())?;
    history.created = true;
    let mut ticket = Ticket(0);
    for step in script {
        match step {
            Step::Place(command) => ticket = history.place(&journal, command)?,
            Step::Commit => history.commit(&journal, ticket)?,
            Step::Reopen => {
                journal.close()?;
                history.acked = history.records.len() as u64;
                drop(journal);
                journal = reopen(disk, Access::ReadWrite)?.0;
            }
            Step::Drop => {
                drop(journal);
                journal = reopen(disk, Access::ReadWrite)?.0;
            }
        }
    }
    Ok(journal)
}

/// Opens what a crash left and checks it: every acknowledged record is there, the rest is a prefix of whole commands,
/// nothing is other than it was placed. Gives the number that survived.
pub(crate) fn check(disk: &FaultyDisk, history: &History, context: &str) -> u64 {
    let mut seen = Vec::new();
    let options = OpenOptions {
        access: Access::ReadWrite,
        ..OpenOptions::default()
    };
    let opened = Journal::open(Arc::new(disk.clone()), options, &mut |frame| {
        for entry in frame.entries() {
            let entry = entry?;
            seen.push((
                entry.number,
                entry.time,
                entry.bytes.to_vec(),
                entry.first,
                entry.crcs.len(),
            ));
        }
        Ok(())
    });
    let (journal, recovery) = match opened {
        Ok(opened) => opened,
        Err(Error::NotAStore { .. }) if !history.created => return 0,
        Err(error) => panic!("{context}: {error}"),
    };
    assert_eq!(recovery.last, seen.len() as u64, "{context}");
    assert!(
        recovery.last >= history.acked,
        "{context}: {} < {}",
        recovery.last,
        history.acked
    );
    assert!(recovery.last <= history.records.len() as u64, "{context}");
    let whole = recovery.last == 0 || history.commands.contains(&recovery.last);
    assert!(whole, "{context}: {} ends no command", recovery.last);
    let mut buf = [0u8; BLOCK_SIZE];
    for (i, (number, time, bytes, first, payload)) in seen.iter().enumerate() {
        let (expected, blocks) = &history.records[i];
        assert_eq!(
            (*number, *time, bytes),
            (i as u64 + 1, (i as u64 + 1) * 1000, expected),
            "{context}"
        );
        assert_eq!(*payload, blocks.len(), "{context}");
        for (j, block) in blocks.iter().enumerate() {
            journal.read_block(first.plus(j as u64), &mut buf).unwrap();
            assert!(&buf == block.bytes(), "{context}: payload {j} of {number}");
        }
    }
    // The store works on.
    let bytes = b"after";
    let record = Record {
        time: u64::MAX / 2,
        bytes,
        blocks: &[Block::from_slice(bytes)],
    };
    let ticket = journal.place(&[record]).unwrap().ticket;
    journal.commit(ticket).unwrap();
    journal.close().unwrap();
    drop(journal);
    let (_, again) = reopen(disk, Access::ReadOnly).unwrap();
    assert!(again.clean && again.torn.is_none(), "{context}: {again:?}");
    assert_eq!(again.last, recovery.last + 1, "{context}");
    recovery.last
}
