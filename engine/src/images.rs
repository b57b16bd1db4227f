//! The images that the checkpoints of one volume keep, in the order of their making.
//!
//! Most questions are about images that keep their data: they own versions, and what the live tree gives up passes to the newest of them that
//! maps it. So those are kept in an order of their own, and a thousand nodata checkpoints in between cost a write nothing.

use crate::ids::CheckpointId;
use crate::state::{Fileset, Image, Ledger};
use imbl::{OrdMap, OrdSet};
use std::ops::{Bound, Deref};

/// The images of a volume by checkpoint, oldest first. Reads as the map it holds.
#[derive(Clone, Debug, Default)]
pub struct Images {
    all: OrdMap<CheckpointId, Image>,
    /// Those that keep their data.
    data: OrdSet<CheckpointId>,
}

impl Images {
    /// No images.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an image, or puts another in its place.
    pub fn insert(&mut self, checkpoint: CheckpointId, image: Image) {
        if image.nodata {
            self.data.remove(&checkpoint);
        } else {
            self.data.insert(checkpoint);
        }
        self.all.insert(checkpoint, image);
    }

    /// Takes an image out.
    pub fn remove(&mut self, checkpoint: CheckpointId) -> Option<Image> {
        self.data.remove(&checkpoint);
        self.all.remove(&checkpoint)
    }

    /// Makes an image nodata. Says whether there is one that was not.
    pub fn convert(&mut self, checkpoint: CheckpointId) -> bool {
        let converts = self.data.remove(&checkpoint).is_some();
        if let Some(image) = self.all.get_mut(&checkpoint) {
            image.nodata = true;
        }
        converts
    }

    /// The books of an image, to write in. `None` where there is no such image.
    pub fn books(&mut self, checkpoint: CheckpointId) -> Option<(&mut Ledger, &mut u64)> {
        let image = self.all.get_mut(&checkpoint)?;
        Some((&mut image.ledger, &mut image.marks))
    }

    /// The images that keep their data, newest first.
    pub fn data_newest_first(&self) -> impl Iterator<Item = (CheckpointId, &Image)> {
        self.data
            .iter()
            .rev()
            .filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// Says whether any image is nodata.
    #[must_use]
    pub fn any_nodata(&self) -> bool {
        self.data.len() != self.all.len()
    }

    /// The tree of the next newer image, of whatever kind.
    #[must_use]
    pub fn next_newer(&self, checkpoint: CheckpointId) -> Option<&Fileset> {
        let mut newer = self
            .all
            .range((Bound::Excluded(checkpoint), Bound::Unbounded));
        newer.next().map(|(_, image)| &image.root)
    }

    /// The tree of the next newer image that keeps its data.
    #[must_use]
    pub fn next_newer_data(&self, checkpoint: CheckpointId) -> Option<&Fileset> {
        let mut newer = self
            .data
            .range((Bound::Excluded(checkpoint), Bound::Unbounded));
        Some(&self.all.get(newer.next()?)?.root)
    }

    /// What all of them own by their books, in blocks.
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.all.values().fold(0, |sum: u64, image| {
            sum.saturating_add(image.ledger.owned())
        })
    }
}

impl Deref for Images {
    type Target = OrdMap<CheckpointId, Image>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl From<OrdMap<CheckpointId, Image>> for Images {
    fn from(all: OrdMap<CheckpointId, Image>) -> Self {
        let data = all
            .iter()
            .filter(|(_, image)| !image.nodata)
            .map(|(id, _)| *id)
            .collect();
        Self { all, data }
    }
}

impl<'a> IntoIterator for &'a Images {
    type Item = (&'a CheckpointId, &'a Image);
    type IntoIter = <&'a OrdMap<CheckpointId, Image> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}
