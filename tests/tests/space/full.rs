//! Full disks while space is given back, and at every allocation of a history that gives it back.

use super::{kind_of, reclaim, remove, town};
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{Command, Kind, ReclaimOptions, Source};
use strand_journal::disk::FaultyDisk;
use strand_tests::history::Profile;
use strand_tests::lockstep::{SEGMENT_SIZE, actor, fresh_digest};
use strand_tests::scenario::{Scenario, read_everything, reopen};
use strand_tests::small::{BLOCK, contents};

/// However little room there is for copies, nothing is lost, the store is usable, and with room space comes back.
#[test]
fn a_disk_that_is_full_while_space_is_given_back_loses_nothing() {
    for room in 0..40_u64 {
        let (small, volume, file) = town(None, 30);
        let kept = small.checkpoint("kept", &[volume]);
        let gone = small.checkpoint("gone", &[volume]);
        for turn in 1..4 {
            for block in (turn % 2..30).step_by(2) {
                small.write(volume, file, block, 1, turn * 100 + block);
            }
        }
        remove(&small, gone);
        let image = || {
            let tree = small.image(volume, kept).root;
            (
                contents(&small.store, &tree),
                small.contents(&small.live(volume)),
            )
        };
        let before = image();
        let used = small.bytes_on_disk();
        small.disk.limit_space(Some(used + room * 8192));
        let options = ReclaimOptions {
            now: true,
            most_live: Some(100),
            ..ReclaimOptions::default()
        };
        if let Err(error) = small.store.reclaim(&options) {
            assert_eq!(error.kind(), Kind::NoSpace, "{room}: {error}");
        }
        assert!(image() == before, "room for {room}");
        small.store.health().unwrap();
        let back = Command::Rollback {
            volume,
            source: Source::Checkpoint(volume, kept),
            only: false,
        };
        let back = small.ask(back);
        assert!(back.is_ok() || kind_of(back) == Kind::NoSpace);
        let again = reopen(&small.disk.crash(room), true).unwrap();
        read_everything(&again).unwrap();
        drop(again);
        small.disk.limit_space(None);
        reclaim(&small, true);
        small.verify();
    }
}

/// Where others fill the disk between two writes, writes end before what is kept for removals and for going back: that much is there for both afterwards.
#[test]
fn others_who_fill_the_disk_leave_room_to_remove_and_to_go_back() {
    for room in 8..12 {
        let (small, volume, file) = town(None, 4);
        let names = (0..30).map(|i| format!("c{i}"));
        let checkpoints: Vec<_> = names.map(|n| small.checkpoint(&n, &[volume])).collect();
        small
            .disk
            .limit_space(Some(small.bytes_on_disk() + room * SEGMENT_SIZE));
        let mut written = 0_u64;
        let full = loop {
            let bytes = [written as u8; BLOCK as usize];
            let offset = written * BLOCK;
            match small
                .store
                .write(&small.actor, volume, file, offset, &bytes)
            {
                Ok(done) => small.store.commit(done.ticket).unwrap(),
                Err(error) => break error,
            }
            written += 1;
        };
        assert_eq!(full.kind(), Kind::NoSpace);
        assert!(written > 0, "{room}");
        for step in [
            Command::Rollback {
                volume,
                source: Source::Checkpoint(volume, checkpoints[7]),
                only: false,
            },
            Command::Undo {
                volume: Some(volume),
            },
        ] {
            let done = small.ask(step);
            assert!(done.is_ok(), "{room} segments: {done:?}");
        }
        for checkpoint in checkpoints {
            let removed = small.ask(Command::CheckpointRemove { checkpoint });
            assert!(
                removed.is_ok(),
                "{room} segments: {checkpoint}: {removed:?}"
            );
        }
        small.disk.limit_space(None);
        small.verify();
    }
}

/// Every budget of space: what does not fit is refused, whoever asks for it, and what is there is whole. Afterwards checkpoints can be removed, and what is
/// left can be read and rolled back to.
#[test]
fn every_allocation_may_be_the_one_too_many() {
    let refused = AtomicU64::new(0);
    let mut tried = 0;
    for seed in 0..2 {
        let scenario = Scenario::random_of(Profile::Space, 100 + seed, 70);
        let probe = FaultyDisk::new(0);
        let (_, store) = scenario.run(&probe);
        drop(store);
        let paths = probe.paths();
        let used: u64 = paths
            .iter()
            .filter_map(|path| probe.file_bytes(path))
            .map(|bytes| bytes.len() as u64)
            .sum();
        // More was used on the way than is left.
        let budgets = 2 * used / BLOCK;
        tried += budgets;
        for budget in (0..budgets).filter(|budget| budget % 2 == seed) {
            let place = format!("scenario {seed}, {budget} blocks of space");
            let disk = FaultyDisk::new(0);
            disk.limit_space(Some(budget * BLOCK + 17));
            let (outcome, store) = scenario.run_on(&disk, |_, step, ran| {
                if let Err(error) = ran {
                    assert_ne!(error.kind(), Kind::Poisoned, "{place}: {step:?}");
                    let full = u64::from(error.kind() == Kind::NoSpace);
                    refused.fetch_add(full, Ordering::Relaxed);
                }
            });
            let Some(store) = store else {
                assert_eq!(outcome.failed, Some("no-space"), "{place}");
                continue;
            };
            read_everything(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
            let state = store.state();
            let free = state.checkpoints.values().filter(|c| !c.held);
            for checkpoint in free.map(|c| c.id).collect::<Vec<_>>() {
                let removed = store.run(&actor("model"), Command::CheckpointRemove { checkpoint });
                assert!(removed.is_ok(), "{place}: {checkpoint}: {removed:?}");
            }
            store.settle().unwrap_or_else(|e| panic!("{place}: {e}"));
            store.sync().unwrap_or_else(|e| panic!("{place}: {e}"));
            let (seq, digest) = (store.state().seq, fresh_digest(&store.state()));
            read_everything(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
            drop(store);
            disk.limit_space(None);
            let again = reopen(&disk, budget % 4 < 2).unwrap_or_else(|e| panic!("{place}: {e}"));
            let found = (again.state().seq, fresh_digest(&again.state()));
            assert_eq!(found, (seq, digest), "{place}");
        }
    }
    let refused = refused.into_inner();
    assert!(refused > tried / 2, "{refused} refused in {tried} budgets");
}
