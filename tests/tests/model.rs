//! Random histories on the engine and on a naive reference that copies everything: after each step both must be alike in every
//! tree, image, byte, owner and living version.
//!
//! `STRAND_SEQUENCES=N` runs so many histories, `STRAND_SEED=S` begins with that seed (one history, if no number is given),
//! `STRAND_STEPS=N` makes them longer. A failure prints its seed and, made as short as it gets, its steps.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strand_engine::owner::owned_brute;
use strand_engine::{Block, Command, WriteRun};
use strand_journal::disk::MemoryDisk;
use strand_tests::history::{Profile, Step, choose, dice, shrink};
use strand_tests::lockstep::{Depth, Lockstep, SEGMENT_SIZE};
use strand_tests::random::Random;
use strand_tests::reference::{BLOCK, Ino, Kind, Source};
use strand_tests::small::Small;

const STEPS: usize = 90;
const SEQUENCES: u64 = 600;
/// Histories in which space is given back are longer: it needs segments that are full.
const SPACE_STEPS: usize = 200;
const SPACE_SEQUENCES: u64 = 50;
/// Those in which time passes are as long.
const LIFE_SEQUENCES: u64 = 50;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| {
        v.parse()
            .unwrap_or_else(|_| panic!("{variable}={v} is not a number"))
    })
}

/// Runs a history; on failure says how many steps it took, and which.
fn run(profile: Profile, dice: &[u64]) -> Result<(), (String, Vec<String>)> {
    let mut steps = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| history(profile, dice, &mut steps)));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err((why, steps)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
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
    if refused {
        counts.1 += 1
    } else {
        counts.0 += 1
    }
}

fn history(profile: Profile, dice: &[u64], steps: &mut Vec<String>) -> Result<(), String> {
    let mut lockstep = Lockstep::new(Arc::new(MemoryDisk::new()), 25)?;
    for (turn, die) in dice.iter().enumerate() {
        let step = choose(*die, &lockstep.reference, profile);
        steps.push(format!("{step:?}"));
        let refused = lockstep.step(&step)?;
        tally(&steps[turn], refused.is_some());
        if let Some(kind) = refused {
            steps
                .last_mut()
                .expect("just pushed")
                .push_str(&format!(" -> {kind}"));
        }
        lockstep.compare(if die % 16 == 0 {
            Depth::Full
        } else {
            Depth::Sampled(3)
        })?;
        if die % 5 == 0 {
            lockstep.remember();
        }
        let all = matches!(step, Step::Reclaim { .. });
        lockstep.compare_positions(|position| all || (position + die) % 64 == 0)?;
        if turn % 12 == 11 {
            lockstep.check_fold()?;
        }
    }
    lockstep.check_all()?;
    let bites = lockstep.reference.bites;
    let places = &lockstep.store().state().places;
    let blocks: u64 = places.reclaimed.iter().map(|(a, b)| b - a).sum();
    for (what, often) in [
        ("Quota: dropped", bites.dropped),
        ("Quota: converted", bites.converted),
        ("Quota: refused", bites.refused),
        ("Quota: counted", bites.counted),
        ("Quota: soft", bites.soft),
        ("Space: given back", blocks * BLOCK / SEGMENT_SIZE),
        ("Space: moved", places.moved.len()),
        ("Life: thinned", lockstep.thinned),
        (
            "Life: archives moved away",
            u64::from(lockstep.store().state().horizon > 1),
        ),
    ] {
        let mut tally = TALLY.lock().unwrap();
        tally.entry(what.into()).or_default().0 += often;
    }
    Ok(())
}

fn check(profile: Profile, seed: u64, steps: usize) {
    let dice = dice(seed, steps);
    let Err((why, _)) = run(profile, &dice) else {
        return;
    };
    let short = shrink(dice, 400, |dice| run(profile, dice).is_err());
    let Err((short_why, steps)) = run(profile, &short) else {
        panic!("seed {seed}: {why}; it did not fail again")
    };
    panic!(
        "STRAND_SEED={seed}: {why}\n{} steps are enough ({short_why}):\n  {}\ndice: {short:?}",
        steps.len(),
        steps.join("\n  ")
    );
}

/// Runs given steps, comparing everything after each.
fn story(steps: &[Step]) {
    let mut lockstep = Lockstep::new(Arc::new(MemoryDisk::new()), 25).unwrap();
    for step in steps {
        lockstep
            .step(step)
            .unwrap_or_else(|e| panic!("{step:?}: {e}"));
        lockstep
            .compare(Depth::Full)
            .unwrap_or_else(|e| panic!("after {step:?}: {e}"));
    }
    lockstep.check_all().unwrap();
}

fn file(name: &[u8]) -> Step {
    let kind = Kind::File {
        size: 0,
        blocks: BTreeMap::new(),
    };
    Step::Create {
        volume: 1,
        dir: 1,
        name: name.to_vec(),
        kind,
        mode: 0o644,
    }
}

