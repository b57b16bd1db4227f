//! Random histories on the engine and on a naive reference that copies everything: after each step both must be alike in every
//! tree, image, byte, owner and living version.
//!
//! `STRAND_SEQUENCES=N` runs so many histories, `STRAND_SEED=S` begins with that seed (one history, if no number is given),
//! `STRAND_STEPS=N` makes them longer. A failure prints its seed and, made as short as it gets, its steps.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};
use strand_journal::disk::MemoryDisk;
use strand_tests::history::{Profile, choose, dice, shrink};
use strand_tests::lockstep::{Depth, Lockstep};

const STEPS: usize = 90;
const SEQUENCES: u64 = 600;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{variable}={v} is not a number")))
}

/// Runs a history; on failure says how many steps it took, and which.
fn run(dice: &[u64]) -> Result<(), (String, Vec<String>)> {
    let mut steps = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| history(dice, &mut steps)));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err((why, steps)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err((format!("panic: {}", text.unwrap_or_default()), steps))
        }
    }
}

/// How often a kind of step was done, and how often refused.
static TALLY: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());

fn tally(step: &str, refused: bool) {
    let kind: String = step.chars().take_while(|c| c.is_alphanumeric()).collect();
    let mut tally = TALLY.lock().unwrap();
    let counts = tally.entry(kind).or_default();
    if refused { counts.1 += 1 } else { counts.0 += 1 }
}

fn history(dice: &[u64], steps: &mut Vec<String>) -> Result<(), String> {
    let mut lockstep = Lockstep::new(Arc::new(MemoryDisk::new()), 25)?;
    for (turn, die) in dice.iter().enumerate() {
        let step = choose(*die, &lockstep.reference, Profile::All);
        steps.push(format!("{step:?}"));
        let refused = lockstep.step(&step)?;
        tally(&steps[turn], refused.is_some());
        if let Some(kind) = refused {
            steps.last_mut().expect("just pushed").push_str(&format!(" -> {kind}"));
        }
        lockstep.compare(if die % 16 == 0 { Depth::Full } else { Depth::Sampled(3) })?;
        if die % 5 == 0 {
            lockstep.remember();
        }
        if turn % 12 == 11 {
            lockstep.check_fold()?;
        }
    }
    lockstep.check_all()
}

fn check(seed: u64, steps: usize) {
    let dice = dice(seed, steps);
    let Err((why, _)) = run(&dice) else { return };
    let short = shrink(dice, 400, |dice| run(dice).is_err());
    let Err((short_why, steps)) = run(&short) else { panic!("seed {seed}: {why}; it did not fail again") };
    panic!(
        "STRAND_SEED={seed}: {why}\n{} steps are enough ({short_why}):\n  {}\ndice: {short:?}",
        steps.len(),
        steps.join("\n  ")
    );
}

/// A dead file with two names in the image, the first free, the second taken by a newer file: the newer one was left as it was.
#[test]
fn a_dead_file_goes_back_under_its_free_name_and_into_the_file_that_took_the_other() {
    check(1042, 150);
    check(1362, 150);
}

#[test]
fn random_histories_agree_with_the_reference() {
    let steps = number("STRAND_STEPS").map_or(STEPS, |n| n as usize);
    let first = number("STRAND_SEED");
    let count = number("STRAND_SEQUENCES").unwrap_or(if first.is_some() { 1 } else { SEQUENCES });
    let first = first.unwrap_or(1);
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    check(seed, steps);
                }
            });
        }
    });
    let tally = TALLY.lock().unwrap();
    for (kind, (done, refused)) in tally.iter() {
        println!("{kind:20} {done:7} done {refused:7} refused");
    }
    if count >= SEQUENCES {
        assert!(tally.len() >= 30, "some kinds of steps never came: {:?}", tally.keys());
        for (kind, (done, _)) in tally.iter() {
            assert!(*done >= 30, "{kind} was done only {done} times");
        }
    }
}
