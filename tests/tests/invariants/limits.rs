//! Invariants about limits: what gives way, when, and what never does.

use super::images;
use std::collections::BTreeMap;
use strand_engine::owner::owned_brute;
use strand_engine::{
    CheckpointId, Command, Done, Event, Ino, Kind, Quota, Source, VolumeId, quota,
};
use strand_journal::max_record_blocks;
use strand_tests::lockstep::SEGMENT_SIZE;
use strand_tests::random::Random;
use strand_tests::small::{BLOCK, Small};

/// The classic rule (6) is that a conversion is refused while an older checkpoint has data. Ours: it is done at once, whatever is older, which loses
/// nothing; again is nothing; and a refused one, of a held checkpoint, changes nothing.
#[test]
fn invariant_06_a_conversion_is_done_at_once_or_changes_nothing() {
    for which in 0..6 {
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 8, 1);
        let all: Vec<CheckpointId> = (0..6)
            .map(|n| {
                let made = small.checkpoint(&format!("c{n}"), &[volume]);
                small.write(volume, file, n % 8, 2, 10 + n);
                made
            })
            .collect();
        let checkpoint = all[which];
        let hold = |held| small.run(Command::CheckpointHold { checkpoint, held });
        let before = images(&small.store);
        hold(true);
        let refused = small.ask(Command::CheckpointConvert { checkpoint });
        assert_eq!(refused.unwrap_err().kind(), Kind::NotAllowed);
        assert_eq!(images(&small.store), before);
        assert!(!small.image(volume, checkpoint).nodata);
        hold(false);

        let done = small.run(Command::CheckpointConvert { checkpoint });
        assert_eq!(kinds(&done), ["copied-out-scope", "checkpoint-converted"]);
        assert!(small.image(volume, checkpoint).nodata);
        for id in all.iter().filter(|id| **id != checkpoint) {
            let key = (volume, *id);
            assert_eq!(images(&small.store)[&key], before[&key], "{id}");
        }
        let again = small.run(Command::CheckpointConvert { checkpoint });
        assert_eq!(kinds(&again), [""; 0]);
    }
}

fn kinds(done: &Done) -> Vec<&'static str> {
    done.events.iter().map(Event::kind).collect()
}

/// Who gave way to a command.
fn victims(done: &Done) -> Vec<(&'static str, CheckpointId)> {
    let found = done.events.iter().filter_map(|event| match event {
        Event::CheckpointDropped { checkpoint, .. } => Some(("dropped", *checkpoint)),
        Event::CheckpointConverted { checkpoint, .. } => Some(("converted", *checkpoint)),
        _ => None,
    });
    found.collect()
}

/// A volume with limits, on which random work is done.
struct Limited {
    small: Small,
    volume: VolumeId,
    file: Ino,
}

const FILE_BLOCKS: u64 = 24;

impl Limited {
    fn new(name: &str, quota: Quota) -> Self {
        let small = Small::new();
        let volume = small.volume(name);
        let file = small.file(volume, name);
        small.write(volume, file, 0, FILE_BLOCKS, 1);
        small.run(Command::QuotaSet {
            volume,
            quota,
            below_use: true,
        });
        Self {
            small,
            volume,
            file,
        }
    }

    fn take(&self, name: &str, removable: bool, nodata: bool) -> Result<Done, Kind> {
        let command = Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable,
            nodata,
            note: String::new(),
        };
        self.small.ask(command).map_err(|e| e.kind())
    }

    fn write(&self, block: u64, bytes: &[u8]) -> Result<Done, Kind> {
        let store = &self.small.store;
        store
            .write(
                &self.small.actor,
                self.volume,
                self.file,
                block * BLOCK,
                bytes,
            )
            .map_err(|e| e.kind())
    }

    fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; (FILE_BLOCKS * BLOCK) as usize];
        let live = self.small.live(self.volume);
        let got = self.small.store.read(&live, self.file, 0, &mut bytes);
        assert_eq!(got.unwrap(), bytes.len());
        bytes
    }

    /// What all its checkpoints own, in blocks, by walking every root; the books say the same.
    fn owned(&self) -> u64 {
        self.small.store.settle().unwrap();
        let state = self.small.store.state();
        let volume = state.volume(self.volume).unwrap();
        let walked: u64 = owned_brute(volume).values().sum();
        assert_eq!(quota::usage(volume), walked * BLOCK);
        walked
    }

    fn checkpoints(&self) -> BTreeMap<CheckpointId, (bool, bool)> {
        let state = self.small.store.state();
        let all = state.checkpoints.values();
        all.map(|c| (c.id, (c.removable, c.held))).collect()
    }
}

