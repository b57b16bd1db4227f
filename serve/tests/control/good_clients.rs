//! What the program itself says to a daemon.

use crate::setting::Served;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use strand_engine::*;
use strand_serve::control::{CONTROL, Client};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make_volume(client: &Client, name: &str) {
    let command = Command::VolumeCreate {
        name: name.into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    client.run(command, false).unwrap();
}

fn new_file(volume: &Volume, name: &str) -> Command {
    Command::Create {
        volume: volume.id,
        dir: volume.live.root,
        name: name.as_bytes().into(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

#[test]
fn commands_are_carried_out_and_seen_beside_before_they_are_durable() {
    let served = Served::new();
    let client = served.client();
    make_volume(&client, "pg");
    let store = served.beside(&client);
    let volume = store.state().volume_named("pg").unwrap().clone();
    let created = client.submit(new_file(&volume, "f"), &[]);
    let created = created.unwrap().into_done();
    assert!(store.take_over(&created).unwrap());
    let tree = store.state().volume(volume.id).unwrap().live.clone();
    let ino = tree.child(volume.live.root, b"f").unwrap();
    // The longest payload that a frame takes.
    let data = vec![7; 1 << 20];
    let written = client.write(volume.id, ino, 10, &data).unwrap().into_done();
    let whole = store.take_over(&written).unwrap();
    assert_eq!(
        whole,
        written.events.len() as u64 == written.last + 1 - written.first
    );
    client.truncate(volume.id, ino, 2 << 20).unwrap();
    let punched = client.punch(volume.id, ino, 0, 4096).unwrap();
    let durable = client.commit(punched.ticket).unwrap();
    store.follow(&durable, &mut |_, _| {}).unwrap();
    let tree = store.state().volume(volume.id).unwrap().live.clone();
    let mut bytes = vec![1; 3 << 20];
    let length = store.read(&tree, ino, 0, &mut bytes).unwrap();
    assert_eq!(length, 2 << 20);
    assert_eq!((bytes[4095], bytes[4096], bytes[(1 << 20) + 10]), (0, 7, 0));
    // The kernel said who it was, whatever the client claims.
    let actors = &store.state().actors;
    let mine = actors
        .values()
        .find(|a| a.command == "a test" && a.pid != 0);
    assert_eq!(mine.map(|a| a.pid), Some(std::process::id()));
    // A refusal comes out as it went in.
    let refusal = client
        .run(
            Command::VolumeRemove {
                volume: VolumeId(99),
                with_checkpoints: false,
            },
            false,
        )
        .unwrap_err();
    assert_eq!(refusal.kind, Kind::NotFound);
    let end = client.end_session().unwrap();
    assert!(end.number > durable.number, "a digest and the refusal");
}

#[test]
fn an_answer_that_is_too_long_leaves_its_events_to_the_journal() {
    let served = Served::new();
    let client = served.client();
    make_volume(&client, "pg");
    let store = served.beside(&client);
    let volume = store.state().volume_named("pg").unwrap().clone();
    // A file rollback of many new files: an event for each.
    let checkpoint = Command::CheckpointCreate {
        name: Some("empty".into()),
        volumes: vec![volume.id],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    client.run(checkpoint, false).unwrap();
    for n in 0..6000 {
        let create = new_file(&volume, &format!("{n:0>240}"));
        client.submit(create, &[]).unwrap();
    }
    store
        .follow(&client.position().unwrap(), &mut |_, _| {})
        .unwrap();
    let image = store.state().checkpoint_named("empty").unwrap().id;
    let back = Command::RollbackFiles {
        volume: volume.id,
        source: Source::Checkpoint(volume.id, image),
        paths: vec![b"/"[..].into()],
        attributes: false,
        delete_new: true,
    };
    let carried = client.run(back, false).unwrap();
    let (first, last) = (carried.first, carried.last);
    let durable = carried.durable.unwrap().into();
    let mut seen = 0;
    let whole = !carried.left_out && store.take_over(&carried.into_done()).unwrap();
    assert!(!whole, "{} events in one answer", last - first);
    store
        .follow(&durable, &mut |_, placed| {
            seen += u64::from((first..=last).contains(&placed.seq));
        })
        .unwrap();
    assert_eq!(seen, last + 1 - first);
    assert!(seen > 6000);
}

#[test]
fn the_metrics_are_on_the_socket_and_on_the_port() {
    let served = Served::new();
    let text = served.client().metrics().unwrap();
    assert!(text.contains("\nstrand_control_clients 1\n"), "{text}");
    let mut stream = TcpStream::connect(served.metrics.unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nstrand_position "), "{answer}");
}

#[test]
fn the_end_leaves_a_store_at_rest() {
    let mut served = Served::new();
    assert_eq!(mode(&served.store()), 0o711);
    assert_eq!(mode(&served.store().join("journal")), 0o700);
    let (other, client) = (served.client(), served.client());
    make_volume(&client, "pg");
    client.stop(false).unwrap();
    served.ended();
    assert!(other.position().is_err());
    assert!(!served.store().join(CONTROL).exists());
    assert_eq!(mode(&served.store()), 0o700);
    assert!(Client::connect(&served.store()).unwrap().is_none());
    let options = OpenOptions {
        lock_timeout: std::time::Duration::ZERO,
        ..OpenOptions::read_write()
    };
    let clock = std::sync::Arc::new(SystemClock::default());
    let store = Store::open(served.disk(), clock, options).unwrap();
    assert!(store.state().volume_named("pg").is_some());
    assert!(store.opening().recovery.as_ref().unwrap().clean);
}

#[test]
fn a_client_from_before_a_rollback_writes_nothing_into_the_tree_after_it() {
    let served = Served::new();
    let client = served.client();
    make_volume(&client, "pg");
    let store = served.beside(&client);
    let volume = store.state().volume_named("pg").unwrap().clone();
    let create = |name: &str| new_file(&volume, name);
    let created = client.submit(create("f"), &[]).unwrap().into_done();
    let ino = match created.events.last() {
        Some(Event::Created { ino, .. }) => *ino,
        other => panic!("{other:?}"),
    };
    client.write(volume.id, ino, 0, b"kept").unwrap();
    let checkpoint = Command::CheckpointCreate {
        name: Some("c".into()),
        volumes: vec![volume.id],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    client.run(checkpoint, false).unwrap();
    client.write(volume.id, ino, 0, b"lost").unwrap();

    let other = served.client();
    let now = served.beside(&other).state();
    let image = now.checkpoint_named("c").unwrap().id;
    let back = || Command::Rollback {
        volume: volume.id,
        source: Source::Checkpoint(volume.id, image),
        only: false,
    };
    other.run(back(), false).unwrap();
    for refused in [
        client.write(volume.id, ino, 0, b"late"),
        client.truncate(volume.id, ino, 1),
        client.punch(volume.id, ino, 0, 1),
        client.submit(create("late"), &[]),
    ] {
        assert_eq!(refused.unwrap_err().kind, Kind::Stale);
    }
    let store = served.beside(&other);
    let tree = store.state().volume(volume.id).unwrap().live.clone();
    let mut bytes = [0; 8];
    assert_eq!(store.read(&tree, ino, 0, &mut bytes).unwrap(), 4);
    assert_eq!(&bytes[..4], b"kept");
    assert!(tree.child(volume.live.root, b"late").is_none());
    // Who rolled back knows, whichever way the command came, and so does who comes afterwards.
    other.write(volume.id, ino, 0, b"more").unwrap();
    other.submit(back(), &[]).unwrap();
    other.write(volume.id, ino, 0, b"more").unwrap();
    served.client().write(volume.id, ino, 4, b"!").unwrap();
}
