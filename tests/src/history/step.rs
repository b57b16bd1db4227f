//! One step of a history, in the reference's numbers.

use crate::reference::{CheckpointNumber, Ino, Kind, Position, Quota, Source, VolumeNumber};

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A new inode.
    Create {
        /// The volume.
        volume: VolumeNumber,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Vec<u8>,
        /// What it is.
        kind: Kind,
        /// Permission bits.
        mode: u32,
    },
    /// One more name.
    Link {
        /// The volume.
        volume: VolumeNumber,
        /// The file.
        ino: Ino,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Vec<u8>,
    },
    /// Removes a name.
    Unlink {
        /// The volume.
        volume: VolumeNumber,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Vec<u8>,
        /// As `rmdir`.
        dir_wanted: bool,
    },
    /// Moves or exchanges names.
    Rename {
        /// The volume.
        volume: VolumeNumber,
        /// Directory and name before.
        from: (Ino, Vec<u8>),
        /// Directory and name after.
        to: (Ino, Vec<u8>),
        /// Refuse a taken name.
        no_replace: bool,
        /// Exchange.
        exchange: bool,
    },
    /// Writes bytes: those of a seed, or zeros.
    Write {
        /// The volume.
        volume: VolumeNumber,
        /// The file.
        ino: Ino,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// Where the bytes come from; `None` is zeros.
        seed: Option<u64>,
    },
    /// Sets the size.
    Truncate {
        /// The volume.
        volume: VolumeNumber,
        /// The file.
        ino: Ino,
        /// Bytes.
        size: u64,
    },
    /// Zeros a range.
    Zero {
        /// The volume.
        volume: VolumeNumber,
        /// The file.
        ino: Ino,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// May grow the file (else it is a punch).
        grow: bool,
    },
    /// Promises room.
    Preallocate {
        /// The volume.
        volume: VolumeNumber,
        /// The file.
        ino: Ino,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// Leave the size.
        keep_size: bool,
    },
    /// Copies a range, sharing whole blocks.
    CopyRange {
        /// The volume.
        volume: VolumeNumber,
        /// The file and first byte read.
        from: (Ino, u64),
        /// The file and first byte written.
        to: (Ino, u64),
        /// Number of bytes.
        length: u64,
    },
    /// Sets mode, owner, times.
    SetAttributes {
        /// The volume.
        volume: VolumeNumber,
        /// The inode.
        ino: Ino,
        /// Mode, uid, gid.
        owner: (Option<u32>, Option<u32>, Option<u32>),
        /// Access and modification time.
        times: (Option<i64>, Option<i64>),
    },
    /// Sets an extended attribute.
    SetXattr {
        /// The volume.
        volume: VolumeNumber,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// Must it be new, must it exist.
        create: Option<bool>,
    },
    /// Removes an extended attribute.
    RemoveXattr {
        /// The volume.
        volume: VolumeNumber,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Vec<u8>,
    },
    /// A handle keeps an inode.
    OpenHandle {
        /// The volume.
        volume: VolumeNumber,
        /// The inode.
        ino: Ino,
    },
    /// A handle lets go.
    CloseHandle {
        /// The volume.
        volume: VolumeNumber,
        /// The inode.
        ino: Ino,
    },
    /// A checkpoint.
    CheckpointCreate {
        /// Its name.
        name: String,
        /// Its members.
        volumes: Vec<VolumeNumber>,
        /// Cannot be read.
        nomount: bool,
        /// May be given up.
        removable: bool,
        /// Keeps nothing.
        nodata: bool,
    },
    /// Removes a checkpoint.
    CheckpointRemove(CheckpointNumber),
    /// Renames a checkpoint.
    CheckpointRename(CheckpointNumber, String),
    /// Holds a checkpoint, or lets it go.
    CheckpointHold(CheckpointNumber, bool),
    /// Sets removable and nomount.
    CheckpointFlag(CheckpointNumber, Option<bool>, Option<bool>),
    /// Makes a checkpoint nodata.
    CheckpointConvert(CheckpointNumber),
    /// Rolls back a volume.
    Rollback {
        /// The volume.
        volume: VolumeNumber,
        /// The image.
        source: Source,
        /// Other members stay.
        only: bool,
    },
    /// Rolls back all members.
    RollbackAll(CheckpointNumber),
    /// Rolls back files.
    RollbackFiles {
        /// The volume.
        volume: VolumeNumber,
        /// The image.
        source: Source,
        /// Paths in the image.
        paths: Vec<Vec<u8>>,
        /// Attributes too.
        attributes: bool,
        /// Delete what the image does not have.
        delete_new: bool,
    },
    /// Sets the limits of what a volume's checkpoints own together.
    QuotaSet {
        /// The volume.
        volume: VolumeNumber,
        /// The limits.
        quota: Quota,
        /// Even where more is used already.
        below_use: bool,
    },
    /// Gives a checkpoint up for good.
    CheckpointGiveUp(CheckpointNumber),
    /// The next checkpoint gives way to a full store.
    GiveWay,
    /// Positions before one cannot be viewed any more.
    ReleaseHistory(Position),
    /// Copies some living versions elsewhere: which ones, the seed says.
    Relocate(u64),
    /// Gives back what is dead.
    Reclaim {
        /// The history goes first.
        now: bool,
        /// Segments stay of which more per cent are alive.
        most_live: u8,
    },
    /// Puts the files of a volume in order.
    Defrag(VolumeNumber),
    /// Somebody reads a view from now on.
    Lease(Source),
    /// Somebody reads a view, for so many ns at most.
    LeaseFor(Source, u64),
    /// Of those who read one stops.
    EndLease(u64),
    /// So many ns pass.
    Pass(u64),
    /// The wall clock is set by so many ns, and no time passes.
    ClockJump(i64),
    /// How far back a volume can be viewed.
    RetentionSet {
        /// The volume.
        volume: VolumeNumber,
        /// In ns that passed.
        age: Option<u64>,
        /// In bytes written.
        bytes: Option<u64>,
    },
    /// Moves the history windows on, as far as the retentions allow.
    MoveWindowsOn,
    /// When checkpoints are taken of a volume by the clock, and which are kept.
    ScheduleSet {
        /// The volume.
        volume: VolumeNumber,
        /// In ns; `None`: no more of them.
        every: Option<u64>,
        /// Up to which age one of so much time is kept, both in ns.
        keep: Vec<(u64, u64)>,
    },
    /// Does what the schedule of a volume says is due.
    FollowSchedule(VolumeNumber),
    /// Moves the archived events of before a position out of the store.
    MoveArchives(Position),
    /// How many bytes archived events may take.
    AuditSet(Option<u64>),
    /// Lets go of the oldest archived events where they take more.
    TrimArchives,
    /// A clone.
    CloneCreate {
        /// Its name.
        name: String,
        /// What it starts from.
        source: Source,
    },
    /// Sets a clone back.
    CloneReset(VolumeNumber),
    /// A new volume.
    VolumeCreate(String),
    /// Renames a volume.
    VolumeRename(VolumeNumber, String),
    /// Removes a volume, with its checkpoints or not.
    VolumeRemove(VolumeNumber, bool),
    /// Undoes a change.
    Undo(Option<VolumeNumber>),
    /// Does it again.
    Redo(Option<VolumeNumber>),
    /// Counts what waits to be counted.
    Settle,
    /// Makes everything so far durable.
    Sync,
    /// Writes a state file.
    StateFile,
    /// Ends the process and opens the store again: after a clean close, or after nothing but a sync.
    Reopen {
        /// With a clean close.
        clean: bool,
        /// Without looking at state files.
        from_start: bool,
    },
}
