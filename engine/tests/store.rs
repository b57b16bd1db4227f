//! The store's story, end to end, on a memory disk.
#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use std::sync::Arc;
use strand_engine::*;
use strand_journal::{CallKind, Disk, FaultyDisk};

#[test]
fn a_volume_goes_back_to_its_checkpoint_and_forth_again() {
    let (disk, store) = new_store(64 << 10);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    let old: Vec<u8> = (0..50_000_u32).map(|i| (i % 251) as u8 + 1).collect();
    store.write(&me(), pg, ino, 0, &old).unwrap();
    let before = checkpoint(&store, &[pg], "before");
    let middle = store.state().boundary;
    store.write(&me(), pg, ino, 10_000, &[9; 20_000]).unwrap();
    store.write(&me(), pg, ino, 10_000, &[8; 100]).unwrap();
    let wrecked = content(&store, Source::Live(pg), b"data");
    assert_eq!(
        content(&store, Source::Checkpoint(pg, before), b"data"),
        old
    );
    assert_eq!(content(&store, Source::Position(pg, middle), b"data"), old);
    assert_eq!(
        store.state().image(pg, before).unwrap().ledger.copied_out,
        6
    );
    check_ledgers(&store);

    store
        .run(
            &me(),
            Command::Rollback {
                volume: pg,
                source: Source::Checkpoint(pg, before),
                only: false,
            },
        )
        .unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"data"), old);
    check_ledgers(&store);
    store.run(&me(), Command::Undo { volume: None }).unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"data"), wrecked);
    check_ledgers(&store);
    store
        .run(&me(), Command::Redo { volume: Some(pg) })
        .unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"data"), old);
    check_ledgers(&store);
    store
        .run(
            &me(),
            Command::Rollback {
                volume: pg,
                source: Source::Position(pg, middle),
                only: false,
            },
        )
        .unwrap();
    store
        .run(&me(), Command::CheckpointRemove { checkpoint: before })
        .unwrap();
    check_ledgers(&store);
    store.run(&me(), Command::Undo { volume: None }).unwrap();
    check_ledgers(&store);

    store.sync().unwrap();
    let digest = store.digest();
    let state = store.state();
    drop(store);
    let again = Store::open(disk.clone(), clock(), OpenOptions::read_write()).unwrap();
    assert_eq!(again.state().seq, state.seq);
    assert_eq!(again.digest(), digest);
    assert_eq!(content(&again, Source::Live(pg), b"data"), old);
    again.close().unwrap();
    let last = Store::open(disk, clock(), OpenOptions::read_only()).unwrap();
    assert_eq!(last.opening().recovery.unwrap().torn, None);
    assert_eq!(content(&last, Source::Live(pg), b"data"), old);
}

#[test]
fn files_go_back_one_by_one() {
    let (_, store) = new_store(1 << 20);
    let pg = volume(&store, "pg");
    let (a, b) = (file(&store, pg, "a"), file(&store, pg, "b"));
    store.write(&me(), pg, a, 0, &[1; 9000]).unwrap();
    store.write(&me(), pg, b, 0, &[2; 9000]).unwrap();
    let before = checkpoint(&store, &[pg], "before");
    store.write(&me(), pg, a, 0, &[3; 12_000]).unwrap();
    store.write(&me(), pg, b, 0, &[4; 12_000]).unwrap();
    let root = store.state().volume(pg).unwrap().live.root;
    let name: Bytes = b"a"[..].into();
    store
        .run(
            &me(),
            Command::Unlink {
                volume: pg,
                dir: root,
                name,
                dir_wanted: false,
            },
        )
        .unwrap();
    file(&store, pg, "new");
    let back = |paths: &[&str], delete_new| Command::RollbackFiles {
        volume: pg,
        source: Source::Checkpoint(pg, before),
        paths: paths.iter().map(|p| p.as_bytes().into()).collect(),
        attributes: false,
        delete_new,
    };
    store.run(&me(), back(&["a"], false)).unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"a"), [1; 9000]);
    assert_eq!(content(&store, Source::Live(pg), b"b"), [4; 12_000]);
    check_ledgers(&store);
    assert!(
        store
            .run(&me(), back(&["a"], false))
            .unwrap()
            .events
            .is_empty(),
        "again changes nothing"
    );
    store.run(&me(), back(&["/"], true)).unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"b"), [2; 9000]);
    let live = store.view(Source::Live(pg)).unwrap();
    assert!(live.lookup(b"new").is_none());
    check_ledgers(&store);
    store.run(&me(), Command::Undo { volume: None }).unwrap();
    assert_eq!(content(&store, Source::Live(pg), b"b"), [4; 12_000]);
    assert!(
        store
            .view(Source::Live(pg))
            .unwrap()
            .lookup(b"new")
            .is_some()
    );
    check_ledgers(&store);
    store.run(&me(), Command::Undo { volume: None }).unwrap();
    assert!(store.view(Source::Live(pg)).unwrap().lookup(b"a").is_none());
    check_ledgers(&store);
}

