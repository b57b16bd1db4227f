//! Space that runs out at every single allocation of a history with checkpoints of all kinds, limits, conversions, defragmentation, reclaim, archives that move
//! away and schedules, in lock-step with the reference.
//!
//! Every fifth allocation of three short histories; `STRAND_SOAK=1`: every one, of longer and more of them.

use super::capacity::is_whole;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use strand_journal::disk::FaultyDisk;
use strand_tests::crowded::{Crowded, Trap};
use strand_tests::history::{Profile, Step, choose, dice};
use strand_tests::lockstep::{Depth, Lockstep};
use strand_tests::reference::{BLOCK, Quota, Source};
use strand_tests::scenario::{read_everything, reopen};

/// Events between two state files.
const STATE_EVERY: u64 = 30;
/// Turns of a history of the soak.
const SOAK_LENGTH: usize = 160;

/// Steps of several commands may be done in part, which the reference does not know; handles and openings that find no room are other tests'.
fn is_swept(step: &Step) -> bool {
    (is_whole(step) || matches!(step, Step::QuotaSet { .. }))
        && !matches!(
            step,
            Step::Reopen { .. } | Step::OpenHandle { .. } | Step::CloseHandle { .. }
        )
}

struct Run {
    lockstep: Lockstep,
    disk: FaultyDisk,
    crowded: Crowded,
    kinds: BTreeMap<&'static str, u64>,
}

impl Run {
    fn new() -> Self {
        let disk = FaultyDisk::new(0);
        let crowded = Crowded::new(disk.clone());
        let mut lockstep = Lockstep::new(Arc::new(crowded.clone()), STATE_EVERY).unwrap();
        lockstep.may_be_full();
        Self {
            lockstep,
            disk,
            crowded,
            kinds: BTreeMap::new(),
        }
    }

    /// Goes through a history; what a die means depends on what is there, so it is chosen anew in each run.
    fn history(&mut self, seed: u64, length: usize) -> Result<(), String> {
        for (turn, die) in dice(seed, length).into_iter().enumerate() {
            let step = self.written(turn);
            let step = step.unwrap_or_else(|| choose(die, &self.lockstep.reference, Profile::Life));
            if !is_swept(&step) {
                continue;
            }
            let place = |e: String| format!("turn {turn}, {step:?}: {e}");
            match self.lockstep.step(&step).map_err(place)? {
                Some(refused) => *self.kinds.entry(refused).or_default() += 1,
                None => *self.kinds.entry(name_of(&step)).or_default() += 1,
            }
            let compared = self.lockstep.compare(Depth::Sampled(4));
            compared.map_err(|e| format!("after turn {turn}, {step:?}: {e}"))?;
            if die % 5 == 0 {
                self.lockstep.remember();
            }
        }
        Ok(())
    }

    /// Steps of the history that were refused for lack of space.
    fn refused_for_space(&self) -> u64 {
        self.kinds.get("no-space").copied().unwrap_or(0)
    }

    /// What every history has in it, whatever the dice say: on the first volume, now and then.
    fn written(&self, turn: usize) -> Option<Step> {
        const HOUR: u64 = 3_600_000_000_000;
        let reference = &self.lockstep.reference;
        let volume = 1;
        let images = &reference.volumes.get(&volume)?.images;
        let newest = images.keys().next_back().copied();
        let position = reference.history.keys().nth(reference.history.len() / 2);
        Some(match turn % 37 {
            3 => Step::ScheduleSet {
                volume,
                every: Some(HOUR),
                keep: vec![(3 * HOUR, 0), (40 * HOUR, 10 * HOUR)],
            },
            4 | 20 | 30 => Step::FollowSchedule(volume),
            8 => Step::CheckpointConvert(newest?),
            12 => Step::Defrag(volume),
            15 => Step::QuotaSet {
                volume,
                quota: Quota {
                    soft: None,
                    hard: Some(20 * BLOCK),
                    on: true,
                    fail_writes: turn > 37,
                },
                below_use: true,
            },
            19 | 29 => Step::Pass(5 * HOUR),
            24 => Step::CheckpointHold(newest?, turn < 37),
            33 => Step::Reclaim {
                now: turn < 37,
                most_live: 100,
            },
            35 => Step::MoveArchives(*position?),
            _ => return None,
        })
    }

