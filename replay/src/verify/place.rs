//! Whose block it is: the names for a damaged block, and the trees that show it.

use super::data::Of;
use crate::log::Labels;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::{Fileset, Ino, State, VolumeId};

/// The trees of a state, searched for some addresses.
pub(crate) struct Trees {
    labels: RefCell<Labels>,
    shown: BTreeMap<u64, Vec<String>>,
    /// The first place found of each.
    places: BTreeMap<u64, Of>,
}

impl Trees {
    /// Walks every root for the addresses given.
    pub(crate) fn showing(state: &State, addresses: impl Iterator<Item = u64>) -> Self {
        let wanted: BTreeSet<u64> = addresses.collect();
        let mut found = Self {
            labels: RefCell::new(Labels::new(state.clone())),
            shown: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        for volume in state.volumes.values() {
            found.note(&volume.live, &wanted, volume.id, &volume.name);
            for (id, image) in volume.images.iter().rev() {
                let name = state
                    .checkpoints
                    .get(id)
                    .map_or_else(|| id.to_string(), |c| c.name.to_string());
                let name = format!("{}@{name}", volume.name);
                found.note(&image.root, &wanted, volume.id, &name);
            }
        }
        found
    }

    fn note(&mut self, tree: &Fileset, wanted: &BTreeSet<u64>, volume: VolumeId, name: &str) {
        for (ino, inode) in tree.inodes.iter() {
            let blocks = inode.file().into_iter().flat_map(|file| file.map.iter());
            for (block, version) in blocks {
                let address = version.addr().0;
                if !wanted.contains(&address) {
                    continue;
                }
                let names = self.shown.entry(address).or_default();
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
                let ino = Ino(ino);
                let of = Of { volume, ino, block };
                self.places.entry(address).or_insert(of);
            }
        }
    }

    /// Where a tree shows a version.
    pub(crate) fn first_place(&self, birth: u64) -> Option<Of> {
        self.places.get(&birth).copied()
    }

    pub(crate) fn volume(&self, id: VolumeId) -> String {
        self.labels.borrow().volume(id)
    }

    pub(crate) fn file(&self, volume: VolumeId, ino: Ino) -> String {
        self.labels.borrow_mut().file(volume, ino)
    }

    pub(crate) fn shown_by(&self, address: u64) -> Vec<String> {
        self.shown.get(&address).cloned().unwrap_or_default()
    }
}
