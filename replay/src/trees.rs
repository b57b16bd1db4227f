//! Two trees side by side, version by version.

use std::sync::Arc;
use strand_engine::{BlockMap, BlockRef, Fileset, Ino, Inode, Place};

/// Calls `found` with each version of either tree that the other does not map at the same place, and says whether it is the first
/// tree's. Costs what differs, not what is mapped.
pub(crate) fn versions_that_differ(
    a: &Fileset,
    b: &Fileset,
    found: &mut impl FnMut(Place, BlockRef, bool),
) {
    let nothing = BlockMap::new();
    for change in a.inodes.diff(&b.inodes) {
        let before = map_of(change.before).unwrap_or(&nothing);
        let after = map_of(change.after).unwrap_or(&nothing);
        for block in before.diff(after) {
            let place = Place {
                ino: Ino(change.key),
                block: block.key,
            };
            if let Some(version) = block.before {
                found(place, *version, true);
            }
            if let Some(version) = block.after {
                found(place, *version, false);
            }
        }
    }
}

fn map_of(inode: Option<&Arc<Inode>>) -> Option<&BlockMap> {
    Some(&inode?.file()?.map)
}
