//! Ownership: which checkpoint a version belongs to. A pure function of a volume's roots.
//!
//! `owned(C)` = versions that C maps and that neither the live tree nor a newer checkpoint of the volume maps, among those that keep data. Nothing is
//! ever freed by ownership (that is liveness' business): it answers *whose* space it is, what a quota counts and what the ledger must add up to.
//!
//! A nodata checkpoint owns nothing, and for owners it is as if it were not there. It *marks*: `marked(N)` = versions that N maps and that neither the
//! live tree nor any newer checkpoint maps, of whatever kind. That is what changed since N and before the next one.

use crate::block::BlockRef;
use crate::event::{Cause, Range, Shift};
use crate::ids::{CheckpointId, Ino};
use crate::images::Images;
use crate::state::{BlockMap, Fileset, Image, Inode, Pending, Place, Roots, Spread, State, Volume};
use std::collections::{BTreeMap, BTreeSet};

/// Says whether a tree maps a version, at `place` or, for a version mapped at several places, anywhere.
#[must_use]
pub fn maps(tree: &Fileset, spread: &Spread, version: BlockRef, place: Place) -> bool {
    let here = |p: Place| tree.version(p).is_some_and(|v| v.addr() == version.addr());
    match spread.get(version.addr().0) {
        Some(places) => places.iter().any(|p| here(*p)) || here(place),
        None => here(place),
    }
}

/// The newest image with data that maps a version: its owner, if the live tree does not map it.
///
/// A version cannot be in an image taken before its birth, so for a block written after the newest checkpoint this is one comparison.
#[must_use]
pub fn newest_image(
    images: &Images,
    spread: &Spread,
    version: BlockRef,
    place: Place,
) -> Option<CheckpointId> {
    // Nearly always it is the newest of all, or none.
    images
        .data_newest_first()
        .take_while(|(_, image)| version.addr() < image.born)
        .find(|(_, image)| maps(&image.root, spread, version, place))
        .map(|(id, _)| id)
}

/// The nodata image that marks a version which the live tree does not map: the newest image of all that maps it, if that is nodata.
#[must_use]
pub fn marking_image(
    images: &Images,
    spread: &Spread,
    version: BlockRef,
    place: Place,
) -> Option<CheckpointId> {
    if !images.any_nodata() {
        return None;
    }
    images
        .iter()
        .rev()
        .take_while(|(_, image)| version.addr() < image.born)
        .find(|(_, image)| maps(&image.root, spread, version, place))
        .filter(|(_, image)| image.nodata)
        .map(|(id, _)| *id)
}

/// Places of one version above which its bytes are copied instead of shared once more: every look-up goes through all of them.
pub const MAX_PLACES: usize = 1024;

/// Says whether every version in a range of a live file may get one more place.
#[must_use]
pub fn may_spread(volume: &Volume, ino: Ino, range: Range) -> bool {
    let Some(file) = volume.live.inode(ino).and_then(|i| i.file()) else {
        return true;
    };
    if volume.spread.is_empty() {
        return true;
    }
    let last = range.block.saturating_add(range.count - 1);
    file.map.range(range.block, last).all(|(_, version)| {
        volume
            .spread
            .get(version.addr().0)
            .is_none_or(|places| places.len() < MAX_PLACES)
    })
}

fn owner(roots: &Roots, spread: &Spread, version: BlockRef, place: Place) -> Owner {
    if maps(&roots.live, spread, version, place) {
        return Owner::Live;
    }
    newest_image(&roots.images, spread, version, place).map_or(Owner::Nobody, Owner::Checkpoint)
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Owner {
    Live,
    Checkpoint(CheckpointId),
    Nobody,
}

/// Ranges by checkpoint and file.
pub(crate) type Ranges = BTreeMap<(CheckpointId, Ino), Vec<Range>>;

/// What a command passes to checkpoints, and what nodata checkpoints mark.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) copied_out: Ranges,
    pub(crate) marked: Ranges,
}