    fn step(&mut self, step: &Step) -> Result<Option<&'static str>, String> {
        let place = |e: String| format!("afterwards, {step:?}: {e}");
        self.lockstep.step(step).map_err(place)
    }

    /// On a disk that may still be full: everything reads as it should. Volumes go back and forth, and checkpoints go, unless somebody else took even what the
    /// store keeps back for that. With room, work goes on.
    fn afterwards(&mut self, seed: u64, trap: Option<Trap>) -> Result<(), String> {
        self.is_whole(seed)?;
        if !matches!(trap, Some(Trap::Foreign(_))) {
            self.goes_back()?;
            self.is_emptied()?;
            self.lockstep.check_all()?;
        }
        self.crowded.relieve();
        if matches!(trap, Some(Trap::Foreign(_))) {
            self.goes_back()?;
            self.is_emptied()?;
        }
        self.goes_on(seed)
    }

    fn is_whole(&mut self, seed: u64) -> Result<(), String> {
        self.lockstep.compare(Depth::Full)?;
        self.lockstep.compare_positions(|_| true)?;
        for again in [false, true] {
            // What was written and not flushed may be lost with the power; what is there is whole.
            let survivor = reopen(&self.disk.crash(seed), again);
            match survivor {
                Ok(survivor) => read_everything(&survivor)?,
                // There may be no room for what an opening writes.
                Err(error) if error.kind().name() == "no-space" => {}
                Err(error) => return Err(format!("a survivor: {error}")),
            }
        }
        Ok(())
    }

    fn goes_back(&mut self) -> Result<(), String> {
        while !self.lockstep.reference.leases.is_empty() {
            self.step(&Step::EndLease(0))?;
        }
        let volumes: Vec<u32> = self.lockstep.reference.volumes.keys().copied().collect();
        for volume in volumes {
            let reference = &self.lockstep.reference;
            let images = reference.volumes[&volume].images.keys().copied();
            let sources = images.map(|checkpoint| Source::Checkpoint(volume, checkpoint));
            let mut good = sources.filter(|source| reference.image(*source).is_ok());
            let Some(source) = good.next_back() else {
                continue;
            };
            let only = true;
            for step in [
                Step::Rollback {
                    volume,
                    source,
                    only,
                },
                Step::Undo(Some(volume)),
            ] {
                let refused = self.step(&step)?;
                if refused.is_some() {
                    return Err(format!("{step:?} is refused: {refused:?}"));
                }
                self.lockstep.compare(Depth::Full)?;
            }
        }
        Ok(())
    }

    fn is_emptied(&mut self) -> Result<(), String> {
        let checkpoints: Vec<u32> = self
            .lockstep
            .reference
            .checkpoints
            .keys()
            .copied()
            .collect();
        for checkpoint in checkpoints {
            let held = self.lockstep.reference.checkpoints[&checkpoint].held;
            let refused = self.step(&Step::CheckpointRemove(checkpoint))?;
            if refused != held.then_some("not-allowed") {
                return Err(format!("the removal of {checkpoint}: {refused:?}"));
            }
        }
        Ok(())
    }

    fn goes_on(&mut self, seed: u64) -> Result<(), String> {
        let most_live = 100;
        for step in [
            Step::Reclaim {
                now: true,
                most_live,
            },
            Step::Reopen {
                clean: false,
                from_start: seed.is_multiple_of(2),
            },
            Step::VolumeCreate("afterwards".into()),
        ] {
            let refused = self.step(&step)?;
            if refused.is_some() {
                return Err(format!("{step:?} is refused with room: {refused:?}"));
            }
        }
        self.lockstep.check_all()
    }
}

/// The word for a kind of step.
fn name_of(step: &Step) -> &'static str {
    match step {
        Step::CheckpointCreate { nodata: true, .. } => "nodata",
        Step::CheckpointCreate { .. } => "checkpoint",
        Step::CheckpointConvert(_) => "conversion",
        Step::CheckpointHold(..) => "hold",
        Step::QuotaSet { .. } => "quota",
        Step::Defrag(_) => "defrag",
        Step::Reclaim { .. } => "reclaim",
        Step::MoveArchives(_) | Step::TrimArchives => "archives",
        Step::FollowSchedule(_) => "schedule",
        Step::Rollback { .. } | Step::RollbackFiles { .. } => "rollback",
        Step::Lease(_) | Step::LeaseFor(..) => "lease",
        _ => "another",
    }
}

