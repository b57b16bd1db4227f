//! The root: how a tree gets higher and lower, and where every descent starts.

use super::node::{Branch, Edit, Inner, Leaf, Node, Root, Tree, Twig};
use super::packed::{BITS, Packed, slot};

/// The levels a map needs to reach `key`: 1 to 16.
#[inline]
pub(super) const fn height_for(key: u64) -> u8 {
    let bits = 64 - key.leading_zeros();
    if bits == 0 {
        1
    } else {
        bits.div_ceil(BITS) as u8
    }
}

impl<T> Root<T> {
    /// Levels: 0 for an empty map, 1 for a leaf, 16 at most.
    #[inline]
    pub(super) fn height(&self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Leaf(_) => 1,
            Self::Twig(_) => 2,
            Self::Inner { height, .. } => *height,
        }
    }

    /// Where the root node lies in memory; 0 for an empty map.
    pub(super) fn address(&self) -> usize {
        self.top().map_or(0, |(node, _)| node.address())
    }

    /// The root node and its level.
    #[inline]
    pub(super) fn top(&self) -> Option<(NodeRef<'_, T>, u8)> {
        match self {
            Self::Empty => None,
            Self::Leaf(leaf) => Some((NodeRef::Leaf(leaf), 0)),
            Self::Twig(twig) => Some((NodeRef::Twig(twig), 1)),
            Self::Inner { height, node } => Some((NodeRef::Inner(node), height - 1)),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<&T> {
        if height_for(key) > self.height() {
            return None;
        }
        let twig = match self {
            Self::Empty => return None,
            Self::Leaf(leaf) => return leaf.0.get(slot(key, 0)),
            Self::Twig(twig) => twig,
            Self::Inner { height, node } => {
                let mut level = height - 1;
                let mut inner = node;
                loop {
                    match inner.0.get(slot(key, level))? {
                        Node::Twig(twig) => break twig,
                        Node::Inner(below) => inner = below,
                    }
                    level -= 1;
                }
            }
        };
        twig.0.get(slot(key, 1))?.0.get(slot(key, 0))
    }

    /// Adds levels until `key` is within reach.
    fn raise_to(&mut self, key: u64) {
        let height = height_for(key);
        while !matches!(self, Self::Empty) && self.height() < height {
            *self = match std::mem::replace(self, Self::Empty) {
                Self::Empty => Self::Empty,
                Self::Leaf(leaf) => Self::Twig(Branch(Packed::single(0, leaf))),
                Self::Twig(twig) => Self::Inner {
                    height: 3,
                    node: Branch(Packed::single(0, Node::Twig(twig))),
                },
                Self::Inner { height, node } => Self::Inner {
                    height: height + 1,
                    node: Branch(Packed::single(0, Node::Inner(node))),
                },
            };
        }
    }

    /// Drops levels that only lead to slot 0.
    fn lower(&mut self) {
        loop {
            let next = match &*self {
                Self::Twig(twig) if twig.0.bitmap() == 1 => twig.0.get(0).cloned().map(Self::Leaf),
                Self::Inner { height, node } if node.0.bitmap() == 1 => node
                    .0
                    .get(0)
                    .map(|child| Self::from_node(child.clone(), height - 1)),
                _ => None,
            };
            match next {
                Some(next) => *self = next,
                None => return,
            }
        }
    }

    /// A root of `height` levels.
    pub(super) fn from_node(node: Node<T>, height: u8) -> Self {
        match node {
            Node::Twig(twig) => Self::Twig(twig),
            Node::Inner(node) => Self::Inner { height, node },
        }
    }
}

impl<T: Clone> Root<T> {
    /// Edits the leaf of `key`, making the way to it.
    #[inline]
    pub(super) fn edit<E: Edit<T>>(&mut self, key: u64, edit: E) -> E::Out {
        if self.height() < height_for(key) {
            self.raise_to(key);
        }
        match self {
            Self::Empty => {
                let (leaf, out) = edit.plant();
                *self = Self::grow(key, leaf);
                out
            }
            Self::Leaf(leaf) => edit.edit(leaf),
            Self::Twig(twig) => twig.edit(1, key, edit),
            Self::Inner { height, node } => node.edit(*height - 1, key, edit),
        }
    }

    /// Changes the value of `key`, if it is there.
    pub(super) fn update<R>(&mut self, key: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.height() < height_for(key) {
            return None;
        }
        match self {
            Self::Empty => None,
            Self::Leaf(leaf) => leaf.update(0, key, change),
            Self::Twig(twig) => twig.update(1, key, change),
            Self::Inner { height, node } => node.update(*height - 1, key, change),
        }
    }

    fn grow(key: u64, leaf: Leaf<T>) -> Self {
        match height_for(key) {
            1 => Self::Leaf(leaf),
            2 => Self::Twig(Twig::grow(1, key, leaf)),
            height => Self::Inner {
                height,
                node: Inner::grow(height - 1, key, leaf),
            },
        }
    }

    /// Removes `key`, which is present and not alone.
    pub(super) fn remove(&mut self, key: u64) {
        match self {
            Self::Empty => {}
            Self::Leaf(leaf) => leaf.remove(0, key),
            Self::Twig(twig) => twig.remove(1, key),
            Self::Inner { height, node } => node.remove(*height - 1, key),
        }
        self.lower();
    }

    /// Removes the keys `lo..=hi`.
    pub(super) fn remove_range(&mut self, lo: u64, hi: u64) {
        let left = match &*self {
            Self::Empty => None,
            Self::Leaf(leaf) => leaf.without(0, 0, lo, hi).map(Self::Leaf),
            Self::Twig(twig) => twig.without(1, 0, lo, hi).map(Self::Twig),
            Self::Inner { height, node } => {
                node.without(height - 1, 0, lo, hi).map(|node| Self::Inner {
                    height: *height,
                    node,
                })
            }
        };
        *self = left.unwrap_or(Self::Empty);
        self.lower();
    }
}

/// A borrowed node of any kind, for walks that do not care which.
pub(super) enum NodeRef<'a, T> {
    Leaf(&'a Leaf<T>),
    Twig(&'a Twig<T>),
    Inner(&'a Inner<T>),
}

impl<T> Clone for NodeRef<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for NodeRef<'_, T> {}

impl<'a, T> NodeRef<'a, T> {
    #[inline]
    pub(super) fn bitmap(self) -> u16 {
        match self {
            Self::Leaf(leaf) => leaf.0.bitmap(),
            Self::Twig(twig) => twig.0.bitmap(),
            Self::Inner(inner) => inner.0.bitmap(),
        }
    }

    /// The node below `slot`; a leaf has none.
    #[inline]
    pub(super) fn child(self, slot: u32) -> Option<Self> {
        match self {
            Self::Leaf(_) => None,
            Self::Twig(twig) => twig.0.get(slot).map(Self::Leaf),
            Self::Inner(inner) => inner.0.get(slot).map(|node| match node {
                Node::Twig(twig) => Self::Twig(twig),
                Node::Inner(inner) => Self::Inner(inner),
            }),
        }
    }

    /// The value in `slot` of a leaf.
    #[inline]
    pub(super) fn value(self, slot: u32) -> Option<&'a T> {
        match self {
            Self::Leaf(leaf) => leaf.0.get(slot),
            Self::Twig(_) | Self::Inner(_) => None,
        }
    }

    #[inline]
    pub(super) fn address(self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.0.address(),
            Self::Twig(twig) => twig.0.address(),
            Self::Inner(inner) => inner.0.address(),
        }
    }
}
