//! Power loss at every disk call, failing calls, failing flushes, full disks and flipped bits. What must hold afterwards, always: what was
//! acknowledged is there; every other command is there whole or not at all; and the state is a fold of what survived.
//!
//! `STRAND_SOAK=1` tries a million crash points instead of ten thousand.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod failures;
mod flips;
mod space;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{Command, Kind, Store};
use strand_journal::disk::FaultyDisk;
use strand_tests::history::Step;
use strand_tests::lockstep::{Pairs, actor, fold, fresh_digest};
use strand_tests::random::Random;
use strand_tests::reference::{Kind as NodeKind, Source};
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
    if outcome.made {
        let opening = store.opening();
        let found = opening.state_file.unwrap_or(0) + opening.folded;
        assert!(
            found >= outcome.acknowledged,
            "{place}: acknowledged up to {}, found up to {found}; {recovery:?}",
            outcome.acknowledged,
        );
        let expected = scenario.boundaries.get(&found);
        assert!(
            expected.is_some(),
            "{place}: found up to {found}, where no command ends (boundary {})",
            state.boundary
        );
        let digest = if state.seq == found {
            fresh_digest(&state)
        } else {
            // Where the power went between a movement of archives and its event, the opening tells of it.
            let begins = store.journal().reader().origin().number;
            assert_eq!((state.seq, state.horizon), (found + 1, begins), "{place}");
            let before = boundaries(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
            before[&found]
        };
        assert_eq!(
            Some(&digest),
            expected,
            "{place}: the state at {found} is not what it was"
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

/// Directories with attributes so long that bringing them all back takes a command of many frames, over several segments.
fn long_command() -> Scenario {
    let volume = 1;
    let mut steps = vec![Step::VolumeCreate("first".into())];
    for n in 0..14_u64 {
        let kind = NodeKind::Dir {
            names: BTreeMap::new(),
        };
        steps.push(Step::Create {
            volume,
            dir: 1,
            name: vec![b'a' + n as u8],
            kind,
            mode: 0o755,
        });
        for name in [b"user.a", b"user.b"] {
            let value = Random::bytes(n, 9000);
            steps.push(Step::SetXattr {
                volume,
                ino: 2 + n,
                name: name.to_vec(),
                value,
                create: None,
            });
        }
    }
    steps.push(Step::CheckpointCreate {
        name: "red".into(),
        volumes: vec![1],
        nomount: false,
        removable: false,
        nodata: false,
    });
    for n in 0..14 {
        steps.push(Step::Unlink {
            volume,
            dir: 1,
            name: vec![b'a' + n],
            dir_wanted: true,
        });
    }
    steps.push(Step::Sync);
    let source = Source::Checkpoint(1, 1);
    steps.push(Step::RollbackFiles {
        volume,
        source,
        paths: vec![vec![]],
        attributes: true,
        delete_new: false,
    });
    steps.push(Step::Undo(None));
    steps.push(Step::Redo(None));
    Scenario::of(steps, Pairs::default(), None)
}

#[test]
fn a_command_of_many_frames_is_there_whole_or_not_at_all() {
    let scenario = long_command();
    let longest = scenario
        .boundaries
        .keys()
        .zip(scenario.boundaries.keys().skip(1))
        .map(|(a, b)| b - a)
        .max();
    assert!(
        longest > Some(40),
        "the longest command has {longest:?} events"
    );
    in_parallel(1..scenario.calls + 2, |call| {
        let disk = FaultyDisk::new(5);
        disk.crash_at(call);
        let (outcome, store) = scenario.run(&disk);
        drop(store);
        for way in 0..6 {
            let place = format!("call {call} of {}, way {way}", scenario.calls);
            drop(check_survivor(
                &scenario,
                &outcome,
                &disk.crash(call * 1000 + way),
                &place,
            ));
        }
    });
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
