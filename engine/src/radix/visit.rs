//! All leaves of many maps, each once, however many maps share it: what marking needs. The order is nobody's business.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::Radix;
use super::node::{Inner, Leaf, Node, Root, Twig};
use super::packed::Packed;

/// The shared nodes that were met, by where they lie in memory. Good for only as long as every map visited with it is alive and unchanged.
#[derive(Debug, Default)]
pub struct MetNodes(HashSet<usize, BuildHasherDefault<AddressHasher>>);

impl MetNodes {
    /// Nothing met yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes something shared that is no node, by where it lies in memory; says whether it is new.
    pub fn is_new(&mut self, address: usize) -> bool {
        self.0.insert(address)
    }

    /// Says whether to go into a node. What nobody else holds is met through its one holder only, and need not be remembered: of most trees
    /// that is nearly everything.
    #[inline]
    fn enter<C>(&mut self, node: &Packed<C>) -> bool {
        !node.is_shared() || self.0.insert(node.address())
    }
}

impl<T> Radix<T> {
    /// Calls `visit` with the values of every leaf that is met for the first time.
    pub fn visit_new<'a>(&'a self, met: &mut MetNodes, visit: &mut impl FnMut(&'a [T])) {
        match &self.root {
            Root::Empty => {}
            Root::Leaf(leaf) => visit_leaf(leaf, met, visit),
            Root::Twig(twig) => visit_twig(twig, met, visit),
            Root::Inner { node, .. } => visit_inner(node, met, visit),
        }
    }
}

#[inline]
fn visit_leaf<'a, T>(leaf: &'a Leaf<T>, met: &mut MetNodes, visit: &mut impl FnMut(&'a [T])) {
    if met.enter(&leaf.0) {
        visit(leaf.0.children());
    }
}

fn visit_twig<'a, T>(twig: &'a Twig<T>, met: &mut MetNodes, visit: &mut impl FnMut(&'a [T])) {
    if met.enter(&twig.0) {
        for leaf in twig.0.children() {
            visit_leaf(leaf, met, visit);
        }
    }
}

/// At most fourteen calls deep.
fn visit_inner<'a, T>(inner: &'a Inner<T>, met: &mut MetNodes, visit: &mut impl FnMut(&'a [T])) {
    if met.enter(&inner.0) {
        for child in inner.0.children() {
            match child {
                Node::Twig(twig) => visit_twig(twig, met, visit),
                Node::Inner(inner) => visit_inner(inner, met, visit),
            }
        }
    }
}

/// Addresses differ in their middle bits: one multiplication spreads them.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    #[inline]
    fn write_usize(&mut self, address: usize) {
        let mixed = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_visited_once_whoever_shares_it() {
        let mut first: Radix<u64> = (0..10_000).map(|key| (key * 7, key)).collect();
        let second = first.clone();
        first.insert(7, 1_000_000);
        let alone: Radix<u64> = [(u64::MAX, 2_000_000)].into_iter().collect();
        let (mut met, mut seen) = (MetNodes::new(), Vec::new());
        for map in [&first, &second, &alone] {
            map.visit_new(&mut met, &mut |values| seen.extend_from_slice(values));
        }
        // One leaf was copied: what it shares with the other is there twice. What nobody shares is not remembered.
        let twice = first.range(0, 15).count() - 1;
        assert_eq!(seen.len(), 10_000 + 1 + twice + 1);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10_002);
        Radix::<u64>::new().visit_new(&mut met, &mut |_| panic!("there is no leaf"));
    }
}
