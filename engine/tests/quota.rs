//! Quotas: what checkpoints own is bounded, what gives way is chosen by rule, and production goes on unless it was told not to.
#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Disk, MemoryDisk};

struct Rig {
    disk: Arc<dyn Disk>,
    store: Store,
    volume: VolumeId,
    file: Ino,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(1_800_000_000_000_000_000))
}

fn me() -> Actor {
    Actor {
        name: "test".into(),
        ..Actor::program()
    }
}

impl Rig {
    /// A volume with one file of 32 blocks.
    fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = InitOptions {
            segment_size: 64 << 10,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let store = Store::init(disk.clone(), clock(), options, &me()).unwrap();
        let create = Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), create).unwrap();
        let volume = store.state().volume_named("pg").unwrap().id;
        let dir = store.state().volume(volume).unwrap().live.root;
        let create = Command::Create {
            volume,
            dir,
            name: b"f"[..].into(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), create).unwrap();
        let file = store.state().volume(volume).unwrap().live.lookup(b"f");
        let rig = Self {
            disk,
            store,
            volume,
            file: file.unwrap(),
        };
        rig.write(0, 32, 1).unwrap();
        rig
    }

    fn write(&self, block: u64, count: usize, fill: u8) -> Result<Done, Error> {
        let bytes = vec![fill; count * 4096];
        self.store
            .write(&me(), self.volume, self.file, block * 4096, &bytes)
    }

    fn take(&self, name: &str, removable: bool, nodata: bool) -> Result<CheckpointId, Error> {
        let command = Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable,
            nodata,
            note: String::new(),
        };
        self.store.run(&me(), command)?;
        Ok(self.store.state().checkpoint_named(name).unwrap().id)
    }

    fn limit(&self, soft: Option<u64>, hard: Option<u64>) -> Quota {
        Quota {
            soft: soft.map(|blocks| blocks * BLOCK),
            hard: hard.map(|blocks| blocks * BLOCK),
            on: true,
            fail_writes: false,
        }
    }

    fn set(&self, quota: Quota) -> Result<Done, Error> {
        let command = Command::QuotaSet {
            volume: self.volume,
            quota,
            below_use: false,
        };
        self.store.run(&me(), command)
    }

    fn hold(&self, checkpoint: CheckpointId) {
        let command = Command::CheckpointHold {
            checkpoint,
            held: true,
        };
        self.store.run(&me(), command).unwrap();
    }

    fn owned(&self) -> u64 {
        let state = self.store.state();
        let volume = state.volume(self.volume).unwrap();
        if !volume.settling() {
            for (id, truth) in owner::owned_brute(volume) {
                assert_eq!(volume.images[&id].ledger.owned(), truth, "checkpoint {id}");
            }
        }
        quota::usage(volume) / BLOCK
    }

    fn image(&self, checkpoint: CheckpointId) -> Vec<u8> {
        let source = Source::Checkpoint(self.volume, checkpoint);
        let tree = self.store.view(source).unwrap();
        let mut bytes = vec![0; 32 * 4096];
        self.store.read(&tree, self.file, 0, &mut bytes).unwrap();
        bytes
    }

    fn names(&self) -> Vec<String> {
        let state = self.store.state();
        state
            .checkpoints
            .values()
            .map(|c| c.name.to_string())
            .collect()
    }

    fn kept(&self, checkpoint: CheckpointId) -> bool {
        let state = self.store.state();
        state
            .image(self.volume, checkpoint)
            .is_some_and(|i| !i.nodata)
    }
}

fn kinds(done: &Done) -> Vec<&'static str> {
    done.events.iter().map(Event::kind).collect()
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.unwrap_err().kind()
}

