//! Volumes, clones, checkpoints and rollbacks of whole volumes.

use super::quota::Quota;
use super::tree::Tree;
use super::undo::{Change, What};
use super::{Checkpoint, CheckpointNumber, Position, Reference, Refused, Volume, VolumeNumber};
use std::collections::{BTreeMap, BTreeSet};

/// Where an image comes from.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A live volume.
    Live(VolumeNumber),
    /// An image.
    Checkpoint(VolumeNumber, CheckpointNumber),
    /// A remembered position.
    Position(VolumeNumber, Position),
}

impl Source {
    /// The volume it is an image of.
    #[must_use]
    pub fn volume(self) -> VolumeNumber {
        match self {
            Source::Live(v) | Source::Checkpoint(v, _) | Source::Position(v, _) => v,
        }
    }
}

/// The rule for names that people give (`docs/semantics.md`, and the command line's contract).
fn check_name(name: &str) -> Result<(), Refused> {
    let bytes = name.as_bytes();
    let first = bytes.first().ok_or("invalid-name")?;
    let plain = bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    let own = name.starts_with("auto-") || name == "y_wr001";
    let time = name == "10m";
    if bytes.len() > 127
        || !first.is_ascii_alphanumeric()
        || !plain
        || name == "live"
        || own
        || time
    {
        return Err("invalid-name");
    }
    Ok(())
}

impl Reference {
    /// A deep copy of what a source names.
    ///
    /// # Errors
    /// `not-found`, `not-allowed` for an image that cannot be read.
    pub fn image(&self, source: Source) -> Result<Tree, Refused> {
        match source {
            Source::Live(volume) => Ok(self.volume(volume)?.live.clone()),
            Source::Checkpoint(volume, checkpoint) => {
                let image = self
                    .volume(volume)?
                    .images
                    .get(&checkpoint)
                    .ok_or("not-found")?;
                let nodata = &self.volume(volume)?.nodata;
                if self.checkpoints[&checkpoint].nomount || nodata.contains(&checkpoint) {
                    return Err("not-allowed");
                }
                Ok(image.clone())
            }
            Source::Position(volume, position) => {
                let trees = self.history.get(&position).ok_or("out-of-range")?;
                if position < self.viewable_from(volume) {
                    return Err("out-of-range");
                }
                trees.get(&volume).cloned().ok_or("not-found")
            }
        }
    }

    pub(super) fn volume_name_is_free(&self, name: &str) -> Result<(), Refused> {
        if self.volumes.values().any(|v| v.name == name) {
            Err("exists")
        } else {
            Ok(())
        }
    }

    pub(super) fn checkpoint_name_is_free(&self, name: &str) -> Result<(), Refused> {
        if self.checkpoints.values().any(|c| c.name == name) {
            Err("exists")
        } else {
            Ok(())
        }
    }

    fn add_volume(&mut self, name: &str, live: Tree, origin: Option<Tree>) -> VolumeNumber {
        let number = self.next_volume;
        self.next_volume += 1;
        let volume = Volume {
            name: name.into(),
            live,
            images: BTreeMap::new(),
            removed_images: BTreeMap::new(),
            nodata: BTreeSet::new(),
            origin,
            quota: Quota::default(),
            history: 0,
        };
        self.volumes.insert(number, volume);
        number
    }

    /// A new volume.
    ///
    /// # Errors
    /// `invalid-name`, `exists`.
    pub fn volume_create(
        &mut self,
        name: &str,
        owner: (u32, u32, u32),
    ) -> Result<VolumeNumber, Refused> {
        check_name(name)?;
        self.volume_name_is_free(name)?;
        let root = self.new_ino();
        Ok(self.add_volume(name, Tree::new(root, owner.0, owner.1, owner.2), None))
    }

    /// Another name for a volume.
    ///
    /// # Errors
    /// `not-found`, `exists`.
    pub fn volume_rename(&mut self, volume: VolumeNumber, name: &str) -> Result<(), Refused> {
        let from = self.volume(volume)?.name.clone();
        if from == name {
            return Ok(());
        }
        check_name(name)?;
        self.volume_name_is_free(name)?;
        self.volume_mut(volume)?.name = name.into();
        self.changed(
            vec![volume],
            What::VolumeRenamed {
                volume,
                from,
                to: name.into(),
            },
        );
        Ok(())
    }

