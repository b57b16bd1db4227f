//! The stable names of the kinds of events.

use super::Event;

impl Event {
    /// The stable name of the event's kind, as `strand log --kind` takes it. Pinned by a golden.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::StoreCreated { .. } => "store-created",
            Event::ActorSeen { .. } => "actor-seen",
            Event::ClockJumped { .. } => "clock-jumped",
            Event::Refused { .. } => "refused",
            Event::DigestRecorded { .. } => "digest-recorded",
            Event::VolumeCreated { .. } => "volume-created",
            Event::VolumeRenamed { .. } => "volume-renamed",
            Event::VolumeRemoved { .. } => "volume-removed",
            Event::VolumeRestored { .. } => "volume-restored",
            Event::CloneCreated { .. } => "clone-created",
            Event::CloneReset { .. } => "clone-reset",
            Event::Created { .. } => "created",
            Event::Linked { .. } => "linked",
            Event::Unlinked { .. } => "unlinked",
            Event::Renamed { .. } => "renamed",
            Event::Exchanged { .. } => "exchanged",
            Event::OrphanDropped { .. } => "orphan-dropped",
            Event::Written { .. } => "written",
            Event::Punched { .. } => "punched",
            Event::Truncated { .. } => "truncated",
            Event::Preallocated { .. } => "preallocated",
            Event::Shared { .. } => "shared",
            Event::AttributesSet { .. } => "attributes-set",
            Event::XattrSet { .. } => "xattr-set",
            Event::XattrRemoved { .. } => "xattr-removed",
            Event::CopiedOut { .. } => "copied-out",
            Event::CopiedOutScope { .. } => "copied-out-scope",
            Event::Settled { .. } => "settled",
            Event::CheckpointCreated { .. } => "checkpoint-created",
            Event::CheckpointRemoved { .. } => "checkpoint-removed",
            Event::CheckpointRestored { .. } => "checkpoint-restored",
            Event::CheckpointRenamed { .. } => "checkpoint-renamed",
            Event::CheckpointHeld { .. } => "checkpoint-held",
            Event::CheckpointFlagged { .. } => "checkpoint-flagged",
            Event::RolledBack { .. } => "rolled-back",
            Event::FileRestored { .. } => "file-restored",
            Event::FilesRolledBack { .. } => "files-rolled-back",
            Event::Undone { .. } => "undone",
            Event::ChangeMarked { .. } => "change-marked",
            Event::CheckpointConverted { .. } => "checkpoint-converted",
            Event::QuotaSet { .. } => "quota-set",
            Event::QuotaReached { .. } => "quota-reached",
            Event::CheckpointDropped { .. } => "checkpoint-dropped",
            Event::Relocated { .. } => "relocated",
            Event::SegmentsReclaimed { .. } => "segments-reclaimed",
            Event::RetentionSet { .. } => "retention-set",
            Event::HistoryReleased { .. } => "history-released",
            Event::CheckpointGivenUp { .. } => "checkpoint-given-up",
            Event::ScheduleSet { .. } => "schedule-set",
            Event::ArchiveMoved { .. } => "archive-moved",
            Event::AuditSet { .. } => "audit-set",
        }
    }
}
