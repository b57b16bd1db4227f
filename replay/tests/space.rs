//! Who owns what, against a count by hand of every tree.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::Fixture;
use std::collections::BTreeSet;
use strand_engine::{BLOCK, Command, Fileset, ReclaimOptions, Source, Store, VolumeId};
use strand_replay::space::{SpaceReport, report};

fn addresses(tree: &Fileset) -> BTreeSet<u64> {
    let files = tree.inodes.iter().filter_map(|(_, inode)| inode.file());
    files
        .flat_map(|file| file.map.iter().map(|(_, version)| version.addr().0))
        .collect()
}

/// The parts are the whole, and the whole is what the files take.
fn adds_up(store: &Store, found: &SpaceReport) {
    let parts = [
        found.live,
        found.checkpoints,
        found.origins,
        found.history,
        found.readers,
        found.dead,
        found.events,
        found.ahead,
        found.archives,
    ];
    assert_eq!(parts.iter().sum::<u64>(), found.journal, "{found:?}");
    let segments = store.journal().segments();
    let files: u64 = segments
        .iter()
        .map(|s| s.file_bytes + s.archive_bytes)
        .sum();
    assert_eq!(found.journal, files);
}

/// Live blocks, what checkpoints show besides, what each alone shows.
fn as_counted(store: &Store, found: &SpaceReport) {
    let state = store.state();
    let live: BTreeSet<u64> = state
        .volumes
        .values()
        .flat_map(|v| addresses(&v.live))
        .collect();
    assert_eq!(found.live, live.len() as u64 * BLOCK);
    let mut shown = live.clone();
    for volume in state.volumes.values() {
        shown.extend(
            volume
                .images
                .values()
                .flat_map(|image| addresses(&image.root)),
        );
    }
    assert_eq!(found.checkpoints, (shown.len() - live.len()) as u64 * BLOCK);
    for space in &found.each_checkpoint {
        let (mut theirs, mut others) = (BTreeSet::new(), live.clone());
        for volume in state.volumes.values() {
            others.extend(
                volume
                    .origin
                    .iter()
                    .flat_map(|origin| addresses(&origin.root)),
            );
            for (id, image) in volume.images.iter() {
                match *id == space.checkpoint {
                    true => theirs.extend(addresses(&image.root)),
                    false => others.extend(addresses(&image.root)),
                }
            }
        }
        let unique = theirs.difference(&others).count() as u64;
        assert_eq!(space.unique, unique * BLOCK, "{space:?}");
        assert!(space.unique <= space.owned);
    }
}

fn busy(f: &Fixture) -> VolumeId {
    let v = f.volume("pg");
    let file = f.file(v, "data");
    f.write(v, file, 0, 100, 1);
    let first = f.checkpoint(v, "first");
    f.write(v, file, 20, 30, 2);
    f.checkpoint(v, "second");
    f.write(v, file, 40, 40, 3);
    // In two places: it counts once.
    let copy = f.file(v, "copy");
    f.store
        .copy_range(&f.me, v, file, 0, copy, 0, 10 * BLOCK)
        .unwrap();
    f.checkpoint(v, "third");
    f.write(v, file, 0, 10, 4);
    f.run(Command::CloneCreate {
        name: "branch".into(),
        source: Source::Checkpoint(v, first),
    });
    let branch = f.store.state().volume_named("branch").unwrap().id;
    f.write(branch, file, 90, 20, 5);
    f.write(v, file, 60, 40, 6);
    f.rollback(v, first);
    f.write(v, file, 0, 50, 7);
    // Only the history shows those.
    f.write(v, file, 0, 50, 8);
    f.store.sync().unwrap();
    v
}

#[test]
fn every_byte_is_told_once() {
    let f = Fixture::on(
        std::sync::Arc::new(strand_journal::MemoryDisk::new()),
        64 << 10,
    );
    let v = busy(&f);
    let found = report(&f.store, 0).unwrap();
    adds_up(&f.store, &found);
    as_counted(&f.store, &found);
    assert_eq!(found.dead, 0, "the window begins with the store");
    assert_eq!(found.history, 50 * BLOCK);
    assert!(found.events > 0 && found.origins == 0);
    let pg = found
        .volumes
        .iter()
        .find(|space| space.volume == v)
        .unwrap();
    let mapped = f.store.state().volume(v).unwrap().live.blocks * BLOCK;
    assert_eq!(pg.logical, mapped);
    assert!(pg.stored <= pg.logical);

    // Without history the past is dead, and what a checkpoint alone shows goes with it.
    f.store.release_all_history().unwrap();
    f.write(v, f.file(v, "more"), 0, 1, 8);
    let later = report(&f.store, 0).unwrap();
    adds_up(&f.store, &later);
    as_counted(&f.store, &later);
    assert!(later.dead > 0 && later.history < found.history, "{later:?}");

    // What somebody reads is not dead.
    let read = report(&f.store, 1).unwrap();
    adds_up(&f.store, &read);
    assert_eq!((read.readers, read.dead), (BLOCK, later.dead - BLOCK));

    let options = ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    };
    let done = f.store.reclaim(&options).unwrap();
    assert!(done.segments > 0, "{done:?}");
    let after = report(&f.store, 0).unwrap();
    adds_up(&f.store, &after);
    as_counted(&f.store, &after);
    assert!(after.dead < later.dead, "{after:?}");
    assert!(after.archives > 0);
}
