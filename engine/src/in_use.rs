//! What live use holds of a store while a command is decided: mounts, files open for writing, views that somebody reads. `decide` refuses what would pull
//! them away; at rest there is nothing.

use crate::event::{Event, Source};
use crate::ids::{Ino, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is in use.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Live volumes that are mounted, and where.
    pub mounted: Vec<(VolumeId, String)>,
    /// Handles that write.
    pub writers: Vec<Writer>,
    /// Views that somebody reads, and who: mounts of images, exports, backups.
    pub held: Vec<(Source, String)>,
    /// Files open for writing are no reason to refuse; their handles are stale afterwards.
    pub force: bool,
}

/// A handle that writes.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The volume.
    pub volume: VolumeId,
    /// The file.
    pub ino: Ino,
    /// Who opened it.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl InUse {
    /// Nothing is.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }
}

/// What of a volume a command puts another tree or other content under, or takes away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Swapped {
    /// All of it.
    Volume,
    /// It goes.
    Removed,
    /// These files.
    Files(BTreeSet<Ino>),
}

impl Swapped {
    /// Says whether a file is among it.
    #[must_use]
    pub fn holds(&self, ino: Ino) -> bool {
        match self {
            Swapped::Volume | Swapped::Removed => true,
            Swapped::Files(files) => files.contains(&ino),
        }
    }
}

/// What the events of a command that goes back, resets or removes put another tree or other content under, by volume.
#[must_use]
pub fn swapped(events: &[Event]) -> BTreeMap<VolumeId, Swapped> {
    let mut found: BTreeMap<VolumeId, Swapped> = BTreeMap::new();
    for event in events {
        match event {
            Event::RolledBack { volumes, .. } => {
                found.extend(volumes.iter().map(|(id, _)| (*id, Swapped::Volume)));
            }
            Event::CloneReset { volume, .. } => {
                found.insert(*volume, Swapped::Volume);
            }
            Event::VolumeRemoved { volume } => {
                found.insert(*volume, Swapped::Removed);
            }
            _ => {}
        }
    }
    for event in events {
        let (Some(volume), Some(ino)) = (event.volume(), event.file()) else {
            continue;
        };
        let files = found
            .entry(volume)
            .or_insert_with(|| Swapped::Files(BTreeSet::new()));
        if let Swapped::Files(files) = files {
            files.insert(ino);
        }
    }
    found
}