#[test]
fn a_clone_keeps_its_own_root() {
    let (_, store) = new_store(1 << 20);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    store.write(&me(), pg, ino, 0, &[1; 40_960]).unwrap();
    let before = checkpoint(&store, &[pg], "before");
    let clone = Command::CloneCreate {
        name: "try".into(),
        source: Source::Checkpoint(pg, before),
    };
    store.run(&me(), clone).unwrap();
    let branch = store.state().volume_named("try").unwrap().id;
    let inside = checkpoint(&store, &[branch, pg], "inside");
    store.write(&me(), branch, ino, 0, &[5; 4096]).unwrap();
    store.write(&me(), pg, ino, 4096, &[6; 4096]).unwrap();
    assert_eq!(
        content(&store, Source::Live(pg), b"data")[..4096],
        [1; 4096]
    );
    assert_eq!(
        content(&store, Source::Checkpoint(branch, inside), b"data"),
        [1; 40_960]
    );
    check_ledgers(&store);
    store
        .run(&me(), Command::CheckpointRemove { checkpoint: before })
        .unwrap();
    check_ledgers(&store);
    store
        .run(&me(), Command::CloneReset { volume: branch })
        .unwrap();
    assert_eq!(content(&store, Source::Live(branch), b"data"), [1; 40_960]);
    check_ledgers(&store);
    let refused = store.run(
        &me(),
        Command::Rollback {
            volume: pg,
            source: Source::Checkpoint(pg, inside),
            only: false,
        },
    );
    assert_eq!(refused.unwrap_err().kind(), Kind::NotAllowed);
    store
        .run(&me(), Command::RollbackAll { checkpoint: inside })
        .unwrap();
    check_ledgers(&store);
}

#[test]
fn shared_blocks_pass_to_a_checkpoint_once() {
    let (_, store) = new_store(1 << 20);
    let pg = volume(&store, "pg");
    let (a, b) = (file(&store, pg, "a"), file(&store, pg, "b"));
    store.write(&me(), pg, a, 0, &[1; 40_960]).unwrap();
    let before = checkpoint(&store, &[pg], "before");
    assert_eq!(
        store.copy_range(&me(), pg, a, 0, b, 8192, 40_960).unwrap(),
        40_960
    );
    assert_eq!(content(&store, Source::Live(pg), b"b")[8192..], [1; 40_960]);
    check_ledgers(&store);
    store.write(&me(), pg, a, 0, &[2; 40_960]).unwrap();
    assert_eq!(
        store.state().image(pg, before).unwrap().ledger.copied_out,
        0,
        "b still maps them"
    );
    store.write(&me(), pg, b, 8192, &[3; 40_960]).unwrap();
    assert_eq!(
        store.state().image(pg, before).unwrap().ledger.copied_out,
        10
    );
    check_ledgers(&store);
    store.truncate(&me(), pg, b, 5).unwrap();
    store.punch(&me(), pg, a, 100, 30_000).unwrap();
    check_ledgers(&store);
}

