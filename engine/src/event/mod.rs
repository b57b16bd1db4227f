//! The events: everything that ever happens to a store. Append-only in meaning: a variant is never changed or reused,
//! new ones go at the end. `docs/format.md` gives their bytes (postcard, in the order of declaration), a golden per variant pins them.
//!
//! `actor` says who did it, `kind` gives the kinds their stable names, `parts` has what several events are made of.

mod actor;
mod kind;
mod parts;
mod touch;

pub use actor::{Actor, Grade};
pub use parts::{Cause, NewBody, Range, SetAttributes, Shift, Source};

use crate::ids::{ActorId, CheckpointId, EventTime, Ino, Seq, VolumeId};
use crate::quota::{Limit, Quota};
use crate::schedule::Schedule;
use crate::space::{GiveUp, Retention};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strand_journal::{BlockAddr, Crcs};

/// The most ranges that one [`Event::CopiedOut`] or [`Event::ChangeMarked`] names.
pub const MAX_RANGES: usize = 2048;
/// The most shifts that one [`Event::Settled`] names.
pub const MAX_SHIFTS: usize = 2048;
/// The most bytes of an extended attribute's value.
pub const MAX_XATTR_VALUE: usize = 60 * 1024;
/// The most bytes of any text in an event (notes, command lines, reasons); longer ones are cut by the shell.
pub const MAX_TEXT: usize = 4096;
/// The most blocks that one event other than `Written` maps, unmaps or shares one by one.
pub const MAX_EVENT_BLOCKS: u64 = 65_536;
/// The most member volumes of one checkpoint or rollback.
pub const MAX_MEMBERS: usize = 1024;
/// The most paths that one file rollback names.
pub const MAX_PATHS: usize = 256;

/// The most address ranges that one [`Event::SegmentsReclaimed`] names.
pub const MAX_RECLAIMED: usize = 1024;
/// The most versions that one [`Event::Relocated`] moves: it carries each of them.
pub const MAX_RELOCATED: u64 = strand_journal::MAX_RECORD_PAYLOAD as u64;

/// Bytes that several owners share: file names, link targets, attribute values.
pub type Bytes = Arc<[u8]>;

