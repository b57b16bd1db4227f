//! The three kinds of node, the root that names one of them, and the descents that change a tree.
//!
//! Level 0 is the leaf. A twig (level 1) holds leaves by thin pointers of eight bytes, because twigs are all but one
//! in sixteen of the branches; an inner node (level 2 and up) holds twigs or inner nodes. Invariants: no node is
//! empty, and the root is the lowest that covers the greatest key, so the shape depends on the content only.

use super::packed::{BITS, Packed, mask, rank, slot, window};

/// Values of sixteen consecutive keys.
pub(super) struct Leaf<T>(pub(super) Packed<T>);
/// A node of nodes.
pub(super) struct Branch<C>(pub(super) Packed<C>);
/// Level 1.
pub(super) type Twig<T> = Branch<Leaf<T>>;
/// Level 2 and up.
pub(super) type Inner<T> = Branch<Node<T>>;

/// A child of an inner node.
pub(super) enum Node<T> {
    Twig(Twig<T>),
    Inner(Inner<T>),
}

/// The top of a map; an inner root says how many levels there are (3 to 16).
pub(super) enum Root<T> {
    Empty,
    Leaf(Leaf<T>),
    Twig(Twig<T>),
    Inner { height: u8, node: Inner<T> },
}

impl<T> Clone for Leaf<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Clone for Branch<C> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Node<T> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Twig(twig) => Self::Twig(twig.clone()),
            Self::Inner(inner) => Self::Inner(inner.clone()),
        }
    }
}

impl<T> Clone for Root<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Twig(twig) => Self::Twig(twig.clone()),
            Self::Inner { height, node } => Self::Inner {
                height: *height,
                node: node.clone(),
            },
        }
    }
}

/// What is to be done at the leaf that a descent ends in.
pub(super) trait Edit<T> {
    type Out;
    /// The leaf is there; it copies itself if it is shared.
    fn edit(self, leaf: &mut Leaf<T>) -> Self::Out;
    /// There is no leaf: the one to plant.
    fn plant(self) -> (Leaf<T>, Self::Out);
}

/// Sets one value; gives the one before.
pub(super) struct Put<T> {
    pub(super) key: u64,
    pub(super) value: T,
}

impl<T: Clone> Edit<T> for Put<T> {
    type Out = Option<T>;

    #[inline]
    fn edit(self, leaf: &mut Leaf<T>) -> Option<T> {
        let slot = slot(self.key, 0);
        let bitmap = leaf.0.bitmap();
        if bitmap & (1 << slot) == 0 {
            leaf.0.insert(slot, self.value);
            return None;
        }
        Some(
            leaf.0
                .modify_slot(slot, |value| std::mem::replace(value, self.value)),
        )
    }

    fn plant(self) -> (Leaf<T>, Option<T>) {
        (Leaf(Packed::single(slot(self.key, 0), self.value)), None)
    }
}

/// Sets consecutive values of one leaf, from `first` on, draining `values` (1 to 16, none past the leaf's end); gives
/// how many keys are new.
pub(super) struct PutRun<'r, T, F> {
    pub(super) first: u64,
    pub(super) values: &'r mut Vec<T>,
    pub(super) replaced: &'r mut F,
}

impl<T: Clone, F: FnMut(u64, &T)> Edit<T> for PutRun<'_, T, F> {
    type Out = u64;

    fn edit(self, leaf: &mut Leaf<T>) -> u64 {
        let start = slot(self.first, 0);
        let run = mask(start, start + self.values.len() as u32 - 1);
        let bitmap = leaf.0.bitmap();
        let from = rank(bitmap, start);
        let present = bitmap & run;
        let to = from + present.count_ones() as usize;
        let mut slots = present;
        for value in &leaf.0.children()[from..to] {
            (self.replaced)(
                self.first - u64::from(start) + u64::from(slots.trailing_zeros()),
                value,
            );
            slots &= slots - 1;
        }
        if present == run {
            leaf.0.modify(|values| {
                for (old, new) in values[from..to].iter_mut().zip(self.values.drain(..)) {
                    *old = new;
                }
            });
            return 0;
        }
        leaf.0.splice(bitmap | run, from, to, self.values.drain(..));
        u64::from((run & !present).count_ones())
    }

    fn plant(self) -> (Leaf<T>, u64) {
        let start = slot(self.first, 0);
        let count = self.values.len() as u32;
        (
            Leaf(Packed::new(
                mask(start, start + count - 1),
                self.values.drain(..),
            )),
            u64::from(count),
        )
    }
}

/// A node of any kind, as a descent sees it. `level` is the node's own level.
pub(super) trait Tree<T>: Clone {
    /// Edits the leaf of `key`, planting the way to it where it is missing.
    fn edit<E: Edit<T>>(&mut self, level: u8, key: u64, edit: E) -> E::Out;
    /// Changes the value of `key` in place; `None` when it is absent (the way to it may have been copied).
    fn update<R>(&mut self, level: u8, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R>;
    /// A tree of this level whose only leaf is the given one, that of `key`.
    fn grow(level: u8, key: u64, leaf: Leaf<T>) -> Self;
    /// Whether exactly one key is mapped.
    fn is_single(&self) -> bool;
    /// Removes `key`, which is present and not alone.
    fn remove(&mut self, level: u8, key: u64);
    /// What is left without the keys `lo..=hi`; `None` when nothing is.
    fn without(&self, level: u8, base: u64, lo: u64, hi: u64) -> Option<Self>;
}

impl<T: Clone> Tree<T> for Leaf<T> {
    #[inline]
    fn edit<E: Edit<T>>(&mut self, _level: u8, _key: u64, edit: E) -> E::Out {
        edit.edit(self)
    }