fn limits(soft: Option<u64>, hard: u64) -> Quota {
    Quota {
        soft: soft.map(|blocks| blocks * BLOCK),
        hard: Some(hard * BLOCK),
        on: true,
        fail_writes: false,
    }
}

/// What gives way is a function of flags, kind and age alone: the same work under other names, with other bytes, has the same victims. Nothing held and
/// nothing that is not removable is dropped; the work that needed it is done; and no administrative command makes anything give way.
#[test]
fn invariant_07_victims_are_a_function_of_flags_kind_and_age() {
    let mut gave_way = 0;
    for seed in 0..25 {
        let run = |salt: u64| {
            let mut random = Random::new(seed + 700);
            let hard = 3 + random.below(12);
            let volume = ["red", "a quite different name"][(salt % 2) as usize];
            let limited = Limited::new(volume.split(' ').next().unwrap(), limits(None, hard));
            let mut told = Vec::new();
            for turn in 0..70_u64 {
                let before = limited.checkpoints();
                let (done, everyday) = match random.below(9) {
                    0 | 1 => {
                        let (removable, nodata) = (random.one_in(2), random.one_in(5));
                        let name = format!("c{}", turn * (salt + 1));
                        (limited.take(&name, removable, nodata), false)
                    }
                    2 => {
                        let all: Vec<CheckpointId> = before.keys().copied().collect();
                        let (held, which) = (random.one_in(4), random.next_u64() as usize);
                        if all.is_empty() {
                            continue;
                        }
                        let checkpoint = all[which % all.len()];
                        let command = Command::CheckpointHold { checkpoint, held };
                        (Ok(limited.small.run(command)), false)
                    }
                    3 if random.one_in(2) => {
                        let done = limited.small.ask(Command::Undo { volume: None });
                        (done.map_err(|e| e.kind()), false)
                    }
                    _ => {
                        let (block, count) = (random.below(20), 1 + random.below(4));
                        let bytes = Random::bytes(turn + salt * 999, (count * BLOCK) as usize);
                        let done = limited.write(block, &bytes);
                        if done.is_ok() {
                            let now = limited.read();
                            assert_eq!(now[(block * BLOCK) as usize..][..bytes.len()], bytes);
                        }
                        (done, true)
                    }
                };
                match done {
                    Ok(done) => {
                        let gone = victims(&done);
                        let born = |c: &CheckpointId| !before.contains_key(c);
                        for (how, checkpoint) in gone.iter().filter(|(_, c)| !born(c)) {
                            assert!(everyday, "seed {seed}: {how} by an administrative command");
                            let (removable, held) = before[checkpoint];
                            assert!(!held, "seed {seed}: {checkpoint} is held");
                            assert!(removable || *how != "dropped", "seed {seed}: {checkpoint}");
                        }
                        told.push(gone);
                    }
                    Err(kind) => {
                        let held = before.values().any(|(_, held)| *held);
                        assert!(!everyday || (held && kind == Kind::OverQuota), "{kind:?}");
                        assert_eq!(limited.checkpoints(), before, "a refusal drops nothing");
                        told.push(Vec::new());
                    }
                }
            }
            told
        };
        let told = run(1);
        assert_eq!(told, run(2), "seed {seed}");
        gave_way += told.iter().map(Vec::len).sum::<usize>();
    }
    assert!(gave_way > 150, "only {gave_way} gave way");
}