    /// Removes a volume, with its images or only where it has none but those that a rollback or a reset made.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`.
    pub fn volume_remove(
        &mut self,
        volume: VolumeNumber,
        with_checkpoints: bool,
    ) -> Result<(), Refused> {
        let images: Vec<CheckpointNumber> = self.volume(volume)?.images.keys().copied().collect();
        let stands = |c: &Checkpoint| {
            c.held
                || c.volumes.len() > 1
                || !(with_checkpoints || c.name.starts_with("auto-before-"))
        };
        if images.iter().any(|c| stands(&self.checkpoints[c])) {
            return Err("not-allowed");
        }
        self.nobody_reads_of(volume)?;
        for checkpoint in images {
            self.take_checkpoint_away(checkpoint);
            self.changed(vec![volume], What::CheckpointRemoved { checkpoint });
        }
        let gone = self.volumes.remove(&volume).expect("looked up above");
        self.removed_volumes.insert(volume, gone);
        self.changed(vec![volume], What::VolumeRemoved { volume });
        Ok(())
    }

    /// A writable clone.
    ///
    /// # Errors
    /// `exists`, and those of [`Reference::image`].
    pub fn clone_create(&mut self, name: &str, source: Source) -> Result<VolumeNumber, Refused> {
        check_name(name)?;
        self.volume_name_is_free(name)?;
        let mut tree = self.image(source)?;
        tree.drop_orphans();
        Ok(self.add_volume(name, tree.clone(), Some(tree)))
    }

    /// Sets a clone back to what it started from.
    ///
    /// # Errors
    /// `not-found`, `not-allowed` for a volume that is no clone.
    pub fn clone_reset(&mut self, volume: VolumeNumber, before_name: &str) -> Result<(), Refused> {
        let origin = self.volume(volume)?.origin.clone().ok_or("not-allowed")?;
        let before = self.before(vec![volume], before_name);
        self.go_back(volume, origin);
        self.changed(vec![volume], What::Back { before });
        Ok(())
    }

    /// A frozen image of volumes.
    ///
    /// # Errors
    /// `not-found`, `exists`, `invalid`.
    pub fn checkpoint_create(
        &mut self,
        name: &str,
        volumes: &[VolumeNumber],
        nomount: bool,
        removable: bool,
        nodata: bool,
    ) -> Result<CheckpointNumber, Refused> {
        check_name(name)?;
        self.checkpoint_name_is_free(name)?;
        if volumes.is_empty() {
            return Err("invalid");
        }
        let members: BTreeSet<VolumeNumber> = volumes.iter().copied().collect();
        for volume in members {
            self.may_create(volume)?;
        }
        let number = self.freeze(name, volumes, nomount, removable);
        if nodata {
            self.give_data_up(number);
        }
        Ok(number)
    }

    pub(super) fn freeze(
        &mut self,
        name: &str,
        volumes: &[VolumeNumber],
        nomount: bool,
        removable: bool,
    ) -> CheckpointNumber {
        let mut volumes = volumes.to_vec();
        volumes.sort_unstable();
        let number = self.next_checkpoint;
        self.next_checkpoint += 1;
        for volume in &volumes {
            let volume = self
                .volumes
                .get_mut(volume)
                .expect("the caller looked it up");
            let mut image = volume.live.clone();
            image.drop_orphans();
            volume.images.insert(number, image);
        }
        self.checkpoints.insert(
            number,
            Checkpoint {
                name: name.into(),
                volumes,
                removable,
                nomount,
                held: false,
            },
        );
        number
    }

    /// The checkpoint that keeps the state before a rollback.
    pub(super) fn before(&mut self, volumes: Vec<VolumeNumber>, name: &str) -> CheckpointNumber {
        self.freeze(name, &volumes, false, true)
    }

