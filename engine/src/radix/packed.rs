//! A packed node: a bitmap of sixteen slots and only the children that are present, behind one thin counted pointer.
//!
//! Everything that copies on write ends here: a node that nobody else holds is changed in place, a shared one is
//! copied first. The allocation is exact, so growing or shrinking rebuilds the node.

use triomphe::{Arc, ThinArc};

/// Slots in a node. Sixteen keeps a copied path small and a packed leaf of ten-byte values under two hundred bytes.
pub(super) const FANOUT: u32 = 16;
/// Key bits that one level consumes.
pub(super) const BITS: u32 = 4;

/// The slot of `key` at `level` (0 is the leaf's level, 15 the highest).
#[inline]
pub(super) const fn slot(key: u64, level: u8) -> u32 {
    ((key >> (level as u32 * BITS)) & 15) as u32
}

/// Slots `first..=last` as a mask; both at most 15.
#[inline]
pub(super) const fn mask(first: u32, last: u32) -> u16 {
    (((2u32 << last) - 1) & !((1u32 << first) - 1)) as u16
}

/// The slots of a node at `level` whose keys start at `base` that hold keys within `lo..=hi`.
#[inline]
pub(super) fn window(base: u64, level: u8, lo: u64, hi: u64) -> u16 {
    if hi < base {
        return 0;
    }
    let shift = u32::from(level) * BITS;
    let first = lo.saturating_sub(base) >> shift;
    let last = ((hi - base) >> shift).min(15);
    if first > last {
        return 0;
    }
    mask(first as u32, last as u32)
}

/// How many slots below `slot` are present.
#[inline]
pub(super) const fn rank(bitmap: u16, slot: u32) -> usize {
    (bitmap & ((1u32 << slot) - 1) as u16).count_ones() as usize
}

/// The node itself. The header is the bitmap; child `i` of the slice belongs to the `i`-th set bit.
pub(super) struct Packed<C>(ThinArc<u16, C>);

impl<C> Clone for Packed<C> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Packed<C> {
    /// A node of these children; their number is the number of set bits.
    #[inline]
    pub(super) fn new(bitmap: u16, children: impl ExactSizeIterator<Item = C>) -> Self {
        debug_assert_eq!(bitmap.count_ones() as usize, children.len());
        Self(ThinArc::from_header_and_iter(bitmap, children))
    }

    /// A node with one child.
    #[inline]
    pub(super) fn single(slot: u32, child: C) -> Self {
        Self::new(1 << slot, std::iter::once(child))
    }

    #[inline]
    pub(super) fn bitmap(&self) -> u16 {
        self.0.header.header
    }

    #[inline]
    pub(super) fn children(&self) -> &[C] {
        &self.0.slice
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&C> {
        let node = &*self.0;
        let bitmap = node.header.header;
        // A full node needs no counting. Said as a branch of its own, this also lets the processor guess the child's
        // address and fetch it along with the header, not after it: random reads of a dense map take half the time.
        if bitmap == u16::MAX {
            return node.slice.get(slot as usize);
        }
        if bitmap & (1 << slot) == 0 {
            return None;
        }
        node.slice.get(rank(bitmap, slot))
    }

    /// Where the node lies in memory: its identity while somebody holds it.
    #[inline]
    pub(super) fn address(&self) -> usize {
        self.0.ptr() as usize
    }

    /// Whether somebody else holds the node as well.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        !self.0.with_arc(Arc::is_unique)
    }
}

impl<C: Clone> Packed<C> {
    /// Changes children in place, after copying the node if it is shared.
    #[inline]
    pub(super) fn modify<R>(&mut self, change: impl FnOnce(&mut [C]) -> R) -> R {
        if !self.0.with_arc(Arc::is_unique) {
            self.0 = ThinArc::from_header_and_iter(self.bitmap(), self.children().iter().cloned());
        }
        self.0.with_arc_mut(|arc| {
            let node =
                Arc::get_mut(arc).expect("the node is unique: it was, or it has just been made");
            change(node.slice_mut())
        })
    }

    /// [`Self::modify`] for the child of a slot that is present.
    #[inline]
    pub(super) fn modify_slot<R>(&mut self, slot: u32, change: impl FnOnce(&mut C) -> R) -> R {
        let bitmap = self.bitmap();
        // A branch of its own for full nodes: see `get`.
        if bitmap == u16::MAX {
            return self.modify(|children| change(&mut children[slot as usize]));
        }
        self.modify(|children| change(&mut children[rank(bitmap, slot)]))
    }

    /// Replaces the children numbered `from..to` (by position, not slot) with `with`; `bitmap` describes the result.
    pub(super) fn splice(
        &mut self,
        bitmap: u16,
        from: usize,
        to: usize,
        mut with: impl ExactSizeIterator<Item = C>,
    ) {
        let old = self.children();
        let middle_end = from + with.len();
        let total = middle_end + (old.len() - to);
        let next = Self::new(
            bitmap,
            (0..total).map(|at| {
                if at < from {
                    old[at].clone()
                } else if at < middle_end {
                    with.next().expect("the iterator gives as many as it said")
                } else {
                    old[at - middle_end + to].clone()
                }
            }),
        );
        *self = next;
    }

    /// Adds a child in a slot that is vacant.
    pub(super) fn insert(&mut self, slot: u32, child: C) {
        let at = rank(self.bitmap(), slot);
        self.splice(self.bitmap() | (1 << slot), at, at, std::iter::once(child));
    }

    /// Drops the child of a slot that is present.
    pub(super) fn remove(&mut self, slot: u32) {
        let at = rank(self.bitmap(), slot);
        self.splice(self.bitmap() & !(1 << slot), at, at + 1, std::iter::empty());
    }
}
