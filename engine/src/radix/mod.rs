//! A persistent map from `u64` to values: the block map of a file and the inode table of a volume.
//!
//! [`Radix`] is a radix tree of fanout sixteen with packed nodes. A clone shares everything and costs one counter;
//! a change copies the nodes on its path that somebody else still holds, and works in place on those nobody does.
//! The shape depends on the content only. Here live the map, its walks, its diff and its way into and out of a state
//! file; nothing here knows what a value means.

use std::fmt;
use std::ops::{Bound, RangeBounds};

mod diff;
mod dump;
mod load;
mod node;
mod packed;
mod root;
mod visit;
mod walk;

#[cfg(test)]
mod dump_tests;
#[cfg(test)]
mod tests;

pub use diff::{Change, Diff};
pub use dump::{DumpedRoot, NodeId, NodeSink, SeenNodes};
pub use load::{LoadError, Loader};
pub use visit::MetNodes;
pub use walk::Range;

use node::{Put, PutRun, Root};
use packed::FANOUT;

/// A persistent map from `u64` to `T`.
///
/// `clone` is O(1) and the clone never changes with the original. Reads and writes descend at most sixteen levels,
/// as many as the greatest key needs. Overwriting a value in nodes that no clone shares does not allocate.
pub struct Radix<T> {
    root: Root<T>,
    len: u64,
}

impl<T> Clone for Radix<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<T> Default for Radix<T> {
    fn default() -> Self {
        Self {
            root: Root::Empty,
            len: 0,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Radix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(Range::new(&self.root, 0, u64::MAX))
            .finish()
    }
}

/// Compares contents, skipping what both maps share.
impl<T: Clone + PartialEq> PartialEq for Radix<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.diff(other).next().is_none()
    }
}

impl<T: Clone + Eq> Eq for Radix<T> {}

impl<T: Clone> FromIterator<(u64, T)> for Radix<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<T: Clone> Extend<(u64, T)> for Radix<T> {
    fn extend<I: IntoIterator<Item = (u64, T)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<'a, T: Clone> IntoIterator for &'a Radix<T> {
    type Item = (u64, &'a T);
    type IntoIter = Range<'a, T>;

    fn into_iter(self) -> Range<'a, T> {
        self.iter()
    }
}

impl<T: Clone> Radix<T> {
    /// An empty map; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            root: Root::Empty,
            len: 0,
        }
    }

    /// How many keys are mapped.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no key is mapped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both maps are the same nodes, and so surely equal. Two empty maps are.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.root.height() == other.root.height() && self.root.address() == other.root.address()
    }

    /// The value of `key`.
    #[inline]
    #[must_use]
    pub fn get(&self, key: u64) -> Option<&T> {
        self.root.get(key)
    }

    /// Whether `key` is mapped.
    #[inline]
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.root.get(key).is_some()
    }

    /// Changes the value of `key` in place, copying the shared nodes on the way to it, and gives what `change`
    /// returned. `None`, with nothing copied, when the key is absent.
    ///
    /// It is a closure's job rather than a `&mut T` because thin counted pointers lend their inside out only so.
    pub fn update<R>(&mut self, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.root.get(key)?;
        self.root.update(key, change)
    }

    /// Maps `key` to `value`; gives the value it had.
    #[inline]
    pub fn insert(&mut self, key: u64, value: T) -> Option<T> {
        let before = self.root.edit(key, Put { key, value });
        self.len += u64::from(before.is_none());
        before
    }

    /// Unmaps `key`; gives the value it had. An absent key copies nothing.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let before = self.root.get(key)?.clone();
        self.len -= 1;
        if self.len == 0 {
            self.root = Root::Empty;
        } else {
            self.root.remove(key);
        }
        Some(before)
    }

    /// Maps the consecutive keys from `first` on to `items`, with one descent for each sixteen. `replaced` is told
    /// every key that was mapped, with its old value, in key order. Items that would lie past `u64::MAX` are left.
    pub fn insert_run(
        &mut self,
        first: u64,
        mut items: impl ExactSizeIterator<Item = T>,
        replaced: &mut impl FnMut(u64, &T),
    ) {
        let mut values = Vec::with_capacity(items.len().min(FANOUT as usize));
        let mut next = Some(first);
        while let Some(first) = next {
            let to_leaf_end = u64::from(FANOUT) - first % u64::from(FANOUT);
            values.extend(items.by_ref().take(to_leaf_end as usize));
            if values.is_empty() {
                return;
            }
            // A short leaf is the run's end; a full one leads to the next leaf, if there is one.
            next = first
                .checked_add(to_leaf_end)
                .filter(|_| values.len() as u64 == to_leaf_end);
            let last = first + (values.len() as u64 - 1);
            let run = PutRun {
                first,
                values: &mut values,
                replaced,
            };
            self.len += self.root.edit(last, run);
        }
    }

    /// Unmaps every key of `range`. `removed` is told each, with its value, in key order, before the map changes.
    /// O(removed + depth).
    pub fn remove_range(
        &mut self,
        range: impl RangeBounds<u64>,
        removed: &mut impl FnMut(u64, &T),
    ) {
        let Some((lo, hi)) = bounds(&range) else {
            return;
        };
        let mut count = 0;
        for (key, value) in self.range(lo, hi) {
            removed(key, value);
            count += 1;
        }
        if count > 0 {
            self.len -= count;
            self.root.remove_range(lo, hi);
        }
    }

    /// The entries of `start..=end` in key order. O(depth) to the first, then a leaf at a time. Empty if
    /// `start > end`.
    #[must_use]
    pub fn range(&self, start: u64, end: u64) -> Range<'_, T> {
        Range::new(&self.root, start, end)
    }

    /// All entries in key order.
    #[must_use]
    pub fn iter(&self) -> Range<'_, T> {
        self.range(0, u64::MAX)
    }

    /// The entry with the least key.
    #[must_use]
    pub fn first(&self) -> Option<(u64, &T)> {
        self.next_at_or_after(0)
    }

    /// The entry with the greatest key.
    #[must_use]
    pub fn last(&self) -> Option<(u64, &T)> {
        walk::last(&self.root)
    }

    /// The entry with the least key that is not below `key`.
    #[must_use]
    pub fn next_at_or_after(&self, key: u64) -> Option<(u64, &T)> {
        walk::next_at_or_after(&self.root, key)
    }

    /// The first key, not below `key`, that is not mapped. Also `u64::MAX` when every key from `key` on is mapped.
    #[must_use]
    pub fn next_gap(&self, key: u64) -> u64 {
        walk::next_gap(&self.root, key)
    }
}

impl<T: Clone + PartialEq> Radix<T> {
    /// What changed from `self` (before) to `other` (after), in key order; equal values are no change. O(changed):
    /// subtrees that both maps share are skipped.
    #[must_use]
    pub fn diff<'a>(&'a self, other: &'a Self) -> Diff<'a, T> {
        self.diff_range(other, 0, u64::MAX)
    }

    /// [`Self::diff`] limited to the keys `start..=end`.
    #[must_use]
    pub fn diff_range<'a>(&'a self, other: &'a Self, start: u64, end: u64) -> Diff<'a, T> {
        Diff::new(&self.root, &other.root, start, end)
    }
}

/// The least and greatest key of a range; `None` when it holds none.
fn bounds(range: &impl RangeBounds<u64>) -> Option<(u64, u64)> {
    let lo = match range.start_bound() {
        Bound::Included(&key) => key,
        Bound::Excluded(&key) => key.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let hi = match range.end_bound() {
        Bound::Included(&key) => key,
        Bound::Excluded(&key) => key.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (lo <= hi).then_some((lo, hi))
}
