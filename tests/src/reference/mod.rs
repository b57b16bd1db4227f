//! A naive reference for the whole engine: it shares no type with it and copies everything.
//!
//! A checkpoint is a deep copy of a tree, a rollback copies it back, ownership and liveness are counted by looking at every
//! copy. What must not live here: anything clever.

mod admin;
mod content;
mod names;
mod quota;
mod restore;
mod space;
mod tree;
mod undo;

pub use admin::Source;
pub use names::Rename;
pub use quota::{Bites, Quota};
pub use restore::{Delete, FileRollback};
pub use tree::{BLOCK, Block, Ino, Kind, Node, Tree, Version};
pub use undo::{Change, What};

use std::collections::{BTreeMap, BTreeSet};

/// The stable name of a refusal's kind.
pub type Refused = &'static str;

/// A volume's number.
pub type VolumeNumber = u32;

/// A checkpoint's number.
pub type CheckpointNumber = u32;

/// A position.
pub type Position = u64;

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The live tree.
    pub live: Tree,
    /// What checkpoints keep.
    pub images: BTreeMap<CheckpointNumber, Tree>,
    /// What removed checkpoints kept.
    pub removed_images: BTreeMap<CheckpointNumber, Tree>,
    /// Checkpoints that keep nothing of what changes, removed ones among them: their trees stand here to be walked and compared.
    pub nodata: BTreeSet<CheckpointNumber>,
    /// What a clone started from.
    pub origin: Option<Tree>,
    /// Limits of what its checkpoints own together.
    pub quota: Quota,
    /// The first position that can still be viewed.
    pub history: Position,
}

impl Volume {
    /// Says whether a checkpoint that is there keeps nothing.
    fn gave_up(&self, checkpoint: CheckpointNumber) -> bool {
        self.images.contains_key(&checkpoint) && self.nodata.contains(&checkpoint)
    }
}

/// A checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Its name.
    pub name: String,
    /// Its members.
    pub volumes: Vec<VolumeNumber>,
    /// May be given up.
    pub removable: bool,
    /// Cannot be read.
    pub nomount: bool,
    /// Cannot be removed.
    pub held: bool,
}

/// The reference store.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// Volumes.
    pub volumes: BTreeMap<VolumeNumber, Volume>,
    /// Removed ones that undo brings back.
    pub removed_volumes: BTreeMap<VolumeNumber, Volume>,
    /// Checkpoints.
    pub checkpoints: BTreeMap<CheckpointNumber, Checkpoint>,
    /// Removed ones that undo brings back.
    pub removed_checkpoints: BTreeMap<CheckpointNumber, Checkpoint>,
    /// Live trees at some positions.
    pub history: BTreeMap<Position, BTreeMap<VolumeNumber, Tree>>,
    /// Administrative changes, oldest first.
    pub changes: Vec<Change>,
    /// Open handles.
    pub handles: BTreeMap<(VolumeNumber, Ino), u32>,
    /// Set by the lock-step where the engine found something to restore: it may be nothing but times, which are not kept here.
    pub times_differ: bool,
    /// Set by the lock-step: what the books say is used, in blocks, where bulk movements wait to be counted.
    pub books: BTreeMap<VolumeNumber, u64>,
    /// What is read by whom: nothing of it is pulled away.
    pub leases: Vec<Source>,
    /// Volumes of which checkpoints are taken by the clock.
    pub scheduled: BTreeSet<VolumeNumber>,
    /// How often quotas bit.
    pub bites: Bites,
    /// The most blocks of one command: a longer write is several, cut where they lie in the file.
    write_blocks: u64,
    next_ino: Ino,
    next_version: Version,
    next_volume: VolumeNumber,
    next_checkpoint: CheckpointNumber,
}

impl Reference {
    /// An empty store, in which a longer write than so many blocks is several commands.
    #[must_use]
    pub fn new(write_blocks: u64) -> Self {
        Self {
            write_blocks,
            next_ino: 1,
            next_version: 1,
            next_volume: 1,
            next_checkpoint: 1,
            ..Self::default()
        }
    }