#[test]
fn a_large_state_is_not_written_again_for_a_few_events() {
    let (disk, store) = new_store(4 << 20);
    let data = volume(&store, "data");
    for n in 0..2000 {
        store
            .submit(
                &me(),
                Command::VolumeCreate {
                    name: format!("v{n}"),
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                },
            )
            .unwrap();
    }
    store.write_state_file().unwrap();
    store.close().unwrap();
    let size = |disk: &Arc<dyn Disk>| {
        let (seq, name) = statefile::list(&**disk).unwrap().pop().unwrap();
        let file = disk
            .open_read(&format!("{}/{name}", statefile::STATE_DIR))
            .unwrap();
        (seq, file.len().unwrap())
    };
    let (first, bytes) = size(&disk);
    let options = OpenOptions {
        state_every: 5,
        ..OpenOptions::read_write()
    };
    let store = Store::open(disk.clone(), clock(), options).unwrap();
    let ino = file(&store, data, "f");
    // More events than `state_every`, again and again, but fewer bytes than the state file has.
    let mut grown = 0;
    while grown + 20 * 8192 < bytes {
        for n in 0..10 {
            store.write(&me(), data, ino, n * 4096, &[7; 4096]).unwrap();
        }
        store.sync().unwrap();
        grown += 12 * 4096;
        assert_eq!(size(&disk).0, first, "after {grown} of {bytes} bytes");
    }
    for _ in 0..2 * bytes / (10 * 4096) + 1 {
        for n in 0..10 {
            store.write(&me(), data, ino, n * 4096, &[8; 4096]).unwrap();
        }
        store.sync().unwrap();
    }
    assert!(
        size(&disk).0 > first,
        "the journal has grown by the state's size"
    );
}

#[test]
fn a_poisoned_store_shows_nothing_that_was_not_flushed() {
    let disk = FaultyDisk::new(4);
    let options = InitOptions {
        segment_size: 1 << 20,
        capacity: None,
        store: StoreId([3; 16]),
    };
    let store = Store::init(Arc::new(disk.clone()), clock(), options, &me()).unwrap();
    let v = volume(&store, "pg");
    let f = file(&store, v, "a");
    store.health().unwrap();
    let done = store.write(&me(), v, f, 0, b"not durable").unwrap();
    let flushes = disk.log().iter().filter(|&&c| c == CallKind::Sync).count();
    disk.fail_nth(CallKind::Sync, flushes as u64 + 1);
    let poisoned = |error: Error| assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    poisoned(store.commit(done.ticket).unwrap_err());
    poisoned(store.health().unwrap_err());
    poisoned(store.look(v, |volume| volume.live.clone()).unwrap_err());
    let tree = store.live(v).unwrap();
    poisoned(store.read(&tree, f, 0, &mut [0; 11]).unwrap_err());
    poisoned(store.record_digest().unwrap_err());
    poisoned(store.write_state_file().unwrap_err());
    poisoned(store.sync().unwrap_err());
    drop(store);
    // Opened again, the store knows.
    let store = Store::open(Arc::new(disk), clock(), OpenOptions::read_write()).unwrap();
    store.health().unwrap();
    assert_eq!(content(&store, Source::Live(v), b"a"), b"");
}

#[test]
fn absurd_numbers_are_refused() {
    let (_, store) = new_store(1 << 20);
    let data = volume(&store, "data");
    let ino = file(&store, data, "f");
    store.write(&me(), data, ino, 0, &[1; 10_000]).unwrap();
    let before = store.state().volume(data).unwrap().live.blocks;
    for offset in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let _ = store.punch(&me(), data, ino, offset, 1);
        let _ = store.punch(&me(), data, ino, offset, u64::MAX);
    }
    let run = |block| WriteRun {
        block,
        count: u64::MAX,
        data: true,
    };
    let command = Command::Write {
        volume: data,
        ino,
        runs: vec![run(0), run(1)],
        size: 1,
    };
    assert!(store.submit(&me(), command).is_err());
    assert_eq!(store.state().volume(data).unwrap().live.blocks, before);
    store.close().unwrap();
}