#[test]
fn above_the_soft_limit_no_checkpoint_is_taken_and_the_crossing_is_told_once() {
    let rig = Rig::new();
    rig.take("a", false, false).unwrap();
    rig.set(rig.limit(Some(4), None)).unwrap();
    assert_eq!(
        kinds(&rig.write(0, 4, 2).unwrap()),
        ["copied-out", "written"]
    );
    rig.take("b", false, false).unwrap();
    // Exactly the limit is not above it; one more block is.
    let crossing = rig.write(0, 1, 3).unwrap();
    assert_eq!(kinds(&crossing), ["quota-reached", "copied-out", "written"]);
    let after = rig.write(1, 1, 3).unwrap();
    assert_eq!(kinds(&after), ["copied-out", "written"]);
    assert_eq!(rig.owned(), 6);
    let refused = rig.take("c", false, false);
    assert_eq!(kind_of(refused), Kind::OverQuota);
    let b = rig.store.state().checkpoint_named("b").unwrap().id;
    rig.store
        .run(&me(), Command::CheckpointRemove { checkpoint: b })
        .unwrap();
    rig.store.settle().unwrap();
    assert_eq!(rig.owned(), 4);
    rig.take("c", false, false).unwrap();
}

#[test]
fn what_frees_nothing_by_going_stays() {
    let rig = Rig::new();
    let mut all = Vec::new();
    for (turn, (name, removable)) in [
        ("keep", false),
        ("first", true),
        ("second", true),
        ("marks", true),
        ("third", true),
        ("last", false),
    ]
    .into_iter()
    .enumerate()
    {
        all.push(rig.take(name, removable, name == "marks").unwrap());
        rig.write(turn as u64 * 4, 4, 10 + turn as u8).unwrap();
    }
    assert_eq!(rig.owned(), 24, "the nodata one owns nothing");
    rig.set(rig.limit(None, Some(24))).unwrap();
    let images: Vec<Vec<u8>> = [1, 2, 4, 5].map(|i| rig.image(all[i])).into();
    // What the removable ones own the older "keep" maps too: it would be handed down. So would what "last" owns. Only "keep" owns what no other needs.
    let done = rig.write(24, 2, 99).unwrap();
    assert!(
        kinds(&done).contains(&"checkpoint-converted"),
        "{:?}",
        kinds(&done)
    );
    assert_eq!(rig.names().len(), 6);
    assert!(!rig.kept(all[0]));
    for (image, index) in images.iter().zip([1, 2, 4, 5]) {
        assert!(rig.image(all[index]) == *image, "checkpoint {index}");
    }
    assert_eq!(rig.owned(), 22);
}

#[test]
fn the_victims_are_the_oldest_that_free_something() {
    let rig = Rig::new();
    let mut all = Vec::new();
    for (turn, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        all.push(rig.take(name, true, false).unwrap());
        rig.write(0, 4, 10 + turn as u8).unwrap(); // the same blocks: each owns four that nobody else maps
    }
    rig.take("marks", true, true).unwrap();
    rig.set(rig.limit(None, Some(16))).unwrap();
    let (c, d) = (rig.image(all[2]), rig.image(all[3]));
    // Five more blocks: two checkpoints of four must go, the oldest.
    let planned = rig.names();
    let done = rig.write(8, 5, 99).unwrap();
    assert_eq!(planned.len(), 5);
    assert_eq!(rig.names(), ["c", "d", "marks"]);
    assert_eq!((rig.image(all[2]), rig.image(all[3])), (c, d));
    assert_eq!(rig.owned(), 13);
    assert_eq!(
        kinds(&done),
        [
            "quota-reached",
            "copied-out-scope",
            "checkpoint-dropped",
            "settled",
            "copied-out-scope",
            "checkpoint-dropped",
            "settled",
            "change-marked",
            "copied-out",
            "written"
        ]
    );
    // It is gone for good.
    let undo = rig.store.run(&me(), Command::Undo { volume: None });
    assert_eq!(kind_of(undo), Kind::NothingToUndo);
    rig.store.write_state_file().unwrap();
    rig.store.sync().unwrap();
    let at_end = rig.store.digest();
    drop(rig.store);
    for ignore_state_files in [false, true] {
        let options = OpenOptions {
            ignore_state_files,
            ..OpenOptions::read_only()
        };
        let store = Store::open(rig.disk.clone(), clock(), options).unwrap();
        assert_eq!(store.digest(), at_end);
        let state = store.state();
        assert_eq!(
            state.volume(rig.volume).unwrap().quota.hard,
            Some(16 * BLOCK)
        );
    }
}

