//! Power loss at every disk call, failing calls, failing flushes, full disks and flipped bits. What must hold afterwards, always: what was
//! acknowledged is there; every other command is there whole or not at all; and the state is a fold of what survived.
//!
//! `STRAND_SOAK=1` tries a million crash points instead of ten thousand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{Command, Kind, Store};
use strand_journal::disk::{CallKind, Disk, FaultyDisk};
use strand_tests::history::Step;
use strand_tests::lockstep::{BEGIN, actor, fold, fresh_digest, open_options};
use strand_tests::scenario::{Outcome, Scenario, boundaries, read_everything, reopen};

/// Scenarios, steps of each, and ways to lose the unsynced at each call.
struct Effort {
    scenarios: u64,
    steps: usize,
    ways: u64,
    at_least: u64,
}

fn effort() -> Effort {
    if std::env::var_os("STRAND_SOAK").is_some_and(|v| v != "0") {
        return Effort {
            scenarios: 150,
            steps: 60,
            ways: 90,
            at_least: 1_000_000,
        };
    }
    Effort {
        scenarios: 6,
        steps: 60,
        ways: 20,
        at_least: 10_000,
    }
}

/// Runs a job for each number on both cores.
fn in_parallel(numbers: std::ops::Range<u64>, job: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    job(number);
                }
            });
        }
    });
}

