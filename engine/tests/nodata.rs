//! Nodata checkpoints: they remember what changed, and keep none of it.
#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::*;
use strand_engine::*;

fn nodata(store: &Store, volumes: &[VolumeId], name: &str) -> CheckpointId {
    let command = Command::CheckpointCreate {
        name: Some(name.into()),
        volumes: volumes.to_vec(),
        nomount: false,
        removable: false,
        nodata: true,
        note: String::new(),
    };
    store.run(&me(), command).unwrap();
    store.state().checkpoint_named(name).unwrap().id
}

fn convert(store: &Store, checkpoint: CheckpointId) {
    store
        .run(&me(), Command::CheckpointConvert { checkpoint })
        .unwrap();
}

#[test]
fn a_nodata_checkpoint_marks_what_changes_and_keeps_none_of_it() {
    let (_, store) = new_store(64 << 10);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    store.write(&me(), pg, ino, 0, &[1; 40_960]).unwrap();
    let full = checkpoint(&store, &[pg], "full");
    let marks = nodata(&store, &[pg], "marks");
    let done = store.write(&me(), pg, ino, 4096, &[2; 8192]).unwrap();
    let named: Vec<&str> = done.events.iter().map(Event::kind).collect();
    assert_eq!(named, ["change-marked", "copied-out", "written"]);
    let again = store.write(&me(), pg, ino, 4096, &[3; 4096]).unwrap();
    assert_eq!(again.events.len(), 1, "a block is marked once");
    let state = store.state();
    let (image, older) = (
        state.image(pg, marks).unwrap(),
        state.image(pg, full).unwrap(),
    );
    assert_eq!((image.ledger.owned(), image.marks), (0, 2));
    assert_eq!((older.ledger.owned(), older.marks), (2, 0));
    assert_eq!(
        content(&store, Source::Checkpoint(pg, full), b"data"),
        vec![1; 40_960]
    );
    check_ledgers(&store);

    // Its directories can be walked, its files cannot be read, and nothing can start from it.
    let tree = store.view(Source::Checkpoint(pg, marks)).unwrap();
    let found = tree.lookup(b"data").unwrap();
    assert_eq!(tree.inode(found).unwrap().size(), 40_960);
    assert_eq!(
        kind_of(store.read(&tree, found, 0, &mut [0; 10])),
        Kind::NotAllowed
    );
    assert_eq!(kind_of(store.reader(&tree, found)), Kind::NotAllowed);
    let source = Source::Checkpoint(pg, marks);
    for command in [
        Command::Rollback {
            volume: pg,
            source,
            only: true,
        },
        Command::RollbackAll { checkpoint: marks },
        Command::CloneCreate {
            name: "clone".into(),
            source,
        },
        Command::RollbackFiles {
            volume: pg,
            source,
            paths: vec![b"data"[..].into()],
            attributes: false,
            delete_new: false,
        },
    ] {
        assert_eq!(kind_of(store.run(&me(), command)), Kind::NotAllowed);
    }
}

