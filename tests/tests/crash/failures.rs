//! Calls that fail, flushes that lie, disks that are full.

use super::{goes_on, in_parallel};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{Command, Kind};
use strand_journal::disk::{CallKind, FaultyDisk};
use strand_tests::history::Step;
use strand_tests::killed::Killed;
use strand_tests::lockstep::{actor, fresh_digest};
use strand_tests::random::Random;
use strand_tests::scenario::{Scenario, read_everything, reopen};
use strand_tests::small::{BLOCK, Small};

#[test]
fn every_disk_call_may_fail_once() {
    for seed in 20..22 {
        let scenario = Scenario::random(seed, 40);
        in_parallel(1..scenario.calls + 1, |call| {
            let place = format!("scenario {seed}, call {call} of {}", scenario.calls);
            let disk = FaultyDisk::new(seed);
            disk.fail_call(call);
            let mut poisoned = false;
            let (outcome, store) = scenario.run_on(&disk, |store, step, ran| {
                match ran {
                    Err(error) if error.kind() == Kind::Poisoned => poisoned = true,
                    Err(_) => {}
                    // What reads, or finds nothing to do, may go on; nothing new may be acknowledged.
                    Ok(()) => assert!(
                        !poisoned || !matches!(step, Step::StateFile),
                        "{place}: a poisoned store acknowledged {step:?}"
                    ),
                }
                if poisoned {
                    let asked = store.run(
                        &actor("x"),
                        Command::VolumeCreate {
                            name: "poison".into(),
                            mode: 0,
                            uid: 0,
                            gid: 0,
                        },
                    );
                    let kind = asked.map(|_| ()).map_err(|e| e.kind());
                    assert_eq!(kind, Err(Kind::Poisoned), "{place}: after {step:?}");
                }
            });
            drop(store);
            for (way, survivor) in [disk.crash(call), disk.crash(call + 1), disk.clone()]
                .into_iter()
                .enumerate()
            {
                let store = match reopen(&survivor, false) {
                    Ok(store) => store,
                    Err(error) => {
                        assert!(!outcome.made, "{place}, way {way}: does not open: {error}");
                        continue;
                    }
                };
                let state = store.state();
                assert!(
                    state.seq >= outcome.acknowledged,
                    "{place}, way {way}: {} of {}",
                    state.seq,
                    outcome.acknowledged
                );
                for (boundary, digest) in outcome.digests.range(..=state.seq).rev().take(2) {
                    let then = store
                        .state_at(*boundary)
                        .unwrap_or_else(|e| panic!("{place}, way {way}: {e}"));
                    assert_eq!(
                        fresh_digest(&then),
                        *digest,
                        "{place}, way {way}: the state at {boundary}"
                    );
                }
                read_everything(&store).unwrap_or_else(|e| panic!("{place}, way {way}: {e}"));
                goes_on(store, &survivor, &place);
            }
        });
    }
}

