//! History windows, and where versions lie.

use super::{Decoder, Wrong};
use crate::ids::{CheckpointId, Seq, VolumeId};
use crate::schedule::Schedule;
use crate::space::Retention;
use crate::state::{Returned, Volume};
use std::sync::Arc;
use strand_journal::MAX_ADDRESS;

impl Decoder {
    pub(super) fn window(
        &mut self,
        id: u32,
        removed: bool,
        (retention, history, schedule): (Retention, Seq, Option<Schedule>),
    ) -> Result<(), Wrong> {
        let volume = self.volume_again(id, removed)?;
        if history < volume.created || schedule.as_ref().is_some_and(|s| !s.is_sound()) {
            return Err("a window that cannot be".into());
        }
        volume.retention = retention;
        volume.history = history;
        volume.schedule = schedule;
        Ok(())
    }

    pub(super) fn taken(&mut self, checkpoints: &[(u32, u64)]) -> Result<(), Wrong> {
        for &(id, elapsed) in checkpoints {
            let id = CheckpointId(id);
            let (state, missing) = (&mut self.state, "a checkpoint that is not there was taken");
            let found = match state.checkpoints.get_mut(&id) {
                Some(found) => found,
                None => state.removed_checkpoints.get_mut(&id).ok_or(missing)?,
            };
            Arc::make_mut(found).elapsed = elapsed;
        }
        Ok(())
    }

    pub(super) fn returned(
        &mut self,
        id: u32,
        removed: bool,
        returned: Returned,
    ) -> Result<(), Wrong> {
        let volume = self.volume_again(id, removed)?;
        let last = volume.returned.last().map_or(0, |last| last.at);
        if returned.at <= last || returned.position >= returned.at {
            return Err("trees that came back stand out of order".into());
        }
        volume.returned.push_back(Arc::new(returned));
        Ok(())
    }

    /// A volume that stands before what is set of it.
    pub(super) fn volume_again(&mut self, id: u32, removed: bool) -> Result<&mut Volume, Wrong> {
        let volumes = if removed {
            &mut self.state.removed_volumes
        } else {
            &mut self.state.volumes
        };
        let volume = volumes
            .get_mut(&VolumeId(id))
            .ok_or("something is set of a volume that is not there")?;
        Ok(Arc::make_mut(volume))
    }

    pub(super) fn moved(&mut self, versions: &[(u64, u64)]) -> Result<(), Wrong> {
        let places = &mut self.state.places;
        for &(birth, present) in versions {
            let last = places.moved.last().map_or(0, |(birth, _)| birth);
            // A copy is written after what it is a copy of.
            if birth <= last || present <= birth || present >= MAX_ADDRESS {
                return Err("versions that were moved stand out of order".into());
            }
            if places.residents.contains(present) {
                return Err("two versions lie in one place".into());
            }
            places.relocate(birth, present);
        }
        Ok(())
    }

    pub(super) fn reclaimed(&mut self, ranges: &[(u64, u64)]) -> Result<(), Wrong> {
        let reclaimed = &mut self.state.places.reclaimed;
        for &(first, end) in ranges {
            let last = reclaimed.get_max().map_or(0, |(_, end)| *end);
            if first <= last || end <= first || end > MAX_ADDRESS {
                return Err("ranges given back stand out of order".into());
            }
            reclaimed.insert(first, end);
        }
        Ok(())
    }
}