/// A checkpoint is refused where more than the soft limit is used, and only there. More than the hard limit is used only from what moves in bulk, a
/// rollback or its like, until the next write that passes anything.
#[test]
fn invariant_08_limits_hold_but_for_bulk_movements() {
    let (mut refused, mut exceeded) = (0, 0);
    for seed in 0..25 {
        let mut random = Random::new(seed + 800);
        let hard = 6 + random.below(12);
        let soft = hard / 2 - random.below(2);
        let limited = Limited::new("v", limits(Some(soft), hard));
        for turn in 0..80_u64 {
            let before = limited.owned();
            let ids: Vec<CheckpointId> = limited.checkpoints().keys().copied().collect();
            match random.below(8) {
                0 | 1 => {
                    let taken = limited.take(&format!("c{turn}"), random.one_in(3), false);
                    let above = before > soft;
                    assert_eq!(taken.err(), above.then_some(Kind::OverQuota));
                    refused += u64::from(above);
                }
                2 if !ids.is_empty() => {
                    let to = ids[random.below(ids.len() as u64) as usize];
                    if limited.small.image(limited.volume, to).nodata {
                        continue;
                    }
                    let done = limited.small.run(Command::Rollback {
                        volume: limited.volume,
                        source: Source::Checkpoint(limited.volume, to),
                        only: true,
                    });
                    assert_eq!(victims(&done), [], "a rollback makes nobody give way");
                    exceeded += u64::from(limited.owned() > hard);
                }
                what => {
                    // Both are one command, which tells all its events.
                    let most = u64::from(max_record_blocks(SEGMENT_SIZE));
                    let (block, count) = match what {
                        3 => (2 * most, most),
                        _ => (random.below(most - 3), 1 + turn % 3),
                    };
                    let bytes = Random::bytes(turn, (BLOCK * count) as usize);
                    let done = limited.write(block, &bytes).unwrap();
                    let passed = |e: &Event| matches!(e, Event::CopiedOut { .. });
                    if done.events.iter().any(passed) {
                        let now = limited.owned();
                        let told = kinds(&done);
                        assert!(
                            now <= hard,
                            "seed {seed}, turn {turn}: {now} of {hard}, {told:?}"
                        );
                    } else {
                        // Nothing passed: nothing more than before is owned.
                        let now = limited.owned();
                        assert!(
                            now <= before,
                            "seed {seed}, turn {turn}: {now}, {before} before"
                        );
                    }
                }
            }
        }
    }
    assert!(
        refused > 30,
        "{refused} checkpoints refused, {exceeded} exceeded"
    );
    assert!(exceeded > 10, "{exceeded} rollbacks exceeded the limit");
}

/// What happens to checkpoints never fails production's write, nor makes it cost more than a few events for each checkpoint there is, unless that was asked
/// for: by a hold, or by `--on-full fail-writes`. Then it fails, and has changed nothing.
#[test]
fn invariant_15_production_goes_on_whatever_becomes_of_checkpoints() {
    for seed in 0..20 {
        let mut random = Random::new(seed + 1500);
        let limited = Limited::new("v", limits(None, 1 + random.below(3)));
        for turn in 0..60_u64 {
            if random.one_in(3) {
                limited
                    .take(&format!("c{turn}"), random.one_in(2), random.one_in(4))
                    .unwrap();
            }
            let most = 4 * limited.checkpoints().len() + 8;
            let bytes = Random::bytes(turn, (BLOCK * (1 + random.below(4))) as usize);
            let done = limited.write(random.below(20), &bytes).unwrap();
            let events = done.events.len();
            assert!(
                events <= most,
                "seed {seed}: {events} events, {most} allowed"
            );
        }
    }
    for fail_writes in [false, true] {
        let quota = Quota {
            fail_writes,
            ..limits(None, 4)
        };
        let limited = Limited::new("v", quota);
        limited.take("kept", true, false).unwrap();
        let checkpoint = *limited.checkpoints().keys().next().unwrap();
        if !fail_writes {
            limited.small.run(Command::CheckpointHold {
                checkpoint,
                held: true,
            });
        }
        limited.write(0, &[7; 4 * 4096]).unwrap();
        let (live, kept) = (limited.read(), images(&limited.small.store));
        assert_eq!(limited.write(4, &[8; 4096]).err(), Some(Kind::OverQuota));
        assert_eq!(limited.read(), live);
        assert_eq!(images(&limited.small.store), kept);
        limited.write(0, &[9; 4 * 4096]).unwrap(); // what passes nothing needs no room
        assert_eq!(images(&limited.small.store), kept);
    }
}