fn write(ino: Ino, offset: u64, length: u64, seed: u64) -> Step {
    Step::Write {
        volume: 1,
        ino,
        offset,
        length,
        seed: Some(seed),
    }
}

fn unlink(name: &[u8]) -> Step {
    Step::Unlink {
        volume: 1,
        dir: 1,
        name: name.to_vec(),
        dir_wanted: false,
    }
}

fn checkpoint(name: &str) -> Step {
    Step::CheckpointCreate {
        name: name.into(),
        volumes: vec![1],
        nomount: false,
        removable: false,
        nodata: false,
    }
}

fn files_back(paths: &[&[u8]], delete_new: bool) -> Step {
    let paths = paths.iter().map(|p| p.to_vec()).collect();
    Step::RollbackFiles {
        volume: 1,
        source: Source::Checkpoint(1, 1),
        paths,
        attributes: false,
        delete_new,
    }
}

/// A dead file with two names in the image, the first free, the second taken by a newer file: the newer one was left as it was.
#[test]
fn a_dead_file_goes_back_under_its_free_name_and_into_the_file_that_took_the_other() {
    let link = Step::Link {
        volume: 1,
        ino: 2,
        dir: 1,
        name: b"b".to_vec(),
    };
    let before = [
        Step::VolumeCreate("first".into()),
        file(b"a"),
        write(2, 0, 6000, 1),
        link,
        checkpoint("red"),
    ];
    for taken in [&b"a"[..], b"b"] {
        let after = [
            unlink(b"a"),
            unlink(b"b"),
            file(taken),
            files_back(&[b"", b"b"], false),
            Step::Undo(None),
            Step::Redo(None),
        ];
        story(&[&before[..], &after[..]].concat());
    }
}

/// The same name given twice, or once by itself and once by its directory, was deleted twice.
#[test]
fn a_new_file_is_deleted_once_however_often_it_is_named() {
    let mut steps = vec![
        Step::VolumeCreate("first".into()),
        file(b"a"),
        checkpoint("red"),
        file(b"new"),
    ];
    steps.push(files_back(&[b"new", b"new", b"", b"new"], true));
    story(&steps);
}

/// What a redo of a file rollback creates is not what the rollback created: the next undo has to know.
#[test]
fn undo_after_a_redo_removes_what_the_redo_created() {
    let steps = [
        Step::VolumeCreate("first".into()),
        file(b"a"),
        write(2, 0, 5000, 1),
        checkpoint("red"),
        unlink(b"a"),
    ];
    let back = [
        files_back(&[b"a"], false),
        Step::Undo(None),
        Step::Redo(None),
        Step::Undo(None),
        Step::Redo(None),
    ];
    story(&[&steps[..], &back[..]].concat());
}

/// One file's content was put into another that the image knows, whose own content was lost by that.
#[test]
fn a_rollback_never_puts_one_file_of_the_image_into_another() {
    let rename = Step::Rename {
        volume: 1,
        from: (1, b"b".to_vec()),
        to: (1, b"a".to_vec()),
        no_replace: false,
        exchange: false,
    };
    let steps = [
        Step::VolumeCreate("first".into()),
        file(b"a"),
        write(2, 0, 5000, 1),
        file(b"b"),
        write(3, 0, 5000, 2),
    ];
    let back = [
        checkpoint("red"),
        unlink(b"a"),
        rename,
        files_back(&[b""], false),
        files_back(&[b"b"], true),
    ];
    story(&[&steps[..], &back[..]].concat());
}

/// More than a thousand mapped blocks: copy-outs take the bulk form and are counted later, shared blocks among them.
#[test]
fn bulk_movements_of_shared_blocks_are_counted_exactly() {
    let copy = |from: u64, to: u64, blocks: u64| Step::CopyRange {
        volume: 1,
        from: (2, from * BLOCK),
        to: (2, to * BLOCK),
        length: blocks * BLOCK,
    };
    let mut steps = vec![
        Step::VolumeCreate("first".into()),
        file(b"a"),
        write(2, 0, 40 * BLOCK, 1),
    ];
    steps.extend((0..5).map(|n| copy(0, 40 << n, 40 << n)));
    steps.extend([file(b"b"), checkpoint("red")]);
    steps.push(Step::CopyRange {
        volume: 1,
        from: (2, 0),
        to: (3, 0),
        length: 1200 * BLOCK,
    });
    steps.extend([write(2, 7 * BLOCK, 3 * BLOCK, 2), checkpoint("green")]);
    for whole in [
        Step::Truncate {
            volume: 1,
            ino: 2,
            size: 100,
        },
        Step::Zero {
            volume: 1,
            ino: 2,
            offset: 0,
            length: 1280 * BLOCK,
            grow: false,
        },
        unlink(b"a"),
        Step::Write {
            volume: 1,
            ino: 2,
            offset: 0,
            length: 1280 * BLOCK,
            seed: None,
        },
        Step::Rename {
            volume: 1,
            from: (1, b"b".to_vec()),
            to: (1, b"a".to_vec()),
            no_replace: false,
            exchange: false,
        },
        Step::CopyRange {
            volume: 1,
            from: (3, 0),
            to: (2, 3 * BLOCK),
            length: 1100 * BLOCK,
        },
        Step::Rollback {
            volume: 1,
            source: Source::Checkpoint(1, 1),
            only: true,
        },
    ] {
        let after = [
            whole,
            Step::CheckpointRemove(2),
            Step::Undo(None),
            Step::Settle,
            Step::CheckpointRemove(1),
            Step::Settle,
            Step::Undo(None),
        ];
        story(&[&steps[..], &after[..]].concat());
    }
}

