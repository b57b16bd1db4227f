//! What an event concerns: its volume, its file. Said once, for all who follow events: folds, caches of mounts, the log.

use super::Event;
use crate::ids::{Ino, VolumeId};

impl Event {
    /// The volume of an event that has one; of several, as a checkpoint or a rollback may have them, the first.
    #[must_use]
    pub fn volume(&self) -> Option<VolumeId> {
        match self {
            Event::VolumeCreated { volume, .. }
            | Event::VolumeRenamed { volume, .. }
            | Event::VolumeRemoved { volume }
            | Event::VolumeRestored { volume }
            | Event::CloneCreated { volume, .. }
            | Event::CloneReset { volume, .. }
            | Event::Created { volume, .. }
            | Event::Linked { volume, .. }
            | Event::Unlinked { volume, .. }
            | Event::Renamed { volume, .. }
            | Event::Exchanged { volume, .. }
            | Event::OrphanDropped { volume, .. }
            | Event::Written { volume, .. }
            | Event::Punched { volume, .. }
            | Event::Truncated { volume, .. }
            | Event::Preallocated { volume, .. }
            | Event::Shared { volume, .. }
            | Event::AttributesSet { volume, .. }
            | Event::XattrSet { volume, .. }
            | Event::XattrRemoved { volume, .. }
            | Event::CopiedOut { volume, .. }
            | Event::CopiedOutScope { volume, .. }
            | Event::ChangeMarked { volume, .. }
            | Event::Settled { volume, .. }
            | Event::QuotaSet { volume, .. }
            | Event::QuotaReached { volume, .. }
            | Event::CheckpointDropped { volume, .. }
            | Event::RetentionSet { volume, .. }
            | Event::HistoryReleased { volume, .. }
            | Event::ScheduleSet { volume, .. }
            | Event::FileRestored { volume, .. }
            | Event::FilesRolledBack { volume, .. } => Some(*volume),
            Event::CheckpointCreated { volumes, .. }
            | Event::CheckpointConverted { volumes, .. } => volumes.first().copied(),
            Event::RolledBack { volumes, .. } => volumes.first().map(|(volume, _)| *volume),
            _ => None,
        }
    }

    /// The inode whose content, attributes or name an event changes, or whose versions it passes on. Not of a move: that knows names only.
    #[must_use]
    pub fn file(&self) -> Option<Ino> {
        match self {
            Event::Created { ino, .. }
            | Event::Linked { ino, .. }
            | Event::Unlinked { ino, .. }
            | Event::OrphanDropped { ino, .. }
            | Event::AttributesSet { ino, .. }
            | Event::XattrSet { ino, .. }
            | Event::XattrRemoved { ino, .. }
            | Event::CopiedOut { ino, .. }
            | Event::ChangeMarked { ino, .. } => Some(*ino),
            event => event.rewritten(),
        }
    }

    /// The file whose content an event changes.
    #[must_use]
    pub fn rewritten(&self) -> Option<Ino> {
        match self {
            Event::Written { ino, .. }
            | Event::Punched { ino, .. }
            | Event::Truncated { ino, .. }
            | Event::Preallocated { ino, .. }
            | Event::Shared { to: ino, .. }
            | Event::FileRestored { ino, .. } => Some(*ino),
            _ => None,
        }
    }
}
