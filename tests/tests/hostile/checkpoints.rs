//! Checkpoints, rollbacks, ownership.

use super::{bytes, command, forge, ground, is_stopped, open, record, stopped};
use std::sync::Arc;
use std::time::Duration;
use strand_engine::{
    Access, Actor, ActorId, Cause, CheckpointId, Event, Ino, Range, Shift, Source, VolumeId,
};
use strand_journal::disk::{Disk, FaultyDisk};
use strand_journal::{Journal, Record, VisitError};
use strand_tests::lockstep::{BEGIN, fresh_digest};

#[test]
fn hostile_checkpoints_and_rollbacks_are_stopped() {
    let g = ground();
    let next = g.state.next_checkpoint;
    let made = |checkpoint, name: &str, volumes: Vec<VolumeId>| Event::CheckpointCreated {
        checkpoint,
        name: name.into(),
        volumes,
        removable: false,
        nomount: false,
        note: String::new(),
    };
    let many: Vec<VolumeId> = (0..2000).map(VolumeId).collect();
    let out = |checkpoint, ranges| Event::CopiedOut {
        volume: g.volume,
        checkpoint,
        cause: Cause::Write,
        ino: g.file,
        ranges,
    };
    let back = |volumes| Event::RolledBack {
        volumes,
        before: g.checkpoint,
    };
    let settled = |scope| Event::Settled {
        volume: g.volume,
        scope,
        shifts: vec![],
        last: true,
    };
    let restored = |source, from| Event::FileRestored {
        volume: g.volume,
        ino: g.file,
        source,
        from,
        attributes: true,
    };
    let (v, c) = (g.volume, g.checkpoint);
    let one = Range { block: 0, count: 1 };
    stopped(
        &g,
        &[
            (
                "a number ahead",
                made(CheckpointId(next.0 + 1), "x", vec![v]),
            ),
            (
                "the last number",
                made(CheckpointId(u32::MAX), "x", vec![v]),
            ),
            ("no members", made(next, "x", vec![])),
            ("a member twice", made(next, "x", vec![v, v])),
            ("members out of order", made(next, "x", vec![g.other, v])),
            (
                "a member that is not there",
                made(next, "x", vec![VolumeId(999)]),
            ),
            ("too many members", made(next, "x", many)),
            ("a name that is taken", made(next, "c", vec![v])),
            ("a name with a slash", made(next, "a/b", vec![v])),
            ("a name too long", made(next, &"x".repeat(128), vec![v])),
            (
                "a checkpoint that is not there",
                Event::CheckpointRemoved {
                    checkpoint: CheckpointId(99),
                },
            ),
            (
                "one that was not removed",
                Event::CheckpointRestored { checkpoint: c },
            ),
            (
                "a taken name",
                Event::CheckpointRenamed {
                    checkpoint: c,
                    name: "c".into(),
                },
            ),
            ("copied out to nothing", out(CheckpointId(99), vec![one])),
            ("nothing copied out", out(c, vec![])),
            (
                "an empty range copied out",
                out(c, vec![Range { block: 0, count: 0 }]),
            ),
            (
                "a range over the edge",
                out(
                    c,
                    vec![Range {
                        block: u64::MAX,
                        count: 2,
                    }],
                ),
            ),
            (
                "a range without end",
                out(
                    c,
                    vec![Range {
                        block: 1,
                        count: u64::MAX,
                    }],
                ),
            ),
            (
                "ranges out of order",
                out(c, vec![Range { block: 5, count: 1 }, one]),
            ),
            (
                "too many ranges",
                out(
                    c,
                    (0..2049)
                        .map(|b| Range {
                            block: b * 2,
                            count: 1,
                        })
                        .collect(),
                ),
            ),
            ("nothing to settle", settled(1)),
            ("a rollback of nothing", back(vec![])),
            (
                "a rollback of what is not there",
                back(vec![(VolumeId(99), Source::Live(VolumeId(99)))]),
            ),
            (
                "another volume's image",
                back(vec![(g.other, Source::Checkpoint(v, c))]),
            ),
            (
                "an image that is not there",
                back(vec![(v, Source::Checkpoint(v, CheckpointId(99)))]),
            ),
            (
                "a position in the future",
                back(vec![(v, Source::Position(v, u64::MAX))]),
            ),
            ("position nought", back(vec![(v, Source::Position(v, 0))])),
            (
                "a position before the volume",
                back(vec![(v, Source::Position(v, 1))]),
            ),
            (
                "volumes out of order",
                back(vec![(g.other, Source::Live(g.other)), (v, Source::Live(v))]),
            ),
            (
                "a file that the image has not",
                restored(Source::Checkpoint(v, c), Ino(12345)),
            ),
            (
                "a directory for a file",
                restored(Source::Checkpoint(v, c), g.dir),
            ),
            (
                "a file of the future",
                restored(Source::Position(v, u64::MAX), g.file),
            ),
            (
                "a change that was not",
                Event::Undone {
                    change: 3,
                    redo: false,
                    before: None,
                },
            ),
            ("a volume with images", Event::VolumeRemoved { volume: v }),
            (
                "a volume that was not removed",
                Event::VolumeRestored { volume: v },
            ),
            (
                "no clone",
                Event::CloneReset {
                    volume: v,
                    before: c,
                },
            ),
            (
                "a clone's number",
                Event::CloneCreated {
                    volume: v,
                    name: "y".into(),
                    source: Source::Live(v),
                },
            ),
            (
                "a clone of the future",
                Event::CloneCreated {
                    volume: g.state.next_volume,
                    name: "y".into(),
                    source: Source::Position(v, 1 << 60),
                },
            ),
            (
                "too many paths",
                Event::FilesRolledBack {
                    volume: v,
                    source: Source::Checkpoint(v, c),
                    before: c,
                    paths: vec![bytes(b"x"); 257],
                    attributes: false,
                    delete_new: false,
                },
            ),
            (
                "a second creation",
                Event::StoreCreated {
                    program: String::new(),
                },
            ),
            (
                "a digest of the future",
                Event::DigestRecorded {
                    at: u64::MAX,
                    digest: 0,
                },
            ),
            (
                "an actor's number",
                Event::ActorSeen {
                    actor: ActorId(u32::MAX),
                    who: Actor::program(),
                },
            ),
            (
                "a text too long",
                Event::Refused {
                    kind: "x".repeat(5000),
                    message: String::new(),
                    count: 1,
                },
            ),
        ],
    );
    let scope = Event::CopiedOutScope {
        volume: v,
        cause: Cause::Rollback,
    };
    is_stopped(
        &g,
        &command(&[(scope.clone(), 0), (scope.clone(), 0)]),
        "a scope in a scope",
    );
    is_stopped(
        &g,
        &command(&[(scope.clone(), 0)]),
        "a scope without a cause",
    );
    is_stopped(
        &g,
        &command(&[(scope, 0), (settled(g.state.seq + 1), 0)]),
        "a scope settled before its cause",
    );
}