    pub(super) fn checkpoint(&self, checkpoint: CheckpointNumber) -> Result<&Checkpoint, Refused> {
        self.checkpoints.get(&checkpoint).ok_or("not-found")
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`.
    pub fn checkpoint_remove(&mut self, checkpoint: CheckpointNumber) -> Result<(), Refused> {
        if self.checkpoint(checkpoint)?.held {
            return Err("not-allowed");
        }
        self.nobody_reads(checkpoint)?;
        let volumes = self.take_checkpoint_away(checkpoint);
        self.changed(volumes, What::CheckpointRemoved { checkpoint });
        Ok(())
    }

    pub(super) fn take_checkpoint_away(
        &mut self,
        checkpoint: CheckpointNumber,
    ) -> Vec<VolumeNumber> {
        let gone = self
            .checkpoints
            .remove(&checkpoint)
            .expect("the caller looked it up");
        let volumes = gone.volumes.clone();
        for volume in self
            .volumes
            .values_mut()
            .chain(self.removed_volumes.values_mut())
        {
            if let Some(image) = volume.images.remove(&checkpoint) {
                volume.removed_images.insert(checkpoint, image);
            }
        }
        self.removed_checkpoints.insert(checkpoint, gone);
        volumes
    }

    /// Another name for a checkpoint.
    ///
    /// # Errors
    /// `not-found`, `exists`.
    pub fn checkpoint_rename(
        &mut self,
        checkpoint: CheckpointNumber,
        name: &str,
    ) -> Result<(), Refused> {
        let (from, volumes) = self
            .checkpoint(checkpoint)
            .map(|c| (c.name.clone(), c.volumes.clone()))?;
        if from == name {
            return Ok(());
        }
        check_name(name)?;
        self.checkpoint_name_is_free(name)?;
        self.checkpoints
            .get_mut(&checkpoint)
            .expect("looked up above")
            .name = name.into();
        self.changed(
            volumes,
            What::CheckpointRenamed {
                checkpoint,
                from,
                to: name.into(),
            },
        );
        Ok(())
    }

    /// Holds a checkpoint, or lets it go.
    ///
    /// # Errors
    /// `not-found`.
    pub fn checkpoint_hold(
        &mut self,
        checkpoint: CheckpointNumber,
        held: bool,
    ) -> Result<(), Refused> {
        self.checkpoints
            .get_mut(&checkpoint)
            .ok_or("not-found")?
            .held = held;
        Ok(())
    }

    /// Makes a checkpoint nodata, in whatever order with others.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`.
    pub fn checkpoint_convert(&mut self, checkpoint: CheckpointNumber) -> Result<(), Refused> {
        if self.checkpoint(checkpoint)?.held {
            return Err("not-allowed");
        }
        if self.keeps_data(checkpoint) {
            self.nobody_reads(checkpoint)?;
        }
        self.give_data_up(checkpoint);
        Ok(())
    }

    fn keeps_data(&self, checkpoint: CheckpointNumber) -> bool {
        let mut volumes = self.volumes.values();
        volumes.any(|v| v.images.contains_key(&checkpoint) && !v.nodata.contains(&checkpoint))
    }

    fn give_data_up(&mut self, checkpoint: CheckpointNumber) {
        for volume in self.volumes.values_mut() {
            if volume.images.contains_key(&checkpoint) {
                volume.nodata.insert(checkpoint);
            }
        }
    }

    /// Sets flags of a checkpoint.
    ///
    /// # Errors
    /// `not-found`.
    pub fn checkpoint_flag(
        &mut self,
        checkpoint: CheckpointNumber,
        removable: Option<bool>,
        nomount: Option<bool>,
    ) -> Result<(), Refused> {
        let checkpoint = self.checkpoints.get_mut(&checkpoint).ok_or("not-found")?;
        checkpoint.removable = removable.unwrap_or(checkpoint.removable);
        checkpoint.nomount = nomount.unwrap_or(checkpoint.nomount);
        Ok(())
    }

    /// Copies a tree over the live one. What only handles kept in that one is gone.
    pub(super) fn go_back(&mut self, volume: VolumeNumber, mut tree: Tree) {
        tree.drop_orphans();
        self.volumes
            .get_mut(&volume)
            .expect("the caller looked it up")
            .live = tree;
    }

    /// Rolls back a volume.
    ///
    /// # Errors
    /// `not-found`, `not-allowed` for another volume's image, an unreadable one, or other members without `only`.
    pub fn rollback(
        &mut self,
        volume: VolumeNumber,
        source: Source,
        only: bool,
        before_name: &str,
    ) -> Result<(), Refused> {
        self.volume(volume)?;
        match source {
            Source::Live(_) => return Err("not-allowed"),
            Source::Position(..) => drop(self.image(source)?),
            Source::Checkpoint(_, checkpoint) => {
                let members = self.checkpoint(checkpoint)?.volumes.len();
                self.image(Source::Checkpoint(volume, checkpoint))?;
                if members > 1 && !only {
                    return Err("not-allowed");
                }
            }
        }
        if source.volume() != volume {
            return Err("not-allowed");
        }
        let image = self.image(source)?;
        let before = self.before(vec![volume], before_name);
        self.go_back(volume, image);
        self.changed(vec![volume], What::Back { before });
        Ok(())
    }

    /// Rolls back every member of a checkpoint.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`.
    pub fn rollback_all(
        &mut self,
        checkpoint: CheckpointNumber,
        before_name: &str,
    ) -> Result<(), Refused> {
        let volumes = self.checkpoint(checkpoint)?.volumes.clone();
        let mut images = Vec::new();
        for volume in &volumes {
            images.push(self.image(Source::Checkpoint(*volume, checkpoint))?);
        }
        let before = self.before(volumes.clone(), before_name);
        for (volume, image) in volumes.iter().zip(images) {
            self.go_back(*volume, image);
        }
        self.changed(volumes, What::Back { before });
        Ok(())
    }

    /// A new change. What was undone before it, of the same volumes, can never be done again.
    pub(super) fn changed(&mut self, volumes: Vec<VolumeNumber>, what: What) {
        self.changes
            .retain(|c| c.undone.is_none() || !c.volumes.iter().any(|v| volumes.contains(v)));
        self.changes.push(Change {
            seq: 0,
            volumes,
            what,
            undone: None,
        });
    }
}
