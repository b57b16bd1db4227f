//! A crash, a full disk or a failing call at every step of giving space back.

use super::town::{Town, options};
use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Disk, FaultyDisk};

/// A store with much that is dead, and an image that is not.
fn town(disk: &FaultyDisk) -> Town {
    let mut town = Town::on(Arc::new(disk.clone()), None).unwrap();
    town.write(70);
    town.checkpoint("kept");
    town.write(70);
    town.checkpoint("goes");
    town.write(30);
    town.remove("goes");
    town
}

fn all() -> ReclaimOptions {
    ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    }
}

/// The calls that giving space back makes.
fn calls() -> std::ops::Range<u64> {
    let disk = FaultyDisk::new(0);
    let town = town(&disk);
    let before = disk.calls();
    assert!(town.reclaim().segments > 5);
    let calls = before..disk.calls() + 1;
    assert!(calls.end - calls.start > 40, "{calls:?}");
    calls
}

/// The same store as another disk has it.
fn found(before: &Town, disk: FaultyDisk, what: &str) -> Town {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let store = Store::open(disk.clone(), before.clock.clone(), options());
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    before.elsewhere(disk, store)
}

fn goes_on(mut town: Town) {
    town.check();
    town.reclaim();
    town.write(20);
    town.check();
    town.reopened().check();
}

#[test]
fn a_crash_at_every_call_of_reclaim_loses_nothing() {
    for call in calls() {
        let disk = FaultyDisk::new(call);
        let town = town(&disk);
        disk.crash_at(call);
        let _ = town.store.reclaim(&all());
        for seed in 0..2 {
            let what = format!("call {call}, seed {seed}");
            goes_on(found(&town, disk.crash(seed * 31 + call), &what));
        }
    }
}

#[test]
fn after_a_failing_call_the_store_reads_and_goes_on() {
    for call in calls() {
        let disk = FaultyDisk::new(call);
        let town = town(&disk);
        disk.fail_call(call);
        let _ = town.store.reclaim(&all());
        let poisoned = town.store.health().is_err();
        if poisoned {
            let what = format!("call {call}");
            goes_on(found(&town, disk.crash(call), &what));
        } else {
            goes_on(town);
        }
    }
}

#[test]
fn a_full_disk_during_reclaim_leaves_a_store_that_can_be_used() {
    for free in (0..160).map(|i| i * 4096) {
        let disk = FaultyDisk::new(free);
        let mut town = town(&disk);
        let paths = disk.paths();
        let used = paths.iter().filter_map(|path| disk.file_bytes(path));
        let used: usize = used.map(|bytes| bytes.len()).sum();
        disk.limit_space(Some(used as u64 + free));
        match town.store.reclaim(&all()) {
            Err(error) => assert_eq!(error.kind(), Kind::NoSpace, "{error}"),
            Ok(done) => assert!(done.segments > 0, "{free}"),
        }
        town.store.health().unwrap();
        town.check();
        disk.limit_space(None);
        town.write(5);
        goes_on(town);
    }
}

#[test]
fn a_damaged_survivor_keeps_its_segment() {
    let disk = FaultyDisk::new(1);
    // What was written last is still in memory; behind an opening it is not.
    let town = town(&disk).reopened();
    // A block of the image, in a segment in which it is not alone.
    let image = town.store.state().checkpoint_named("kept").unwrap().id;
    let source = Source::Checkpoint(town.volume, image);
    let view = town.store.view(source).unwrap();
    let file = view.inode(town.file).unwrap().file().unwrap().clone();
    let (_, version) = file.map.iter().next().unwrap();
    let (segment, block) = (version.addr().0 / 16, version.addr().0 % 16);
    let path = format!("journal/{segment:020}.seg");
    assert!(disk.flip(&path, block * 4096 + 100, 1));
    let damaged = Town::shown(&town.store, &view).map(drop);
    assert_eq!(damaged.unwrap_err().kind(), Kind::Damaged);
    let done = town.store.reclaim(&all()).unwrap();
    let left: Vec<u64> = done.left_alone.iter().map(|l| l.segment).collect();
    assert_eq!(left, [segment], "{done:?}");
    assert!(done.segments > 5);
    let damaged = Town::shown(&town.store, &view).map(drop);
    assert_eq!(damaged.unwrap_err().kind(), Kind::Damaged);
    assert!(disk.flip(&path, block * 4096 + 100, 1));
    town.check();
    assert!(town.reclaim().left_alone.is_empty());
    town.check();
}