/// Opens what a crash left, and holds it against what was promised.
fn check_survivor(
    scenario: &Scenario,
    outcome: &Outcome,
    disk: &FaultyDisk,
    place: &str,
) -> Option<Store> {
    let store = match reopen(disk, false) {
        Ok(store) => store,
        Err(error) => {
            assert!(
                !outcome.made,
                "{place}: acknowledged up to {}, but it does not open: {error}",
                outcome.acknowledged
            );
            assert!(
                matches!(error.kind(), Kind::NotAStore | Kind::Damaged),
                "{place}: {error}"
            );
            return None;
        }
    };
    let state = store.state();
    let recovery = store
        .opening()
        .recovery
        .as_ref()
        .expect("a store that was opened");
    assert!(
        recovery.damage.is_none(),
        "{place}: a power loss is no damage: {recovery:?}"
    );
    assert!(
        state.seq >= outcome.acknowledged,
        "{place}: acknowledged up to {}, found up to {}; {recovery:?}",
        outcome.acknowledged,
        state.seq
    );
    let expected = scenario.boundaries.get(&state.seq);
    assert!(
        expected.is_some() || !outcome.made,
        "{place}: found up to {}, where no command ends (boundary {})",
        state.seq,
        state.boundary
    );
    if let Some(expected) = expected.filter(|_| outcome.made) {
        assert_eq!(
            fresh_digest(&state),
            *expected,
            "{place}: the state at {} is not what it was",
            state.seq
        );
    }
    read_everything(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
    Some(store)
}

/// A store that came through goes on as if nothing had been.
fn goes_on(store: Store, disk: &FaultyDisk, place: &str) {
    let folded = fold(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
    assert_eq!(
        fresh_digest(&folded),
        fresh_digest(&store.state()),
        "{place}: the state is no fold of what survived"
    );
    let work = |name: &str| {
        let command = Command::VolumeCreate {
            name: name.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let done = store
            .run(&actor("later"), command)
            .unwrap_or_else(|e| panic!("{place}: {e}"));
        done.last
    };
    work("afterwards-1");
    let last = work("afterwards-2");
    let digest = fresh_digest(&store.state());
    drop(store);
    let again =
        reopen(&disk.crash(last), true).unwrap_or_else(|e| panic!("{place}: after going on: {e}"));
    assert_eq!(
        (again.state().seq, fresh_digest(&again.state())),
        (last, digest),
        "{place}: after going on"
    );
}

#[test]
fn every_crash_keeps_what_was_acknowledged() {
    let effort = effort();
    let points = AtomicU64::new(0);
    for seed in 0..effort.scenarios {
        let scenario = Scenario::random(seed, effort.steps);
        in_parallel(1..scenario.calls + 2, |call| {
            let disk = FaultyDisk::new(seed);
            disk.crash_at(call);
            let (outcome, store) = scenario.run(&disk);
            drop(store);
            for way in 0..effort.ways {
                points.fetch_add(1, Ordering::Relaxed);
                let place = format!(
                    "scenario {seed}, call {call} of {}, way {way}",
                    scenario.calls
                );
                let survivor = disk.crash(call * 1000 + way);
                let store = check_survivor(&scenario, &outcome, &survivor, &place);
                if let Some(store) = store.filter(|_| (call + way).is_multiple_of(5)) {
                    goes_on(store, &survivor, &place);
                }
            }
        });
    }
    let points = points.into_inner();
    println!("{points} crash points");
    assert!(points >= effort.at_least, "{points} crash points");
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let scenario = Scenario::random(11, 40);
    in_parallel(1..scenario.calls + 2, |call| {
        let disk = FaultyDisk::new(3);
        disk.crash_at(call);
        let (outcome, store) = scenario.run(&disk);
        drop(store);
        for way in 0..3 {
            for second in 1..40 {
                let survivor = disk.crash(call * 100 + way);
                survivor.crash_at(second);
                let opened = reopen(&survivor, false);
                let died = survivor.is_dead();
                drop(opened);
                let place = format!("call {call}, way {way}, recovery's call {second}");
                if let Some(store) =
                    check_survivor(&scenario, &outcome, &survivor.crash(second), &place)
                    && second % 4 == 0
                {
                    drop(store);
                }
                if !died {
                    break;
                }
            }
        }
    });
}

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
        refusals > budgets,
        "{refusals} refusals in {budgets} budgets"
    );
}

/// One flipped byte anywhere: found, or without effect. Never a panic, never other bytes.
#[test]
fn every_byte_of_a_small_store_flipped_once() {
    let disk = Scenario::random(51, 14).closed_disk();
    let clock = || Arc::new(strand_engine::ManualClock::new(BEGIN));
    let read_only = || {
        let options = strand_engine::OpenOptions {
            access: strand_engine::Access::ReadOnly,
            ..open_options(0, false)
        };
        Store::open(Arc::new(disk.clone()) as Arc<dyn Disk>, clock(), options)
    };
    let whole = read_only().expect("a healthy store");
    let promised = boundaries(&whole).expect("a healthy journal");
    let last = whole.state().seq;
    drop(whole);
    let (mut unnoticed, mut found) = (0_u64, 0_u64);
    for path in disk.paths() {
        let bytes = disk.file_bytes(&path).expect("a file that was listed");
        for offset in 0..bytes.len() as u64 {
            let mask = 1 << (offset % 8);
            assert!(disk.flip(&path, offset, mask));
            let place = format!("{path}, byte {offset}");
            match read_only() {
                Err(error) => {
                    found += 1;
                    assert!(
                        matches!(
                            error.kind(),
                            Kind::NotAStore | Kind::Damaged | Kind::NewerFormat
                        ),
                        "{place}: {} ({error})",
                        error.kind().name()
                    );
                }
                Ok(store) => {
                    let state = store.state();
                    let opening = store.opening();
                    let recovery = opening.recovery.as_ref().expect("a store that was opened");
                    let reported = recovery.damage.is_some()
                        || recovery.torn.is_some()
                        || opening.damage.is_some();
                    assert!(
                        state.seq == last || reported,
                        "{place}: {} of {last} events, and nothing said",
                        state.seq
                    );
                    if state.seq > 0 {
                        let digest = promised.get(&state.boundary).copied();
                        assert_eq!(
                            digest,
                            Some(fresh_digest(&state)).filter(|_| state.seq == state.boundary),
                            "{place}"
                        );
                    }
                    // A read gives the right bytes or an error; the crc32 in the map decides, and the map was just compared.
                    match (
                        read_everything(&store),
                        reported || !opening.bad_state_files.is_empty(),
                    ) {
                        (Err(_), _) | (Ok(_), true) => found += 1,
                        (Ok(_), false) => unnoticed += 1,
                    }
                }
            }
            assert!(disk.flip(&path, offset, mask));
        }
    }
    assert!(
        found > 10_000,
        "{found} flips found, {unnoticed} without effect"
    );
}
