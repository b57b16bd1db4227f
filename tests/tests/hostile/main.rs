//! Journals whose frames are sound (crc32, chain, leaves, everything) and whose events are not: what an attacker with the disk would write.
//! Each must end in a clear error that names the event: no panic, no hang, no memory without bounds.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod checkpoints;
mod names;
mod ranges;
mod records;

use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{
    Access, ActorId, CheckpointId, Command, Error, Event, Ino, Kind, ManualClock, NewBody,
    OpenOptions, State, Store, VolumeId,
};
use strand_journal::disk::{Disk, FaultyDisk};
use strand_journal::{Block, Journal, Record, VisitError};
use strand_tests::lockstep::{BEGIN, open_options};
use strand_tests::scenario::read_everything;
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
        spare_blocks: 0,
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