#[test]
fn images_become_nodata_in_any_order_and_the_older_ones_lose_nothing() {
    let (disk, store) = new_store(64 << 10);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    let mut checkpoints = Vec::new();
    for round in 0..4_u8 {
        store
            .write(
                &me(),
                pg,
                ino,
                u64::from(round) * 4096,
                &[round + 1; 16_384],
            )
            .unwrap();
        checkpoints.push(checkpoint(&store, &[pg], &format!("c{round}")));
    }
    store.write(&me(), pg, ino, 0, &[9; 40_960]).unwrap();
    let before = content(&store, Source::Checkpoint(pg, checkpoints[1]), b"data");
    let owned = |id: CheckpointId| store.state().image(pg, id).unwrap().ledger.owned();
    assert_eq!(owned(checkpoints[3]), 7);
    // The newest first: what the older ones need is handed down to them.
    for index in [3, 0, 2] {
        convert(&store, checkpoints[index]);
        check_ledgers(&store);
        assert_eq!(
            content(&store, Source::Checkpoint(pg, checkpoints[1]), b"data"),
            before
        );
    }
    assert_eq!(owned(checkpoints[1]), 5, "all that its image maps");
    for index in [0, 2, 3] {
        let state = store.state();
        let image = state.image(pg, checkpoints[index]).unwrap();
        assert_eq!((image.nodata, image.ledger.owned()), (true, 0));
    }
    let marked = owner::marked_brute(store.state().volume(pg).unwrap());
    for (id, blocks) in marked {
        assert_eq!(store.state().image(pg, id).unwrap().marks, blocks);
    }
    // Again is nothing; what is held stays.
    let again = store.run(
        &me(),
        Command::CheckpointConvert {
            checkpoint: checkpoints[3],
        },
    );
    assert!(again.unwrap().events.is_empty());
    let hold = Command::CheckpointHold {
        checkpoint: checkpoints[1],
        held: true,
    };
    store.run(&me(), hold).unwrap();
    let held = Command::CheckpointConvert {
        checkpoint: checkpoints[1],
    };
    assert_eq!(kind_of(store.run(&me(), held)), Kind::NotAllowed);
    store.write_state_file().unwrap();
    store.sync().unwrap();
    let digest = store.digest();
    drop(store);
    let store = Store::open(disk, clock(), OpenOptions::read_only()).unwrap();
    assert!(store.opening().state_file.is_some());
    assert_eq!(store.digest(), digest);
}

#[test]
fn what_was_kept_for_undo_is_gone_once_it_is_nodata() {
    let (_, store) = new_store(64 << 10);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    store.write(&me(), pg, ino, 0, &[1; 8192]).unwrap();
    let full = checkpoint(&store, &[pg], "full");
    store.write(&me(), pg, ino, 0, &[2; 8192]).unwrap();
    let done = store.run(
        &me(),
        Command::Rollback {
            volume: pg,
            source: Source::Checkpoint(pg, full),
            only: false,
        },
    );
    let first = done.unwrap().first;
    let kept = store
        .state()
        .checkpoint_named(&format!("auto-before-{first}"))
        .unwrap()
        .id;
    convert(&store, kept);
    check_ledgers(&store);
    let undone = store.run(&me(), Command::Undo { volume: None });
    assert_eq!(kind_of(undone), Kind::NothingToUndo);
}

/// An O(1) command: its events do not grow with what is mapped.
#[test]
fn a_nodata_checkpoint_is_two_events_and_costs_less_than_a_hundredth_of_its_volume() {
    let (disk, store) = new_store(1 << 20);
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "data");
    let blocks = 4096_u64;
    let payload = vec![7; 64 * 4096];
    for at in 0..blocks / 64 {
        store
            .write(&me(), pg, ino, at * payload.len() as u64, &payload)
            .unwrap();
    }
    let state_bytes = |store: &Store| {
        store.write_state_file().unwrap();
        let (_, name) = statefile::list(&*disk).unwrap().pop().unwrap();
        disk.open_read(&format!("state/{name}"))
            .unwrap()
            .len()
            .unwrap()
    };
    let before = state_bytes(&store);
    let command = Command::CheckpointCreate {
        name: Some("marks".into()),
        volumes: vec![pg],
        nomount: false,
        removable: false,
        nodata: true,
        note: String::new(),
    };
    assert_eq!(store.run(&me(), command).unwrap().events.len(), 2);
    // Every block changes once, in an order that joins no ranges: the most it can cost.
    let mut marks = 0;
    for step in 0..blocks {
        let block = step * 1237 % blocks;
        let done = store
            .write(&me(), pg, ino, block * 4096, &[8; 4096])
            .unwrap();
        for event in &done.events {
            if matches!(event, Event::ChangeMarked { .. }) {
                marks += fold::record_bytes(event);
            }
        }
    }
    let state = store.state();
    assert_eq!(
        state
            .checkpoint_named("marks")
            .map(|c| state.image(pg, c.id).unwrap().marks),
        Some(blocks)
    );
    let cost = marks + (state_bytes(&store) - before);
    let percent = 100.0 * cost as f64 / (blocks * 4096) as f64;
    assert!(
        percent < 1.0,
        "{cost} bytes are {percent:.2} % of the volume"
    );
}
