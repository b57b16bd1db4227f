//! What a review found, each with a test that failed before its mend.
#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use std::io::IoSlice;
use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Access, Block, Disk, MemoryDisk};

fn reopen(disk: &Arc<dyn Disk>, access: Access) -> Result<Store, Error> {
    Store::open(
        disk.clone(),
        clock(),
        OpenOptions {
            access,
            ..OpenOptions::read_write()
        },
    )
}

/// The last frame's header is lost, the state file behind it is whole: what it covers was durable.
#[test]
fn a_lost_tail_that_a_state_file_covers_is_damage_and_not_torn() {
    let (disk, store) = new_store(64 << 10);
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    let done = store.write(&me(), v, f, 0, &[77; 4096]).unwrap();
    store.commit(done.ticket).unwrap();
    store.write_state_file().unwrap();
    let at = store.journal().position();
    drop(store);
    let segment = disk
        .open(&format!("journal/{:020}.seg", at.segment))
        .unwrap();
    let offset = u64::from(at.previous_block) * 4096 + 200;
    let mut byte = [0u8; 1];
    segment.read_at(&mut byte, offset).unwrap();
    byte[0] ^= 1;
    segment.write_at(&[IoSlice::new(&byte)], offset).unwrap();
    segment.sync_data().unwrap();
    assert_eq!(
        reopen(&disk, Access::ReadWrite).unwrap_err().kind(),
        Kind::Damaged
    );
    let reader = reopen(&disk, Access::ReadOnly).unwrap();
    assert!(reader.opening().recovery.unwrap().damage.is_some());
}

#[test]
fn a_write_past_the_size_it_gives_is_refused() {
    let (disk, store) = new_store(64 << 10);
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    let run = WriteRun {
        block: 10,
        count: 1,
        data: true,
    };
    let command = Command::Write {
        volume: v,
        ino: f,
        runs: vec![run],
        size: 0,
    };
    let refused = store.submit_with(&me(), command, &[Block::from_slice(b"x")]);
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    store.sync().unwrap();
    drop(store);
    reopen(&disk, Access::ReadWrite).unwrap();
}

#[test]
fn a_clock_past_2262_is_refused_before_it_is_recorded() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(i64::MAX as u64 + 5_000_000_000));
    let options = InitOptions {
        segment_size: 64 << 10,
        capacity: None,
        store: StoreId([3; 16]),
    };
    assert_eq!(
        Store::init(disk, clock, options, &me()).unwrap_err().kind(),
        Kind::Invalid
    );
}

/// A job that tries again and again on a full store must not use up what removals need.
#[test]
fn refused_tries_leave_the_reserve_alone() {
    let (disk, store) = limited_store(64 << 10, Some(40 * (64 << 10)));
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    let create = Command::CheckpointCreate {
        name: Some("c".into()),
        volumes: vec![v],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    store.run(&me(), create.clone()).unwrap();
    let mut block = 0;
    while store
        .write(&me(), v, f, block * 4096, &[1; 4096])
        .and_then(|d| store.commit(d.ticket))
        .is_ok()
    {
        block += 1;
    }
    store.close().unwrap();
    for _ in 0..200 {
        let store = reopen(&disk, Access::ReadWrite).unwrap();
        // What the last tries left of records may be packed closer, and make room for a few.
        let full = loop {
            match store.write(&me(), v, f, block * 4096, &[1; 4096]) {
                Ok(_) => block += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), Kind::NoSpace);
        assert!(store.run(&me(), create.clone()).is_err());
        store.close().unwrap();
    }
    let store = reopen(&disk, Access::ReadWrite).unwrap();
    let checkpoint = store.state().checkpoint_named("c").unwrap().id;
    store
        .run(&me(), Command::CheckpointRemove { checkpoint })
        .unwrap();
    store.close().unwrap();
}

#[test]
fn holes_made_beside_an_append_lose_nothing_of_it() {
    let (_disk, store) = new_store(1 << 20);
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    for _ in 0..1000 {
        store.truncate(&me(), v, f, 0).unwrap();
        store.write(&me(), v, f, 0, &[1; 5000]).unwrap();
        beside(
            &store,
            |s| s.punch(&me(), v, f, 4096, 904),
            |s| s.write(&me(), v, f, 5000, &[9; 100]),
        );
        let tree = store.view(Source::Live(v)).unwrap();
        let mut appended = [0; 100];
        store.read(&tree, f, 5000, &mut appended).unwrap();
        assert_eq!(appended, [9; 100]);
        store.truncate(&me(), v, f, 5000).unwrap();
        beside(
            &store,
            |s| s.zero(&me(), v, f, 8192, 100),
            |s| s.write(&me(), v, f, 20_480, &[9; 4096]),
        );
        let tree = store.view(Source::Live(v)).unwrap();
        assert_eq!(tree.inode(f).unwrap().size(), 24_576);
        store.sync().unwrap();
    }
}

fn beside(
    store: &Store,
    a: impl Fn(&Store) -> Result<Done, Error> + Sync,
    b: impl Fn(&Store) -> Result<Done, Error> + Sync,
) {
    let start = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            a(store).unwrap();
        });
        scope.spawn(|| {
            start.wait();
            b(store).unwrap();
        });
    });
}

