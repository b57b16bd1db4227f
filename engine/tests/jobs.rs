//! What works on a store is a job: it is listed, and can be told to end.
#![allow(clippy::unwrap_used)] // all of it is test code

mod common;

use common::{check_ledgers, checkpoint, file, me, new_store, volume};
use strand_engine::jobs::{JobKind, JobState};
use strand_engine::*;

#[test]
fn counting_many_movements_is_a_job_and_goes_on_after_it_was_told_to_end() {
    let (_, store) = new_store(64 << 10);
    store.settle_elsewhere();
    let pg = volume(&store, "pg");
    let ino = file(&store, pg, "f");
    let before = checkpoint(&store, &[pg], "before");
    let back = |i: u8| {
        store.write(&me(), pg, ino, 0, &[i; 8192]).unwrap();
        let command = Command::Rollback {
            volume: pg,
            source: Source::Checkpoint(pg, before),
            only: false,
        };
        store.run(&me(), command).unwrap();
    };
    (0..3).for_each(back);
    assert_eq!(store.settle().unwrap(), 3);
    assert_eq!(store.jobs().list(), [], "what is over at once is no job");
    (0..100).for_each(back);
    let ending = store.jobs().end();
    let settled = store.settle().unwrap();
    drop(ending);
    let jobs = store.jobs().list();
    assert_eq!((settled, jobs.len()), (0, 1));
    assert_eq!(
        (jobs[0].kind, &jobs[0].state, jobs[0].total),
        (JobKind::Settle, &JobState::Cancelled, 100)
    );
    assert_eq!(store.unsettled(), 100);
    assert_eq!(store.settle().unwrap(), 100);
    assert_eq!(store.unsettled(), 0);
    check_ledgers(&store);
}