/// One event. Payload blocks, where a variant has them, follow the record in the journal and are not counted here.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// The store begins.
    StoreCreated {
        /// The program's version.
        program: String,
    },
    /// An actor is seen for the first time.
    ActorSeen {
        /// Its number from now on.
        actor: ActorId,
        /// Who it is.
        who: Actor,
    },
    /// The wall clock and the monotonic clock disagree by more than the tolerance.
    ClockJumped {
        /// What the wall clock should have shown, ns since the Unix epoch.
        expected: u64,
        /// What it showed.
        found: u64,
    },
    /// An administrative command was refused; rate-limited by the shell.
    Refused {
        /// The kind's stable name.
        kind: String,
        /// The message.
        message: String,
        /// How many like it this event stands for.
        count: u32,
    },
    /// The digest of the state at a position.
    DigestRecorded {
        /// The position.
        at: Seq,
        /// The digest of the state just after it.
        digest: u128,
    },
    /// A volume with an empty root directory.
    VolumeCreated {
        /// Its id.
        volume: VolumeId,
        /// Its name.
        name: String,
        /// Inode number of its root directory.
        root: Ino,
        /// Permission bits of the root directory.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A volume has another name.
    VolumeRenamed {
        /// The volume.
        volume: VolumeId,
        /// The new name.
        name: String,
    },
    /// A volume and its images are gone (undoable within reach).
    VolumeRemoved {
        /// The volume.
        volume: VolumeId,
    },
    /// A removed volume is back.
    VolumeRestored {
        /// The volume.
        volume: VolumeId,
    },
    /// A writable clone with its own root.
    CloneCreated {
        /// The new volume.
        volume: VolumeId,
        /// Its name.
        name: String,
        /// The image it starts from.
        source: Source,
    },
    /// A clone is set back to the image it started from.
    CloneReset {
        /// The clone.
        volume: VolumeId,
        /// The checkpoint that keeps the state before.
        before: CheckpointId,
    },
    /// A name and a new inode.
    Created {
        /// The volume.
        volume: VolumeId,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
        /// The new inode.
        ino: Ino,
        /// What it is.
        body: NewBody,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// One more name for a file.
    Linked {
        /// The volume.
        volume: VolumeId,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
        /// The file.
        ino: Ino,
    },
    /// A name is gone; with the last one the inode goes, unless it is kept for open handles.
    Unlinked {
        /// The volume.
        volume: VolumeId,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
        /// The inode it named.
        ino: Ino,
        /// The inode stays without a name until [`Event::OrphanDropped`].
        keep: bool,
    },
    /// A name moved, over another one or not.
    Renamed {
        /// The volume.
        volume: VolumeId,
        /// The directory before.
        from_dir: Ino,
        /// The name before.
        from_name: Bytes,
        /// The directory now.
        to_dir: Ino,
        /// The name now.
        to_name: Bytes,
        /// The inode that had that name, and whether it is kept for open handles.
        over: Option<(Ino, bool)>,
    },
    /// Two names exchanged what they name.
    Exchanged {
        /// The volume.
        volume: VolumeId,
        /// One directory.
        a_dir: Ino,
        /// One name.
        a_name: Bytes,
        /// The other directory.
        b_dir: Ino,
        /// The other name.
        b_name: Bytes,
    },
    /// An inode without names is gone.
    OrphanDropped {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
    },
    /// Blocks written; one payload block each, from `block` on.
    Written {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The first block.
        block: u64,
        /// The new size, where the file grew.
        size: Option<u64>,
    },
    /// Blocks unmapped: they read as zeros.
    Punched {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// Which blocks.
        range: Range,
        /// The new size, where the file grew (zeros written past its end).
        size: Option<u64>,
    },
    /// The size changed; blocks past the new end are unmapped.
    Truncated {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The new size.
        size: u64,
    },
    /// Space promised to a file (`fallocate`); the size grows unless `keep_size`.
    Preallocated {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The new size, where it grows.
        size: Option<u64>,
    },
    /// Blocks of one file mapped into another, or elsewhere in the same (`copy_file_range`).
    Shared {
        /// The volume.
        volume: VolumeId,
        /// The file read.
        from: Ino,
        /// First block read.
        from_block: u64,
        /// The file written.
        to: Ino,
        /// First block written.
        to_block: u64,
        /// Number of blocks.
        count: u64,
        /// The new size of `to`, where it grew.
        size: Option<u64>,
    },
    /// Attributes set.
    AttributesSet {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// What changed.
        set: SetAttributes,
    },
    /// An extended attribute set.
    XattrSet {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// An extended attribute removed.
    XattrRemoved {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Bytes,
    },
    /// Before-images passed to a checkpoint (0 bytes moved). Stands before its cause, in the same commit.
    CopiedOut {
        /// The volume.
        volume: VolumeId,
        /// The newest checkpoint that maps the versions being replaced.
        checkpoint: CheckpointId,
        /// Why.
        cause: Cause,
        /// The file.
        ino: Ino,
        /// Which of its blocks.
        ranges: Vec<Range>,
    },
    /// The bulk form of `CopiedOut`: the next event of this volume takes its roots from A to B; [`Event::Settled`] counts what moved.
    CopiedOutScope {
        /// The volume.
        volume: VolumeId,
        /// Why.
        cause: Cause,
    },
    /// What a [`Event::CopiedOutScope`] moved, counted in the background.
    Settled {
        /// The volume.
        volume: VolumeId,
        /// The number of the scope event.
        scope: Seq,
        /// The movements.
        shifts: Vec<Shift>,
        /// Whether this is the scope's last part.
        last: bool,
    },
    /// A frozen image of one or more volumes.
    CheckpointCreated {
        /// Its id.
        checkpoint: CheckpointId,
        /// Its name.
        name: String,
        /// Its member volumes, in ascending order.
        volumes: Vec<VolumeId>,
        /// Made by the program (`auto-before-SEQ`): may be given up under space pressure.
        removable: bool,
        /// Cannot be read, mounted, cloned or rolled back to until the flag is cleared.
        nomount: bool,
        /// The user's note.
        note: String,
    },
    /// A checkpoint is gone (undoable within reach).
    CheckpointRemoved {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// A removed checkpoint is back.
    CheckpointRestored {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// A checkpoint has another name.
    CheckpointRenamed {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The new name.
        name: String,
    },
    /// A checkpoint is held, or let go: what is held cannot be removed.
    CheckpointHeld {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Held, or let go.
        held: bool,
    },
    /// Flags of a checkpoint changed.
    CheckpointFlagged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Removable from now on.
        removable: bool,
        /// Not to be read from now on.
        nomount: bool,
    },
    /// Volumes went back to an image, all at once.
    RolledBack {
        /// For each volume the image it has now.
        volumes: Vec<(VolumeId, Source)>,
        /// The checkpoint that keeps the state before.
        before: CheckpointId,
    },
    /// A file's content and size went back to an image's.
    FileRestored {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The image.
        source: Source,
        /// The file in the image.
        from: Ino,
        /// Mode, owner, times and extended attributes as well.
        attributes: bool,
    },
    /// Closes a rollback of files: what undo needs.
    FilesRolledBack {
        /// The volume.
        volume: VolumeId,
        /// The image.
        source: Source,
        /// The checkpoint that keeps the state before.
        before: CheckpointId,
        /// The paths that were asked for.
        paths: Vec<Bytes>,
        /// Whether attributes went back as well.
        attributes: bool,
        /// Whether files that the image did not have were deleted.
        delete_new: bool,
    },
    /// An administrative change was undone, or done again; the events that do it come before, in the same commit.
    Undone {
        /// The number of the change.
        change: Seq,
        /// Done again, not undone.
        redo: bool,
        /// The checkpoint that keeps the state before this, where the change was a rollback or a reset.
        before: Option<CheckpointId>,
    },
    /// Blocks changed since a nodata checkpoint; it keeps nothing of them. Stands before its cause, in the same commit, beside the `CopiedOut` of an
    /// older checkpoint where one keeps them.
    ChangeMarked {
        /// The volume.
        volume: VolumeId,
        /// The newest checkpoint that knew the versions being replaced: a nodata one.
        checkpoint: CheckpointId,
        /// Why.
        cause: Cause,
        /// The file.
        ino: Ino,
        /// Which of its blocks.
        ranges: Vec<Range>,
    },
    /// Images keep no data any more: what they owned is handed down, or released. Nothing brings it back.
    CheckpointConverted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Of which volumes, in ascending order.
        volumes: Vec<VolumeId>,
    },
    /// The limits of what a volume's checkpoints may own.
    QuotaSet {
        /// The volume.
        volume: VolumeId,
        /// All of them, as they are from now on.
        quota: Quota,
    },
    /// An alert: a limit is reached. What gives way to it follows in the same commit.
    QuotaReached {
        /// The volume.
        volume: VolumeId,
        /// Which limit.
        limit: Limit,
        /// What its checkpoints would own if nothing gave way, in blocks.
        owned: u64,
    },
    /// A removable checkpoint gave way. It is gone for good: undo does not bring it back.
    CheckpointDropped {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The volume whose quota it gave way to.
        volume: VolumeId,
    },
    /// Versions are copied elsewhere: the payload blocks hold them, in order. They stay the versions they are, by the address of their birth.
    Relocated {
        /// Runs of birth addresses: the first of each and how many; as many together as there are payload blocks.
        births: Vec<(u64, u32)>,
    },
    /// Space is given back. What lay there and was not [`Event::Relocated`] away is gone for good.
    SegmentsReclaimed {
        /// Runs of addresses: the first of each and how many, ascending.
        ranges: Vec<(u64, u32)>,
    },
    /// How far back a volume can be viewed.
    RetentionSet {
        /// The volume.
        volume: VolumeId,
        /// From now on.
        retention: Retention,
    },
    /// The history window moved on: earlier positions of a volume cannot be viewed any more, but for its checkpoints, and earlier changes not be undone.
    HistoryReleased {
        /// The volume.
        volume: VolumeId,
        /// The first position that still can.
        before: Seq,
    },
    /// A checkpoint is gone for good: undo does not bring it back.
    CheckpointGivenUp {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        cause: GiveUp,
    },
    /// Checkpoints of a volume are taken and thinned out by a schedule, or no more.
    ScheduleSet {
        /// The volume.
        volume: VolumeId,
        /// From now on.
        schedule: Option<Schedule>,
    },
    /// Earlier events are in the store no more; a base state stands for them.
    ArchiveMoved {
        /// The first event that is still there.
        before: Seq,
        /// The chain hash of the frame before it.
        chain: [u8; 32],
    },
    /// How many bytes the archived events of the store may take; older ones go then.
    AuditSet {
        /// From now on; `None`: as many as there are.
        keep: Option<u64>,
    },
}

/// An event in its place: what a fold gets.
#[derive(Copy, Clone, Debug)]
pub struct Placed<'a> {
    /// Its number.
    pub seq: Seq,
    /// Its time.
    pub time: EventTime,
    /// Who did it.
    pub actor: ActorId,
    /// The last event of its command: a commit boundary.
    pub last: bool,
    /// What happened.
    pub event: &'a Event,
    /// The address of its first payload block, or the one it would have.
    pub first: BlockAddr,
    /// The crc32 of each payload block.
    pub crcs: Crcs<'a>,
}
