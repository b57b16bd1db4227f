//! Space: who gives way to a full store, and what goes with history that cannot be viewed any more. Where bytes lie is nothing the reference knows of.

use super::undo::{Change, What};
use super::{CheckpointNumber, Position, Reference, Refused, Source, VolumeNumber};

impl Reference {
    /// Somebody wants a checkpoint's space at once: it is gone for good.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`.
    pub fn checkpoint_give_up(&mut self, checkpoint: CheckpointNumber) -> Result<(), Refused> {
        if self.checkpoint(checkpoint)?.held {
            return Err("not-allowed");
        }
        self.nobody_reads(checkpoint)?;
        self.drop_for_good(checkpoint);
        Ok(())
    }

    /// The next checkpoint that goes when the store is full: only removable ones that nobody holds; one that keeps nothing only where no other is left;
    /// what the program made first; the oldest first.
    ///
    /// # Errors
    /// `no-space` where none is left.
    pub fn give_way(&mut self) -> Result<(), Refused> {
        let next = self.next_to_give_way().ok_or("no-space")?;
        self.drop_for_good(next);
        Ok(())
    }

    /// The one that [`Reference::give_way`] takes.
    #[must_use]
    pub fn next_to_give_way(&self) -> Option<CheckpointNumber> {
        let keeps_nothing = |number: &CheckpointNumber| {
            let mut volumes = self.volumes.values();
            volumes.all(|v| !v.images.contains_key(number) || v.nodata.contains(number))
        };
        let next = self
            .checkpoints
            .iter()
            .filter(|(n, c)| c.removable && !c.held && !self.is_read(**n))
            .min_by_key(|(n, c)| (keeps_nothing(n), !c.name.starts_with("auto-before-"), **n));
        next.map(|(number, _)| *number)
    }

    /// Says whether somebody reads an image of a checkpoint.
    pub(super) fn is_read(&self, checkpoint: CheckpointNumber) -> bool {
        let mut read = self.leases.iter();
        read.any(|source| matches!(source, Source::Checkpoint(_, c) if *c == checkpoint))
    }

    pub(super) fn nobody_reads(&self, checkpoint: CheckpointNumber) -> Result<(), Refused> {
        if self.is_read(checkpoint) {
            return Err("busy");
        }
        Ok(())
    }

    /// Nobody reads any view of a volume.
    pub(super) fn nobody_reads_of(&self, volume: VolumeNumber) -> Result<(), Refused> {
        if self.leases.iter().any(|source| source.volume() == volume) {
            return Err("busy");
        }
        Ok(())
    }

    /// Says when checkpoints are taken of a volume.
    ///
    /// # Errors
    /// `not-found`; `invalid` where what is kept does not grow sparser with its age.
    pub fn schedule_set(
        &mut self,
        volume: VolumeNumber,
        every: Option<u64>,
        keep: &[(u64, u64)],
    ) -> Result<(), Refused> {
        self.volume(volume)?;
        let ascends = |pair: &[(u64, u64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        match every {
            None => self.scheduled.remove(&volume),
            Some(_) if !keep.windows(2).all(ascends) => return Err("invalid"),
            Some(_) => self.scheduled.insert(volume),
        };
        Ok(())
    }

    /// A schedule takes a checkpoint; `unjudged`: nobody knows what is used at the moment.
    ///
    /// # Errors
    /// `exists`, `over-quota`.
    pub fn taken_by_schedule(
        &mut self,
        name: &str,
        volume: VolumeNumber,
        unjudged: bool,
    ) -> Result<(), Refused> {
        self.checkpoint_name_is_free(name)?;
        if !unjudged {
            self.may_create(volume)?;
        }
        self.freeze(name, &[volume], false, true);
        Ok(())
    }

    /// A schedule lets a checkpoint of a volume go: one that it took, that may go, that nobody reads, and not the newest.
    ///
    /// # Errors
    /// Where it may not; in words.
    pub fn thinned(
        &mut self,
        volume: VolumeNumber,
        checkpoint: CheckpointNumber,
    ) -> Result<(), &'static str> {
        let of_schedule = |c: &super::Checkpoint| {
            c.volumes == [volume] && c.name.starts_with("auto-") && c.name.contains("T")
        };
        let found = self.checkpoints.get(&checkpoint).ok_or("it is not there")?;
        let mut newer = self.checkpoints.range(checkpoint + 1..);
        if !of_schedule(found) {
            return Err("no schedule took it");
        }
        if !found.removable || found.held || self.is_read(checkpoint) {
            return Err("it may not go");
        }
        if !newer.any(|(_, c)| of_schedule(c)) {
            return Err("it is the newest");
        }
        self.drop_for_good(checkpoint);
        Ok(())
    }

    pub(super) fn drop_for_good(&mut self, checkpoint: CheckpointNumber) {
        self.checkpoints.remove(&checkpoint);
        for volume in self.volumes.values_mut() {
            volume.images.remove(&checkpoint);
        }
    }

    /// Positions before one cannot be viewed any more. Changes of before the windows of all their volumes cannot be undone, and what only undo kept is gone.
    pub fn release_history(&mut self, before: Position) {
        let volumes = self.volumes.values_mut();
        for volume in volumes.chain(self.removed_volumes.values_mut()) {
            volume.history = volume.history.max(before);
        }
        let began = |number: &VolumeNumber| {
            let volume = self.volumes.get(number);
            let volume = volume.or_else(|| self.removed_volumes.get(number));
            volume.map_or(before, |v| v.history)
        };
        let past = |c: &Change| c.volumes.iter().all(|v| c.seq < began(v));
        let (gone, kept): (Vec<Change>, Vec<Change>) = self
            .changes
            .drain(..)
            .collect::<Vec<_>>()
            .into_iter()
            .partition(past);
        self.changes = kept;
        for change in gone {
            match change.what {
                What::VolumeRemoved { volume } => {
                    self.removed_volumes.remove(&volume);
                }
                What::CheckpointRemoved { checkpoint } => {
                    self.removed_checkpoints.remove(&checkpoint);
                    let volumes = self.volumes.values_mut();
                    for volume in volumes.chain(self.removed_volumes.values_mut()) {
                        volume.removed_images.remove(&checkpoint);
                    }
                }
                _ => {}
            }
        }
    }

    /// A volume that can be viewed at a position before one.
    #[must_use]
    pub fn viewable_before(&self, position: Position) -> Option<VolumeNumber> {
        let mut volumes = self.volumes.iter();
        let found = volumes.find(|(_, v)| v.history < position);
        found.map(|(number, _)| *number)
    }

    /// The first position at which a volume can still be viewed, as far as it was ever set.
    #[must_use]
    pub fn viewable_from(&self, volume: VolumeNumber) -> Position {
        let there = self.volumes.get(&volume);
        let found = there.or_else(|| self.removed_volumes.get(&volume));
        found.map_or(0, |v| v.history)
    }
}
