//! What goes, and what stays.

use super::town::{BLOCKS, Town, me};
use strand_engine::*;

#[test]
fn dead_segments_go_and_what_is_alive_reads_as_ever() {
    let mut town = Town::new(None);
    town.write(200);
    town.checkpoint("kept");
    town.write(200);
    town.checkpoint("given-up");
    town.write(200);
    town.remove("given-up");
    let before = town.segment_files();
    let done = town.reclaim();
    assert!(done.segments > 10 && done.bytes_copied > 0, "{done:?}");
    assert!(done.left_alone.is_empty() && !done.cancelled);
    let after = town.segment_files();
    assert!(after < before / 2, "{before} files, then {after}");
    town.check();
    // What was copied is copied again when its new place is dead enough.
    town.write(300);
    assert!(town.reclaim().segments > 5);
    town.check();
    let mut town = town.reopened();
    town.check();
    town.write(100);
    town.reclaim();
    town.check();
    let town = town.reopened();
    town.check();
    let again: Vec<u64> = (0..4).map(|_| town.reclaim().segments).collect();
    assert!(again[3] <= 1, "there is nothing left to do: {again:?}");
}

#[test]
fn within_the_window_nothing_goes() {
    let mut town = Town::new(None);
    town.write(300);
    let done = town.store.reclaim(&ReclaimOptions::default()).unwrap();
    assert_eq!((done.segments, done.history), (0, None));
    // A day later the window has moved on, as far as states were kept on the way.
    town.store.write_state_file().unwrap();
    // An hour at a time: of a longer pause the events count no more, and nothing goes before its time.
    for _ in 0..26 {
        town.clock.advance(3_600_000_000_000);
        town.write(1);
    }
    let done = town.store.reclaim(&ReclaimOptions::default()).unwrap();
    assert!(done.segments > 5 && done.history.is_some(), "{done:?}");
    town.check();
    town.reopened().check();
}

/// Much was written over, and of what that was a MiB is kept.
fn with_a_small_retention() -> Town {
    let mut town = Town::new(None);
    let command = Command::RetentionSet {
        volume: town.volume,
        retention: Retention {
            age: None,
            bytes: Some(1 << 20),
        },
    };
    town.store.run(&me(), command).unwrap();
    town.write(2000);
    town
}

#[test]
fn a_small_retention_lets_space_go_while_the_store_is_open() {
    let town = with_a_small_retention();
    let done = town.store.reclaim(&ReclaimOptions::default()).unwrap();
    assert!(done.segments > 50, "{done:?}");
    let begins = town.store.state().volume(town.volume).unwrap().history;
    let view = town
        .store
        .view(Source::Position(town.volume, begins))
        .unwrap();
    Town::shown(&town.store, &view).unwrap();
    town.check();
    town.reopened().check();
}

#[test]
fn a_window_moves_on_over_what_an_opening_folded() {
    let town = with_a_small_retention();
    // The process dies, and with it the states that it had kept.
    let town = town.reopened();
    let done = town.store.reclaim(&ReclaimOptions::default()).unwrap();
    assert!(done.segments > 50 && done.history.is_some(), "{done:?}");
    town.check();
    town.reopened().check();
}

#[test]
fn what_undo_can_bring_back_and_what_a_clone_is_reset_to_stays() {
    let mut town = Town::new(None);
    town.write(200);
    let kept = town.content.clone();
    let id = town.checkpoint("back");
    town.write(200);
    let clone = Command::CloneCreate {
        name: "clone".into(),
        source: Source::Live(town.volume),
    };
    let cloned = town.content.clone();
    town.store.run(&me(), clone).unwrap();
    let clone = town.store.state().volume_named("clone").unwrap().id;
    town.write(200);
    let command = Command::CheckpointRemove { checkpoint: id };
    town.store.run(&me(), command).unwrap();
    town.images.clear();
    let removed = town.store.state().boundary;
    // The window begins behind the removal: only undo knows the image.
    town.store.reclaim(&ReclaimOptions::default()).unwrap();
    let undone = town.store.run(&me(), Command::Undo { volume: None });
    undone.unwrap();
    town.images.insert("back".into(), kept);
    assert!(town.store.state().boundary > removed);
    town.reclaim();
    town.check();
    town.store
        .run(&me(), Command::CloneReset { volume: clone })
        .unwrap();
    town.reclaim();
    let view = town.store.view(Source::Live(clone)).unwrap();
    assert!(Town::shown(&town.store, &view).unwrap() == Town::expected(&cloned));
    town.reopened().check();
}

#[test]
fn with_the_whole_history_what_undo_could_bring_back_goes_at_once() {
    let mut town = Town::new(None);
    town.write(200);
    let id = town.checkpoint("gone");
    town.rewrite().unwrap();
    town.checkpoint("kept");
    town.rewrite().unwrap();
    town.reclaim();
    let command = Command::CheckpointRemove { checkpoint: id };
    town.store.run(&me(), command).unwrap();
    town.images.remove("gone");
    let image = BLOCKS * 4096;
    let done = town.reclaim();
    assert!(done.bytes_freed > image / 2, "{done:?}");
    town.check();
    town.reopened().check();
}

#[test]
fn a_job_that_is_cancelled_leaves_a_store_that_goes_on() {
    let mut town = Town::new(None);
    town.write(400);
    let job = town.store.jobs().begin(JobKind::Reclaim, "test", 0);
    let id = job.id();
    town.store.jobs().cancel(id);
    let options = ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    };
    let done = town.store.reclaim_as(&options, job).unwrap();
    assert!(done.cancelled && done.segments == 0, "{done:?}");
    let job = town.store.jobs().get(id).unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    assert!(town.reclaim().segments > 5);
    town.check();
}
