//! Space given back, and what stays readable meanwhile: stories about reclaim, the history window, leases and clocks.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod allocations;
mod capacity;
mod full;
mod soak;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::{
    CheckpointId, Command, GiveUp, Ino, Kind, ManualClock, ReclaimOptions, Reclaimed, Source,
    Store, VolumeId,
};
use strand_journal::disk::MemoryDisk;
use strand_tests::history::Step;
use strand_tests::lockstep::{Depth, Lockstep, open_options};
use strand_tests::random::Random;
use strand_tests::reference::{self, BLOCK, Kind as NodeKind};
use strand_tests::small::{Small, contents};

const HOUR: u64 = 3_600_000_000_000;
const YEAR: u64 = 365 * 24 * HOUR;

/// A volume with one file of so many blocks.
fn town(capacity: Option<u64>, blocks: u64) -> (Small, VolumeId, Ino) {
    let small = Small::of_capacity(capacity);
    let volume = small.volume("v");
    let file = small.file(volume, "f");
    for block in 0..blocks {
        small.write(volume, file, block, 1, block);
    }
    (small, volume, file)
}

/// Everything that is worth it, and more.
fn reclaim(small: &Small, now: bool) -> Reclaimed {
    let options = ReclaimOptions {
        now,
        most_live: Some(100),
        ..ReclaimOptions::default()
    };
    small.store.reclaim(&options).unwrap()
}

fn remove(small: &Small, checkpoint: CheckpointId) {
    small.run(Command::CheckpointRemove { checkpoint });
}

/// A view that was prepared before the history window moved past it is gone back to by nobody.
#[test]
fn a_view_prepared_before_its_history_went_is_refused() {
    let rollback = |volume, source| Command::Rollback {
        volume,
        source,
        only: false,
    };
    let files = |volume, source| Command::RollbackFiles {
        volume,
        source,
        paths: vec![b"f".as_slice().into()],
        attributes: false,
        delete_new: false,
    };
    let clone = |_, source| Command::CloneCreate {
        name: "clone".into(),
        source,
    };
    let commands: [&dyn Fn(VolumeId, Source) -> Command; 3] = [&rollback, &files, &clone];
    for command in commands {
        let (small, volume, file) = town(None, 30);
        let then = small.store.state().boundary;
        for block in 0..30 {
            small.write(volume, file, block, 1, 100 + block);
        }
        let live = small.contents(&small.live(volume));
        let command = command(volume, Source::Position(volume, then));
        let views = small.store.prepare(&command).unwrap();
        assert!(reclaim(&small, true).segments > 0);
        let shown = format!("{command:?}");
        let asked = small.store.submit_prepared(&small.actor, command, &views);
        assert_eq!(kind_of(asked), Kind::OutOfRange, "{shown}");
        assert!(small.contents(&small.live(volume)) == live);
    }
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, strand_engine::Error>) -> Kind {
    result.unwrap_err().kind()
}

