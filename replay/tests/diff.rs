//! What differs between two trees.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, bytes};
use strand_engine::{BLOCK, Command, NewBody, SetAttributes};
use strand_replay::diff::{DiffKind, FileDiff, RangeDiff, RangeKind, diff};

fn range(kind: RangeKind, block: u64, count: u64) -> RangeDiff {
    RangeDiff {
        offset: block * BLOCK,
        length: count * BLOCK,
        kind,
    }
}

fn named(found: &[FileDiff]) -> Vec<(String, DiffKind)> {
    found
        .iter()
        .map(|d| (String::from_utf8(d.path.clone()).unwrap(), d.kind.clone()))
        .collect()
}

#[test]
fn two_equal_trees_differ_in_nothing() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, 4, 1);
    let live = f.store.state().volume(v).unwrap().live.clone();
    assert_eq!(diff(&live, &live), []);
}

#[test]
fn content_is_told_by_ranges() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "data");
    f.write(v, file, 0, 8, 1);
    let before = f.store.state().volume(v).unwrap().live.clone();
    f.write(v, file, 2, 2, 2);
    f.write(v, file, 8, 1, 2);
    f.store.write(&f.me, v, file, 9 * BLOCK, b"tail").unwrap();
    f.store.punch(&f.me, v, file, 5 * BLOCK, BLOCK).unwrap();
    let after = f.store.state().volume(v).unwrap().live.clone();
    let found = diff(&before, &after);
    assert_eq!(named(&found), [("data".into(), DiffKind::Changed)]);
    let tail = RangeDiff {
        length: BLOCK + 4,
        ..range(RangeKind::Extended, 8, 1)
    };
    assert_eq!(
        found[0].ranges,
        [
            range(RangeKind::Changed, 2, 2),
            range(RangeKind::Hole, 5, 1),
            tail
        ]
    );
    assert_eq!(
        (found[0].size_before, found[0].size_after),
        (8 * BLOCK, 9 * BLOCK + 4)
    );

    let back = diff(&after, &before);
    assert_eq!(
        back[0].ranges,
        [
            range(RangeKind::Changed, 2, 2),
            range(RangeKind::Changed, 5, 1)
        ],
        "what was cut off is told by the size"
    );
}

#[test]
fn names_that_come_go_and_move() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let root = f.root(v);
    let dir = f.create(v, root, "dir", NewBody::Dir);
    let kept = f.create(v, dir, "kept", NewBody::File);
    f.write(v, kept, 0, 1, 1);
    let moved = f.file(v, "old-name");
    f.write(v, moved, 0, 3, 1);
    f.file(v, "gone");
    f.file(v, "mode");
    let before = f.store.state().volume(v).unwrap().live.clone();

    f.rename(v, "old-name", "new-name");
    f.write(v, moved, 1, 1, 2);
    f.unlink(v, "gone");
    let fresh = f.file(v, "fresh");
    f.write(v, fresh, 0, 2, 1);
    f.rename(v, "dir", "folder");
    f.run(Command::Link {
        volume: v,
        ino: moved,
        dir: root,
        name: bytes("one-more"),
    });
    let mode = f
        .store
        .state()
        .volume(v)
        .unwrap()
        .live
        .lookup(b"mode")
        .unwrap();
    f.run(Command::SetAttributes {
        volume: v,
        ino: mode,
        set: SetAttributes {
            mode: Some(0o600),
            ..SetAttributes::default()
        },
    });
    let after = f.store.state().volume(v).unwrap().live.clone();

    let found = diff(&before, &after);
    assert_eq!(
        named(&found),
        [
            (
                "folder".into(),
                DiffKind::Renamed {
                    from: b"dir".to_vec()
                }
            ),
            ("fresh".into(), DiffKind::Added),
            ("gone".into(), DiffKind::Removed),
            ("mode".into(), DiffKind::Attributes),
            (
                "new-name".into(),
                DiffKind::Renamed {
                    from: b"old-name".to_vec()
                }
            ),
            ("one-more".into(), DiffKind::Added),
        ]
    );
    assert_eq!(found[1].ranges, [range(RangeKind::Extended, 0, 2)]);
    assert_eq!(found[4].ranges, [range(RangeKind::Changed, 1, 1)]);
}

#[test]
fn a_full_directory_costs_no_search_for_each_file() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let files: Vec<_> = (0..300)
        .map(|i| f.file(v, &format!("file-{i:03}")))
        .collect();
    let before = f.store.state().volume(v).unwrap().live.clone();
    for file in &files {
        f.write(v, *file, 0, 1, 1);
    }
    let after = f.store.state().volume(v).unwrap().live.clone();
    let found = diff(&before, &after);
    assert_eq!(found.len(), 300);
    assert!(
        found.iter().enumerate().all(
            |(i, d)| d.path == format!("file-{i:03}").as_bytes() && d.kind == DiffKind::Changed
        )
    );
}
