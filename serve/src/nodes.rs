//! The numbers by which the kernel knows files, and how often it has been told each: what it holds, and nothing else, is remembered.
//!
//! A node's number is `view << 48 | inode`. View 0 is the mount's own tree, whose root is 1; the others were opened through `.strand/`
//! and are let go when the kernel has forgotten their last node.

use crate::mounted::Attr;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strand_engine::{Fileset, Ino, Lease, Source, reaper};

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
    /// How often another tree was put under the mount.
    swaps: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<u64, Known>,
    views: HashMap<u16, View>,
    by_source: HashMap<Source, u16>,
    last: u16,
    entries: u64,
}

#[derive(Debug, Default)]
struct Known {
    lookups: u64,
    /// How often the tree had been swapped when the kernel was told of its attributes last.
    seen: u64,
    /// How often it had been swapped when the kernel was made to ask for them: what it asked before that it may not have heeded.
    asked: u64,
    /// What an inode was when its last name went, for those who still hold it without having it open.
    gone: Option<Box<Attr>>,
}

/// A view that nobody looks at any more.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) source: Source,
    pub(crate) tree: Fileset,
    /// The names by which it was entered, where the kernel was not told yet to forget them.
    pub(crate) names: Vec<Vec<u8>>,
    /// Where it was: the nodes that it knows all the same, as somebody was inside then.
    pub(crate) known: HashSet<u64>,
}

#[derive(Debug)]
struct View {
    source: Source,
    tree: Fileset,
    /// Keeps what it shows readable.
    _lease: Option<Lease>,
    /// The names under `.strand` or `.strand/at` by which it was entered, while it should stay.
    names: Vec<Vec<u8>>,
    /// When it was entered last, in entries.
    entered: u64,
    /// When the kernel asked for anything in it last.
    looked: Instant,
    /// Nodes of it that the kernel knows.
    nodes: u64,
}

