//! Changes that come by commands are seen through the mount at once.

use crate::setting::{me, setting};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use strand_engine::{Command, Done, Error, NewBody, SetAttributes, Store};

#[test]
fn what_a_command_does_the_mount_shows() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), b"one").unwrap();
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"one");
    assert!(!s.at.join("g").exists()); // remembered as missing
    let (live, volume) = (s.live(), s.volume);
    let tree = live.store().live(volume).unwrap();
    let (root, ino) = (tree.root, tree.lookup(b"f").unwrap());

    let seen = live.seen();
    let change = |how: &dyn Fn(&Store) -> Result<Done, Error>| {
        live.change(&seen, (volume, ino), 4096, how).unwrap();
    };
    let submit = |command| live.submit(&seen, &me(), command, &[]).unwrap();
    change(&|store| store.write(&me(), volume, ino, 0, b"longer"));
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"longer");
    change(&|store| store.truncate(&me(), volume, ino, 2));
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"lo");
    change(&|store| store.punch(&me(), volume, ino, 0, 1));
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"\0o");

    let create = Command::Create {
        volume,
        dir: root,
        name: b"g"[..].into(),
        body: NewBody::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
    };
    submit(create);
    assert_eq!(fs::read(s.at.join("g")).unwrap(), b"");
    let rename = Command::Rename {
        volume,
        from_dir: root,
        from_name: b"f"[..].into(),
        to_dir: root,
        to_name: b"g"[..].into(),
        no_replace: false,
        exchange: false,
    };
    submit(rename);
    assert!(!s.at.join("f").exists());
    assert_eq!(fs::read(s.at.join("g")).unwrap(), b"\0o");
    let set = SetAttributes {
        mode: Some(0o640),
        ..SetAttributes::default()
    };
    submit(Command::SetAttributes { volume, ino, set });
    let mode = fs::metadata(s.at.join("g")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let unlink = Command::Unlink {
        volume,
        dir: root,
        name: b"g"[..].into(),
        dir_wanted: false,
    };
    submit(unlink);
    assert!(!s.at.join("g").exists());
    assert_eq!(fs::read_dir(&s.at).unwrap().count(), 0);
}

#[test]
fn who_has_a_file_open_to_append_does_so_behind_what_a_command_wrote() {
    let Some(s) = setting() else { return };
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(s.at.join("log"))
        .unwrap();
    file.write_all(b"one\n").unwrap();
    let tree = s.live().store().live(s.volume).unwrap();
    let ino = tree.lookup(b"log").unwrap();
    let (live, at) = (s.live(), (s.volume, ino));
    let seen = live.seen();
    live.change(&seen, at, 15, |store| {
        store.write(&me(), s.volume, ino, 4, b"from a command\n")
    })
    .unwrap();
    file.write_all(b"three\n").unwrap();
    assert_eq!(s.stored("log").unwrap(), b"one\nfrom a command\nthree\n");
    live.change(&seen, at, 4, |store| {
        store.truncate(&me(), s.volume, ino, 4)
    })
    .unwrap();
    file.write_all(b"two\n").unwrap();
    assert_eq!(s.stored("log").unwrap(), b"one\ntwo\n");
}

#[test]
fn operations_are_counted() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), vec![7; 10_000]).unwrap();
    fs::File::open(s.at.join("f")).unwrap().sync_all().unwrap();
    let _ = fs::remove_dir(s.at.join("f"));
    let figures = s.live().figures();
    let count = |name: &str| {
        let found = figures.ops.iter().find(|op| op.name == name);
        found.map_or(0, |op| op.count)
    };
    assert_eq!((count("create"), count("fsync")), (1, 1));
    assert_eq!(figures.written_bytes, 10_000);
    assert!(figures.flushes >= 1 && figures.nodes >= 2);
    let text = figures.prometheus();
    assert!(text.contains("strand_operations_total{op=\"create\"} 1\n"));
    assert!(text.contains("strand_written_bytes_total 10000\n"));
}
