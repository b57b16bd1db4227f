//! Clients of another version, hostile ones, broken ones, too many of them.

use crate::setting::{Served, refused};
use std::io::Write;
use std::time::{Duration, Instant};
use strand_engine::{Block, CheckpointId, Command, GiveUp, Kind, VolumeId};
use strand_serve::control::message::{PROTOCOL, Payload, Reply, Request};

#[test]
fn another_version_is_told_which_side_is_older() {
    let served = Served::new();
    let older = refused(served.raw().hello(PROTOCOL - 1));
    assert_eq!(older.kind, Kind::Unsupported);
    assert!(older.why.unwrap().contains("this command is older"));
    let newer = refused(served.raw().hello(PROTOCOL + 1));
    assert!(newer.why.unwrap().contains("the daemon is older"));
    // Who does not begin with a greeting is let go.
    let mut rude = served.raw();
    rude.say(&Request::Position);
    assert_eq!(refused(rude.hear()).kind, Kind::Invalid);
    assert!(rude.hear().is_none());
    served.client().position().unwrap();
}

#[test]
fn what_is_no_frame_ends_that_client_and_no_other() {
    let served = Served::new();
    let good = served.client();
    let mut huge = served.raw().greeted();
    huge.0.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(huge.hear().is_none());
    let mut garbage = served.raw().greeted();
    garbage
        .0
        .write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff])
        .unwrap();
    assert_eq!(refused(garbage.hear()).kind, Kind::Invalid);
    assert!(garbage.hear().is_none());
    let mut twice = served.raw().greeted();
    assert_eq!(refused(twice.hello(PROTOCOL)).kind, Kind::Invalid);
    let mut blocks = served.raw().greeted();
    blocks.say(&Request::Submit {
        command: strand_engine::Command::Undo { volume: None },
        payload: Payload(vec![1; 100]),
    });
    assert_eq!(refused(blocks.hear()).kind, Kind::Invalid);
    good.position().unwrap();
}

#[test]
fn half_a_frame_is_not_waited_for_long_and_holds_nobody_up() {
    let served = Served::new();
    let mut half = served.raw().greeted();
    half.0.write_all(&[100, 0, 0, 0, 1, 2, 3]).unwrap();
    let mut silent = served.raw();
    let begun = Instant::now();
    served.client().position().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(half.hear().is_none(), "let go");
    assert!(silent.hear().is_none(), "let go");
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_secs(5) && waited < Duration::from_secs(25),
        "{waited:?}"
    );
}

#[test]
fn so_many_clients_and_no_more() {
    let served = Served::new();
    let mut clients: Vec<_> = (0..64).map(|_| served.raw().greeted()).collect();
    let refusal = refused(served.raw().hello(PROTOCOL));
    assert_eq!(refusal.kind, Kind::Busy);
    // Those that are there work, and one that leaves makes room.
    clients[63].say(&Request::Position);
    assert!(matches!(clients[63].hear(), Some(Reply::Durable(_))));
    clients.pop();
    let begun = Instant::now();
    while !matches!(served.raw().hello(PROTOCOL), Some(Reply::Hello { .. })) {
        assert!(begun.elapsed() < Duration::from_secs(10), "no room again");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_that_dies_ends_its_session_and_nothing_else() {
    let served = Served::new();
    let good = served.client();
    let create = strand_engine::Command::VolumeCreate {
        name: "pg".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    // It asks, and does not wait for the answer.
    let mut dying = served.raw().greeted();
    dying.say(&Request::Run {
        command: create,
        force: false,
    });
    drop(dying);
    let mut half = served.raw().greeted();
    half.0.write_all(&[100, 0, 0, 0, 1, 2]).unwrap();
    drop(half);
    let begun = Instant::now();
    while good.status().unwrap().clients > 1 {
        assert!(begun.elapsed() < Duration::from_secs(5), "they stay");
        std::thread::sleep(Duration::from_millis(5));
    }
    // What was asked whole was done whole.
    let store = served.beside(&good);
    assert!(store.state().volume_named("pg").is_some());
}

#[test]
fn the_books_of_the_store_are_not_for_clients() {
    let served = Served::new();
    let client = served.client();
    let before = client.position().unwrap().number;
    let (kind, message) = ("x".to_owned(), "y".to_owned());
    let forged = [
        Command::RecordDigest { at: 1, digest: 7 },
        Command::RecordClockJump {
            expected: 1,
            found: 2,
        },
        Command::RecordRefused {
            kind,
            message,
            count: 1,
        },
        Command::Settle {
            volume: VolumeId(1),
            scope: 1,
            shifts: Vec::new(),
        },
        Command::ReclaimSegments {
            ranges: vec![(16_384, 16_384)],
        },
        Command::ReleaseHistory { before: 1 },
        Command::GiveWay,
        Command::MoveArchive {
            before: 1,
            chain: [0; 32],
        },
    ];
    for command in forged {
        let refusal = client.submit(command.clone(), &[]).map(|_| ()).unwrap_err();
        assert_eq!(refusal.kind, Kind::NotAllowed, "{command:?}");
        let refusal = client.run(command.clone(), false).map(|_| ()).unwrap_err();
        assert_eq!(refusal.kind, Kind::NotAllowed, "{command:?}");
    }
    let moved = Command::Relocate {
        births: vec![(20_000, 1)],
    };
    let refusal = client
        .submit(moved, &[Block::from_slice(&[7; 4096])])
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refusal.kind, Kind::NotAllowed);
    assert_eq!(client.position().unwrap().number, before);
    // An administrator's word, but not this one: it is recorded.
    let given_up = Command::CheckpointGiveUp {
        checkpoint: CheckpointId(1),
        cause: GiveUp::Capacity,
    };
    let refusal = client.run(given_up, false).map(|_| ()).unwrap_err();
    assert_eq!(refusal.kind, Kind::NotAllowed);
}
