//! The block map of a checkpoint.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::Fixture;
use strand_engine::Cause;
use strand_replay::map::{CopyOuts, MapKind, checkpoint_map};

#[test]
fn a_map_tells_own_shared_newer_and_hole() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "data");
    f.write(v, file, 0, 4, 1);
    f.write(v, file, 6, 2, 1);
    let first = f.checkpoint(v, "first");
    let copy_out = f.write(v, file, 0, 1, 2).first;
    let second = f.checkpoint(v, "second");
    f.write(v, file, 1, 1, 3);

    let copies = CopyOuts::scan(&f.store, v, first, file).unwrap();
    let map = checkpoint_map(&f.store.state(), v, first, file, Some(&copies)).unwrap();
    let kinds: Vec<_> = map.iter().map(|r| (r.block, r.count, &r.kind)).collect();
    let [own, via, shared, hole, tail] = kinds.as_slice() else {
        panic!("{kinds:?}")
    };
    let MapKind::Own {
        copied_out: Some(found),
        crcs,
    } = own.2
    else {
        panic!("{own:?}")
    };
    assert_eq!(
        (own.0, own.1, crcs.len(), found.seq, found.cause),
        (0, 1, 1, copy_out, Cause::Write)
    );
    assert_eq!(
        *via,
        (
            1,
            1,
            &MapKind::Via {
                checkpoint: "second".into()
            }
        )
    );
    assert_eq!(*shared, (2, 2, &MapKind::SharedWithLive));
    assert_eq!(*hole, (4, 2, &MapKind::Hole));
    assert_eq!(*tail, (6, 2, &MapKind::SharedWithLive));

    let newer = checkpoint_map(&f.store.state(), v, second, file, None).unwrap();
    assert!(
        matches!(
            newer[1].kind,
            MapKind::Own {
                copied_out: None,
                ..
            }
        ),
        "{newer:?}"
    );
    assert_eq!(
        checkpoint_map(&f.store.state(), v, second, f.root(v), None),
        None
    );
}

#[test]
fn a_bulk_movement_is_named_as_the_cause() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "data");
    f.write(v, file, 0, 4, 1);
    let clean = f.checkpoint(v, "clean");
    f.write(v, file, 0, 2, 2);
    let done = f.rollback(v, clean);
    let keeper = f
        .store
        .state()
        .checkpoint_named(&format!("auto-before-{}", done.first))
        .unwrap()
        .id;
    let copies = CopyOuts::scan(&f.store, v, keeper, file).unwrap();
    let map = checkpoint_map(&f.store.state(), v, keeper, file, Some(&copies)).unwrap();
    let MapKind::Own {
        copied_out: Some(found),
        ..
    } = &map[0].kind
    else {
        panic!("{map:?}")
    };
    assert_eq!((map[0].count, found.cause), (2, Cause::Rollback));
    assert_eq!((map[1].count, &map[1].kind), (2, &MapKind::SharedWithLive));
}
