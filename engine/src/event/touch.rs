//! What an event concerns: its volume, its file. Said once, for all who follow events: folds, caches of mounts, the log.

use super::{Event, Source};
use crate::ids::{Ino, Seq, VolumeId};

impl Event {
    /// Whether it carries payload blocks.
    #[must_use]
    pub fn carries_blocks(&self) -> bool {
        matches!(self, Event::Written { .. } | Event::Relocated { .. })
    }

    /// The images that an event goes back to: of its volumes, or of the volume whose files it takes up. Whoever folds it may need the state there, and
    /// nothing that only they show may be gone before it.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        let (each, one): (&[(VolumeId, Source)], _) = match self {
            Event::RolledBack { volumes, .. } => (volumes, None),
            Event::CloneCreated { source, .. }
            | Event::FileRestored { source, .. }
            | Event::FilesRolledBack { source, .. } => (&[], Some(*source)),
            _ => (&[], None),
        };
        each.iter().map(|(_, source)| *source).chain(one)
    }

    /// The earlier positions among its [`Event::sources`].
    pub fn positions(&self) -> impl Iterator<Item = Seq> + '_ {
        self.sources().filter_map(|source| match source {
            Source::Position(_, seq) => Some(seq),
            Source::Live(_) | Source::Checkpoint(..) => None,
        })
    }

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