/// After a failed flush the page cache shows what never reached the medium. A store opened again on that very cache must not believe it.
#[test]
fn a_stale_cache_after_a_failed_flush_is_not_believed() {
    let scenario = Scenario::random(31, 60);
    let probe = FaultyDisk::new(1);
    scenario.run(&probe);
    let syncs = probe
        .log()
        .iter()
        .filter(|kind| **kind == CallKind::Sync)
        .count() as u64;
    assert!(syncs > 10, "{syncs} flushes");
    in_parallel(1..syncs + 1, |nth| {
        for seed in 0..20 {
            let place = format!("flush {nth}, seed {seed}");
            let disk = FaultyDisk::new(seed);
            disk.fail_nth(CallKind::Sync, nth);
            let (outcome, store) = scenario.run(&disk);
            drop(store);
            let Ok(store) = reopen(&disk, false) else {
                assert!(!outcome.made, "{place}");
                continue;
            };
            let shown = store.state();
            assert!(shown.seq >= outcome.acknowledged, "{place}");
            let command = Command::VolumeCreate {
                name: "afterwards".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            let done = store
                .run(&actor("later"), command)
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            let digest = fresh_digest(&store.state());
            drop(store);
            // What was shown when the new commit was acknowledged must survive a power loss now.
            let survivor = disk.crash(seed);
            let again = reopen(&survivor, seed % 2 == 0).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert_eq!(
                (again.state().seq, fresh_digest(&again.state())),
                (done.last, digest),
                "{place}"
            );
            read_everything(&again).unwrap_or_else(|e| panic!("{place}: {e}"));
        }
    });
}

/// A full disk refuses, poisons nothing, changes nothing, and lets checkpoints go.
#[test]
fn a_full_disk_refuses_and_checkpoints_can_still_be_removed() {
    let scenario = Scenario::random(41, 120);
    let whole = FaultyDisk::new(0);
    scenario.run(&whole);
    let used: u64 = whole
        .paths()
        .iter()
        .filter_map(|p| whole.file_bytes(p))
        .map(|b| b.len() as u64)
        .sum();
    let refusals = AtomicU64::new(0);
    let budgets = used / 4096 + 2;
    in_parallel(0..budgets, |budget| {
        let place = format!("{budget} blocks of space");
        let disk = FaultyDisk::new(0);
        disk.limit_space(Some(budget * 4096 + 17));
        let mut before: Option<(u64, u128)> = None;
        let (outcome, store) = scenario.run_on(&disk, |store, step, ran| {
            let state = store.state();
            if let Err(error) = ran {
                assert_ne!(error.kind(), Kind::Poisoned, "{place}: {step:?}");
                if error.kind() == Kind::NoSpace {
                    refusals.fetch_add(1, Ordering::Relaxed);
                    let (seq, digest) = before.expect("a store that was made");
                    // A long write is several commands; those before the refusal are there.
                    if seq == state.seq {
                        assert_eq!(
                            digest,
                            fresh_digest(&state),
                            "{place}: a refusal changed something: {step:?}"
                        );
                    }
                }
            }
            before = Some((state.seq, fresh_digest(&state)));
        });
        let Some(store) = store else {
            assert_eq!(outcome.failed, Some("no-space"), "{place}");
            return;
        };
        let held: BTreeSet<_> = store
            .state()
            .checkpoints
            .values()
            .filter(|c| c.held)
            .map(|c| c.id)
            .collect();
        for checkpoint in store
            .state()
            .checkpoints
            .keys()
            .filter(|c| !held.contains(c))
        {
            let removed = store.run(
                &actor("model"),
                Command::CheckpointRemove {
                    checkpoint: *checkpoint,
                },
            );
            assert!(
                removed.is_ok(),
                "{place}: checkpoint {checkpoint} cannot be removed: {:?}",
                removed.err()
            );
        }
        store.settle().unwrap_or_else(|e| panic!("{place}: {e}"));
        store.sync().unwrap_or_else(|e| panic!("{place}: {e}"));
        let (seq, digest) = (store.state().seq, fresh_digest(&store.state()));
        read_everything(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
        drop(store);
        disk.limit_space(None);
        let again = reopen(&disk, true).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(
            (again.state().seq, fresh_digest(&again.state())),
            (seq, digest),
            "{place}"
        );
    });
    let refusals = refusals.into_inner();
    assert!(
        refusals > budgets / 4,
        "{refusals} refusals in {budgets} budgets"
    );
}

/// The process is killed with written frames not flushed, in one segment or over two; the machine lives on. The next process sees them in the
/// page cache: what it shows, it must have made durable before it acknowledges anything of its own.
#[test]
fn a_killed_process_leaves_nothing_that_is_shown_and_then_lost() {
    for seed in 70..73 {
        let scenario = Scenario::random(seed, 80);
        let ended = AtomicU64::new(0);
        in_parallel(1..400, |flushes| {
            if ended.load(Ordering::Relaxed) > 0 {
                return;
            }
            let disk = FaultyDisk::new(seed);
            let killed = Killed::after(Arc::new(disk.clone()), flushes);
            let (outcome, store) = scenario.run_to_failure(Arc::new(killed.clone()));
            drop(store);
            if !killed.is_dead() {
                ended.store(1, Ordering::Relaxed);
                return;
            }
            let place = format!("scenario {seed}, killed at flush {flushes}");
            let Ok(store) = reopen(&disk, false) else {
                assert!(!outcome.made, "{place}");
                return;
            };
            assert!(store.state().seq >= outcome.acknowledged, "{place}");
            let command = Command::VolumeCreate {
                name: "afterwards".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            let done = store
                .run(&actor("later"), command)
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            let digest = fresh_digest(&store.state());
            drop(store);
            for way in 0..10 {
                let again =
                    reopen(&disk.crash(way), true).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(
                    (again.state().seq, fresh_digest(&again.state())),
                    (done.last, digest),
                    "{place}, way {way}"
                );
                read_everything(&again).unwrap_or_else(|e| panic!("{place}: {e}"));
            }
        });
        assert_eq!(
            ended.into_inner(),
            1,
            "scenario {seed} has more flushes than were tried"
        );
    }
}

/// Somebody else fills the disk while the store is open: what it reckoned with is not there. That is a refusal too, and when there is
/// room again the store goes on.
#[test]
fn space_that_vanishes_is_a_refusal_and_nothing_more() {
    let small = Small::new();
    let volume = small.volume("v");
    let file = small.file(volume, "f");
    small.write(volume, file, 0, 4, 1);
    let used: u64 = small
        .disk
        .paths()
        .iter()
        .filter_map(|p| small.disk.file_bytes(p))
        .map(|b| b.len() as u64)
        .sum();
    small.disk.limit_space(Some(used));
    let mut refused = 0;
    for n in 0..60 {
        let before = small.contents(&small.live(volume));
        let bytes = Random::bytes(n, 3 * BLOCK as usize);
        match small
            .store
            .write(&small.actor, volume, file, (n % 5) * BLOCK, &bytes)
        {
            Ok(done) => small.store.commit(done.ticket).unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), Kind::NoSpace, "write {n}: {error}");
                // History may have been given up for it; nothing else was.
                let after = small.contents(&small.live(volume));
                assert!(after == before, "write {n}: a refusal changed something");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} refused");
    read_everything(&small.store).unwrap();
    small.disk.limit_space(None);
    small.write(volume, file, 0, 4, 99);
    let digest = fresh_digest(&small.store.state());
    let again = reopen(&small.disk.crash(1), true).unwrap();
    assert_eq!(fresh_digest(&again.state()), digest);
}
