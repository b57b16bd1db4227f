//! The way out: every node of many maps written once, children before parents.

use std::collections::HashMap;

use super::Radix;
use super::packed::BITS;
use super::root::NodeRef;

/// A written node's number. A sink numbers its nodes 0, 1, 2 … in the order it is given them, leaves and branches
/// alike: this is how [`Loader`](super::Loader) will count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Takes the nodes of dumped maps.
pub trait NodeSink<T> {
    /// What can go wrong in writing.
    type Error;

    /// A leaf: 1 to 16 entries by ascending slot (0 to 15, the low four bits of the key).
    ///
    /// # Errors
    /// Whatever writing meets; the dump stops there.
    fn leaf(&mut self, entries: &[(u8, &T)]) -> Result<NodeId, Self::Error>;

    /// A branch: 1 to 16 children by ascending slot, all of them written before.
    ///
    /// # Errors
    /// Whatever writing meets; the dump stops there.
    fn branch(&mut self, children: &[(u8, NodeId)]) -> Result<NodeId, Self::Error>;
}

/// The nodes a sink already has, by where they lie in memory. One of these belongs to one sink, and is good for only
/// as long as every map dumped with it is alive: a dropped node's place can be taken by another.
#[derive(Debug, Default)]
pub struct SeenNodes {
    ids: HashMap<usize, NodeId>,
}

impl SeenNodes {
    /// Nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes have been written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What names one map in a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpedRoot {
    /// The root node; `None` for an empty map.
    pub node: Option<NodeId>,
    /// Levels: 0 for an empty map, 1 for a leaf, 16 at most.
    pub height: u8,
    /// Keys mapped.
    pub len: u64,
}

/// A branch whose children are being written; the ids it has so far start at `ids_from` in the shared list.
struct Frame<'a, T> {
    node: NodeRef<'a, T>,
    own_slot: u8,
    slots: u16,
    ids_from: usize,
}

impl<T: Clone> Radix<T> {
    /// Writes the nodes that the sink does not have yet, children first, and gives the map's name.
    ///
    /// # Errors
    /// The sink's. What it took until then stays noted in `seen`.
    pub fn dump<S: NodeSink<T>>(
        &self,
        seen: &mut SeenNodes,
        sink: &mut S,
    ) -> Result<DumpedRoot, S::Error> {
        let height = self.root.height();
        let Some((top, _)) = self.root.top() else {
            return Ok(DumpedRoot {
                node: None,
                height,
                len: 0,
            });
        };
        let mut path = Vec::new();
        let mut ids = Vec::new();
        let mut entries = Vec::new();
        let mut next = Some((top, 0));
        loop {
            if let Some((node, slot)) = next.take() {
                if let Some(&id) = seen.ids.get(&node.address()) {
                    ids.push((slot, id));
                } else if let NodeRef::Leaf(leaf) = node {
                    entries.clear();
                    entries.extend(slots_of(node.bitmap()).zip(leaf.0.children()));
                    let id = sink.leaf(&entries)?;
                    seen.ids.insert(node.address(), id);
                    ids.push((slot, id));
                } else {
                    path.push(Frame {
                        node,
                        own_slot: slot,
                        slots: node.bitmap(),
                        ids_from: ids.len(),
                    });
                }
            }
            let Some(frame) = path.last_mut() else { break };
            if frame.slots != 0 {
                let slot = frame.slots.trailing_zeros();
                frame.slots &= frame.slots - 1;
                next = frame.node.child(slot).map(|child| (child, slot as u8));
                continue;
            }
            let id = sink.branch(&ids[frame.ids_from..])?;
            seen.ids.insert(frame.node.address(), id);
            ids.truncate(frame.ids_from);
            ids.push((frame.own_slot, id));
            path.pop();
        }
        Ok(DumpedRoot {
            node: ids.first().map(|&(_, id)| id),
            height,
            len: self.len,
        })
    }
}

/// The slots present, ascending.
fn slots_of(bitmap: u16) -> impl Iterator<Item = u8> {
    (0..1u8 << BITS).filter(move |slot| bitmap & (1 << slot) != 0)
}