/// A rollback to a position brings versions back that were dead where the window begins now. What it brought can be viewed as long as the window holds it.
#[test]
fn what_came_back_from_a_position_can_be_viewed() {
    let kind = NodeKind::File {
        size: 0,
        blocks: BTreeMap::new(),
    };
    for story in 0..16 {
        let (files_only, with_undo) = (story & 1 > 0, story & 2 > 0);
        let (window_behind, reopened) = (story & 4 > 0, story & 8 > 0);
        // State files are written where the story says so, and nowhere else.
        let mut lockstep = Lockstep::new(Arc::new(MemoryDisk::new()), 0).unwrap();
        let write = |seed| Step::Write {
            volume: 1,
            ino: 2,
            offset: 0,
            length: 6 * BLOCK,
            seed: Some(seed),
        };
        let go = |lockstep: &mut Lockstep, step: Step| {
            let refused = lockstep
                .step(&step)
                .unwrap_or_else(|e| panic!("{step:?}: {e}"));
            assert_eq!(refused, None, "{step:?}");
            lockstep.compare(Depth::Full).unwrap();
            lockstep.step(&Step::Sync).unwrap();
            lockstep.remember();
            lockstep.store().state().boundary
        };
        go(&mut lockstep, Step::VolumeCreate("first".into()));
        let create = Step::Create {
            volume: 1,
            dir: 1,
            name: b"a".to_vec(),
            kind: kind.clone(),
            mode: 0o644,
        };
        go(&mut lockstep, create);
        let first = go(&mut lockstep, write(1));
        let mut window = go(&mut lockstep, write(2));
        go(&mut lockstep, Step::StateFile);
        let source = reference::Source::Position(1, first);
        let back = match files_only {
            true => Step::RollbackFiles {
                volume: 1,
                source,
                paths: vec![b"a".to_vec()],
                attributes: false,
                delete_new: false,
            },
            false => Step::Rollback {
                volume: 1,
                source,
                only: true,
            },
        };
        let mut came_back = go(&mut lockstep, back);
        if with_undo {
            go(&mut lockstep, Step::Undo(None));
            came_back = go(&mut lockstep, Step::Redo(None));
        }
        if window_behind {
            // The window begins when it had come back, and no state is kept of between.
            window = came_back;
        }
        for seed in 3..9 {
            go(&mut lockstep, write(seed));
        }
        // What kept the state before the rollback is nobody's root any more.
        go(&mut lockstep, Step::GiveWay);
        go(&mut lockstep, Step::ReleaseHistory(window));
        if reopened {
            let (clean, from_start) = (false, false);
            go(&mut lockstep, Step::Reopen { clean, from_start });
        }
        for _ in 0..3 {
            let most_live = 100;
            go(
                &mut lockstep,
                Step::Reclaim {
                    now: false,
                    most_live,
                },
            );
            let compared = lockstep.compare_positions(|_| true);
            compared.unwrap_or_else(|e| panic!("story {story}: {e}"));
        }
        lockstep.check_all().unwrap();
    }
}

/// What is dead goes, what is alive is copied, and what was read before is read after: live, in checkpoints, in a clone, and by a fold from the start.
#[test]
fn space_comes_back_and_everything_reads_as_before() {
    let (small, volume, file) = town(None, 40);
    let mut kept = Vec::new();
    for turn in 0..8_u64 {
        kept.push(small.checkpoint(&format!("c{turn}"), &[volume]));
        for block in 0..40 {
            if (block + turn) % 3 != 0 {
                small.write(volume, file, block, 1, turn * 100 + block);
            }
        }
    }
    small.run(Command::CloneCreate {
        name: "clone".into(),
        source: Source::Checkpoint(volume, kept[3]),
    });
    for gone in [1, 2, 5, 6] {
        remove(&small, kept[gone]);
    }
    let all = |store: &strand_engine::Store| {
        let state = store.state();
        let mut found = Vec::new();
        for (id, volume) in &state.volumes {
            found.push((*id, None, contents(store, &volume.live)));
            for (checkpoint, image) in &volume.images {
                found.push((*id, Some(*checkpoint), contents(store, &image.root)));
            }
        }
        found
    };
    let (before, bytes) = (all(&small.store), small.bytes_on_disk());
    let done = reclaim(&small, true);
    assert!(done.segments > 5 && done.left_alone.is_empty(), "{done:?}");
    assert!(all(&small.store) == before);
    let after = small.bytes_on_disk();
    assert!(after < bytes * 3 / 4, "{bytes} bytes before, {after} after");
    small.verify();
    for from_start in [false, true] {
        let again = strand_tests::scenario::reopen(&small.disk.crash(1), from_start).unwrap();
        assert!(all(&again) == before);
    }
    // Again is nothing, or next to nothing.
    let again = reclaim(&small, true);
    let live: u64 = small
        .store
        .state()
        .volumes
        .values()
        .map(|v| v.live.blocks)
        .sum();
    assert!(again.segments * 16 <= live * 4, "{again:?}");
    assert!(all(&small.store) == before);
}

