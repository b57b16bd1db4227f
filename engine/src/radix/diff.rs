//! What changed between two maps, in time proportional to the change.
//!
//! Both trees are walked side by side. Where they hold the very same node nothing below it can differ, so it is
//! skipped; where one tree is higher, the lower one counts as its slot 0.

use std::iter::FusedIterator;

use super::node::Root;
use super::packed::{BITS, window};
use super::root::NodeRef;

/// One key whose value differs. At least one side is there.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// The key.
    pub key: u64,
    /// Its value in the first map; `None` when it was added.
    pub before: Option<&'a T>,
    /// Its value in the second map; `None` when it was removed.
    pub after: Option<&'a T>,
}

impl<T> Clone for Change<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Change<'_, T> {}

impl<T: PartialEq> PartialEq for Change<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.before == other.before && self.after == other.after
    }
}

impl<T: Eq> Eq for Change<'_, T> {}

/// One tree's part in a pair: a node, and the level it really has.
struct Side<'a, T> {
    node: NodeRef<'a, T>,
    level: u8,
}

impl<T> Clone for Side<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Side<'_, T> {}

impl<T> Side<'_, T> {
    /// The slots present when seen from `level`, which is not below the node's own.
    fn bitmap(self, level: u8) -> u16 {
        if self.level == level {
            self.node.bitmap()
        } else {
            1
        }
    }

    fn child(self, level: u8, slot: u32) -> Option<Self> {
        if self.level == level {
            return self.node.child(slot).map(|node| Self {
                node,
                level: level - 1,
            });
        }
        (slot == 0).then_some(self)
    }
}

/// Two nodes for the same keys, and the slots still to compare.
struct Pair<'a, T> {
    before: Option<Side<'a, T>>,
    after: Option<Side<'a, T>>,
    slots: u16,
    base: u64,
    level: u8,
}

/// The changes between two maps, in key order; see [`Radix::diff`](super::Radix::diff).
pub struct Diff<'a, T> {
    lo: u64,
    hi: u64,
    /// At most sixteen pairs.
    path: Vec<Pair<'a, T>>,
}

impl<'a, T: PartialEq> Diff<'a, T> {
    pub(super) fn new(before: &'a Root<T>, after: &'a Root<T>, lo: u64, hi: u64) -> Self {
        let side = |root: &'a Root<T>| root.top().map(|(node, level)| Side { node, level });
        let mut diff = Self {
            lo,
            hi,
            path: Vec::new(),
        };
        if lo <= hi {
            let level = before.height().max(after.height()).saturating_sub(1);
            diff.enter(side(before), side(after), 0, level);
        }
        diff
    }

    fn enter(
        &mut self,
        before: Option<Side<'a, T>>,
        after: Option<Side<'a, T>>,
        base: u64,
        level: u8,
    ) {
        if let (Some(before), Some(after)) = (before, after)
            && before.level == after.level
            && before.node.address() == after.node.address()
        {
            return;
        }
        let bitmap = |side: Option<Side<'a, T>>| side.map_or(0, |side| side.bitmap(level));
        let slots = (bitmap(before) | bitmap(after)) & window(base, level, self.lo, self.hi);
        if slots != 0 {
            self.path.push(Pair {
                before,
                after,
                slots,
                base,
                level,
            });
        }
    }
}

impl<'a, T: PartialEq> Iterator for Diff<'a, T> {
    type Item = Change<'a, T>;

    fn next(&mut self) -> Option<Change<'a, T>> {
        loop {
            let pair = self.path.last_mut()?;
            if pair.slots == 0 {
                self.path.pop();
                continue;
            }
            let slot = pair.slots.trailing_zeros();
            pair.slots &= pair.slots - 1;
            let (before, after, level) = (pair.before, pair.after, pair.level);
            let base = pair.base | (u64::from(slot) << (u32::from(level) * BITS));
            if level > 0 {
                let child =
                    |side: Option<Side<'a, T>>| side.and_then(|side| side.child(level, slot));
                self.enter(child(before), child(after), base, level - 1);
                continue;
            }
            let value = |side: Option<Side<'a, T>>| side.and_then(|side| side.node.value(slot));
            let change = Change {
                key: base,
                before: value(before),
                after: value(after),
            };
            if change.before != change.after {
                return Some(change);
            }
        }
    }
}

impl<T: PartialEq> FusedIterator for Diff<'_, T> {}