/// What a command that replaces these ranges of the live tree passes to checkpoints.
/// `None` where the ranges hold more than `limit` mapped blocks: the bulk form is due.
pub(crate) fn copy_outs(volume: &Volume, replaced: &[(Ino, Range)], limit: u64) -> Option<Passed> {
    let mut out = Passed::default();
    let Some((_, newest)) = volume.images.get_max() else {
        return Some(out);
    };
    let mut passed = BTreeSet::new();
    let mut seen = 0_u64;
    let inside = |p: &Place| {
        replaced
            .iter()
            .any(|(ino, r)| *ino == p.ino && p.block >= r.block && p.block - r.block < r.count)
    };
    for (ino, range) in replaced {
        let Some(file) = volume.live.inode(*ino).and_then(|i| i.file()) else {
            continue;
        };
        for (block, version) in file
            .map
            .range(range.block, range.block.saturating_add(range.count - 1))
        {
            seen += 1;
            if seen > limit {
                return None;
            }
            if version.addr() >= newest.born {
                continue;
            }
            let place = Place { ino: *ino, block };
            if let Some(places) = volume.spread.get(version.addr().0) {
                let elsewhere = places.iter().any(|p| {
                    !inside(p)
                        && volume
                            .live
                            .version(*p)
                            .is_some_and(|v| v.addr() == version.addr())
                });
                if elsewhere || !passed.insert(version.addr()) {
                    continue;
                }
            }
            let (images, spread) = (&volume.images, &volume.spread);
            if let Some(owner) = newest_image(images, spread, *version, place) {
                push(out.copied_out.entry((owner, *ino)).or_default(), block);
            }
            if let Some(marking) = marking_image(images, spread, *version, place) {
                push(out.marked.entry((marking, *ino)).or_default(), block);
            }
        }
    }
    Some(out)
}

fn push(ranges: &mut Vec<Range>, block: u64) {
    match ranges.last_mut() {
        Some(last) if last.block + last.count == block => last.count += 1,
        _ => ranges.push(Range { block, count: 1 }),
    }
}

/// Counts a bulk movement: every version whose owner the change from `before` to `after` moved, by kind, and every version that a nodata image
/// marks or does not mark any more. Costs what changed, not what is mapped. Pure: the roots are frozen, and a later `spread` only knows more
/// places to look at.
#[must_use]
pub fn settle(pending: &Pending, spread: &Spread) -> Vec<Shift> {
    let Some(after) = &pending.after else {
        return Vec::new();
    };
    let before = &pending.before;
    let mut moved = Moved {
        before,
        after,
        spread,
        restored: pending.cause == Cause::Restoration,
        owned_once: BTreeSet::new(),
        marked_once: BTreeSet::new(),
        shifts: BTreeMap::new(),
    };
    if !before.live.inodes.ptr_eq(&after.live.inodes) {
        versions_that_differ(&before.live, &after.live, &mut |place, version| {
            moved.owner(place, version);
            moved.marks(place, version);
        });
    }
    for (id, image) in &before.images {
        if after.images.get(id).map(|now| now.nodata) != Some(image.nodata) {
            moved.image(before, *id, image);
        }
    }
    for (id, image) in &after.images {
        if !before.images.contains_key(id) {
            moved.image(after, *id, image);
        }
    }
    moved
        .shifts
        .into_iter()
        .map(|(kind, blocks)| kind.shift(blocks))
        .collect()
}

#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd)]
enum Movement {
    CopiedOut(CheckpointId),
    HandedDown(CheckpointId, CheckpointId),
    HandedIn(CheckpointId),
    Released(CheckpointId),
    Marked(CheckpointId),
    Unmarked(CheckpointId),
}

impl Movement {
    fn shift(self, blocks: u64) -> Shift {
        match self {
            Movement::CopiedOut(to) => Shift::CopiedOut { to, blocks },
            Movement::HandedDown(from, to) => Shift::HandedDown { from, to, blocks },
            Movement::HandedIn(to) => Shift::HandedIn { to, blocks },
            Movement::Released(from) => Shift::Released { from, blocks },
            Movement::Marked(to) => Shift::Marked { to, blocks },
            Movement::Unmarked(from) => Shift::Unmarked { from, blocks },
        }
    }
}

struct Moved<'a> {
    before: &'a Roots,
    after: &'a Roots,
    spread: &'a Spread,
    restored: bool,
    /// Versions that can turn up at several places, already counted: as owned, and as marked.
    owned_once: BTreeSet<u64>,
    marked_once: BTreeSet<u64>,
    shifts: BTreeMap<Movement, u64>,
}

