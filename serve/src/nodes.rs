//! The numbers by which the kernel knows files, and how often it has been told each: what it holds, and nothing else, is remembered.
//!
//! A node's number is `view << 48 | inode`. View 0 is the mount's own tree, whose root is 1; the others were opened through `.strand/`
//! and are let go when the kernel has forgotten their last node.

use crate::mounted::Attr;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strand_engine::{Fileset, Ino, Source};

/// The root of every mount, by the kernel's convention.
pub(crate) const ROOT: u64 = 1;
/// The view that is the mount's own tree.
pub(crate) const OWN: u16 = 0;
/// The view that holds the directories `.strand` and `.strand/at` themselves.
pub(crate) const VIRTUAL: u16 = 0x7FFF;
const SHIFT: u32 = 48;

/// The number of an inode of a view.
pub(crate) fn node(view: u16, ino: Ino) -> u64 {
    u64::from(view) << SHIFT | ino.0
}

/// The view and the inode of a number.
pub(crate) fn parts(node: u64) -> (u16, Ino) {
    let view = (node >> SHIFT) as u16;
    (view, Ino(node & ((1 << SHIFT) - 1)))
}

/// What the kernel holds.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<u64, Known>,
    views: HashMap<u16, View>,
    by_source: HashMap<Source, u16>,
    last: u16,
}

#[derive(Debug, Default)]
struct Known {
    lookups: u64,
    /// What an inode was when its last name went, for those who still hold it without having it open.
    gone: Option<Box<Attr>>,
}

#[derive(Debug)]
struct View {
    source: Source,
    tree: Fileset,
    /// Nodes of it that the kernel knows.
    nodes: u64,
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel was told a node once more.
    pub(crate) fn learn(&self, node: u64) {
        self.lock().learn(node);
    }

    /// The kernel forgot a node so many times.
    pub(crate) fn forget(&self, node: u64, times: u64) {
        let inner = &mut *self.lock();
        let Some(known) = inner.known.get_mut(&node) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups > 0 {
            return;
        }
        inner.known.remove(&node);
        let (slot, _) = parts(node);
        if let Some(view) = inner.views.get_mut(&slot) {
            view.nodes -= 1;
            if view.nodes == 0
                && let Some(view) = inner.views.remove(&slot)
            {
                inner.by_source.remove(&view.source);
            }
        }
    }

    /// The tree of a view opened through `.strand/`.
    pub(crate) fn tree(&self, slot: u16) -> Option<Fileset> {
        Some(self.lock().views.get(&slot)?.tree.clone())
    }

    /// The view of a source, if it is open, with its root's number told to the kernel once more.
    pub(crate) fn enter_open(&self, source: Source) -> Option<(u64, Fileset)> {
        let mut inner = self.lock();
        let slot = *inner.by_source.get(&source)?;
        let tree = inner.views.get(&slot)?.tree.clone();
        let root = node(slot, tree.root);
        inner.learn(root);
        Some((root, tree))
    }

    /// Opens a view, or finds it again; its root's number is told to the kernel once more. `None` where there are too many.
    pub(crate) fn enter(&self, source: Source, tree: Fileset) -> Option<u64> {
        if let Some((root, _)) = self.enter_open(source) {
            return Some(root);
        }
        let mut inner = self.lock();
        let slot = (1..VIRTUAL)
            .map(|i| (inner.last + i - 1) % (VIRTUAL - 1) + 1)
            .find(|slot| !inner.views.contains_key(slot))?;
        inner.last = slot;
        let root = node(slot, tree.root);
        let view = View {
            source,
            tree,
            nodes: 0,
        };
        inner.views.insert(slot, view);
        inner.by_source.insert(source, slot);
        inner.learn(root);
        Some(root)
    }

    /// Remembers what an inode was, if the kernel holds it.
    pub(crate) fn bury(&self, node: u64, attr: Attr) {
        if let Some(known) = self.lock().known.get_mut(&node) {
            known.gone = Some(Box::new(attr));
        }
    }

    /// What an inode was whose last name went.
    pub(crate) fn gone(&self, node: u64) -> Option<Attr> {
        self.lock().known.get(&node)?.gone.as_deref().copied()
    }

    /// The nodes of the mount's own tree that the kernel holds, besides the root, in ascending order.
    pub(crate) fn own(&self) -> Vec<Ino> {
        let mut own: Vec<Ino> = self
            .lock()
            .known
            .keys()
            .map(|node| parts(*node))
            .filter(|(slot, _)| *slot == OWN)
            .map(|(_, ino)| ino)
            .collect();
        own.sort_unstable();
        own
    }

    /// How many nodes the kernel holds.
    pub(crate) fn len(&self) -> usize {
        self.lock().known.len()
    }
}

impl Inner {
    fn learn(&mut self, node: u64) {
        let known = self.known.entry(node).or_default();
        known.lookups += 1;
        if known.lookups == 1
            && let Some(view) = self.views.get_mut(&parts(node).0)
        {
            view.nodes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strand_engine::VolumeId;

    fn tree(root: u64) -> Fileset {
        Fileset {
            root: Ino(root),
            ..Fileset::default()
        }
    }

    #[test]
    fn a_view_goes_with_its_last_node() {
        let nodes = Nodes::default();
        let source = Source::Position(VolumeId(1), 7);
        let root = nodes.enter(source, tree(3)).unwrap();
        assert_eq!(nodes.enter(source, tree(3)), Some(root));
        let (slot, ino) = parts(root);
        assert_eq!(ino, Ino(3));
        let child = node(slot, Ino(9));
        nodes.learn(child);
        nodes.forget(root, 2);
        assert!(nodes.tree(slot).is_some());
        nodes.forget(child, 1);
        assert!(nodes.tree(slot).is_none());
        assert!(nodes.enter_open(source).is_none());
        assert_eq!(nodes.len(), 0);
    }

    #[test]
    fn lookups_are_counted_exactly() {
        let nodes = Nodes::default();
        nodes.learn(5);
        nodes.learn(5);
        nodes.forget(5, 1);
        assert_eq!(nodes.len(), 1);
        nodes.forget(5, 1);
        assert_eq!(nodes.len(), 0);
        nodes.forget(5, 1);
    }
}
