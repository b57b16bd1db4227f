//! The way back in: nodes fed in the order they were dumped, checked as input from anywhere must be.
//!
//! A map that loads has every invariant of a map that was built. Memory is bounded by the input, and so is every
//! walk: a subtree may not hold more keys than were ever fed, which keeps a few nodes that name each other many times
//! over from posing as a map of astronomic size.

use super::Radix;
use super::dump::{DumpedRoot, NodeId};
use super::node::{Branch, Leaf, Node, Root};
use super::packed::Packed;

/// The highest level there is: sixteen levels of four bits.
const TOP_LEVEL: u8 = 15;

/// Why nodes were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A node without children.
    #[error("node {0} is empty")]
    Empty(u64),
    /// Set bits and children differ in number.
    #[error("node {0} does not have as many children as its bitmap says")]
    Count(u64),
    /// A branch or a root names a node that has not been fed.
    #[error("node {0} is named before it is there")]
    Unknown(u64),
    /// A branch whose children are of different levels, or lie at the highest.
    #[error("node {0} has children of a level it cannot have")]
    Level(u64),
    /// More keys in a subtree, or a greater sum of them, than its parts can hold without naming one of them twice.
    #[error("node {0} maps more keys than its leaves have")]
    Repeated(u64),
    /// The root's height is not its node's, or not the least that reaches the greatest key.
    #[error("the root's height {found} is not {expected}")]
    Height {
        /// Levels that the root claims.
        found: u8,
        /// Levels that its content needs.
        expected: u8,
    },
    /// The root's length is not the number of keys.
    #[error("the root's length {found} is not {expected}")]
    Length {
        /// Keys that the root claims.
        found: u64,
        /// Keys that there are.
        expected: u64,
    },
}

enum Loaded<T> {
    Leaf(Leaf<T>),
    Node(Node<T>),
}

struct Entry<T> {
    node: Loaded<T>,
    /// Keys in the subtree.
    len: u64,
    level: u8,
}

/// Rebuilds dumped maps, with the sharing they had.
pub struct Loader<T> {
    entries: Vec<Entry<T>>,
    /// Values in all leaves fed.
    fed: u64,
    values: Vec<T>,
}

impl<T> Default for Loader<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            fed: 0,
            values: Vec::new(),
        }
    }
}

impl<T: Clone> Loader<T> {
    /// No nodes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes have been fed: the number the next one gets.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether none has been.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Feeds a leaf: bit `s` of the bitmap is slot `s`, the items are by ascending slot.
    ///
    /// # Errors
    /// [`LoadError::Empty`], or [`LoadError::Count`] when the items are not as many as the set bits.
    pub fn leaf(
        &mut self,
        bitmap: u16,
        items: impl IntoIterator<Item = T>,
    ) -> Result<NodeId, LoadError> {
        let id = self.len();
        if bitmap == 0 {
            return Err(LoadError::Empty(id));
        }
        let count = bitmap.count_ones();
        self.values.clear();
        // One more than fits is enough to see that there are too many.
        self.values
            .extend(items.into_iter().take(count as usize + 1));
        if self.values.len() != count as usize {
            return Err(LoadError::Count(id));
        }
        let leaf = Leaf(Packed::new(bitmap, self.values.drain(..)));
        self.fed += u64::from(count);
        self.entries.push(Entry {
            node: Loaded::Leaf(leaf),
            len: u64::from(count),
            level: 0,
        });
        Ok(NodeId(id))
    }

    /// Feeds a branch: bit `s` of the bitmap is slot `s`, the children are by ascending slot.
    ///
    /// # Errors
    /// Every [`LoadError`] but those of roots.
    pub fn branch(&mut self, bitmap: u16, children: &[NodeId]) -> Result<NodeId, LoadError> {
        let id = self.len();
        let Some(&first) = children.first().filter(|_| bitmap != 0) else {
            return Err(LoadError::Empty(id));
        };
        if children.len() != bitmap.count_ones() as usize {
            return Err(LoadError::Count(id));
        }
        let below = self.entry(first)?.level;
        if below >= TOP_LEVEL {
            return Err(LoadError::Level(id));
        }
        let mut len = 0u64;
        for &child in children {
            let child = self.entry(child)?;
            if child.level != below {
                return Err(LoadError::Level(id));
            }
            len = len
                .checked_add(child.len)
                .filter(|&len| len <= self.fed)
                .ok_or(LoadError::Repeated(id))?;
        }
        let node = if below == 0 {
            let leaves = children
                .iter()
                .map(|&child| self.loaded_leaf(child))
                .collect::<Result<Vec<_>, _>>()?;
            Node::Twig(Branch(Packed::new(bitmap, leaves.into_iter())))
        } else {
            let nodes = children
                .iter()
                .map(|&child| self.loaded_node(child))
                .collect::<Result<Vec<_>, _>>()?;
            Node::Inner(Branch(Packed::new(bitmap, nodes.into_iter())))
        };
        self.entries.push(Entry {
            node: Loaded::Node(node),
            len,
            level: below + 1,
        });
        Ok(NodeId(id))
    }

    /// The map that a root names.
    ///
    /// # Errors
    /// [`LoadError::Unknown`], [`LoadError::Height`] or [`LoadError::Length`].
    pub fn root(&self, root: DumpedRoot) -> Result<Radix<T>, LoadError> {
        let Some(id) = root.node else {
            check(root, 0, 0)?;
            return Ok(Radix::new());
        };
        let entry = self.entry(id)?;
        check(root, entry.level + 1, entry.len)?;
        let top = match &entry.node {
            Loaded::Leaf(leaf) => Root::Leaf(leaf.clone()),
            Loaded::Node(node) => Root::from_node(node.clone(), entry.level + 1),
        };
        // A root with nothing but slot 0 would be one level too many. (A leaf has no level to lose.)
        if entry.level > 0 && top.top().is_some_and(|(node, _)| node.bitmap() == 1) {
            return Err(LoadError::Height {
                found: root.height,
                expected: entry.level,
            });
        }
        Ok(Radix {
            root: top,
            len: entry.len,
        })
    }

    fn entry(&self, id: NodeId) -> Result<&Entry<T>, LoadError> {
        usize::try_from(id.0)
            .ok()
            .and_then(|at| self.entries.get(at))
            .ok_or(LoadError::Unknown(id.0))
    }

    fn loaded_leaf(&self, id: NodeId) -> Result<Leaf<T>, LoadError> {
        match &self.entry(id)?.node {
            Loaded::Leaf(leaf) => Ok(leaf.clone()),
            Loaded::Node(_) => Err(LoadError::Level(id.0)),
        }
    }

    fn loaded_node(&self, id: NodeId) -> Result<Node<T>, LoadError> {
        match &self.entry(id)?.node {
            Loaded::Node(node) => Ok(node.clone()),
            Loaded::Leaf(_) => Err(LoadError::Level(id.0)),
        }
    }
}

fn check(root: DumpedRoot, height: u8, len: u64) -> Result<(), LoadError> {
    if root.height != height {
        return Err(LoadError::Height {
            found: root.height,
            expected: height,
        });
    }
    if root.len != len {
        return Err(LoadError::Length {
            found: root.len,
            expected: len,
        });
    }
    Ok(())
}
