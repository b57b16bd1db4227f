//! Journals whose frames are sound and whose events are not: what a faulty program would write. Only the fold can tell.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, MORNING, open};
use std::time::Duration;
use strand_engine::{ActorId, Cause, Event, Ino, OpenOptions, Range, VolumeId};
use strand_journal::{Access, Block, Journal, Record};
use strand_replay::verify::{Finding, Options, verify};

/// A volume with a file of four blocks and a checkpoint.
fn prepared() -> (Fixture, VolumeId, Ino) {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, 4, 1);
    f.checkpoint(v, "first");
    f.write(v, file, 0, 1, 2);
    f.checkpoint(v, "second");
    (f, v, file)
}

/// Appends one command to the closed journal, as it stands, and gives what verification finds then.
fn after(f: Fixture, events: &[(Event, u8)]) -> Vec<Finding> {
    let Fixture {
        disk,
        clock,
        store,
        me,
    } = f;
    store.close().unwrap();
    let options = strand_journal::OpenOptions {
        access: Access::ReadWrite,
        start: None,
        known_flushed: 0,
        lock_timeout: Duration::from_secs(1),
        ..strand_journal::OpenOptions::default()
    };
    let (journal, _) = Journal::open(disk.clone(), options, &mut |_| {
        Ok::<(), strand_journal::VisitError>(())
    })
    .unwrap();
    let last = events.len() - 1;
    let records: Vec<(Vec<u8>, Vec<Block>)> = events
        .iter()
        .enumerate()
        .map(|(i, (event, payload))| {
            let tag = u8::try_from(ActorId(1).0 << 1).unwrap() | u8::from(i == last);
            let blocks = (0..*payload)
                .map(|n| Block::from_slice(&[n + 100; 4096]))
                .collect();
            (
                [vec![tag], postcard::to_stdvec(event).unwrap()].concat(),
                blocks,
            )
        })
        .collect();
    let time = MORNING + 3_600_000_000_000;
    let records: Vec<Record<'_>> = records
        .iter()
        .zip(time..)
        .map(|((bytes, blocks), time)| Record {
            time,
            bytes,
            blocks,
        })
        .collect();
    let placement = journal.place(&records).unwrap();
    journal.commit(placement.ticket).unwrap();
    journal.close().unwrap();
    drop(journal);
    let store = open(&disk, &clock, OpenOptions::read_only());
    let f = Fixture {
        disk,
        clock,
        store,
        me,
    };
    let report = verify(
        &f.store,
        &Options {
            data: true,
            from_scratch: true,
            anchor: None,
        },
        &|_| {},
    )
    .unwrap();
    report.findings
}

fn checks(findings: &[Finding]) -> Vec<&'static str> {
    let mut checks: Vec<_> = findings.iter().map(|f| f.check).collect();
    checks.dedup();
    checks
}

fn passed(f: &Fixture, volume: VolumeId, to: &str, ino: Ino, block: u64) -> Event {
    let checkpoint = f.store.state().checkpoint_named(to).unwrap().id;
    Event::CopiedOut {
        volume,
        checkpoint,
        cause: Cause::Write,
        ino,
        ranges: vec![Range { block, count: 1 }],
    }
}

#[test]
fn a_true_copy_out_passes() {
    let (f, volume, ino) = prepared();
    let told = passed(&f, volume, "second", ino, 1);
    let write = Event::Written {
        volume,
        ino,
        block: 1,
        size: None,
    };
    assert_eq!(after(f, &[(told, 0), (write, 1)]), []);
}

#[test]
fn a_missing_copy_out_is_found() {
    let (f, volume, ino) = prepared();
    let findings = after(
        f,
        &[(
            Event::Written {
                volume,
                ino,
                block: 1,
                size: None,
            },
            1,
        )],
    );
    assert_eq!(checks(&findings), ["copied-out", "ledger"]);
    assert!(
        findings[0].what.contains("should have passed to second"),
        "{}",
        findings[0]
    );
    assert_eq!(findings[0].volume.as_deref(), Some("pg"));
}

#[test]
fn a_copy_out_to_an_older_checkpoint_is_found() {
    let (f, volume, ino) = prepared();
    let told = passed(&f, volume, "first", ino, 1);
    let findings = after(
        f,
        &[
            (told, 0),
            (
                Event::Written {
                    volume,
                    ino,
                    block: 1,
                    size: None,
                },
                1,
            ),
        ],
    );
    assert!(!findings.is_empty());
    assert!(
        findings
            .iter()
            .all(|f| ["copied-out", "ledger", "event"].contains(&f.check)),
        "{findings:#?}"
    );
}

#[test]
fn a_copy_out_that_never_happened_is_found() {
    let (f, volume, ino) = prepared();
    let told = passed(&f, volume, "second", ino, 2);
    let findings = after(
        f,
        &[
            (told, 0),
            (
                Event::Punched {
                    volume,
                    ino,
                    range: Range { block: 9, count: 1 },
                    size: None,
                },
                0,
            ),
        ],
    );
    assert!(!findings.is_empty());
    assert!(
        findings
            .iter()
            .all(|f| ["copied-out", "ledger", "event"].contains(&f.check)),
        "{findings:#?}"
    );
}

#[test]
fn a_wrong_digest_is_found() {
    let (f, _, _) = prepared();
    let at = f.store.state().seq;
    let findings = after(f, &[(Event::DigestRecorded { at, digest: 1 }, 0)]);
    assert_eq!(checks(&findings), ["digest"]);
    assert_eq!(findings[0].seq, Some(at));
}

#[test]
fn an_impossible_event_is_found_with_its_number() {
    let (f, volume, _) = prepared();
    let number = f.store.state().seq;
    let findings = after(
        f,
        &[(
            Event::OrphanDropped {
                volume,
                ino: Ino(999),
            },
            0,
        )],
    );
    let finding = findings.iter().find(|f| f.check == "event").unwrap();
    assert!(finding.seq.is_some_and(|seq| seq > number), "{finding}");
}
