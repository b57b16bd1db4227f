//! Undo and redo of administrative changes.

use super::restore::{Delete, FileRollback};
use super::{CheckpointNumber, Ino, Position, Reference, Refused, Source, VolumeNumber};
use std::ops::Range;

/// An administrative change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The number of its event; 0 until the lock-step tells it.
    pub seq: Position,
    /// The volumes it concerns.
    pub volumes: Vec<VolumeNumber>,
    /// What it was.
    pub what: What,
    /// Set while undone: the checkpoint that keeps the state before the undo, where trees went back.
    pub undone: Option<Option<CheckpointNumber>>,
}

/// What an administrative change was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// Trees were replaced.
    Back {
        /// The checkpoint that keeps what was before.
        before: CheckpointNumber,
    },
    /// Files were restored.
    Files {
        /// The volume.
        volume: VolumeNumber,
        /// What was asked.
        again: FileRollback,
        /// The checkpoint that keeps what was before.
        before: CheckpointNumber,
        /// The inodes it made.
        created: Range<Ino>,
    },
    /// A volume was renamed.
    VolumeRenamed {
        /// The volume.
        volume: VolumeNumber,
        /// Its name before.
        from: String,
        /// Its name after.
        to: String,
    },
    /// A checkpoint was renamed.
    CheckpointRenamed {
        /// The checkpoint.
        checkpoint: CheckpointNumber,
        /// Its name before.
        from: String,
        /// Its name after.
        to: String,
    },
    /// A volume was removed.
    VolumeRemoved {
        /// The volume.
        volume: VolumeNumber,
    },
    /// A checkpoint was removed.
    CheckpointRemoved {
        /// The checkpoint.
        checkpoint: CheckpointNumber,
    },
}

impl Reference {
    /// Undoes the latest change.
    ///
    /// # Errors
    /// `nothing-to-undo`, also where what it needs is gone; `exists` where a name was taken since.
    pub fn undo(&mut self, volume: Option<VolumeNumber>, before_name: &str) -> Result<(), Refused> {
        let concerns = |c: &Change| volume.is_none_or(|v| c.volumes.contains(&v));
        let at = self
            .changes
            .iter()
            .rposition(|c| concerns(c) && c.undone.is_none())
            .ok_or("nothing-to-undo")?;
        self.reverse(at, false, before_name)
    }

    /// Does again what was undone last.
    ///
    /// # Errors
    /// As [`Reference::undo`].
    pub fn redo(&mut self, volume: Option<VolumeNumber>, before_name: &str) -> Result<(), Refused> {
        let concerns = |c: &Change| volume.is_none_or(|v| c.volumes.contains(&v));
        let at = self
            .changes
            .iter()
            .position(|c| concerns(c) && c.undone.is_some())
            .ok_or("nothing-to-undo")?;
        self.reverse(at, true, before_name)
    }

