//! The events: everything that ever happens to a store. Append-only in meaning: a variant is never changed or reused,
//! new ones go at the end. `docs/format.md` gives their bytes (postcard, in the order of declaration), a golden per variant pins them.

use crate::ids::{ActorId, CheckpointId, EventTime, Ino, Seq, VolumeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strand_journal::{BlockAddr, Crcs};

/// The most ranges that one [`Event::CopiedOut`] names.
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

/// Bytes that several owners share: file names, link targets, attribute values.
pub type Bytes = Arc<[u8]>;

/// How well an actor is known (design: the grade).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// The process that made the call: uid, pid, start time, name.
    Caller,
    /// Write-back of mapped pages: those who hold the file open, not surely the writer.
    Handle,
    /// A `strand` command: arguments, uid, login, reason.
    Command,
    /// The program itself (recovery, settlement, schedules).
    Program,
}

/// Who did it. Interned: an event names an [`ActorId`].
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// How well it is known.
    pub grade: Grade,
    /// User id.
    pub uid: u32,
    /// Process id.
    pub pid: u32,
    /// Start time of the process, in clock ticks since boot, 0 where unknown (a pid comes back, the pair does not).
    pub started: u64,
    /// The process's name.
    pub name: String,
    /// The command line, for [`Grade::Command`].
    pub command: String,
    /// The login name, where known.
    pub login: String,
    /// What the person gave as `--reason`.
    pub reason: String,
}

impl Actor {
    /// The program itself.
    #[must_use]
    pub fn program() -> Self {
        Self {
            grade: Grade::Program,
            uid: 0,
            pid: 0,
            started: 0,
            name: "strand".into(),
            command: String::new(),
            login: String::new(),
            reason: String::new(),
        }
    }
}

/// What an inode is, when it is created.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum NewBody {
    /// An empty regular file.
    File,
    /// An empty directory.
    Dir,
    /// A symbolic link with its target.
    Symlink(Bytes),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with its device number.
    Char(u64),
    /// A block device with its device number.
    Block(u64),
}

/// Attributes to set; what is `None` stays.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SetAttributes {
    /// Permission bits (12 bits).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time, ns since the Unix epoch, may be negative.
    pub atime: Option<i64>,
    /// Modification time, ns since the Unix epoch, may be negative.
    pub mtime: Option<i64>,
}

/// Why before-images pass to a checkpoint.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// A write over mapped blocks.
    Write,
    /// A truncation.
    Truncate,
    /// A hole punched, or a range zeroed.
    Punch,
    /// The last name of a file went (`unlink`, or a rename over it), or an open unlinked file was closed.
    Unlink,
    /// A rename over the file's last name.
    RenameOver,
    /// `copy_file_range` over mapped blocks.
    Share,
    /// A rollback of a volume.
    Rollback,
    /// A rollback of files.
    FileRollback,
    /// A clone set back to its origin.
    Reset,
    /// A checkpoint was removed.
    Removal,
    /// A removed checkpoint was brought back.
    Restoration,
    /// A snapshot resynchronised.
    Resync,
}

/// A run of blocks of a file: first block, number of blocks.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub struct Range {
    /// First block.
    pub block: u64,
    /// Number of blocks, at least 1.
    pub count: u64,
}

/// Where an image comes from.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The live volume as it is at the event.
    Live(VolumeId),
    /// The image that a checkpoint keeps of a volume.
    Checkpoint(VolumeId, CheckpointId),
    /// The volume as it was at a commit boundary.
    Position(VolumeId, Seq),
}

impl Source {
    /// The volume whose image it is.
    #[must_use]
    pub fn volume(self) -> VolumeId {
        match self {
            Source::Live(volume) | Source::Checkpoint(volume, _) | Source::Position(volume, _) => {
                volume
            }
        }
    }
}

/// One movement of ownership, counted in blocks ([`Event::Settled`]).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Shift {
    /// Versions left the live volume and are owned by a checkpoint now.
    CopiedOut {
        /// The new owner.
        to: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
    /// Versions passed from one checkpoint to another (the reference's push downstream, without moving a byte).
    HandedDown {
        /// The owner before.
        from: CheckpointId,
        /// The owner now.
        to: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
    /// Versions that nobody owned came to a checkpoint: it was removed and is back.
    HandedIn {
        /// The owner now.
        to: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
    /// A checkpoint owns them no longer: they are live again, or nobody maps them.
    Released {
        /// The owner before.
        from: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
}

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
}

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
        }
    }
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