    fn new_ino(&mut self) -> Ino {
        self.next_ino += 1;
        self.next_ino - 1
    }

    /// The volume.
    ///
    /// # Errors
    /// `not-found`.
    pub fn volume(&self, volume: VolumeNumber) -> Result<&Volume, Refused> {
        self.volumes.get(&volume).ok_or("not-found")
    }

    fn volume_mut(&mut self, volume: VolumeNumber) -> Result<&mut Volume, Refused> {
        self.volumes.get_mut(&volume).ok_or("not-found")
    }

    fn live(&mut self, volume: VolumeNumber) -> Result<&mut Tree, Refused> {
        Ok(&mut self.volume_mut(volume)?.live)
    }

    fn node(&mut self, volume: VolumeNumber, ino: Ino) -> Result<&mut Node, Refused> {
        self.live(volume)?.nodes.get_mut(&ino).ok_or("not-found")
    }

    fn is_open(&self, volume: VolumeNumber, ino: Ino) -> bool {
        self.handles.contains_key(&(volume, ino))
    }

    /// Ownership of a volume's checkpoints, counted: versions that the image maps, and neither live nor a newer image does. A nodata checkpoint
    /// owns nothing, and takes nothing from the others.
    #[must_use]
    pub fn owned(volume: &Volume) -> BTreeMap<CheckpointNumber, u64> {
        let mut newer: BTreeSet<Version> = volume.live.versions();
        let mut owned = BTreeMap::new();
        for (checkpoint, image) in volume.images.iter().rev() {
            if volume.nodata.contains(checkpoint) {
                owned.insert(*checkpoint, 0);
                continue;
            }
            let versions = image.versions();
            owned.insert(*checkpoint, versions.difference(&newer).count() as u64);
            newer.extend(versions);
        }
        owned
    }

    /// What nodata checkpoints mark, counted: versions that they saw, and neither live nor any newer image does.
    #[must_use]
    pub fn marked(volume: &Volume) -> BTreeMap<CheckpointNumber, u64> {
        let mut newer: BTreeSet<Version> = volume.live.versions();
        let mut marked = BTreeMap::new();
        for (checkpoint, image) in volume.images.iter().rev() {
            let versions = image.versions();
            if volume.nodata.contains(checkpoint) {
                marked.insert(*checkpoint, versions.difference(&newer).count() as u64);
            }
            newer.extend(versions);
        }
        marked
    }

    /// Every version that any root of the store keeps: live trees, images with data, what clones started from, what undo can bring back.
    #[must_use]
    pub fn living(&self) -> BTreeSet<Version> {
        let mut living = BTreeSet::new();
        for volume in self.volumes.values().chain(self.removed_volumes.values()) {
            living.extend(volume.live.versions());
            living.extend(volume.origin.iter().flat_map(Tree::versions));
            let images = volume.images.iter().chain(&volume.removed_images);
            let kept = images.filter(|(checkpoint, _)| !volume.nodata.contains(checkpoint));
            living.extend(kept.flat_map(|(_, image)| image.versions()));
        }
        living
    }

    /// Keeps the live trees of this moment as the position's view.
    pub fn remember(&mut self, position: Position) {
        self.history.insert(
            position,
            self.volumes
                .iter()
                .map(|(n, v)| (*n, v.live.clone()))
                .collect(),
        );
    }

    /// What an ending of the process does: handles are gone, and with them what only they kept, one file after the other in the order of
    /// the engine's numbers.
    pub fn reopened(&mut self, number: &dyn Fn(Ino) -> u64) {
        self.handles.clear();
        let volumes: Vec<VolumeNumber> = self.volumes.keys().copied().collect();
        for volume in volumes {
            let mut orphans: Vec<Ino> =
                self.volumes[&volume].live.orphans.iter().copied().collect();
            orphans.sort_by_key(|ino| number(*ino));
            for orphan in orphans {
                let dropped = self.drop_orphan(volume, orphan);
                dropped.expect("nothing refuses that");
            }
        }
    }
}