/// One version at more and more places: past the limit its bytes are copied, and no list grows without bound.
#[test]
fn a_version_has_a_bounded_number_of_places() {
    let (_disk, store) = new_store(1 << 20);
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    store.write(&me(), v, f, 0, &[1; 4096]).unwrap();
    let mut blocks = 1_u64;
    while blocks < 8192 {
        assert_eq!(
            store
                .copy_range(&me(), v, f, 0, f, blocks * 4096, blocks * 4096)
                .unwrap(),
            blocks * 4096
        );
        blocks *= 2;
    }
    let state = store.state();
    let most = state
        .volume(v)
        .unwrap()
        .spread
        .iter()
        .map(|(_, places)| places.len())
        .max()
        .unwrap();
    assert!(most <= 2 * owner::MAX_PLACES, "{most}");
    let tree = store.view(Source::Live(v)).unwrap();
    let mut bytes = vec![0; 8192 * 4096];
    assert_eq!(store.read(&tree, f, 0, &mut bytes).unwrap(), bytes.len());
    assert!(bytes.iter().all(|b| *b == 1));
}

/// A state file of a tail that is gone names a position that other events have now: it must not speak for it.
#[test]
fn a_state_file_of_another_history_is_no_base() {
    let (disk, store) = new_store(1 << 20);
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    let done = store.write(&me(), v, f, 0, &[1; 4096]).unwrap();
    store.commit(done.ticket).unwrap();
    let keep = store.journal().position();
    let done = store.write(&me(), v, f, 0, &[77; 40_960]).unwrap();
    store.commit(done.ticket).unwrap();
    let covered = store.write_state_file().unwrap();
    drop(store);
    let name = format!("state/{covered:020}.state");
    let stale = disk.read_small(&name, 1 << 30).unwrap();
    disk.remove(&name).unwrap();
    let segment = disk.open("journal/00000000000000000001.seg").unwrap();
    segment
        .write_at(
            &[IoSlice::new(&vec![0u8; 200 * 4096])],
            u64::from(keep.block) * 4096,
        )
        .unwrap();
    segment.sync_data().unwrap();
    let store = reopen(&disk, Access::ReadWrite).unwrap();
    disk.write_small(&name, &stale).unwrap();
    for i in 0..6 {
        let name: Bytes = format!("user.{i}").into_bytes().into();
        let value: Bytes = b"x"[..].into();
        store
            .submit(
                &me(),
                Command::SetXattr {
                    volume: v,
                    ino: f,
                    name,
                    value,
                    create: None,
                },
            )
            .unwrap();
    }
    store.sync().unwrap();
    let now = store.state().boundary;
    for position in now - 4..now {
        let tree = store.view(Source::Position(v, position)).unwrap();
        assert_eq!(tree.inode(f).unwrap().size(), 4096, "at seq {position}");
    }
}

