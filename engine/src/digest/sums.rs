//! Entries, and the sums of trees: kept beside the tree they are of, and brought up to another by what differs.

use crate::block::BlockRef;
use crate::ids::Ino;
use crate::radix::Radix;
use crate::state::{Body, Fileset, Inode, Names, Spread, Xattrs};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::Serialize;
use std::sync::Arc;

/// What an entry is about: its first byte.
#[derive(Copy, Clone)]
#[repr(u8)]
pub(super) enum Kind {
    Counters = 1,
    Actor,
    Volume,
    VolumeName,
    Image,
    Pending,
    Checkpoint,
    CheckpointName,
    Change,
    Tree,
    Inode,
    Name,
    Xattr,
    Spread,
    Nodata,
    Quota,
    Window,
    Ages,
}

/// Makes entries, and counts them.
#[derive(Default)]
pub(super) struct Entries {
    scratch: Vec<u8>,
    counted: u64,
}

impl Entries {
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// The first 16 bytes of the BLAKE3 of the kind and the value in postcard.
    pub(super) fn small(&mut self, kind: Kind, value: &impl Serialize) -> u128 {
        self.counted += 1;
        self.scratch.clear();
        self.scratch.push(kind as u8);
        postcard::to_io(value, &mut self.scratch)
            .expect("plain values always serialise, and memory takes them");
        let hash = blake3::hash(&self.scratch);
        let (first, _) = hash
            .as_bytes()
            .split_first_chunk::<16>()
            .expect("a hash has 32 bytes");
        u128::from_le_bytes(*first)
    }
}

/// A map's sum, given that of another: what left is taken out, what came is put in.
fn shifted<K: Ord, V: PartialEq>(
    sum: u128,
    before: &OrdMap<K, V>,
    after: &OrdMap<K, V>,
    mut entry: impl FnMut(&K, &V) -> u128,
) -> u128 {
    before.diff(after).fold(sum, |sum, change| match change {
        DiffItem::Add(key, come) => sum.wrapping_add(entry(key, come)),
        DiffItem::Update {
            old: (key, gone),
            new: (_, come),
        } => sum
            .wrapping_sub(entry(key, gone))
            .wrapping_add(entry(key, come)),
        DiffItem::Remove(key, gone) => sum.wrapping_sub(entry(key, gone)),
    })
}

/// A tree with the sum of its inodes.
pub(super) struct TreeSum {
    tree: Fileset,
    sum: u128,
}

/// The one of `known` that is the very tree, else the first there is.
pub(super) fn nearest<'a>(
    known: impl IntoIterator<Item = Option<&'a TreeSum>>,
    tree: &Fileset,
) -> Option<&'a TreeSum> {
    let mut first = None;
    for known in known.into_iter().flatten() {
        if known.tree.inodes.ptr_eq(&tree.inodes) {
            return Some(known);
        }
        first = first.or(Some(known));
    }
    first
}

impl TreeSum {
    /// The sum of `tree`, by what differs from `near`.
    pub(super) fn of(tree: &Fileset, near: Option<&TreeSum>, entries: &mut Entries) -> Self {
        let nothing = Radix::new();
        let (before, mut sum) = near.map_or((&nothing, 0), |near| (&near.tree.inodes, near.sum));
        for change in before.diff(&tree.inodes) {
            sum = sum.wrapping_add(inode_shift(
                Ino(change.key),
                change.before,
                change.after,
                entries,
            ));
        }
        Self {
            tree: tree.clone(),
            sum,
        }
    }

    /// The digest of the whole tree.
    pub(super) fn digest(&self, entries: &mut Entries) -> u128 {
        let Fileset {
            root,
            blocks,
            orphans,
            ..
        } = &self.tree;
        let orphans: Vec<Ino> = orphans.iter().copied().collect();
        entries.small(Kind::Tree, &(root, blocks, orphans, self.sum))
    }
}

