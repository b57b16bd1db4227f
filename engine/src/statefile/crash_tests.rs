//! A crash or a failing call while a state file is written: what has a whole file's name is whole, and the one before stays.

use super::history::History;
use super::*;
use crate::ids::VolumeId;
use strand_journal::FaultyDisk;

const STORE: StoreId = StoreId([5; 16]);

fn start_after(state: &State) -> Start {
    Start {
        number: state.seq + 1,
        ..Start::origin(STORE)
    }
}

/// Two states, the second a little later.
fn two_states() -> (State, State) {
    let mut history = History::new(21);
    for _ in 0..60 {
        history.step();
    }
    let first = history.state.clone();
    history.checkpoint("later", &[VolumeId(1)]);
    (first, history.state)
}

/// A disk with the first file on it, which is durable.
fn disk_with(first: &State, seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    write(&disk, first, &start_after(first), STORE).expect("nothing fails yet");
    disk
}

fn all_are_whole(disk: &FaultyDisk, first: &State, second: &State, what: &str) {
    let files = list(disk).expect("listing works");
    assert!(
        files.iter().any(|(seq, _)| *seq == first.seq),
        "{what}: the first file is gone"
    );
    for (seq, name) in files {
        let (state, _) =
            load(disk, &name, STORE).unwrap_or_else(|damage| panic!("{what}: {damage}"));
        let meant = if seq == first.seq { first } else { second };
        assert_eq!(format!("{state:?}"), format!("{meant:?}"), "{what}");
    }
}

fn calls_of_a_write(first: &State, second: &State) -> std::ops::Range<u64> {
    let disk = disk_with(first, 0);
    let from = disk.calls();
    write(&disk, second, &start_after(second), STORE).expect("nothing fails");
    from..disk.calls() + 1
}

#[test]
fn a_crash_at_any_call_leaves_only_whole_files() {
    let (first, second) = two_states();
    let calls = calls_of_a_write(&first, &second);
    assert!(calls.end - calls.start > 6);
    for call in calls {
        for seed in 0..20 {
            let disk = disk_with(&first, seed);
            disk.crash_at(call);
            let done = write(&disk, &second, &start_after(&second), STORE).is_ok();
            let found = disk.crash(seed * 31 + call);
            all_are_whole(
                &found,
                &first,
                &second,
                &format!("call {call}, seed {seed}"),
            );
            let files = list(&found).expect("listing works");
            assert!(
                !done || files.iter().any(|(seq, _)| *seq == second.seq),
                "call {call}: a written file is gone"
            );
            // The next writer is not hindered by what was left.
            write(&found, &second, &start_after(&second), STORE).expect("nothing fails any more");
            prune(&found, 1, &[]).expect("nothing fails any more");
            assert_eq!(list(&found).expect("listing works").len(), 1);
        }
    }
}

#[test]
fn a_failing_call_leaves_only_whole_files() {
    let (first, second) = two_states();
    for call in calls_of_a_write(&first, &second) {
        let disk = disk_with(&first, 3);
        disk.fail_call(call);
        // Whether it fails or not: nothing half-done may bear a whole file's name.
        let written = write(&disk, &second, &start_after(&second), STORE);
        all_are_whole(&disk, &first, &second, &format!("call {call}: {written:?}"));
    }
}

#[test]
fn a_full_disk_leaves_the_file_before() {
    let (first, second) = two_states();
    let disk = disk_with(&first, 3);
    disk.limit_space(Some(100));
    let _ = write(&disk, &second, &start_after(&second), STORE);
    all_are_whole(&disk, &first, &second, "a full disk");
}