#[test]
fn with_nothing_removable_the_newest_image_is_given_up_and_production_goes_on() {
    let rig = Rig::new();
    let a = rig.take("a", false, false).unwrap();
    rig.write(0, 4, 2).unwrap();
    let b = rig.take("b", false, false).unwrap();
    rig.set(rig.limit(None, Some(8))).unwrap();
    let old = rig.image(a);
    let done = rig.write(0, 8, 3).unwrap();
    assert_eq!(
        kinds(&done)[..4],
        [
            "quota-reached",
            "copied-out-scope",
            "checkpoint-converted",
            "settled"
        ]
    );
    assert!(rig.kept(a) && !rig.kept(b));
    assert_eq!(rig.image(a), old);
    assert!(rig.owned() <= 8, "{}", rig.owned());
    // The last one goes too, in the end: what fails is not production.
    rig.write(8, 8, 4).unwrap();
    assert!(!rig.kept(a));
    assert_eq!(rig.owned(), 0);
    assert_eq!(rig.names(), ["a", "b"]);
}

#[test]
fn for_a_held_checkpoint_the_write_fails_and_changes_nothing() {
    let rig = Rig::new();
    let a = rig.take("a", true, false).unwrap();
    rig.hold(a);
    rig.set(rig.limit(None, Some(4))).unwrap();
    rig.write(0, 4, 2).unwrap();
    let (seq, old) = (rig.store.state().seq, rig.image(a));
    assert_eq!(kind_of(rig.write(4, 1, 2)), Kind::OverQuota);
    assert_eq!(rig.store.state().seq, seq);
    // What passes nothing goes on.
    rig.write(0, 4, 3).unwrap();
    rig.write(40, 4, 3).unwrap();
    assert_eq!(rig.image(a), old);
    // Held again by nobody, it gives way.
    let release = Command::CheckpointHold {
        checkpoint: a,
        held: false,
    };
    rig.store.run(&me(), release).unwrap();
    rig.write(4, 1, 2).unwrap();
    assert!(rig.names().is_empty());
}

#[test]
fn writes_fail_where_that_was_asked_for() {
    let rig = Rig::new();
    rig.take("a", true, false).unwrap();
    let quota = Quota {
        fail_writes: true,
        ..rig.limit(None, Some(4))
    };
    rig.set(quota).unwrap();
    rig.write(0, 4, 2).unwrap();
    assert_eq!(kind_of(rig.write(4, 1, 2)), Kind::OverQuota);
    assert_eq!(rig.names(), ["a"]);
    rig.set(Quota { on: false, ..quota }).unwrap();
    rig.write(4, 1, 2).unwrap();
    assert_eq!(rig.owned(), 5, "switched off, nothing is enforced");
}

#[test]
fn a_rollback_is_never_refused_and_its_undo_works() {
    let rig = Rig::new();
    let a = rig.take("a", false, false).unwrap();
    rig.write(0, 16, 2).unwrap();
    rig.set(rig.limit(Some(8), Some(16))).unwrap();
    let back = Command::Rollback {
        volume: rig.volume,
        source: Source::Checkpoint(rig.volume, a),
        only: false,
    };
    rig.store.run(&me(), back).unwrap();
    rig.store
        .run(&me(), Command::Undo { volume: None })
        .unwrap();
    rig.store
        .run(&me(), Command::Redo { volume: None })
        .unwrap();
    rig.write(0, 16, 3).unwrap();
    rig.store.settle().unwrap();
    let _ = rig.owned();
    // The next write that passes anything puts right what the rollback exceeded: its own safety image goes first.
    rig.write(16, 4, 4).unwrap();
    assert!(rig.owned() <= 16, "{}", rig.owned());
    assert!(rig.kept(a) || rig.owned() == 0);
}

