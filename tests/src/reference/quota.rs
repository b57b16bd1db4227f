//! Quotas, by counting: what the checkpoints of a volume own together, and which of them give way. Everything is judged by sets of versions, looked up
//! in the copies that images are.

use super::tree::{BLOCK, Version};
use super::{CheckpointNumber, Reference, Refused, Tree, Volume, VolumeNumber};
use std::collections::{BTreeMap, BTreeSet};

/// Limits of what the checkpoints of a volume own together, in bytes.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Above it there are no new checkpoints.
    pub soft: Option<u64>,
    /// Above it checkpoints give way, or the work fails.
    pub hard: Option<u64>,
    /// It is enforced.
    pub on: bool,
    /// The work fails.
    pub fail_writes: bool,
}

fn above(limit: Option<u64>, blocks: u64) -> bool {
    limit.is_some_and(|limit| blocks * BLOCK > limit)
}

/// Images with data, each as the set of versions that it maps.
type Images = BTreeMap<CheckpointNumber, BTreeSet<Version>>;

fn images_with_data(volume: &Volume) -> Images {
    let kept = volume.images.iter();
    kept.filter(|(number, _)| !volume.nodata.contains(number))
        .map(|(number, tree)| (*number, tree.versions()))
        .collect()
}

/// What images own together beside a live tree.
fn owned_beside(images: &Images, live: &BTreeSet<Version>) -> u64 {
    let all: BTreeSet<&Version> = images.values().flatten().collect();
    all.into_iter().filter(|v| !live.contains(v)).count() as u64
}

/// How often quotas bit, so that a test can say that they did.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Bites {
    /// Checkpoints that were dropped.
    pub dropped: u64,
    /// Images that became nodata.
    pub converted: u64,
    /// Work that was refused.
    pub refused: u64,
    /// Work that was above the limit by the books, and within it once all was counted.
    pub counted: u64,
    /// Checkpoints that were refused above a soft limit.
    pub soft: u64,
}

/// How a checkpoint gave way.
enum Gone {
    Dropped(CheckpointNumber),
    Converted(CheckpointNumber),
}

impl Reference {
    /// What the checkpoints of a volume own together, in blocks.
    #[must_use]
    pub fn usage(volume: &Volume) -> u64 {
        Self::owned(volume).values().sum()
    }

    /// What is used, as far as it is counted.
    fn booked(&self, volume: VolumeNumber) -> u64 {
        let counted = || Self::usage(&self.volumes[&volume]);
        self.books.get(&volume).copied().unwrap_or_else(counted)
    }

    /// Sets the limits of a volume.
    ///
    /// # Errors
    /// `not-found`; `invalid` for limits that contradict or limit nothing; `unconfirmed` for a hard one below what is used.
    pub fn quota_set(
        &mut self,
        volume: VolumeNumber,
        quota: Quota,
        below_use: bool,
    ) -> Result<(), Refused> {
        self.volume(volume)?;
        let contradict = quota.soft.zip(quota.hard).is_some_and(|(s, h)| s >= h);
        let less_than_a_block = quota.hard.is_some_and(|hard| hard < BLOCK);
        let nothing = quota.on && quota.soft.is_none() && quota.hard.is_none();
        if contradict || less_than_a_block || nothing {
            return Err("invalid");
        }
        if quota.on && above(quota.hard, self.booked(volume)) && !below_use {
            return Err("unconfirmed");
        }
        self.volume_mut(volume)?.quota = quota;
        Ok(())
    }

    /// Says whether more than the soft limit of a volume is used.
    #[must_use]
    pub fn is_above_soft(&self, volume: VolumeNumber) -> bool {
        let quota = self.volumes.get(&volume).map(|v| v.quota);
        quota.is_some_and(|quota| quota.on && above(quota.soft, self.booked(volume)))
    }

    /// A volume above its soft limit gets no checkpoint, whoever asks for it.
    pub(super) fn may_create(&mut self, volume: VolumeNumber) -> Result<(), Refused> {
        self.volume(volume)?;
        if self.is_above_soft(volume) {
            self.bites.soft += 1;
            return Err("over-quota");
        }
        Ok(())
    }