/// By how much an inode's change shifts its tree's sum.
fn inode_shift(
    ino: Ino,
    before: Option<&Arc<Inode>>,
    after: Option<&Arc<Inode>>,
    entries: &mut Entries,
) -> u128 {
    let mut sum = 0u128;
    sum = sum.wrapping_sub(before.map_or(0, |inode| head(ino, inode, entries)));
    sum = sum.wrapping_add(after.map_or(0, |inode| head(ino, inode, entries)));
    let names = |inode: Option<&Arc<Inode>>| {
        inode
            .and_then(|i| i.names())
            .cloned()
            .unwrap_or_else(Names::new)
    };
    sum = shifted(sum, &names(before), &names(after), |name, child| {
        entries.small(Kind::Name, &(ino, &**name, child))
    });
    let xattrs = |inode: Option<&Arc<Inode>>| {
        inode
            .and_then(|i| i.xattrs.as_deref())
            .cloned()
            .unwrap_or_else(Xattrs::new)
    };
    sum = shifted(sum, &xattrs(before), &xattrs(after), |name, value| {
        entries.small(Kind::Xattr, &(ino, &**name, &**value))
    });
    let nothing = Radix::new();
    let blocks =
        |inode: Option<&'_ Arc<Inode>>| inode.and_then(|i| i.file()).map(|file| file.map.clone());
    let (old, new) = (blocks(before), blocks(after));
    let keys = BlockKeys::of(ino);
    match (&old, &new) {
        // A map alone needs no comparing: this is what the first digest of a large store spends its time on.
        (None, Some(map)) => sum.wrapping_add(keys.sum(map, entries)),
        (Some(map), None) => sum.wrapping_sub(keys.sum(map, entries)),
        (old, new) => {
            let old = old.as_ref().unwrap_or(&nothing);
            for change in old.diff(new.as_ref().unwrap_or(&nothing)) {
                entries.counted += 1;
                sum = sum.wrapping_sub(
                    change
                        .before
                        .map_or(0, |gone| keys.entry(change.key, *gone)),
                );
                sum =
                    sum.wrapping_add(change.after.map_or(0, |come| keys.entry(change.key, *come)));
            }
            sum
        }
    }
}

/// An inode without its names, attributes and blocks.
fn head(ino: Ino, inode: &Inode, entries: &mut Entries) -> u128 {
    let (number, text): (u64, &[u8]) = match &inode.body {
        Body::File(file) => (file.size, &[]),
        Body::Symlink(target) => (0, target),
        Body::Char(device) | Body::Block(device) => (*device, &[]),
        Body::Dir(_) | Body::Fifo | Body::Socket => (0, &[]),
    };
    let mode = inode.type_bits() | inode.mode;
    let times = (inode.atime, inode.mtime, inode.ctime);
    entries.small(
        Kind::Inode,
        &(
            (ino, mode, inode.uid, inode.gid, inode.nlink),
            times,
            inode.parent,
            number,
            text,
        ),
    )
}

/// Makes the entries of one file's blocks: two lanes of 64 bits, each a mix of file, block, address and checksum.
struct BlockKeys([u64; 2]);

/// Multiplied with a checksum before it joins an address: another in each lane, so that what meets in one parts in the other.
const CRC_FACTORS: [u64; 2] = [1 << 32, 0x9e37_79b9_7f4a_7c15];
/// Tells the lanes apart.
const LANE_SEEDS: [u64; 2] = [0x5374_7261_6e64_6c30, 0x5374_7261_6e64_6c31];

/// The finaliser of splitmix64: every bit of `x` reaches every bit of the result.
#[inline]
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl BlockKeys {
    fn of(ino: Ino) -> Self {
        Self(LANE_SEEDS.map(|seed| mix(ino.0 ^ seed)))
    }

    #[inline]
    fn lane(&self, lane: usize, block: u64, version: BlockRef) -> u64 {
        let at = mix(self.0[lane].wrapping_add(block));
        let crc = u64::from(version.crc()).wrapping_mul(CRC_FACTORS[lane]);
        mix(at.wrapping_add(version.addr().0) ^ crc)
    }

    #[inline]
    fn entry(&self, block: u64, version: BlockRef) -> u128 {
        u128::from(self.lane(0, block, version)) | u128::from(self.lane(1, block, version)) << 64
    }

    fn sum(&self, map: &Radix<BlockRef>, entries: &mut Entries) -> u128 {
        entries.counted += map.len();
        map.iter().fold(0u128, |sum, (block, version)| {
            sum.wrapping_add(self.entry(block, *version))
        })
    }
}

/// A spread with the sum of its entries.
#[derive(Default)]
pub(super) struct SpreadSum {
    spread: Spread,
    sum: u128,
}

impl SpreadSum {
    pub(super) fn is_empty(&self) -> bool {
        self.spread.is_empty()
    }

    pub(super) fn sum(&self) -> u128 {
        self.sum
    }

    /// The sum of `spread`, by what differs from `near`.
    pub(super) fn of(spread: &Spread, near: &SpreadSum, entries: &mut Entries) -> Self {
        let mut entry = |address: u64, places: &Arc<[crate::state::Place]>| {
            let places: Vec<(Ino, u64)> = places
                .iter()
                .map(|place| (place.ino, place.block))
                .collect();
            entries.small(Kind::Spread, &(address, places))
        };
        let mut sum = near.sum;
        for change in near.spread.diff(spread) {
            sum = sum.wrapping_sub(change.before.map_or(0, |gone| entry(change.key, gone)));
            sum = sum.wrapping_add(change.after.map_or(0, |come| entry(change.key, come)));
        }
        Self {
            spread: spread.clone(),
            sum,
        }
    }
}