    fn reverse(&mut self, at: usize, redo: bool, before_name: &str) -> Result<(), Refused> {
        let change = self.changes[at].clone();
        let mut kept = None;
        match &change.what {
            What::Back { before } => {
                let to = if redo {
                    change.undone.flatten().ok_or("nothing-to-undo")?
                } else {
                    *before
                };
                kept = Some(self.back_to(&change.volumes, to, before_name)?);
            }
            What::Files {
                volume,
                again,
                before,
                created,
            } => {
                let first = self.next_ino;
                let needed = match (redo, again.source) {
                    (false, _) => Some(*before),
                    (true, Source::Checkpoint(_, checkpoint)) => Some(checkpoint),
                    (true, _) => None,
                };
                let gone = |v: &super::Volume| needed.is_some_and(|c| v.gave_up(c));
                if self.volumes.get(volume).is_some_and(gone) {
                    return Err("nothing-to-undo");
                }
                if redo {
                    kept = self.restore_files(*volume, again, before_name)?;
                } else {
                    if !self.checkpoints.contains_key(before) {
                        return Err("nothing-to-undo");
                    }
                    let source = Source::Checkpoint(*volume, *before);
                    let back = FileRollback {
                        source,
                        attributes: true,
                        delete: Delete::Made(created.clone()),
                        ..again.clone()
                    };
                    kept = self.restore_files(*volume, &back, before_name)?;
                }
                if redo
                    && let What::Files {
                        before, created, ..
                    } = &mut self.changes[at].what
                {
                    *before = kept.unwrap_or(*before);
                    *created = first..self.next_ino;
                }
            }
            What::VolumeRenamed { volume, from, to } => {
                let name = if redo { to } else { from };
                self.volume(*volume)?;
                self.volume_name_is_free(name)?;
                self.volume_mut(*volume)?.name.clone_from(name);
            }
            What::CheckpointRenamed {
                checkpoint,
                from,
                to,
            } => {
                let name = if redo { to } else { from };
                self.checkpoint(*checkpoint)?;
                self.checkpoint_name_is_free(name)?;
                self.checkpoints
                    .get_mut(checkpoint)
                    .ok_or("not-found")?
                    .name
                    .clone_from(name);
            }
            What::VolumeRemoved { volume } if redo => {
                if !self.volume(*volume)?.images.is_empty() {
                    return Err("nothing-to-undo");
                }
                self.nobody_reads_of(*volume)?;
                let gone = self.volumes.remove(volume).expect("looked up above");
                self.removed_volumes.insert(*volume, gone);
            }
            What::VolumeRemoved { volume } => {
                let name = self
                    .removed_volumes
                    .get(volume)
                    .ok_or("nothing-to-undo")?
                    .name
                    .clone();
                self.volume_name_is_free(&name)?;
                let mut back = self
                    .removed_volumes
                    .remove(volume)
                    .expect("looked up above");
                back.live.drop_orphans(); // their handles went with it
                self.volumes.insert(*volume, back);
            }
            What::CheckpointRemoved { checkpoint } if redo => {
                if self.checkpoint(*checkpoint)?.held {
                    return Err("not-allowed");
                }
                self.nobody_reads(*checkpoint)?;
                self.take_checkpoint_away(*checkpoint);
            }
            What::CheckpointRemoved { checkpoint } => {
                let removed = self
                    .removed_checkpoints
                    .get(checkpoint)
                    .ok_or("nothing-to-undo")?;
                self.checkpoint_name_is_free(&removed.name)?;
                if removed
                    .volumes
                    .iter()
                    .any(|v| !self.volumes.contains_key(v))
                {
                    return Err("nothing-to-undo");
                }
                self.bring_checkpoint_back(*checkpoint);
            }
        }
        self.changes[at].undone = if redo { None } else { Some(kept) };
        if redo && let (What::Back { before }, Some(kept)) = (&mut self.changes[at].what, kept) {
            *before = kept;
        }
        Ok(())
    }

    fn bring_checkpoint_back(&mut self, checkpoint: CheckpointNumber) {
        let back = self
            .removed_checkpoints
            .remove(&checkpoint)
            .expect("the caller looked it up");
        for volume in self
            .volumes
            .values_mut()
            .chain(self.removed_volumes.values_mut())
        {
            if let Some(image) = volume.removed_images.remove(&checkpoint) {
                volume.images.insert(checkpoint, image);
            }
        }
        self.checkpoints.insert(checkpoint, back);
    }

    fn back_to(
        &mut self,
        volumes: &[VolumeNumber],
        checkpoint: CheckpointNumber,
        before_name: &str,
    ) -> Result<CheckpointNumber, Refused> {
        if !self.checkpoints.contains_key(&checkpoint) {
            return Err("nothing-to-undo");
        }
        let there = volumes.iter().filter_map(|v| self.volumes.get(v));
        if there.into_iter().any(|v| v.gave_up(checkpoint)) {
            return Err("nothing-to-undo");
        }
        let mut images = Vec::new();
        for volume in volumes {
            images.push(
                self.volume(*volume)?
                    .images
                    .get(&checkpoint)
                    .cloned()
                    .ok_or("nothing-to-undo")?,
            );
        }
        let kept = self.before(volumes.to_vec(), before_name);
        for (volume, image) in volumes.iter().zip(images) {
            self.go_back(*volume, image);
        }
        Ok(kept)
    }
}