/// A scope that something else followed stays open for ever: counting must not wait for it.
#[test]
fn a_scope_left_open_holds_nothing_up() {
    let g = ground();
    let scope = Event::CopiedOutScope {
        volume: g.volume,
        cause: Cause::Rollback,
    };
    let held = Event::CheckpointHeld {
        checkpoint: g.checkpoint,
        held: true,
    };
    let disk = forge(&g.disk, &command(&[(scope, 0), (held, 0)]));
    let store = open(&disk, Access::ReadWrite).unwrap();
    assert_eq!(store.settle().unwrap(), 0);
    store.close().unwrap();
}

/// A settlement may say what it likes (that is bookkeeping, which `verify` checks): it must not overflow or run away.
#[test]
fn a_lying_settlement_does_no_harm() {
    let g = ground();
    let scope = Event::CopiedOutScope {
        volume: g.volume,
        cause: Cause::Rollback,
    };
    let back = Event::RolledBack {
        volumes: vec![(g.volume, Source::Checkpoint(g.volume, g.checkpoint))],
        before: g.checkpoint,
    };
    let shifts = vec![
        Shift::CopiedOut {
            to: g.checkpoint,
            blocks: u64::MAX,
        },
        Shift::Released {
            from: g.checkpoint,
            blocks: u64::MAX,
        },
        Shift::HandedDown {
            from: g.checkpoint,
            to: CheckpointId(999),
            blocks: u64::MAX,
        },
        Shift::CopiedOut {
            to: CheckpointId(u32::MAX),
            blocks: 1,
        },
    ];
    let settled = Event::Settled {
        volume: g.volume,
        scope: g.state.seq + 2,
        shifts,
        last: true,
    };
    let disk = forge(&g.disk, &command(&[(scope, 0), (back, 0)]));
    let store = open(&disk, Access::ReadOnly).unwrap();
    let Some(pending) = store
        .state()
        .volume(g.volume)
        .unwrap()
        .pending
        .front()
        .cloned()
    else {
        panic!("nothing pending")
    };
    drop(store);
    let Event::Settled {
        volume,
        shifts,
        last,
        ..
    } = settled
    else {
        unreachable!()
    };
    let disk = forge_later(
        &disk,
        &Event::Settled {
            volume,
            scope: pending.scope,
            shifts,
            last,
        },
    );
    let store = open(&disk, Access::ReadWrite).unwrap();
    let image = store.state().image(g.volume, g.checkpoint).unwrap().clone();
    let _ = image.ledger.owned();
    let _ = fresh_digest(&store.state());
    store.close().unwrap();
}

/// As [`forge`], on a disk that was forged before: later in time.
fn forge_later(disk: &FaultyDisk, event: &Event) -> FaultyDisk {
    let disk = disk.crash(0);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = strand_journal::OpenOptions {
        access: Access::ReadWrite,
        start: None,
        known_flushed: 0,
        lock_timeout: Duration::ZERO,
        spare_blocks: 0,
    };
    let (journal, _) = Journal::open(shared, options, &mut |_| Ok::<(), VisitError>(())).unwrap();
    let bytes = record(event, true);
    let placement = journal
        .place(&[Record {
            time: BEGIN + 5_000_000_000_000,
            bytes: &bytes,
            blocks: &[],
        }])
        .unwrap();
    journal.commit(placement.ticket).unwrap();
    journal.close().unwrap();
    disk
}