/// Who reads a view keeps it, whatever goes; who reads on after the lease's end is told so, and never gets other bytes.
#[test]
fn a_lease_keeps_what_it_reads_and_after_its_end_it_is_stale() {
    for of_position in [false, true] {
        let (small, volume, file) = town(None, 20);
        let checkpoint = small.checkpoint("c", &[volume]);
        let source = match of_position {
            true => Source::Position(volume, small.store.state().boundary),
            false => Source::Checkpoint(volume, checkpoint),
        };
        let tree = small.store.view(source).unwrap();
        let expected = contents(&small.store, &tree);
        let hour = Some(Duration::from_secs(3600));
        let lease = small
            .store
            .lease(source, tree.clone(), "backup 7".into(), hour);
        let listed = small.store.leases();
        assert_eq!((listed.len(), &*listed[0].by), (1, "backup 7"));
        for turn in 1..6_u64 {
            for block in 0..20 {
                small.write(volume, file, block, 1, turn * 1000 + block);
            }
        }
        if of_position {
            remove(&small, checkpoint);
        } else {
            let asked = GiveUp::Asked;
            for command in [
                Command::CheckpointRemove { checkpoint },
                Command::CheckpointConvert { checkpoint },
                Command::CheckpointGiveUp {
                    checkpoint,
                    cause: asked,
                },
            ] {
                let shown = format!("{command:?}");
                assert_eq!(kind_of(small.ask(command)), Kind::Busy, "{shown}");
            }
        }
        assert!(reclaim(&small, true).segments > 0);
        assert!(contents(&small.store, &tree) == expected);
        small.store.still_leased(&lease).unwrap();

        small.clock.advance(2 * HOUR);
        assert_eq!(kind_of(small.store.still_leased(&lease)), Kind::Stale);
        assert!(small.store.leases().is_empty());
        if !of_position {
            small.run(Command::CheckpointGiveUp {
                checkpoint,
                cause: GiveUp::Asked,
            });
        }
        reclaim(&small, true);
        let (mut stale, mut buffer) = (0, vec![0; BLOCK as usize]);
        for block in 0..20 {
            match small.store.read(&tree, file, block * BLOCK, &mut buffer) {
                Ok(_) => assert_eq!(buffer, Random::bytes(block, BLOCK as usize)),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Stale, "{error}");
                    stale += 1;
                }
            }
        }
        assert!(stale > 10, "{stale} of 20 blocks are gone");
        small.verify();
    }
}

/// A clock that is set a year ahead makes nothing a year old, and one that is set back makes nothing young again: what passes is elapsed time.
#[test]
fn a_clock_that_jumps_a_year_ahead_and_back_takes_nothing() {
    let (small, volume, file) = town(None, 20);
    let first = small.store.state().boundary;
    let work = |turn: u64| {
        for block in 0..20 {
            small.write(volume, file, block, 1, turn * 1000 + block);
        }
    };
    small.store.write_state_file().unwrap();
    work(1);
    let expected = contents(
        &small.store,
        &small.store.view(Source::Position(volume, first)).unwrap(),
    );
    let wall = 1_800_000_000_000_000_000_u64;
    for jumped in [wall + YEAR, wall - YEAR, wall + 60_000_000_000] {
        small.clock.jump_to(jumped);
        work(2);
        small.store.write_state_file().unwrap();
        work(3);
        assert_eq!(small.store.move_windows_on().unwrap(), None);
        assert_eq!(reclaim(&small, false).history, None);
        let view = small.store.view(Source::Position(volume, first)).unwrap();
        assert!(contents(&small.store, &view) == expected, "after {jumped}");
    }
    small.verify();
    // A closed store may have been closed for a year: it counts for an hour.
    let later = Store::open(
        Arc::new(small.disk.crash(1)),
        Arc::new(ManualClock::new(wall + 2 * YEAR)),
        open_options(0, false),
    );
    let later = later.unwrap();
    assert_eq!(later.move_windows_on().unwrap(), None);
    drop(later);
    // But a day and a half that really pass are a day and a half.
    for hour in 0..36 {
        small.clock.advance(HOUR);
        work(hour);
        small.store.write_state_file().unwrap();
    }
    assert!(reclaim(&small, false).history.is_some());
    let gone = small.store.view(Source::Position(volume, first));
    assert_eq!(kind_of(gone), Kind::OutOfRange);
    small.verify();
}

/// Nights in which nothing happens: the events count an hour of each, and what was written this morning is no older for the rest.
#[test]
fn what_was_written_after_idle_nights_can_be_viewed() {
    let (small, volume, file) = town(None, 20);
    for night in 0..5 {
        small.clock.advance(8 * HOUR);
        small.write(volume, file, night, 1, 100 + night);
    }
    let this_morning = small.store.state().boundary;
    let expected = small.contents(&small.live(volume));
    for turn in 0..20 {
        small.write(volume, file, turn, 1, 200 + turn);
        small.store.write_state_file().unwrap();
    }
    small.store.move_windows_on().unwrap();
    reclaim(&small, false);
    let view = small
        .store
        .view(Source::Position(volume, this_morning))
        .unwrap();
    assert!(contents(&small.store, &view) == expected);
    small.verify();
}
