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
fn a_lease_asked_for_again_holds_on_to_the_same_tree() {
    let served = Served::new();
    let client = served.client();
    let (volume, _) = frozen(&served, &client);
    let hour = Duration::from_secs(3600);
    let change = |text: &str| {
        let flag = Command::VolumeCreate {
            name: text.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        client.run(flag, false).unwrap().last
    };
    let reader = served.client();
    let live = Source::Live(volume);
    let (boundary, end) = reader.lease(live, "an export", hour).unwrap();
    assert!(boundary <= end.number);
    let later = change("a");
    let (still, end) = reader.lease(live, "an export", hour).unwrap();
    assert_eq!(still, boundary);
    assert!(end.number >= later);
    // Another one, who comes now, has the tree of now.
    assert_eq!(client.lease(live, "a backup", hour).unwrap().0, later);
    // A position stays though the history before it is given up.
    let position = Source::Position(volume, later);
    change("b");
    assert_eq!(reader.lease(position, "a cat", hour).unwrap().0, later);
    let now = change("c");
    let done = client.start(reclaim(true), None).unwrap();
    while !client.wait_job(done.id, hour).unwrap().0.ended {}
    let history = served
        .beside(&client)
        .state()
        .volume(volume)
        .unwrap()
        .history;
    assert!(history >= now, "the history is given up");
    assert_eq!(reader.lease(position, "a cat", hour).unwrap().0, later);
    let refused = client.lease(position, "a cat", hour).unwrap_err();
    assert_eq!(refused.kind, Kind::OutOfRange);
    // An expired one is another one.
    reader.lease(live, "an export", Duration::ZERO).unwrap();
    assert!(reader.lease(live, "an export", hour).unwrap().0 >= now);
}

#[test]
fn who_reads_says_so_in_a_line() {
    let served = Served::new();
    let client = served.client();
    let (volume, _) = frozen(&served, &client);
    let long = "\u{e4}".repeat(400_000);
    let hour = Duration::from_secs(3600);
    client.lease(Source::Live(volume), &long, hour).unwrap();
    // Nor may its name be as long as it likes: all leases are told in one answer.
    let half = "\u{e4}".repeat(200_000);
    let named = Actor {
        name: half.clone(),
        command: half,
        ..crate::setting::me()
    };
    client.begin(&named).unwrap();
    let monday = served
        .beside(&client)
        .state()
        .checkpoint_named("monday")
        .unwrap()
        .id;
    let source = Source::Checkpoint(volume, monday);
    client.lease(source, &long, hour).unwrap();
    let leases = client.leases().unwrap();
    assert_eq!(leases.len(), 2);
    assert!(leases.iter().all(|lease| lease.by.len() < 600));
    // What is longer than the store keeps of a text is cut, not refused.
    let create = Command::CheckpointRename {
        checkpoint: monday,
        name: "tuesday".into(),
    };
    client.run(create, false).unwrap();
    let state = served.beside(&client).state();
    let actor = state
        .actors
        .values()
        .find(|actor| actor.name.starts_with('\u{e4}'));
    let actor = actor.expect("it did something");
    assert_eq!(
        (actor.name.len(), actor.command.len()),
        (MAX_TEXT, MAX_TEXT)
    );
}

fn reclaim(now: bool) -> Work {
    Work::Reclaim { rate: None, now }
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
            Ok(_) => kept += 1,
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
    let begun = client.start(reclaim(false), None).unwrap();
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
