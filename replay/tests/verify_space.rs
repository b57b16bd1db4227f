//! Verification of a store whose old events moved away, and whose versions were moved.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, flip, segment_path};
use std::sync::Arc;
use strand_engine::{BLOCK, Ino, ReclaimOptions, VolumeId, statefile};
use strand_journal::MemoryDisk;
use strand_replay::verify::{Options, Report, Severity, verify};

const ALL: Options = Options {
    data: true,
    anchor: None,
    from_scratch: true,
};

fn report(f: &Fixture) -> Report {
    verify(&f.store, &ALL, &|_| {}).unwrap()
}

/// A file of which so many blocks, from the first on, were written long ago.
fn long_ago(blocks: u64) -> (Fixture, VolumeId, Ino) {
    let f = Fixture::on(Arc::new(MemoryDisk::new()), 64 << 10);
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, blocks, 1);
    for fill in 2..60 {
        f.write(v, file, blocks, 4, fill);
    }
    f.store.sync().unwrap();
    (f, v, file)
}

/// Where the version of a block was born, and where it lies.
fn lies(f: &Fixture, v: VolumeId, file: Ino, block: u64) -> (u64, u64) {
    let state = f.store.state();
    let place = strand_engine::Place { ino: file, block };
    let birth = state.volume(v).unwrap().live.version(place).unwrap().addr();
    (birth.0, state.places.find(birth).unwrap().0)
}

fn spoil(f: &Fixture, address: u64) {
    let per_segment = u64::from(f.store.journal().blocks_per_segment());
    let path = segment_path(address / per_segment);
    flip(&*f.disk, &path, address % per_segment * BLOCK + 9);
}

#[test]
fn what_lies_before_the_horizon_is_read_too() {
    let (f, v, file) = long_ago(8);
    let now = f.store.state().boundary;
    let moved = f.store.move_archives(now, None).unwrap();
    let sound = report(&f);
    assert!(sound.ok(), "{:?}", sound.findings);
    assert_eq!(sound.proved_from, moved.before);
    assert!(sound.totals.older >= 8);
    let (birth, place) = lies(&f, v, file, 3);
    spoil(&f, place);
    let report = report(&f.reopen());
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let found = &report.findings[0];
    assert_eq!(found.check, "moved");
    assert_eq!(found.file.as_deref(), Some("a"));
    assert_eq!(
        (found.volume.as_deref(), found.block),
        (Some("pg"), Some(3))
    );
    assert_eq!(found.shown_by, ["pg"]);
    let bad: Vec<u64> = report.bad_versions.iter().map(|bad| bad.addr).collect();
    assert_eq!(bad, [birth], "no image that shows it is a target");
}

#[test]
fn of_many_bad_blocks_before_the_horizon_all_are_noted_and_the_rest_is_counted() {
    let (f, v, file) = long_ago(30);
    let now = f.store.state().boundary;
    f.store.move_archives(now, None).unwrap();
    for block in 0..30 {
        spoil(&f, lies(&f, v, file, block).1);
    }
    let report = report(&f.reopen());
    assert_eq!(report.findings.len(), 17, "{:?}", report.findings);
    let counted = report.findings.iter().map(|f| f.blocks.max(1)).sum::<u64>();
    assert_eq!(counted, 30);
    assert_eq!(report.bad_versions.len(), 30);
}

#[test]
fn a_bad_copy_is_found_with_its_file_and_the_store_is_sound_without_what_was_given_back() {
    let (f, v, file) = long_ago(8);
    let now = ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    };
    assert!(f.store.reclaim(&now).unwrap().segments > 0);
    let sound = report(&f);
    assert!(sound.ok(), "{:?}", sound.findings);
    assert!(sound.totals.given_back > 0 && sound.totals.moved > 0);
    let (birth, copy) = lies(&f, v, file, 3);
    assert_ne!(birth, copy);
    spoil(&f, copy);
    let report = report(&f.reopen());
    let payload = report.findings.iter().find(|f| f.check == "payload");
    let payload = payload.unwrap();
    assert_eq!(payload.file.as_deref(), Some("a"));
    assert_eq!(payload.block, Some(3));
    assert_eq!(payload.shown_by, ["pg"]);
    assert_eq!(report.bad_versions[0].addr, birth);
}

#[test]
fn what_a_tree_shows_and_is_not_there_is_damage() {
    let (f, v, file) = long_ago(8);
    let (birth, _) = lies(&f, v, file, 3);
    let per_segment = f.store.journal().blocks_per_segment();
    // Nobody may say so while it is alive: it is said all the same.
    let first = birth / u64::from(per_segment) * u64::from(per_segment);
    let command = strand_engine::Command::ReclaimSegments {
        ranges: vec![(first, per_segment)],
    };
    let done = f
        .store
        .submit(&strand_engine::Actor::program(), command)
        .unwrap();
    f.store.commit(done.ticket).unwrap();
    let report = report(&f);
    assert!(report.findings.iter().any(|f| f.check == "moved"));
}

#[test]
fn a_bad_base_state_hides_no_damaged_file() {
    let (f, v, file) = long_ago(8);
    let now = f.store.state().boundary;
    let moved = f.store.move_archives(now, None).unwrap();
    f.write(v, file, 8, 2, 77);
    // The store works: a newer state file serves.
    f.store.write_state_file().unwrap();
    let base = format!("state/{}", statefile::name(moved.before - 1));
    let half = f.disk.open(&base).unwrap().len().unwrap() / 2;
    flip(&*f.disk, &base, half);
    let spoilt = [3, 9].map(|block| {
        let (birth, place) = lies(&f, v, file, block);
        spoil(&f, place);
        birth
    });
    let f = f.reopen();
    for from_scratch in [true, false] {
        let options = Options {
            from_scratch,
            ..ALL
        };
        let report = verify(&f.store, &options, &|_| {}).unwrap();
        assert!(!report.ok());
        let found = &report.findings;
        let of_base: Vec<_> = found.iter().filter(|f| f.check == "base-state").collect();
        assert_eq!(of_base.len(), 1, "{found:?}");
        assert_eq!(of_base[0].file.as_deref(), Some(&*base));
        assert_eq!(of_base[0].severity, Severity::Damage);
        let mut blocks: Vec<_> = found.iter().filter_map(|f| f.block).collect();
        blocks.sort_unstable();
        assert_eq!(blocks, [3, 9], "{found:?}");
        assert_eq!(found.len(), 3, "{found:?}");
        let mut bad: Vec<u64> = report.bad_versions.iter().map(|bad| bad.addr).collect();
        bad.sort_unstable();
        assert_eq!(bad, spoilt);
        assert_eq!(report.digest.is_empty(), from_scratch);
        let first = report.folded_from == moved.before - 1;
        assert_eq!(first, from_scratch);
    }
}