/// A hole and the ragged block behind it, in one write: their copy-outs were named data first, holes last, and no fold took that.
#[test]
fn data_and_holes_of_one_write_pass_in_the_order_of_the_blocks() {
    let zero = |offset, length| Step::Zero {
        volume: 1,
        ino: 2,
        offset,
        length,
        grow: false,
    };
    let before = [
        Step::VolumeCreate("first".into()),
        file(b"a"),
        write(2, 0, 10 * BLOCK, 1),
        checkpoint("red"),
    ];
    story(
        &[
            &before[..],
            &[zero(6 * BLOCK, BLOCK + 100), zero(BLOCK - 7, 2 * BLOCK)],
        ]
        .concat(),
    );
}

/// One write of data and of a hole so large that its copy-outs take the bulk form, over blocks that are mapped several times.
#[test]
fn a_write_of_data_and_a_large_hole_passes_each_version_once() {
    for hole in [30, 600, 1100] {
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 40, 1);
        for n in 0..5 {
            let length = (40 << n) * BLOCK;
            small
                .store
                .copy_range(&small.actor, volume, file, 0, file, length, length)
                .unwrap();
        }
        let checkpoint = small.checkpoint("red", &[volume]);
        let data = |block, seed| {
            (
                WriteRun {
                    block,
                    count: 1,
                    data: true,
                },
                Block::from_slice(&Random::bytes(seed, BLOCK as usize)),
            )
        };
        let ((first, one), (last, two)) = (data(3, 2), data(4 + hole, 3));
        let runs = vec![
            first,
            WriteRun {
                block: 4,
                count: hole,
                data: false,
            },
            last,
        ];
        let command = Command::Write {
            volume,
            ino: file,
            runs,
            size: 0,
        };
        let done = small
            .store
            .submit_with(&small.actor, command, &[one, two])
            .unwrap();
        small.store.commit(done.ticket).unwrap();
        small.store.settle().unwrap();
        let state = small.store.state();
        let found = state.volume(volume).unwrap();
        assert_eq!(
            found.images[&checkpoint].ledger.owned(),
            owned_brute(found)[&checkpoint],
            "a hole of {hole} blocks"
        );
        // And what is left of it goes too.
        small.store.truncate(&small.actor, volume, file, 5).unwrap();
        small.store.settle().unwrap();
        let state = small.store.state();
        let found = state.volume(volume).unwrap();
        assert_eq!(
            found.images[&checkpoint].ledger.owned(),
            40,
            "a hole of {hole} blocks"
        );
        assert_eq!(owned_brute(found)[&checkpoint], 40);
    }
}

fn many(profile: Profile, sequences: u64, steps: usize) -> u64 {
    let steps = number("STRAND_STEPS").map_or(steps, |n| n as usize);
    let first = number("STRAND_SEED");
    let count = number("STRAND_SEQUENCES").unwrap_or(if first.is_some() { 1 } else { sequences });
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
                    check(profile, seed, steps);
                }
            });
        }
    });
    count
}

/// All sorts of histories, one after the other: what they count is counted together.
#[test]
fn random_histories_agree_with_the_reference() {
    let mut count = many(Profile::All, SEQUENCES, STEPS);
    count = count.min(many(Profile::Space, SPACE_SEQUENCES, SPACE_STEPS));
    count = count.min(many(Profile::Life, LIFE_SEQUENCES, SPACE_STEPS));
    let tally = TALLY.lock().unwrap();
    for (kind, (done, refused)) in tally.iter() {
        println!("{kind:20} {done:7} done {refused:7} refused");
    }
    if count >= SPACE_SEQUENCES {
        assert!(
            tally.len() >= 60,
            "some kinds of steps never came: {:?}",
            tally.keys()
        );
        for (kind, (done, _)) in tally.iter() {
            let least = if kind.contains(": ") { 10 } else { 30 };
            assert!(*done >= least, "{kind} was done only {done} times");
        }
    }
}