impl View {
    fn is_position(&self) -> bool {
        matches!(self.source, Source::Position(..))
    }
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often another tree was put under the mount. Whoever tells the kernel attributes asks before he looks at them.
    pub(crate) fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Acquire)
    }

    /// Another tree is under the mount. Nobody is inside.
    pub(crate) fn swapped(&self) {
        self.swaps.fetch_add(1, Ordering::AcqRel);
    }

    /// The kernel was told a node once more, as it was after so many swaps.
    pub(crate) fn learn(&self, node: u64, swaps: u64) {
        self.lock().learn(node, swaps);
    }

    /// The kernel was told a node's attributes, as they were after so many swaps.
    pub(crate) fn refresh(&self, node: u64, swaps: u64) {
        if swaps > 0
            && let Some(known) = self.lock().known.get_mut(&node)
        {
            known.told(swaps);
        }
    }

    /// The kernel is made to ask for a node's attributes.
    pub(crate) fn ask(&self, node: u64) {
        let swaps = self.swaps();
        if let Some(known) = self.lock().known.get_mut(&node) {
            known.asked = swaps;
        }
    }

    /// The kernel turned out to remember another size than a node has.
    pub(crate) fn doubt(&self, node: u64) {
        if let Some(known) = self.lock().known.get_mut(&node) {
            known.seen = 0;
            known.asked = 0;
        }
    }

    /// Says whether the kernel knows the size that a node has since the last swap: else who appends would do so at the old one.
    pub(crate) fn is_fresh(&self, node: u64) -> bool {
        let swaps = self.swaps();
        swaps == 0
            || self
                .lock()
                .known
                .get(&node)
                .is_some_and(|k| k.seen >= swaps)
    }

    /// How many positions are open as views, and how many blocks they map together.
    pub(crate) fn positions(&self) -> (usize, u64) {
        let inner = self.lock();
        let positions = inner.views.values().filter(|view| view.is_position());
        positions.fold((0, 0), |(count, blocks), view| {
            (count + 1, blocks.saturating_add(view.tree.blocks))
        })
    }

    /// Where more positions are open than there should be, or they map more blocks together, the names of the one entered longest ago, but never of the
    /// last one; each is given once.
    pub(crate) fn crowded_out(&self, most: usize, blocks: u64) -> Vec<Vec<u8>> {
        let mut inner = self.lock();
        let mut staying: Vec<&mut View> = inner
            .views
            .values_mut()
            .filter(|view| view.is_position() && !view.names.is_empty())
            .collect();
        let mapped = staying
            .iter()
            .fold(0, |sum: u64, view| sum.saturating_add(view.tree.blocks));
        if staying.len() < 2 || (staying.len() <= most && mapped <= blocks) {
            return Vec::new();
        }
        staying.sort_unstable_by_key(|view| view.entered);
        std::mem::take(&mut staying[0].names)
    }

    /// The views that nobody has looked at for so long; each is given once in that time.
    pub(crate) fn idle(&self, so_long: Duration) -> Vec<Idle> {
        let inner = &mut *self.lock();
        let views = inner.views.iter_mut();
        let idle = views.filter(|(_, view)| view.looked.elapsed() >= so_long);
        idle.map(|(slot, view)| {
            view.looked = Instant::now();
            let names = std::mem::take(&mut view.names);
            let known = inner.known.keys().copied();
            Idle {
                source: view.source,
                tree: view.tree.clone(),
                known: match names.is_empty() {
                    true => known.filter(|node| parts(*node).0 == *slot).collect(),
                    false => HashSet::new(),
                },
                names,
            }
        })
        .collect()
    }

    /// The kernel forgot everything.
    pub(crate) fn end(&self) {
        let inner = std::mem::take(&mut *self.lock());
        for view in inner.views.into_values() {
            reaper::let_go(view, |view| &view.tree);
        }
    }

    /// The kernel forgot a node so many times.
    pub(crate) fn forget(&self, node: u64, times: u64) {
        let ended = self.lock().forget(node, times);
        // Without the lock that every request of the mount needs, and not by one of its threads where it takes long.
        if let Some(view) = ended {
            reaper::let_go(view, |view| &view.tree);
        }
    }

    /// The tree of a view opened through `.strand/`.
    pub(crate) fn tree(&self, slot: u16) -> Option<Fileset> {
        let mut inner = self.lock();
        let view = inner.views.get_mut(&slot)?;
        view.looked = Instant::now();
        Some(view.tree.clone())
    }

    /// The view of a source, if it is open, with its root's number told to the kernel once more under a name.
    pub(crate) fn enter_open(&self, source: Source, name: &[u8]) -> Option<(u64, Fileset)> {
        let inner = &mut *self.lock();
        let slot = *inner.by_source.get(&source)?;
        inner.entries += 1;
        let view = inner.views.get_mut(&slot)?;
        view.entered = inner.entries;
        view.looked = Instant::now();
        if !view.names.iter().any(|known| known == name) {
            view.names.push(name.to_owned());
        }
        let tree = view.tree.clone();
        let root = node(slot, tree.root);
        inner.learn(root, 0);
        Some((root, tree))
    }

    /// Opens a view, or finds it again; its root's number is told to the kernel once more. `None` where there are too many.
    pub(crate) fn enter(
        &self,
        source: Source,
        tree: Fileset,
        name: &[u8],
        lease: Option<Lease>,
    ) -> Option<u64> {
        if let Some((root, _)) = self.enter_open(source, name) {
            return Some(root);
        }
        let mut inner = self.lock();
        let slot = (1..VIRTUAL)
            .map(|i| (inner.last + i - 1) % (VIRTUAL - 1) + 1)
            .find(|slot| !inner.views.contains_key(slot))?;
        inner.last = slot;
        let root = node(slot, tree.root);
        inner.entries += 1;
        let view = View {
            source,
            tree,
            _lease: lease,
            names: vec![name.to_owned()],
            entered: inner.entries,
            looked: Instant::now(),
            nodes: 0,
        };
        inner.views.insert(slot, view);
        inner.by_source.insert(source, slot);
        inner.learn(root, 0);
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

impl Known {
    fn told(&mut self, swaps: u64) {
        if self.asked >= swaps {
            self.seen = self.seen.max(swaps);
        }
    }
}

impl Inner {
    /// Gives the view that nobody is in any more, if that was its last node.
    fn forget(&mut self, node: u64, times: u64) -> Option<View> {
        let known = self.known.get_mut(&node)?;
        known.lookups = known.lookups.saturating_sub(times);
        if known.lookups > 0 {
            return None;
        }
        self.known.remove(&node);
        let (slot, _) = parts(node);
        let view = self.views.get_mut(&slot)?;
        view.nodes -= 1;
        if view.nodes > 0 {
            return None;
        }
        let view = self.views.remove(&slot)?;
        self.by_source.remove(&view.source);
        Some(view)
    }

    fn learn(&mut self, node: u64, swaps: u64) {
        let known = self.known.entry(node).or_default();
        known.lookups += 1;
        if known.lookups == 1 {
            known.seen = swaps; // the kernel knew nothing before
        }
        known.told(swaps);
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
    use strand_engine::{CheckpointId, VolumeId};

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
        let root = nodes.enter(source, tree(3), b"a", None).unwrap();
        assert_eq!(nodes.enter(source, tree(3), b"a", None), Some(root));
        let (slot, ino) = parts(root);
        assert_eq!(ino, Ino(3));
        let child = node(slot, Ino(9));
        nodes.learn(child, 0);
        nodes.forget(root, 2);
        assert!(nodes.tree(slot).is_some());
        nodes.forget(child, 1);
        assert!(nodes.tree(slot).is_none());
        assert!(nodes.enter_open(source, b"a").is_none());
        assert_eq!(nodes.len(), 0);
    }

    #[test]
    fn lookups_are_counted_exactly() {
        let nodes = Nodes::default();
        nodes.learn(5, 0);
        nodes.learn(5, 0);
        nodes.forget(5, 1);
        assert_eq!(nodes.len(), 1);
        nodes.forget(5, 1);
        assert_eq!(nodes.len(), 0);
        nodes.forget(5, 1);
    }

    #[test]
    fn the_position_entered_longest_ago_is_crowded_out_once() {
        let nodes = Nodes::default();
        for seq in 0..3 {
            let name = [b'0' + u8::try_from(seq).unwrap()];
            let source = Source::Position(VolumeId(1), seq);
            nodes.enter(source, tree(3), &name, None).unwrap();
        }
        nodes.enter_open(Source::Position(VolumeId(1), 0), b"again");
        assert_eq!(nodes.positions(), (3, 0));
        assert!(nodes.crowded_out(3, 0).is_empty());
        assert_eq!(nodes.crowded_out(2, 0), [b"1"]);
        assert!(nodes.crowded_out(2, 0).is_empty(), "two stay");
        assert_eq!(nodes.crowded_out(1, 0), [b"2"]);
        assert!(nodes.crowded_out(0, 0).is_empty(), "one stays always");
        assert_eq!(nodes.positions(), (3, 0), "until the kernel has let go");
    }

    #[test]
    fn positions_that_map_much_are_crowded_out_though_they_are_few() {
        let nodes = Nodes::default();
        for (seq, blocks) in [(1, 10), (2, 20), (3, 30)] {
            let tree = Fileset { blocks, ..tree(3) };
            let source = Source::Position(VolumeId(1), seq);
            nodes
                .enter(source, tree, &[b'0' + seq as u8], None)
                .unwrap();
        }
        assert_eq!(nodes.positions(), (3, 60));
        assert!(nodes.crowded_out(16, 60).is_empty());
        assert_eq!(nodes.crowded_out(16, 59), [b"1"]);
        assert!(nodes.crowded_out(16, 50).is_empty());
        assert_eq!(nodes.crowded_out(16, 1), [b"2"]);
        assert!(nodes.crowded_out(16, 1).is_empty(), "one stays always");
    }

    #[test]
    fn what_nobody_looks_at_is_idle_once() {
        let nodes = Nodes::default();
        let (monday, seven) = (
            Source::Checkpoint(VolumeId(1), CheckpointId(2)),
            Source::Position(VolumeId(1), 7),
        );
        let root = nodes.enter(monday, tree(3), b"monday", None).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        nodes.enter(seven, tree(3), b"seq:7", None).unwrap();
        let so_long = Duration::from_millis(20);
        let idle = nodes.idle(so_long);
        assert_eq!((idle.len(), idle[0].source), (1, monday));
        assert_eq!((idle[0].names.len(), idle[0].known.len()), (1, 0));
        assert!(nodes.idle(so_long).is_empty());
        // Whoever is inside stays, and may come in again.
        assert!(nodes.tree(parts(root).0).is_some());
        let again = nodes.idle(Duration::ZERO);
        let monday = again.iter().find(|idle| idle.source == monday).unwrap();
        assert!(monday.names.is_empty() && monday.known == HashSet::from([root]));
        nodes.enter_open(monday.source, b"monday");
        assert!(nodes.idle(so_long).is_empty());
    }

    #[test]
    fn a_node_is_fresh_when_it_was_told_after_the_last_swap() {
        let nodes = Nodes::default();
        nodes.learn(5, nodes.swaps());
        assert!(nodes.is_fresh(5));
        let before = nodes.swaps();
        nodes.swapped();
        nodes.refresh(5, before);
        assert!(!nodes.is_fresh(5));
        nodes.refresh(5, nodes.swaps());
        assert!(!nodes.is_fresh(5), "asked before the kernel had dropped it");
        nodes.ask(5);
        nodes.refresh(5, nodes.swaps());
        assert!(nodes.is_fresh(5));
    }
}
