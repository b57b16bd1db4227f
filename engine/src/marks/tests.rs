//! The marks against a walk that looks at everything.

use super::*;
use crate::block::BlockRef;
use crate::ids::Ino;
use crate::state::{BlockMap, Body, FileBody, Inode};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn inode(map: BlockMap) -> Arc<Inode> {
    let size = map.len() * crate::block::BLOCK;
    Arc::new(Inode {
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: 1,
        atime: 0,
        mtime: 0,
        ctime: 0,
        parent: Ino(1),
        xattrs: None,
        body: Body::File(FileBody { size, map }),
    })
}

/// Trees that grew out of one another by writes at random places.
fn trees(writes: &[(u64, u64, u64, bool)]) -> Vec<Fileset> {
    let mut live = Fileset::default();
    let mut kept = Vec::new();
    for (ino, block, birth, keep) in writes {
        let before = live.inodes.get(*ino).and_then(|inode| inode.file());
        let mut map = before.map(|file| file.map.clone()).unwrap_or_default();
        map.insert(*block, BlockRef::new(BlockAddr(*birth), 0));
        live.inodes.insert(*ino, inode(map));
        if *keep {
            kept.push(live.clone());
        }
    }
    kept.push(live);
    kept
}

fn walked(roots: &[Fileset]) -> BTreeSet<u64> {
    let inodes = roots.iter().flat_map(|root| root.inodes.iter());
    let files = inodes.filter_map(|(_, inode)| inode.file());
    files
        .flat_map(|file| file.map.iter().map(|(_, version)| version.addr().0))
        .collect()
}

fn writes() -> impl Strategy<Value = Vec<(u64, u64, u64, bool)>> {
    let write = (
        1_u64..40,
        0_u64..600,
        1_u64..20_000,
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(write, 1..300)
}

proptest! {
    #[test]
    fn what_is_marked_is_what_a_walk_of_everything_finds(writes in writes(), young in 1_u64..24_000) {
        let roots = trees(&writes);
        let alive = walked(&roots);
        let marks = Marks::of(&roots, BlockAddr(young), &mut || true).unwrap();
        for birth in 0..24_100 {
            let expected = birth >= young || alive.contains(&birth);
            prop_assert_eq!(marks.is_alive(birth), expected, "{}", birth);
        }
        prop_assert_eq!(marks.blocks(), alive.range(..young).count() as u64);
    }

    #[test]
    fn what_lives_in_a_range_is_what_was_born_there_and_stayed_and_what_was_moved_there(
        writes in writes(),
        moves in prop::collection::btree_map(20_000_u64..30_000, 1_u64..20_000, 0..200),
        ranges in prop::collection::vec((0_u64..30_000, 1_u64..9_000), 1..8),
    ) {
        let roots = trees(&writes);
        let alive = walked(&roots);
        let marks = Marks::of(&roots, BlockAddr(40_000), &mut || true).unwrap();
        let mut places = Places::default();
        for (present, birth) in moves {
            places.relocate(birth, present);
        }
        for (first, count) in ranges {
            let range = first..first + count;
            let lies = |birth: &&u64| {
                let place = places.find(BlockAddr(**birth));
                place.is_some_and(|at| range.contains(&at.0))
            };
            let expected = alive.iter().filter(lies).count() as u64;
            prop_assert_eq!(marks.living(&places, range.start, range.end), expected);
        }
    }
}

#[test]
fn a_walk_that_is_told_to_stop_marks_nothing() {
    let roots = trees(&[(1, 1, 1, false), (2, 2, 2, true)]);
    assert!(Marks::of(&roots, BlockAddr(10), &mut || false).is_none());
}
