//! Journals whose frames are sound (crc32, chain, leaves, everything) and whose events are not: what an attacker with the disk would write.
//! Each must end in a clear error that names the event: no panic, no hang, no memory without bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::owner::owned_brute;
use strand_engine::{
    Access, Actor, ActorId, Cause, CheckpointId, Command, Error, Event, Ino, Kind, MAX_FILE_BLOCKS,
    ManualClock, NewBody, OpenOptions, Range, SetAttributes, Shift, Source, State, Store, VolumeId,
};
use strand_journal::disk::{Disk, FaultyDisk};
use strand_journal::{Block, Journal, Record, VisitError};
use strand_tests::lockstep::{BEGIN, actor, fresh_digest, open_options};
use strand_tests::random::Random;
use strand_tests::scenario::{Scenario, read_everything};
use strand_tests::small::Small;

/// How long anything may take that an attacker wrote, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files and directories of a small store, under the numbers that the hostile events use.
struct Ground {
    disk: FaultyDisk,
    volume: VolumeId,
    other: VolumeId,
    file: Ino,
    dir: Ino,
    below: Ino,
    checkpoint: CheckpointId,
    state: State,
}

fn ground() -> Ground {
    let small = Small::new();
    let (volume, other) = (small.volume("v"), small.volume("w"));
    let file = small.file(volume, "f");
    small.write(volume, file, 0, 4, 1);
    let mkdir = |dir: Ino, name: &str| {
        let command = Command::Create {
            volume,
            dir,
            name: name.as_bytes().into(),
            body: NewBody::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let done = small.run(command);
        done.events
            .iter()
            .find_map(|e| {
                if let Event::Created { ino, .. } = e {
                    Some(*ino)
                } else {
                    None
                }
            })
            .unwrap()
    };
    let dir = mkdir(small.root(volume), "d");
    let below = mkdir(dir, "e");
    let checkpoint = small.checkpoint("c", &[volume]);
    small.write(volume, file, 1, 1, 2);
    let Small { store, disk, .. } = small;
    store.close().unwrap();
    let store = open(&disk, Access::ReadOnly).unwrap();
    let state = store.state();
    Ground {
        disk,
        volume,
        other,
        file,
        dir,
        below,
        checkpoint,
        state,
    }
}

fn open(disk: &FaultyDisk, access: Access) -> Result<Store, Error> {
    let options = OpenOptions {
        access,
        ..open_options(0, true)
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(
        disk,
        Arc::new(ManualClock::new(BEGIN + 7_200_000_000_000)),
        options,
    )
}

/// Appends one command's records to a copy of a closed journal, each with so many payload blocks.
fn forge(disk: &FaultyDisk, records: &[(Vec<u8>, u8)]) -> FaultyDisk {
    let disk = disk.crash(0);
    let options = strand_journal::OpenOptions {
        access: Access::ReadWrite,
        start: None,
        known_flushed: 0,
        lock_timeout: Duration::ZERO,
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (journal, _) = Journal::open(shared, options, &mut |_| Ok::<(), VisitError>(())).unwrap();
    let blocks: Vec<Vec<Block>> = records
        .iter()
        .map(|(_, n)| (0..*n).map(|i| Block::from_slice(&[i + 1; 4096])).collect())
        .collect();
    let records: Vec<Record<'_>> = records
        .iter()
        .zip(&blocks)
        .zip(BEGIN + 3_600_000_000_000..)
        .map(|(((bytes, _), blocks), time)| Record {
            time,
            bytes,
            blocks,
        })
        .collect();
    let placement = journal.place(&records).unwrap();
    journal.commit(placement.ticket).unwrap();
    journal.close().unwrap();
    disk
}

fn record(event: &Event, last: bool) -> Vec<u8> {
    [
        vec![u8::try_from(ActorId(1).0 << 1).unwrap() | u8::from(last)],
        postcard::to_stdvec(event).unwrap(),
    ]
    .concat()
}

fn command(events: &[(Event, u8)]) -> Vec<(Vec<u8>, u8)> {
    let last = events.len() - 1;
    events
        .iter()
        .enumerate()
        .map(|(i, (event, blocks))| (record(event, i == last), *blocks))
        .collect()
}

/// Opens a forged journal both ways: for writing it must be refused as damaged, for reading it must end before the hostile command's
/// hostile event and say so.
fn is_stopped(ground: &Ground, records: &[(Vec<u8>, u8)], what: &str) {
    let began = Instant::now();
    let disk = forge(&ground.disk, records);
    let refused = open(&disk, Access::ReadWrite).map(|s| s.state().seq);
    let error = refused.expect_err(&format!("{what}: it was admitted"));
    assert_eq!(error.kind(), Kind::Damaged, "{what}: {error}");
    assert!(error.to_string().contains("at event "), "{what}: {error}");
    let refusal = error.refusal();
    assert!(
        refusal.why.is_some() && refusal.next.is_some(),
        "{what}: {refusal:?}"
    );

    let store =
        open(&disk, Access::ReadOnly).unwrap_or_else(|e| panic!("{what}: for reading: {e}"));
    let damage = store
        .opening()
        .damage
        .clone()
        .unwrap_or_else(|| panic!("{what}: nothing is said"));
    let state = store.state();
    assert_eq!(damage.seq, Some(state.seq + 1), "{what}: {damage}");
    assert!(
        state.seq >= ground.state.seq && state.seq < ground.state.seq + records.len() as u64 + 2,
        "{what}"
    );
    read_everything(&store)
        .unwrap_or_else(|e| panic!("{what}: what came before cannot be read: {e}"));
    assert!(
        began.elapsed() < PATIENCE,
        "{what}: took {:?}",
        began.elapsed()
    );
}

fn stopped(ground: &Ground, events: &[(&str, Event)]) {
    for (what, event) in events {
        is_stopped(ground, &command(&[(event.clone(), 0)]), what);
    }
}

fn bytes(text: &[u8]) -> strand_engine::Bytes {
    text.into()
}

fn created(g: &Ground, dir: Ino, name: &[u8], ino: Ino, body: NewBody) -> Event {
    Event::Created {
        volume: g.volume,
        dir,
        name: bytes(name),
        ino,
        body,
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

#[test]
fn hostile_names_and_inodes_are_stopped() {
    let g = ground();
    let (next, root) = (
        g.state.next_ino,
        g.state.volume(g.volume).unwrap().live.root,
    );
    let long = vec![b'x'; 256];
    let linked = |name: &[u8], ino| Event::Linked {
        volume: g.volume,
        dir: root,
        name: bytes(name),
        ino,
    };
    let renamed = |from: (Ino, &[u8]), to: (Ino, &[u8]), over| Event::Renamed {
        volume: g.volume,
        from_dir: from.0,
        from_name: bytes(from.1),
        to_dir: to.0,
        to_name: bytes(to.1),
        over,
    };
    let unlinked = |dir, name: &[u8], ino, keep| Event::Unlinked {
        volume: g.volume,
        dir,
        name: bytes(name),
        ino,
        keep,
    };
    stopped(
        &g,
        &[
            (
                "an inode number ahead",
                created(&g, root, b"x", Ino(next.0 + 1), NewBody::File),
            ),
            (
                "an inode number that was",
                created(&g, root, b"x", g.file, NewBody::File),
            ),
            (
                "the last inode number",
                created(&g, root, b"x", Ino(u64::MAX), NewBody::File),
            ),
            (
                "a directory that is not there",
                created(&g, Ino(999_999), b"x", next, NewBody::File),
            ),
            (
                "a file for a directory",
                created(&g, g.file, b"x", next, NewBody::File),
            ),
            ("an empty name", created(&g, root, b"", next, NewBody::File)),
            ("a dot", created(&g, root, b".", next, NewBody::File)),
            ("two dots", created(&g, root, b"..", next, NewBody::Dir)),
            ("a slash", created(&g, root, b"a/b", next, NewBody::File)),
            ("a NUL", created(&g, root, b"a\0", next, NewBody::File)),
            ("a long name", created(&g, root, &long, next, NewBody::File)),
            (
                "a name that is taken",
                created(&g, root, b"f", next, NewBody::File),
            ),
            (
                "a link to nowhere",
                created(&g, root, b"x", next, NewBody::Symlink(bytes(b""))),
            ),
            (
                "a link too long",
                created(&g, root, b"x", next, NewBody::Symlink(bytes(&[b'x'; 5000]))),
            ),
            ("a link to a directory", linked(b"x", g.dir)),
            ("a link to nothing", linked(b"x", Ino(77_777))),
            ("a link over a name", linked(b"d", g.file)),
            ("another inode's name", unlinked(root, b"f", g.dir, false)),
            (
                "a name that is not there",
                unlinked(root, b"zzz", g.file, false),
            ),
            (
                "a directory that is not empty",
                unlinked(root, b"d", g.dir, false),
            ),
            ("a kept directory", unlinked(g.dir, b"e", g.below, true)),
            (
                "a directory into itself",
                renamed((root, b"d"), (g.dir, b"x"), None),
            ),
            (
                "a directory into its child",
                renamed((root, b"d"), (g.below, b"x"), None),
            ),
            (
                "a directory over a file",
                renamed((root, b"d"), (root, b"f"), Some((g.file, false))),
            ),
            (
                "over what is not said",
                renamed((root, b"f"), (root, b"d"), None),
            ),
            (
                "over what is not there",
                renamed((root, b"f"), (root, b"x"), Some((g.dir, false))),
            ),
            (
                "onto itself",
                renamed((root, b"f"), (root, b"f"), Some((g.file, false))),
            ),
            ("to a bad name", renamed((root, b"f"), (root, b"a/b"), None)),
            (
                "a directory exchanged with its child",
                Event::Exchanged {
                    volume: g.volume,
                    a_dir: root,
                    a_name: bytes(b"d"),
                    b_dir: g.dir,
                    b_name: bytes(b"e"),
                },
            ),
            (
                "no orphan",
                Event::OrphanDropped {
                    volume: g.volume,
                    ino: g.file,
                },
            ),
            (
                "no such volume",
                Event::OrphanDropped {
                    volume: VolumeId(u32::MAX),
                    ino: g.file,
                },
            ),
        ],
    );
}

#[test]
fn hostile_ranges_and_sizes_are_stopped() {
    let g = ground();
    let range = |block, count| Range { block, count };
    let punched = |block, count| Event::Punched {
        volume: g.volume,
        ino: g.file,
        range: range(block, count),
        size: None,
    };
    let shared = |from_block, to_block, count, size| Event::Shared {
        volume: g.volume,
        from: g.file,
        from_block,
        to: g.file,
        to_block,
        count,
        size,
    };
    let truncated = |ino, size| Event::Truncated {
        volume: g.volume,
        ino,
        size,
    };
    stopped(
        &g,
        &[
            ("an empty hole", punched(0, 0)),
            ("a hole without end", punched(0, u64::MAX)),
            ("a hole over the edge", punched(u64::MAX, 2)),
            ("a hole past the greatest file", punched(MAX_FILE_BLOCKS, 1)),
            ("a size past the greatest", truncated(g.file, u64::MAX)),
            (
                "a size just past the greatest",
                truncated(g.file, strand_engine::MAX_FILE_SIZE + 1),
            ),
            ("a directory's size", truncated(g.dir, 0)),
            ("a size of nothing", truncated(Ino(0), 0)),
            (
                "room without end",
                Event::Preallocated {
                    volume: g.volume,
                    ino: g.file,
                    size: Some(u64::MAX),
                },
            ),
            (
                "room that shrinks",
                Event::Preallocated {
                    volume: g.volume,
                    ino: g.file,
                    size: Some(1),
                },
            ),
            ("nothing shared", shared(0, 2, 0, None)),
            ("everything shared", shared(0, 2, u64::MAX, None)),
            ("too much shared", shared(0, 2, 65_537, None)),
            ("shared onto itself", shared(0, 1, 2, None)),
            (
                "shared from past the end",
                shared(3, 8, 2, Some(100 * 4096)),
            ),
            ("shared to past the end", shared(0, 8, 2, None)),
            ("shared over the edge", shared(0, u64::MAX, 2, Some(1))),
            (
                "a write without blocks",
                Event::Written {
                    volume: g.volume,
                    ino: g.file,
                    block: 0,
                    size: None,
                },
            ),
            (
                "an attribute without a name",
                Event::XattrSet {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b""),
                    value: bytes(b"v"),
                },
            ),
            (
                "an attribute too long",
                Event::XattrSet {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b"n"),
                    value: bytes(&vec![1; 60 * 1024 + 1]),
                },
            ),
            (
                "an attribute that is not there",
                Event::XattrRemoved {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b"n"),
                },
            ),
            (
                "a mode with other bits",
                Event::AttributesSet {
                    volume: g.volume,
                    ino: g.file,
                    set: SetAttributes {
                        mode: Some(u32::MAX),
                        ..SetAttributes::default()
                    },
                },
            ),
        ],
    );
    let written = |ino, block, size| Event::Written {
        volume: g.volume,
        ino,
        block,
        size,
    };
    for (what, event) in [
        ("blocks past the end", written(g.file, 9, None)),
        ("blocks past everything", written(g.file, u64::MAX, None)),
        (
            "blocks past the greatest file",
            written(g.file, MAX_FILE_BLOCKS, Some(u64::MAX)),
        ),
        ("a write that shrinks", written(g.file, 0, Some(10))),
        ("a write into a directory", written(g.dir, 0, Some(4096))),
        ("blocks of an event that has none", punched(0, 1)),
    ] {
        is_stopped(&g, &command(&[(event, 1)]), what);
    }
}

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

#[test]
fn hostile_records_are_stopped() {
    let g = ground();
    let good = record(
        &Event::CheckpointHeld {
            checkpoint: g.checkpoint,
            held: true,
        },
        true,
    );
    let mut huge_text = vec![3, 3];
    huge_text.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let mut huge_list = record(
        &Event::CopiedOut {
            volume: g.volume,
            checkpoint: g.checkpoint,
            cause: Cause::Write,
            ino: g.file,
            ranges: vec![],
        },
        true,
    );
    huge_list.pop();
    huge_list.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let cut = good[..good.len() - 1].to_vec();
    for (what, bytes) in [
        ("an unknown kind", vec![3, 200, 1]),
        ("the greatest kind", vec![3, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("a tag alone", vec![3]),
        (
            "a tag in too many bytes",
            [vec![0x83, 0x00], good[1..].to_vec()].concat(),
        ),
        ("a tag without end", vec![0xff; 12]),
        ("a record cut short", cut),
        ("bytes behind the end", [good.clone(), vec![0]].concat()),
        ("a text without end", huge_text),
        ("a list without end", huge_list),
        ("zeros", vec![0; 60]),
        ("the longest record", vec![0x41; 60_000]),
    ] {
        is_stopped(&g, &[(bytes, 0)], what);
    }
    let unknown = [vec![0xff, 0xff, 0xff, 0xff, 0x0f], good[1..].to_vec()].concat();
    is_stopped(&g, &[(unknown, 0)], "an actor that nobody ever saw");
}

/// Rollbacks to hundreds of positions in one journal: each needs the state there, and none may cost a fold of its own.
#[test]
fn many_positions_fold_in_bounded_time() {
    let small = Small::new();
    let volume = small.volume("v");
    let file = small.file(volume, "f");
    for n in 0..300 {
        small.write(volume, file, n % 8, 1, n);
    }
    let (first, last) = (small.store.state().seq - 300, small.store.state().seq);
    let Small { store, disk, .. } = small;
    store.close().unwrap();
    let began = Instant::now();
    let before = open(&disk, Access::ReadOnly).unwrap().state();
    let events: Vec<(Event, u8)> = (first..last)
        .map(|at| {
            let source = Source::Position(volume, at);
            (
                Event::RolledBack {
                    volumes: vec![(volume, source)],
                    before: CheckpointId(1),
                },
                0,
            )
        })
        .collect();
    for half in events.chunks(150) {
        let disk = forge(&disk, &command(half));
        let store = open(&disk, Access::ReadWrite).unwrap();
        assert!(store.state().seq >= before.seq + half.len() as u64);
        read_everything(&store).unwrap();
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Any bytes of any record changed, in a sound frame: stopped, or admitted and then harmless. What is admitted can be read, counted, digested,
/// written on and settled.
#[test]
fn changed_records_are_stopped_or_harmless() {
    let disk = Scenario::random(61, 60).closed_disk();
    let store = open(&disk, Access::ReadOnly).unwrap();
    let mut records = Vec::new();
    for frame in store
        .journal()
        .reader()
        .frames(store.journal().reader().origin())
    {
        let frame = frame.unwrap();
        records.extend(
            frame
                .entries()
                .map(|entry| entry.map(|e| (e.bytes.to_vec(), e.crcs.len())).unwrap()),
        );
    }
    drop(store);
    let mut random = Random::new(99);
    let (mut stopped, mut admitted) = (0, 0);
    let began = Instant::now();
    for turn in 0..3000 {
        let (mut bytes, blocks) = random.pick(&records).unwrap().clone();
        bytes[0] = 3;
        for _ in 0..random.below(4) {
            let at = 1 + random.below(bytes.len() as u64 - 1) as usize;
            match random.below(5) {
                0 => bytes[at] = random.next_u64() as u8,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes[at] = bytes[at].wrapping_sub(1),
                3 => bytes
                    .splice(at..=at, [0xff; 9].into_iter().chain([1]))
                    .for_each(drop),
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        let forged = forge(&disk, &[(bytes.clone(), blocks.min(4) as u8)]);
        let store = open(&forged, Access::ReadOnly)
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        if store.opening().damage.is_some() {
            stopped += 1;
            continue;
        }
        admitted += 1;
        let state = store.state();
        let _ = fresh_digest(&state);
        state.volumes.values().for_each(|v| drop(owned_brute(v)));
        drop(read_everything(&store));
        drop(store);
        let store = open(&forged, Access::ReadWrite)
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        store
            .settle()
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        for volume in state.volumes.keys() {
            let name = format!("after-{volume}");
            let members = vec![*volume];
            let command = Command::CheckpointCreate {
                name: Some(name),
                volumes: members,
                nomount: false,
                removable: false,
                note: String::new(),
            };
            store
                .run(&actor("later"), command)
                .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        }
        store
            .close()
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
    }
    println!(
        "{stopped} stopped, {admitted} admitted, {:?}",
        began.elapsed()
    );
    assert!(
        stopped > 300 && admitted > 40,
        "{stopped} stopped, {admitted} admitted"
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