impl Moved<'_> {
    /// An image that came, went or became nodata, among the roots that have it so: all that only it and older ones know.
    fn image(&mut self, roots: &Roots, id: CheckpointId, image: &Image) {
        let newer = roots.images.next_newer_data(id).unwrap_or(&roots.live);
        versions_that_differ(&image.root, newer, &mut |place, version| {
            if maps(&image.root, self.spread, version, place) {
                self.owner(place, version);
            }
        });
        let newer = roots.images.next_newer(id).unwrap_or(&roots.live);
        versions_that_differ(&image.root, newer, &mut |place, version| {
            if maps(&image.root, self.spread, version, place) {
                self.marks(place, version);
            }
        });
    }

    fn owner(&mut self, place: Place, version: BlockRef) {
        let addr = version.addr().0;
        if self.spread.get(addr).is_some() && !self.owned_once.insert(addr) {
            return;
        }
        let was = owner(self.before, self.spread, version, place);
        let is = owner(self.after, self.spread, version, place);
        let movement = match (was, is) {
            (Owner::Live, Owner::Checkpoint(to)) => Movement::CopiedOut(to),
            (Owner::Nobody, Owner::Checkpoint(to)) if self.restored => Movement::HandedIn(to),
            (Owner::Nobody, Owner::Checkpoint(to)) => Movement::CopiedOut(to),
            (Owner::Checkpoint(from), Owner::Checkpoint(to)) if from != to => {
                Movement::HandedDown(from, to)
            }
            (Owner::Checkpoint(from), Owner::Live | Owner::Nobody) => Movement::Released(from),
            _ => return,
        };
        *self.shifts.entry(movement).or_default() += 1;
    }

    fn marks(&mut self, place: Place, version: BlockRef) {
        if !self.before.images.any_nodata() && !self.after.images.any_nodata() {
            return;
        }
        let addr = version.addr().0;
        if self.spread.get(addr).is_some() && !self.marked_once.insert(addr) {
            return;
        }
        let marking = |roots: &Roots| {
            if maps(&roots.live, self.spread, version, place) {
                return None;
            }
            marking_image(&roots.images, self.spread, version, place)
        };
        let (was, is) = (marking(self.before), marking(self.after));
        if was == is {
            return;
        }
        let movements = [was.map(Movement::Unmarked), is.map(Movement::Marked)];
        for movement in movements.into_iter().flatten() {
            *self.shifts.entry(movement).or_default() += 1;
        }
    }
}

/// Calls `found` with each version of either tree that the other does not map at the same place.
fn versions_that_differ(a: &Fileset, b: &Fileset, found: &mut impl FnMut(Place, BlockRef)) {
    let empty = BlockMap::new();
    let map = |inode: Option<&std::sync::Arc<Inode>>| {
        inode
            .and_then(|i| i.file())
            .map(|f| f.map.clone())
            .unwrap_or_default()
    };
    for change in a.inodes.diff(&b.inodes) {
        let ino = Ino(change.key);
        let (before, after) = (map(change.before), map(change.after));
        let (before, after) = (
            if before.is_empty() { &empty } else { &before },
            if after.is_empty() { &empty } else { &after },
        );
        for block in before.diff(after) {
            let place = Place {
                ino,
                block: block.key,
            };
            for version in [block.before, block.after].into_iter().flatten() {
                found(place, *version);
            }
        }
    }
}

/// The addresses that a tree maps, by walking all of it.
#[must_use]
pub fn addresses(tree: &Fileset) -> BTreeSet<u64> {
    tree.inodes
        .iter()
        .filter_map(|(_, inode)| inode.file())
        .flat_map(|file| file.map.iter().map(|(_, version)| version.addr().0))
        .collect()
}

/// What every checkpoint of a volume owns, in blocks, by walking every root. For verification: it costs what is mapped.
#[must_use]
pub fn owned_brute(volume: &Volume) -> BTreeMap<CheckpointId, u64> {
    let mut newer = addresses(&volume.live);
    let mut owned = BTreeMap::new();
    for (id, image) in volume.images.iter().rev() {
        if image.nodata {
            owned.insert(*id, 0);
            continue;
        }
        let mine = addresses(&image.root);
        owned.insert(*id, mine.difference(&newer).count() as u64);
        newer.extend(mine);
    }
    owned
}

/// What every nodata checkpoint of a volume marks, in blocks, by walking every root.
#[must_use]
pub fn marked_brute(volume: &Volume) -> BTreeMap<CheckpointId, u64> {
    let mut newer = addresses(&volume.live);
    let mut marked = BTreeMap::new();
    for (id, image) in volume.images.iter().rev() {
        let mine = addresses(&image.root);
        if image.nodata {
            marked.insert(*id, mine.difference(&newer).count() as u64);
        }
        newer.extend(mine);
    }
    marked
}

/// The addresses that any root of the store keeps: live trees, images with data, what clones began as, and what undo can bring back. A nodata image
/// keeps nothing alive. For verification: it costs what is mapped.
#[must_use]
pub fn living_brute(state: &State) -> BTreeSet<u64> {
    let mut living = BTreeSet::new();
    for volume in state.volumes.values().chain(state.removed_volumes.values()) {
        living.extend(addresses(&volume.live));
        living.extend(volume.origin.iter().flat_map(|o| addresses(&o.root)));
        let images = volume.images.values().chain(volume.removed_images.values());
        let kept = images.filter(|image| !image.nodata);
        living.extend(kept.flat_map(|image| addresses(&image.root)));
    }
    living
}
