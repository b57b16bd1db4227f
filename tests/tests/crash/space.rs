//! The power goes, or a call fails, while space is given back, archives are made, moved out of the store and let go, and files are put in order.

use super::{check_survivor, goes_on, in_parallel};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_journal::disk::FaultyDisk;
use strand_tests::history::{Profile, Step};
use strand_tests::lockstep::Pairs;
use strand_tests::reference::{BLOCK, Kind as NodeKind, Source};
use strand_tests::scenario::{Scenario, read_everything, reopen};

/// Two thirds of a file written over between checkpoints that go, again and again; then all that is dead is given back, and the events go: those of
/// the first round by name, what is beyond the audit horizon by itself.
fn much_given_back() -> Scenario {
    let kind = NodeKind::File {
        size: 0,
        blocks: BTreeMap::new(),
    };
    let mut steps = vec![
        Step::VolumeCreate("first".into()),
        Step::Create {
            volume: 1,
            dir: 1,
            name: b"a".to_vec(),
            kind,
            mode: 0o644,
        },
    ];
    let mut checkpoint = 0;
    for round in 0..3_u64 {
        for turn in 0..3 {
            for block in (0..12).filter(|block| (block + turn) % 3 > 0) {
                steps.push(Step::Write {
                    volume: 1,
                    ino: 2,
                    offset: block * BLOCK,
                    length: BLOCK,
                    seed: Some(round * 1000 + turn * 100 + block),
                });
                steps.extend((block % 4 == 0).then_some(Step::Sync));
            }
            checkpoint += 1;
            steps.push(Step::CheckpointCreate {
                name: format!("c{checkpoint}"),
                volumes: vec![1],
                nomount: false,
                removable: true,
                nodata: turn == 1,
            });
        }
        steps.push(Step::StateFile);
        steps.push(Step::CheckpointRemove(checkpoint - 2));
        steps.push(Step::Relocate(round));
        let most_live = 100;
        steps.push(Step::Reclaim {
            now: true,
            most_live,
        });
        steps.push(Step::Sync);
        if round == 1 {
            steps.push(Step::Rollback {
                volume: 1,
                source: Source::Checkpoint(1, checkpoint),
                only: true,
            });
            checkpoint += 1;
            steps.push(Step::Defrag(1));
            steps.push(Step::GiveWay);
            steps.push(Step::MoveArchives(60));
            steps.push(Step::AuditSet(Some(400)));
            steps.push(Step::Reclaim {
                now: false,
                most_live,
            });
        }
    }
    steps.push(Step::TrimArchives);
    steps.push(Step::Sync);
    Scenario::of(steps, Pairs::default(), None)
}

#[test]
fn every_crash_while_space_is_given_back_keeps_what_was_acknowledged() {
    let given_back = AtomicU64::new(0);
    let begins = Mutex::new(BTreeMap::new());
    let random = (0..2).map(|seed| Scenario::random_of(Profile::Space, 300 + seed, 100));
    for (seed, scenario) in (0..).zip([much_given_back()].into_iter().chain(random)) {
        in_parallel(1..scenario.calls + 2, |call| {
            let disk = FaultyDisk::new(seed);
            disk.crash_at(call);
            let (outcome, store) = scenario.run(&disk);
            drop(store);
            for way in 0..4 {
                let place = format!(
                    "scenario {seed}, call {call} of {}, way {way}",
                    scenario.calls
                );
                let survivor = disk.crash(call * 1000 + way);
                let store = check_survivor(&scenario, &outcome, &survivor, &place);
                let Some(store) = store else { continue };
                let places = store.state().places.clone();
                let blocks: u64 = places.reclaimed.iter().map(|(a, b)| b - a).sum();
                given_back.fetch_add(blocks / 16, Ordering::Relaxed);
                let first = store.journal().reader().origin().number;
                *begins.lock().unwrap().entry(first).or_insert(0_u64) += 1;
                if (call + way).is_multiple_of(3) {
                    goes_on(store, &survivor, &place);
                }
            }
        });
    }
    let given_back = given_back.into_inner();
    assert!(given_back > 1000, "{given_back} segments were given back");
    let begins = begins.into_inner().unwrap();
    println!("{given_back} segments were given back; stores begin at {begins:?}");
    assert!(
        begins.len() == 3 && begins.values().all(|stores| *stores > 20),
        "stores begin at {begins:?}: with all events, after one movement and after both"
    );
}

/// Any one call fails: an error at most, nothing lost, and the next process gives back what this one could not.
#[test]
fn every_call_may_fail_while_space_is_given_back() {
    let scenario = much_given_back();
    in_parallel(1..scenario.calls + 1, |call| {
        let place = format!("call {call} of {}", scenario.calls);
        let disk = FaultyDisk::new(call);
        disk.fail_call(call);
        let (outcome, store) = scenario.run_on(&disk, |_, _, _| {});
        drop(store);
        for survivor in [disk.crash(call), disk.clone()] {
            let store = match reopen(&survivor, call % 2 == 0) {
                Ok(store) => store,
                Err(error) => {
                    assert!(!outcome.made, "{place}: does not open: {error}");
                    continue;
                }
            };
            assert!(store.state().seq >= outcome.acknowledged, "{place}");
            read_everything(&store).unwrap_or_else(|e| panic!("{place}: {e}"));
            goes_on(store, &survivor, &place);
        }
    });
}