/// What small segments lose to headers and their ends must not come out of the reserve: a rollback still has its room.
#[test]
fn a_store_filled_by_large_writes_can_still_roll_back() {
    for (segment_size, room) in [64 << 10, 1 << 20]
        .into_iter()
        .flat_map(|s| (24..60_u64).map(move |mib| (s, mib << 20)))
    {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::with_limit(room));
        let options = InitOptions {
            segment_size,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let store = Store::init(disk, clock(), options, &me()).unwrap();
        let v = volume(&store, "pg");
        let f = file(&store, v, "a");
        let create = Command::CheckpointCreate {
            name: Some("c".into()),
            volumes: vec![v],
            nomount: false,
            removable: false,
            nodata: false,
            note: String::new(),
        };
        store.run(&me(), create).unwrap();
        let most = u64::from(strand_journal::max_record_blocks(segment_size));
        let payload = vec![Block::from_slice(b"x"); 256];
        let mut first = 0;
        loop {
            let starts = (0..256).step_by(usize::try_from(most).unwrap());
            let runs = starts.map(|at| WriteRun {
                block: first + at,
                count: most.min(256 - at),
                data: true,
            });
            let command = Command::Write {
                volume: v,
                ino: f,
                runs: runs.collect(),
                size: (first + 256) * BLOCK,
            };
            match store.submit_with(&me(), command, &payload) {
                Ok(done) => store.commit(done.ticket).unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::NoSpace);
                    break;
                }
            }
            first += 256;
        }
        assert!(first > 2048, "{segment_size}: {first}");
        let c = store.state().checkpoint_named("c").unwrap().id;
        let source = Source::Checkpoint(v, c);
        let rollback = Command::Rollback {
            volume: v,
            source,
            only: false,
        };
        store.run(&me(), rollback).unwrap();
        store.run(&me(), Command::Undo { volume: None }).unwrap();
    }
}

/// What a copy did before it met a block that cannot be read stays, so it says how much that is; asked for the rest, why that does not go.
#[test]
fn a_copy_that_fails_half_way_says_how_far_it_came() {
    const PART: usize = 256 * 4096; // what goes byte by byte in one command
    let (disk, store) = new_store(4 << 20);
    let v = volume(&store, "pg");
    let (from, to) = (file(&store, v, "a"), file(&store, v, "b"));
    store.write(&me(), v, from, 0, &vec![7; 2 * PART]).unwrap();
    store.sync().unwrap();
    let live = store.view(Source::Live(v)).unwrap();
    let map = &live.inode(from).unwrap().file().unwrap().map;
    let bad = map.get(300).unwrap().addr().0;
    let blocks = u64::from(store.journal().blocks_per_segment());
    drop(live);
    store.close().unwrap();
    let segment = format!("journal/{:020}.seg", bad / blocks);
    let flipped = [IoSlice::new(&[6])];
    let segment = disk.open(&segment).unwrap();
    segment.write_at(&flipped, bad % blocks * 4096).unwrap();
    let store = reopen(&disk, Access::ReadWrite).unwrap();
    // Not at the same place in a block: it is copied, not shared.
    let rest = 2 * PART as u64 - 1;
    let copied = store.copy_range(&me(), v, from, 1, to, 0, rest).unwrap();
    assert_eq!(copied, PART as u64);
    let there = content(&store, Source::Live(v), b"b");
    assert!(there == vec![7; usize::try_from(copied).unwrap()]);
    let refused = store.copy_range(&me(), v, from, 1 + copied, to, copied, rest - copied);
    assert_eq!(kind_of(refused), Kind::Damaged);
}