    #[inline]
    fn update<R>(&mut self, _level: u8, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let slot = slot(key, 0);
        let bitmap = self.0.bitmap();
        if bitmap & (1 << slot) == 0 {
            return None;
        }
        Some(self.0.modify_slot(slot, change))
    }

    fn grow(_level: u8, _key: u64, leaf: Leaf<T>) -> Self {
        leaf
    }

    fn is_single(&self) -> bool {
        self.0.bitmap().is_power_of_two()
    }

    fn remove(&mut self, _level: u8, key: u64) {
        self.0.remove(slot(key, 0));
    }

    fn without(&self, _level: u8, base: u64, lo: u64, hi: u64) -> Option<Self> {
        let bitmap = self.0.bitmap();
        let cut = bitmap & window(base, 0, lo, hi);
        if cut == bitmap {
            return None;
        }
        let mut left = self.clone();
        if cut != 0 {
            let from = rank(bitmap, cut.trailing_zeros());
            left.0.splice(
                bitmap & !cut,
                from,
                from + cut.count_ones() as usize,
                std::iter::empty(),
            );
        }
        Some(left)
    }
}

impl<T: Clone, C: Tree<T>> Tree<T> for Branch<C> {
    #[inline]
    fn edit<E: Edit<T>>(&mut self, level: u8, key: u64, edit: E) -> E::Out {
        let slot = slot(key, level);
        let bitmap = self.0.bitmap();
        if bitmap & (1 << slot) == 0 {
            let (leaf, out) = edit.plant();
            self.0.insert(slot, C::grow(level - 1, key, leaf));
            return out;
        }
        self.0
            .modify_slot(slot, |child| child.edit(level - 1, key, edit))
    }

    #[inline]
    fn update<R>(&mut self, level: u8, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let slot = slot(key, level);
        let bitmap = self.0.bitmap();
        if bitmap & (1 << slot) == 0 {
            return None;
        }
        self.0
            .modify_slot(slot, |child| child.update(level - 1, key, change))
    }

    fn grow(level: u8, key: u64, leaf: Leaf<T>) -> Self {
        Self(Packed::single(
            slot(key, level),
            C::grow(level - 1, key, leaf),
        ))
    }

    fn is_single(&self) -> bool {
        matches!(self.0.children(), [child] if child.is_single())
    }

    fn remove(&mut self, level: u8, key: u64) {
        let slot = slot(key, level);
        let Some(child) = self.0.get(slot) else {
            return;
        };
        if child.is_single() {
            // The child goes as a whole: no need to copy what would be empty.
            self.0.remove(slot);
        } else {
            self.0
                .modify_slot(slot, |child| child.remove(level - 1, key));
        }
    }

    fn without(&self, level: u8, base: u64, lo: u64, hi: u64) -> Option<Self> {
        let bitmap = self.0.bitmap();
        let cut = bitmap & window(base, level, lo, hi);
        if cut == 0 {
            return Some(self.clone());
        }
        let from = rank(bitmap, cut.trailing_zeros());
        let to = from + cut.count_ones() as usize;
        let span = (1u64 << (u32::from(level) * BITS)) - 1;
        let mut left = bitmap & !cut;
        let mut kept = Vec::with_capacity(2);
        let mut slots = cut;
        for child in &self.0.children()[from..to] {
            let slot = slots.trailing_zeros();
            slots &= slots - 1;
            let first = base | (u64::from(slot) << (u32::from(level) * BITS));
            let whole = lo <= first && first + span <= hi;
            // Only the first and the last child touched can be cut in part.
            if let Some(part) = if whole {
                None
            } else {
                child.without(level - 1, first, lo, hi)
            } {
                left |= 1 << slot;
                kept.push(part);
            }
        }
        if left == 0 {
            return None;
        }
        let mut remains = self.clone();
        remains.0.splice(left, from, to, kept.into_iter());
        Some(remains)
    }
}

impl<T: Clone> Tree<T> for Node<T> {
    #[inline]
    fn edit<E: Edit<T>>(&mut self, level: u8, key: u64, edit: E) -> E::Out {
        match self {
            Self::Twig(twig) => twig.edit(level, key, edit),
            Self::Inner(inner) => inner.edit(level, key, edit),
        }
    }

    #[inline]
    fn update<R>(&mut self, level: u8, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        match self {
            Self::Twig(twig) => twig.update(level, key, change),
            Self::Inner(inner) => inner.update(level, key, change),
        }
    }

    fn grow(level: u8, key: u64, leaf: Leaf<T>) -> Self {
        if level == 1 {
            Self::Twig(Twig::grow(level, key, leaf))
        } else {
            Self::Inner(Inner::grow(level, key, leaf))
        }
    }

    fn is_single(&self) -> bool {
        match self {
            Self::Twig(twig) => twig.is_single(),
            Self::Inner(inner) => inner.is_single(),
        }
    }

    fn remove(&mut self, level: u8, key: u64) {
        match self {
            Self::Twig(twig) => twig.remove(level, key),
            Self::Inner(inner) => inner.remove(level, key),
        }
    }

    fn without(&self, level: u8, base: u64, lo: u64, hi: u64) -> Option<Self> {
        match self {
            Self::Twig(twig) => twig.without(level, base, lo, hi).map(Self::Twig),
            Self::Inner(inner) => inner.without(level, base, lo, hi).map(Self::Inner),
        }
    }
}