#[test]
fn limits_that_contradict_and_those_below_use_are_refused() {
    let rig = Rig::new();
    rig.take("a", true, false).unwrap();
    rig.write(0, 8, 2).unwrap();
    let refused = |quota| kind_of(rig.set(quota));
    assert_eq!(refused(rig.limit(Some(4), Some(4))), Kind::Invalid);
    assert_eq!(refused(rig.limit(Some(5), Some(4))), Kind::Invalid);
    assert_eq!(refused(rig.limit(None, Some(0))), Kind::Invalid);
    assert_eq!(refused(rig.limit(None, None)), Kind::Invalid);
    assert_eq!(refused(rig.limit(None, Some(7))), Kind::Unconfirmed);
    // Below present use in the soft limit is no loss: there are no new checkpoints until some go.
    rig.set(rig.limit(Some(7), None)).unwrap();
    assert_eq!(kind_of(rig.take("b", false, false)), Kind::OverQuota);
    let quota = rig.limit(None, Some(7));
    let confirmed = Command::QuotaSet {
        volume: rig.volume,
        quota,
        below_use: true,
    };
    rig.store.run(&me(), confirmed).unwrap();
    assert_eq!(rig.names(), ["a"], "nothing goes until a write needs it");
    rig.write(8, 1, 2).unwrap();
    assert!(rig.names().is_empty());
    assert!(
        rig.set(quota).unwrap().events.is_empty(),
        "again is nothing"
    );
}

/// Random writes, checkpoints and rollbacks under a quota: what is left is exact, within the limit, and reads as it did.
#[test]
fn invariants_07_and_08_hold_on_random_histories() {
    let mut dice = 7_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) % sides
    };
    for round in 0..12 {
        let rig = Rig::new();
        let hard = 8 + roll(24);
        rig.set(rig.limit(Some(hard - 4), Some(hard))).unwrap();
        let mut images: Vec<(CheckpointId, Vec<u8>)> = Vec::new();
        for step in 0..60 {
            match roll(8) {
                0 => {
                    let name = format!("c{step}");
                    let above = rig.owned() > hard - 4;
                    let (removable, nodata) = (roll(2) == 0, roll(4) == 0);
                    match rig.take(&name, removable, nodata) {
                        Ok(id) if !nodata => images.push((id, rig.image(id))),
                        Ok(_) => assert!(!above),
                        Err(error) => {
                            assert_eq!(error.kind(), Kind::OverQuota);
                            assert!(above, "round {round}: refused at {}", rig.owned());
                        }
                    }
                }
                1 if !images.is_empty() && roll(3) == 0 => {
                    let (to, _) = images[roll(images.len() as u64) as usize];
                    let source = Source::Checkpoint(rig.volume, to);
                    let back = Command::Rollback {
                        volume: rig.volume,
                        source,
                        only: true,
                    };
                    if rig.kept(to) {
                        rig.store.run(&me(), back).unwrap();
                        rig.store.settle().unwrap();
                    }
                }
                _ => {
                    let (at, count) = (roll(28), 1 + roll(4) as usize);
                    let lasting = |store: &Store| -> Vec<CheckpointId> {
                        let all = store.state();
                        let kept = all.checkpoints.values().filter(|c| !c.removable);
                        kept.map(|c| c.id).collect()
                    };
                    let before = lasting(&rig.store);
                    let done = rig.write(at, count, step as u8).unwrap();
                    assert_eq!(lasting(&rig.store), before, "only removable ones go");
                    let passes = done
                        .events
                        .iter()
                        .any(|e| matches!(e, Event::CopiedOut { .. }));
                    assert!(!passes || rig.owned() <= hard, "round {round}, step {step}");
                }
            }
            images.retain(|(id, _)| rig.kept(*id));
            for (id, bytes) in &images {
                assert!(rig.image(*id) == *bytes, "round {round}, step {step}: {id}");
            }
        }
    }
}
