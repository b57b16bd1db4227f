//! Walks in key order, and the questions about what comes next.

use std::iter::FusedIterator;

use super::node::Root;
use super::packed::{BITS, mask, rank, slot, window};
use super::root::{NodeRef, height_for};

/// A branch on the way to the current leaf, and the slots still to visit.
struct Frame<'a, T> {
    node: NodeRef<'a, T>,
    slots: u16,
    base: u64,
    level: u8,
}

/// Entries of a key range, in key order.
pub struct Range<'a, T> {
    lo: u64,
    hi: u64,
    /// At most fifteen branches; leaves are not on it.
    path: Vec<Frame<'a, T>>,
    /// The current leaf's remaining values, the slots they lie in, and the leaf's first key.
    values: std::slice::Iter<'a, T>,
    slots: u16,
    base: u64,
}

impl<T> Clone for Range<'_, T> {
    fn clone(&self) -> Self {
        let path = self.path.iter().map(|frame| Frame { ..*frame }).collect();
        Self {
            path,
            values: self.values.clone(),
            ..*self
        }
    }
}

impl<'a, T> Range<'a, T> {
    pub(super) fn new(root: &'a Root<T>, lo: u64, hi: u64) -> Self {
        let mut range = Self {
            lo,
            hi,
            path: Vec::new(),
            values: [].iter(),
            slots: 0,
            base: 0,
        };
        if let Some((node, level)) = root.top()
            && lo <= hi
        {
            range.enter(node, 0, level);
        }
        range
    }

    #[inline]
    fn enter(&mut self, node: NodeRef<'a, T>, base: u64, level: u8) {
        let bitmap = node.bitmap();
        let slots = bitmap & window(base, level, self.lo, self.hi);
        if let NodeRef::Leaf(leaf) = node {
            if slots != 0 {
                // The slots in the window are neighbours among those present, so their values are one slice.
                let from = rank(bitmap, slots.trailing_zeros());
                self.values = leaf.0.children()[from..from + slots.count_ones() as usize].iter();
                self.slots = slots;
                self.base = base;
            }
        } else {
            self.path.push(Frame {
                node,
                slots,
                base,
                level,
            });
        }
    }
}

impl<'a, T> Iterator for Range<'a, T> {
    type Item = (u64, &'a T);

    #[inline]
    fn next(&mut self) -> Option<(u64, &'a T)> {
        loop {
            if let Some(value) = self.values.next() {
                let slot = self.slots.trailing_zeros();
                self.slots &= self.slots - 1;
                return Some((self.base | u64::from(slot), value));
            }
            let frame = self.path.last_mut()?;
            if frame.slots == 0 {
                self.path.pop();
                continue;
            }
            let slot = frame.slots.trailing_zeros();
            frame.slots &= frame.slots - 1;
            let (base, level) = (
                frame.base | (u64::from(slot) << (u32::from(frame.level) * BITS)),
                frame.level - 1,
            );
            if let Some(child) = frame.node.child(slot) {
                self.enter(child, base, level);
            }
        }
    }
}

impl<T> FusedIterator for Range<'_, T> {}

pub(super) fn last<T>(root: &Root<T>) -> Option<(u64, &T)> {
    let (mut node, mut level) = root.top()?;
    let mut key = 0;
    loop {
        let slot = node.bitmap().checked_ilog2()?;
        key |= u64::from(slot) << (u32::from(level) * BITS);
        if level == 0 {
            return Some((key, node.value(slot)?));
        }
        node = node.child(slot)?;
        level -= 1;
    }
}

pub(super) fn next_at_or_after<T>(root: &Root<T>, key: u64) -> Option<(u64, &T)> {
    let (node, level) = root.top()?;
    if height_for(key) > level + 1 {
        return None;
    }
    next_within(node, level, 0, key)
}

/// Only the first child looked at can come up empty, so this is O(depth), which is at most sixteen calls deep.
fn next_within<'a, T>(
    node: NodeRef<'a, T>,
    level: u8,
    base: u64,
    key: u64,
) -> Option<(u64, &'a T)> {
    let mut slots = node.bitmap() & window(base, level, key, u64::MAX);
    while slots != 0 {
        let slot = slots.trailing_zeros();
        slots &= slots - 1;
        let first = base | (u64::from(slot) << (u32::from(level) * BITS));
        let found = if level == 0 {
            node.value(slot).map(|value| (first, value))
        } else {
            node.child(slot)
                .and_then(|child| next_within(child, level - 1, first, key))
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

pub(super) fn next_gap<T>(root: &Root<T>, key: u64) -> u64 {
    let Some((node, level)) = root.top() else {
        return key;
    };
    if height_for(key) > level + 1 {
        return key;
    }
    gap_within(node, level, 0, key).unwrap_or_else(|| {
        // The whole reach of the tree from `key` on is mapped: the first key beyond it is not.
        1u64.checked_shl(u32::from(level + 1) * BITS)
            .unwrap_or(u64::MAX)
    })
}

fn gap_within<T>(node: NodeRef<'_, T>, level: u8, base: u64, key: u64) -> Option<u64> {
    let shift = u32::from(level) * BITS;
    let start = if key <= base { 0 } else { slot(key, level) };
    let bitmap = node.bitmap();
    let vacant = !bitmap & mask(start, 15);
    if level == 0 {
        return (vacant != 0).then(|| base | u64::from(vacant.trailing_zeros()));
    }
    for slot in start..16 {
        let first = base | (u64::from(slot) << shift);
        let Some(child) = node.child(slot) else {
            return Some(first.max(key));
        };
        if let Some(gap) = gap_within(child, level - 1, first, key) {
            return Some(gap);
        }
    }
    None
}
