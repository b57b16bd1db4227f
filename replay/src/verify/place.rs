//! Whose block it is: the names for a damaged block, and the trees that show it.

use crate::log::Labels;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::{Fileset, Ino, State, VolumeId};

/// The trees of a state, searched for some addresses.
pub(crate) struct Trees {
    labels: RefCell<Labels>,
    shown: BTreeMap<u64, Vec<String>>,
}

impl Trees {
    /// Walks every root for the addresses given.
    pub(crate) fn showing(state: &State, addresses: impl Iterator<Item = u64>) -> Self {
        let wanted: BTreeSet<u64> = addresses.collect();
        let mut shown: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for volume in state.volumes.values() {
            note(&volume.live, &wanted, &volume.name, &mut shown);
            for (id, image) in volume.images.iter().rev() {
                let name = state
                    .checkpoints
                    .get(id)
                    .map_or_else(|| id.to_string(), |c| c.name.to_string());
                note(
                    &image.root,
                    &wanted,
                    &format!("{}@{name}", volume.name),
                    &mut shown,
                );
            }
        }
        Self {
            labels: RefCell::new(Labels::new(state.clone())),
            shown,
        }
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

fn note(
    tree: &Fileset,
    wanted: &BTreeSet<u64>,
    name: &str,
    shown: &mut BTreeMap<u64, Vec<String>>,
) {
    let files = tree.inodes.iter().filter_map(|(_, inode)| inode.file());
    for (_, version) in files.flat_map(|file| file.map.iter()) {
        let address = version.addr().0;
        if wanted.contains(&address) {
            let names = shown.entry(address).or_default();
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
    }
}