    /// Does a piece of everyday work within the hard limit of its volume: checkpoints give way to it, or it is refused and undone. Work that may not
    /// fail is done in any case.
    pub(super) fn within_quota(
        &mut self,
        volume: VolumeNumber,
        may_fail: bool,
        work: impl FnOnce(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let limited = self.volume(volume)?.quota;
        if !limited.on || limited.hard.is_none() {
            return work(self);
        }
        let before = self.volume(volume)?.live.clone();
        work(self)?;
        match self.make_room(volume, &before, may_fail) {
            Ok(gone) => {
                for one in gone {
                    self.give_up(volume, &one);
                }
                Ok(())
            }
            Err(refused) => {
                *self.live(volume)? = before;
                self.bites.refused += 1;
                Err(refused)
            }
        }
    }

    /// Who gives way to what just happened to the live tree.
    fn make_room(
        &mut self,
        number: VolumeNumber,
        before: &Tree,
        may_fail: bool,
    ) -> Result<Vec<Gone>, Refused> {
        let volume = &self.volumes[&number];
        let quota = volume.quota;
        let mut images = images_with_data(volume);
        let (was, is) = (before.versions(), volume.live.versions());
        let passed = |images: &Images| {
            let left = was.difference(&is);
            left.filter(|v| images.values().any(|image| image.contains(v)))
                .count() as u64
        };
        if passed(&images) == 0 {
            return Ok(Vec::new());
        }
        let counted = owned_beside(&images, &was);
        let booked = self.books.get(&number).copied().unwrap_or(counted) + passed(&images);
        if !above(quota.hard, booked) {
            self.books.entry(number).and_modify(|b| *b = booked);
            return Ok(Vec::new());
        }
        // From here on all is counted.
        let mut gone = Vec::new();
        loop {
            let need = owned_beside(&images, &is);
            if passed(&images) == 0 || !above(quota.hard, need) {
                break;
            }
            let without = |number: &CheckpointNumber| {
                let mut rest = images.clone();
                rest.remove(number);
                owned_beside(&rest, &is)
            };
            let unheld = |n: &&CheckpointNumber| !self.checkpoints[*n].held && !self.is_read(**n);
            let mut removable: Vec<CheckpointNumber> = images
                .keys()
                .filter(|n| self.checkpoints[*n].removable)
                .filter(unheld)
                .copied()
                .collect();
            let program_made = |n: &CheckpointNumber| {
                let name = &self.checkpoints[n].name;
                name.starts_with("auto-before-")
            };
            removable.sort_by_key(|n| (!program_made(n), *n));
            let newest_first: Vec<CheckpointNumber> =
                images.keys().rev().filter(unheld).copied().collect();
            if quota.fail_writes && may_fail {
                return Err("over-quota");
            }
            if let Some(victim) = removable.iter().find(|n| without(n) < need).copied() {
                images.remove(&victim);
                gone.push(Gone::Dropped(victim));
                continue;
            }
            let helps = newest_first.iter().find(|n| without(n) < need);
            match helps.or(newest_first.first()).copied() {
                Some(victim) => {
                    images.remove(&victim);
                    gone.push(Gone::Converted(victim));
                }
                None if may_fail => return Err("over-quota"),
                None => break,
            }
        }
        self.books.remove(&number);
        self.bites.counted += u64::from(gone.is_empty());
        Ok(gone)
    }

    fn give_up(&mut self, volume: VolumeNumber, gone: &Gone) {
        match gone {
            Gone::Dropped(checkpoint) => {
                self.bites.dropped += 1;
                self.drop_for_good(*checkpoint);
            }
            Gone::Converted(checkpoint) => {
                self.bites.converted += 1;
                let volume = self.volumes.get_mut(&volume);
                let volume = volume.expect("its checkpoints were counted");
                volume.nodata.insert(*checkpoint);
            }
        }
    }
}
