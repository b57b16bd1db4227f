//! The versions of a file.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::Fixture;
use strand_engine::{BLOCK, Kind};
use strand_replay::versions::{Version, versions};

fn told(found: &[Version]) -> Vec<(&'static str, Option<u64>, u64)> {
    found
        .iter()
        .map(|v| (v.kind, v.size.map(|s| s / BLOCK), v.blocks_changed))
        .collect()
}

#[test]
fn every_change_of_content_is_a_version_and_nothing_else_is() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "data");
    let other = f.file(v, "other");
    f.write(v, file, 0, 4, 1);
    let clean = f.checkpoint(v, "clean");
    f.write(v, other, 0, 1, 1);
    let second = f.write(v, file, 1, 2, 2);
    f.rename(v, "data", "moved");
    f.rollback(v, clean);
    f.store.truncate(&f.me, v, file, 0).unwrap();
    f.store.sync().unwrap();
    let found = versions(&f.store, v, b"data").unwrap();
    assert_eq!(
        told(&found),
        [
            ("truncated", Some(0), 4),
            ("rolled-back", Some(4), 2),
            ("written", Some(4), 2),
            ("written", Some(4), 4),
            ("created", Some(0), 0)
        ]
    );
    assert_eq!(found[2].seq, second.last);
    assert_eq!(found[2].actor.name, "sqlite3");
    for version in &found {
        let state = f.store.state_at(version.seq).unwrap();
        let size = state.volume(v).unwrap().live.inode(file).unwrap().size();
        assert_eq!(Some(size), version.size, "the position shows that version");
    }
}

#[test]
fn a_file_saved_by_rename_keeps_its_history() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let old = f.file(v, "conf");
    f.write(v, old, 0, 1, 1);
    let new = f.file(v, "conf.tmp");
    f.write(v, new, 0, 2, 2);
    f.rename(v, "conf.tmp", "conf");
    f.unlink(v, "conf");
    let again = f.file(v, "conf");
    f.write(v, again, 0, 1, 3);
    let found = versions(&f.store, v, b"conf").unwrap();
    assert_eq!(
        told(&found),
        [
            ("written", Some(1), 1),
            ("created", Some(0), 0),
            ("unlinked", None, 2),
            ("renamed", Some(2), 2),
            ("written", Some(1), 1),
            ("created", Some(0), 0)
        ]
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let f = Fixture::new();
    let v = f.volume("pg");
    assert_eq!(
        versions(&f.store, v, b"nothing").unwrap_err().kind(),
        Kind::NotFound
    );
    assert_eq!(
        versions(&f.store, v, b"/").unwrap_err().kind(),
        Kind::IsADirectory
    );
}