/// One history with a trap: whether it found the disk full, and what went wrong.
fn once(seed: u64, length: usize, trap: Trap) -> (bool, Result<(), String>) {
    let mut run = Run::new();
    run.crowded.set(Some(trap));
    let through = run.history(seed, length);
    let full = run.crowded.was_full();
    let refused = run.refused_for_space();
    let through = through.and_then(|()| match trap {
        // The step that met it may be refused, and no other.
        Trap::Once(_) if refused > 1 => Err(format!("with room again {refused} steps found none")),
        _ => Ok(()),
    });
    let through = through.and_then(|()| run.afterwards(seed, Some(trap)));
    let place = |e| format!("seed {seed}, {trap:?}: {e}");
    (full, through.map_err(place))
}

/// One history, once with each trap; what went wrong.
fn sweep(seed: u64, length: usize, traps: &[Trap], full: &AtomicU64) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(trap) = traps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (was_full, through) = once(seed, length, *trap);
                    full.fetch_add(u64::from(was_full), Ordering::Relaxed);
                    if let Err(error) = through {
                        wrong.lock().unwrap().push(error);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

#[test]
fn every_single_allocation_may_fail_or_be_the_last() {
    let soak = std::env::var_os("STRAND_SOAK").is_some_and(|v| v != "0");
    let (seeds, length, stride) = if soak {
        (8, SOAK_LENGTH, 1)
    } else {
        (3, 110, 5)
    };
    let mut done: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut runs, full, mut wrong) = (0, AtomicU64::new(0), Vec::new());
    for seed in 9000..9000 + seeds {
        let mut undisturbed = Run::new();
        undisturbed.crowded.set(None);
        let through = undisturbed.history(seed, length);
        let allocations = undisturbed.crowded.allocations();
        let through = through.and_then(|()| undisturbed.afterwards(seed, None));
        through.unwrap_or_else(|e| panic!("seed {seed}, undisturbed: {e}"));
        // A disk with room is never full.
        let gave_way = undisturbed.lockstep.gave_way;
        assert_eq!(
            (undisturbed.refused_for_space(), gave_way),
            (0, 0),
            "seed {seed}: steps that found no space, and checkpoints that gave way, with room for all"
        );
        for (name, often) in &undisturbed.kinds {
            *done.entry(name).or_default() += often;
        }
        let which = (1..=allocations).filter(|nth| nth % stride == seed % stride);
        let traps: Vec<Trap> = which
            .flat_map(|nth| [Trap::Once(nth), Trap::From(nth), Trap::Foreign(nth)])
            .collect();
        runs += traps.len() as u64;
        wrong.extend(sweep(seed, length, &traps, &full));
    }
    let full = full.into_inner();
    println!("{runs} runs, {full} of them found the disk full; {done:?}");
    assert!(
        wrong.is_empty(),
        "{} of {runs}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(full > runs / 2, "{full} of {runs} found the disk full");
    for kind in [
        "checkpoint",
        "nodata",
        "conversion",
        "hold",
        "quota",
        "defrag",
        "reclaim",
        "archives",
        "schedule",
        "rollback",
        "lease",
    ] {
        assert!(done.contains_key(kind), "no {kind} in {done:?}");
    }
}

/// Points of the soak that went wrong, and why.
#[test]
fn points_that_went_wrong_once() {
    for (seed, trap) in [
        // What waits to be counted is counted when room is made, and only then a write is judged by the limits: the reference took the books of before.
        (9001, Trap::Foreign(51)),
        (9001, Trap::Foreign(80)),
        // The free space was known from before others took it: writes went on into what is kept for removals and for going back.
        (9000, Trap::From(4)),
        (9003, Trap::From(1)),
        (9004, Trap::From(1)),
        (9006, Trap::From(11)),
        // A state file of a position before the horizon was still there when archives were to move once more.
        (31339, Trap::Once(43)),
        // Room was made by letting archives go, and with them the events that told what else was given up for it.
        (9000, Trap::Foreign(37)),
        (9004, Trap::Foreign(6)),
    ] {
        let (_, through) = once(seed, SOAK_LENGTH, trap);
        through.unwrap_or_else(|e| panic!("{e}"));
    }
}
