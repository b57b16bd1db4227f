//! Work in the background, and views that are kept readable for clients.

use crate::setting::Served;
use std::time::{Duration, Instant};
use strand_engine::*;
use strand_serve::control::Client;
use strand_serve::control::message::{Work, WorkDone};

/// A volume, and a checkpoint of it.
fn frozen(served: &Served, client: &Client) -> (VolumeId, CheckpointId) {
    let create = Command::VolumeCreate {
        name: "pg".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    client.run(create, false).unwrap();
    let volume = served.beside(client).state().volume_named("pg").unwrap().id;
    let create = Command::CheckpointCreate {
        name: Some("monday".into()),
        volumes: vec![volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    client.run(create, false).unwrap();
    let state = served.beside(client).state();
    (volume, state.checkpoint_named("monday").unwrap().id)
}

#[test]
fn what_a_client_reads_stays_as_long_as_it_is_there() {
    let served = Served::new();
    let client = served.client();
    let (volume, checkpoint) = frozen(&served, &client);
    let reader = served.client();
    let source = Source::Checkpoint(volume, checkpoint);
    reader
        .lease(source, "an export", Duration::from_secs(3600))
        .unwrap();
    reader
        .lease(source, "an export", Duration::from_secs(3600))
        .unwrap();
    let leases = client.leases().unwrap();
    assert_eq!(leases.len(), 1, "kept anew, not twice");
    assert!(leases[0].by.starts_with("an export by "), "{leases:?}");
    assert!(leases[0].left.is_some_and(|left| left <= 3600));
    let remove = || client.run(Command::CheckpointRemove { checkpoint }, false);
    let refused = remove().unwrap_err();
    assert_eq!(refused.kind, Kind::Busy);
    assert!(refused.why.unwrap().contains("an export"));
    drop(reader);
    let until = Instant::now() + Duration::from_secs(30);
    while remove().is_err() {
        assert!(Instant::now() < until, "the lease goes with its client");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(client.leases().unwrap().is_empty());
    let missing = Source::Checkpoint(volume, CheckpointId(77));
    let refused = client
        .lease(missing, "x", Duration::from_secs(1))
        .unwrap_err();
    assert_eq!(refused.kind, Kind::NotFound);
}

#[test]
fn a_lease_expires_though_its_client_stays() {
    let served = Served::new();
    let client = served.client();
    let (volume, checkpoint) = frozen(&served, &client);
    let source = Source::Checkpoint(volume, checkpoint);
    client
        .lease(source, "a slow export", Duration::ZERO)
        .unwrap();
    assert!(client.leases().unwrap().is_empty());
    client
        .run(Command::CheckpointRemove { checkpoint }, false)
        .unwrap();
}

#[test]
fn nobody_keeps_too_many_views() {
    let served = Served::new();
    let client = served.client();
    let (volume, _) = frozen(&served, &client);
    let end = served.beside(&client).state().boundary;
    let mut kept = 0;
    for seq in 1..=end {
        let source = Source::Position(volume, seq);
        match client.lease(source, "x", Duration::from_secs(60)) {
            Ok(()) => kept += 1,
            Err(refusal) => assert!(refusal.kind != Kind::Io, "{refusal}"),
        }
    }
    assert!(kept <= 16);
}

#[test]
fn jobs_run_in_the_background_and_say_what_came_of_them() {
    let served = Served::new();
    let client = served.client();
    frozen(&served, &client);
    let work = Work::Reclaim {
        rate: None,
        now: false,
    };
    let begun = client.start(work, None).unwrap();
    assert_eq!(begun.kind, "reclaim");
    let until = Instant::now() + Duration::from_secs(60);
    let (ended, done) = loop {
        let (job, done) = client
            .wait_job(begun.id, Duration::from_millis(200))
            .unwrap();
        // What came of it is there a moment after it ended.
        if job.ended && done.is_some() {
            break (job, done);
        }
        assert!(Instant::now() < until);
    };
    assert_eq!(ended.state, "done");
    assert!(matches!(done, Some(WorkDone::Reclaimed(done)) if done.segments == 0));
    assert!(client.jobs().unwrap().iter().any(|job| job.id == begun.id));
    assert!(client.cancel_job(begun.id).unwrap().ended);
    assert_eq!(client.cancel_job(999).unwrap_err().kind, Kind::NotFound);
    let refused = client.wait_job(999, Duration::ZERO).unwrap_err();
    assert_eq!(refused.kind, Kind::NotFound);
    // A directory has to come with it.
    let moving = client
        .start(Work::MoveArchives { before: 1 }, None)
        .unwrap();
    let (_, done) = loop {
        let (job, done) = client
            .wait_job(moving.id, Duration::from_millis(200))
            .unwrap();
        if job.ended && done.is_some() {
            break (job, done);
        }
    };
    assert!(matches!(done, Some(WorkDone::Failed(_))));
}
