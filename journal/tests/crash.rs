//! Power lost at every disk call of a script, and during the recovery after it; every disk call failing once.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use common::*;
use strand_journal::*;

fn calls_of_script() -> u64 {
    let disk = FaultyDisk::new(0);
    let mut history = History::default();
    run(&disk, SCRIPT, &mut history).unwrap();
    assert!(history.acked > 15);
    disk.calls()
}

#[test]
fn the_script_makes_the_same_calls_each_time() {
    assert_eq!(calls_of_script(), calls_of_script());
    assert!(calls_of_script() > 60);
}

#[test]
fn every_acknowledged_record_survives_a_crash_at_every_call() {
    let mut points = 0;
    let mut partly = 0;
    for call in 1..=calls_of_script() {
        let disk = FaultyDisk::new(call);
        disk.crash_at(call);
        let mut history = History::default();
        run(&disk, SCRIPT, &mut history).unwrap_err();
        assert!(disk.is_dead());
        for seed in 0..24 {
            let survived = check(
                &disk.crash(seed),
                &history,
                &format!("call {call}, seed {seed}"),
            );
            points += 1;
            partly += u32::from(survived > history.acked);
        }
    }
    assert!(points > 1500 && partly > 20, "{points} {partly}");
}

#[test]
fn a_crash_at_the_end_without_a_close_loses_only_what_was_not_acknowledged() {
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        let mut history = History::default();
        let journal = run(&disk, SCRIPT, &mut history).unwrap();
        let survived = check(&disk.crash(seed), &history, &format!("seed {seed}"));
        assert_eq!(survived, history.acked);
        drop(journal);
    }
}

#[test]
fn a_second_crash_at_every_call_of_the_recovery_is_harmless() {
    let total = calls_of_script();
    let mut points = 0;
    for call in (1..=total).step_by(3) {
        let disk = FaultyDisk::new(call);
        disk.crash_at(call);
        let mut history = History::default();
        run(&disk, SCRIPT, &mut history).unwrap_err();
        for seed in 0..4 {
            let found = disk.crash(seed);
            for second in 1..40 {
                let disk = found.crash(seed + 100);
                disk.crash_at(second);
                let outcome = reopen(&disk, Access::ReadWrite);
                if !disk.is_dead() {
                    break;
                }
                assert!(outcome.is_err());
                for again in 0..3 {
                    let context =
                        format!("call {call}, seed {seed}, then call {second}, seed {again}");
                    check(&disk.crash(again), &history, &context);
                    points += 1;
                }
            }
        }
    }
    assert!(points > 500, "{points}");
}

#[test]
fn every_failing_call_is_reported_and_nothing_acknowledged_is_lost() {
    for call in 1..=calls_of_script() {
        let disk = FaultyDisk::new(call);
        disk.fail_call(call);
        let mut history = History::default();
        let outcome = run(&disk, SCRIPT, &mut history);
        let error = outcome.expect_err("a failed call went unnoticed");
        assert!(
            matches!(error.kind(), Kind::Io | Kind::Poisoned),
            "call {call} of kind {:?}: {error}",
            disk.log()[call as usize - 1]
        );
        // Another process opens the same cache, lies included; and the power is lost.
        for seed in 0..6 {
            check(
                &disk.crash(seed),
                &history,
                &format!("call {call}, crash {seed}"),
            );
        }
        check(&disk, &history, &format!("call {call}, reopened"));
    }
}

#[test]
fn a_restart_after_a_failed_flush_believes_the_medium_and_not_the_cache() {
    let mut lost = 0;
    for call in 1..=calls_of_script() {
        let disk = FaultyDisk::new(call * 7);
        disk.fail_call(call);
        let mut history = History::default();
        run(&disk, SCRIPT, &mut history).unwrap_err();
        if disk.log()[call as usize - 1] != CallKind::Sync || !history.created {
            continue;
        }
        // Reopened on the lying cache, used, and then the power goes.
        let Ok((journal, recovery)) = reopen(&disk, Access::ReadWrite) else {
            panic!("call {call}: does not open");
        };
        history.records.truncate(recovery.last as usize);
        history.commands.retain(|&last| last <= recovery.last);
        lost += u32::from(recovery.torn.is_some());
        let ticket = history.place(&journal, &[(11, 1)]).unwrap();
        history.commit(&journal, ticket).unwrap();
        for seed in 0..6 {
            check(
                &disk.crash(seed),
                &history,
                &format!("call {call}, seed {seed}"),
            );
        }
    }
    assert!(lost > 3, "{lost}");
}
