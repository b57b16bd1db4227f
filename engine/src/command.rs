//! The commands that `decide` judges. Whatever is not in the state is in here: who asks, when, how much room there is.

use crate::event::{Actor, Bytes, NewBody, SetAttributes, Shift, Source};
use crate::ids::{CheckpointId, Ino, Seq, VolumeId};
use crate::in_use::InUse;
use crate::last_verify::BadVersion;
use crate::quota::Quota;
use crate::schedule::Schedule;
use crate::space::{GiveUp, Retention};
use imbl::OrdSet;
use serde::{Deserialize, Serialize};

/// A command with what surrounds it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub actor: &'a Actor,
    /// Journal blocks that may still be placed.
    pub free_blocks: u64,
    /// Blocks kept back so that checkpoints can still be removed on a full store.
    pub reserve_blocks: u64,
    /// Inodes that open handles keep, per volume: their last unlink makes an orphan.
    pub open: &'a OrdSet<(VolumeId, Ino)>,
    /// The user whose store it is, where others can reach it too: in live use. `None` at rest, where the permissions of the store's
    /// files have said already who may.
    pub owner: Option<u32>,
    /// Versions known to be bad, in journal order: what maps them is no target.
    pub bad: &'a [BadVersion],
    /// What live use holds.
    pub in_use: &'a InUse,
    /// What is asked.
    pub command: Command,
}

/// A run of blocks that a write replaces.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct WriteRun {
    /// The first block.
    pub block: u64,
    /// Number of blocks; at most [`strand_journal::MAX_RECORD_PAYLOAD`] where `data`.
    pub count: u64,
    /// Payload blocks come with it; else they are zeros and become a hole.
    pub data: bool,
}

/// What a view names, once resolved.
pub type View = Source;

/// What can be asked of a store. It is never in the journal, only its events are; the control socket of a store in live use carries
/// it, and its version says which form.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a store.
    CreateStore {
        /// The program's version.
        program: String,
    },
    /// A new, empty volume.
    VolumeCreate {
        /// Its name.
        name: String,
        /// Permission bits of its root.
        mode: u32,
        /// Owner of its root.
        uid: u32,
        /// Group of its root.
        gid: u32,
    },
    /// Another name.
    VolumeRename {
        /// The volume.
        volume: VolumeId,
        /// The new name.
        name: String,
    },
    /// Removes a volume.
    VolumeRemove {
        /// The volume.
        volume: VolumeId,
        /// Its checkpoints go too.
        with_checkpoints: bool,
    },
    /// A writable clone.
    CloneCreate {
        /// Its name.
        name: String,
        /// What it starts from.
        source: Source,
    },
    /// Sets a clone back to what it started from.
    CloneReset {
        /// The clone.
        volume: VolumeId,
    },
    /// A new inode with a name.
    Create {
        /// The volume.
        volume: VolumeId,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
        /// What it is.
        body: NewBody,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group (a setgid directory's group wins).
        gid: u32,
    },
    /// One more name.
    Link {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
    },
    /// Removes a name; `dir_wanted` says whether it must be a directory (`rmdir`) or must not (`unlink`).
    Unlink {
        /// The volume.
        volume: VolumeId,
        /// The directory.
        dir: Ino,
        /// The name.
        name: Bytes,
        /// It must be an empty directory.
        dir_wanted: bool,
    },
    /// Moves a name.
    Rename {
        /// The volume.
        volume: VolumeId,
        /// The directory before.
        from_dir: Ino,
        /// The name before.
        from_name: Bytes,
        /// The directory after.
        to_dir: Ino,
        /// The name after.
        to_name: Bytes,
        /// Refuse where the new name exists.
        no_replace: bool,
        /// Exchange the two names.
        exchange: bool,
    },
    /// Removes an orphan whose last handle closed.
    DropOrphan {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
    },
    /// Replaces whole blocks; the shell has merged partial ones.
    Write {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// Ascending, disjoint.
        runs: Vec<WriteRun>,
        /// The file is at least this long afterwards.
        size: u64,
    },
    /// Sets the size. Where the new end lies inside a mapped block, the shell gives that block, zeroed past the end.
    Truncate {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// The new size.
        size: u64,
        /// The payload holds the new last block.
        tail: bool,
    },
    /// Promises room (`fallocate`): checks the space there is, and grows the size unless `keep_size`.
    Preallocate {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// First byte.
        offset: u64,
        /// Number of bytes, at least 1.
        length: u64,
        /// Leave the size.
        keep_size: bool,
    },
    /// Maps blocks of one file into another.
    Share {
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
        /// Number of blocks, at most [`crate::event::MAX_EVENT_BLOCKS`].
        count: u64,
        /// `to` is at least this long afterwards.
        size: u64,
    },
    /// Sets attributes.
    SetAttributes {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// What to set.
        set: SetAttributes,
    },
    /// Sets an extended attribute.
    SetXattr {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Bytes,
        /// Its value.
        value: Bytes,
        /// `Some(true)`: it must not exist; `Some(false)`: it must.
        create: Option<bool>,
    },
    /// Removes an extended attribute.
    RemoveXattr {
        /// The volume.
        volume: VolumeId,
        /// The inode.
        ino: Ino,
        /// Its name.
        name: Bytes,
    },
    /// A frozen image of one or more volumes at one instant.
    CheckpointCreate {
        /// Its name; `None`: the program chooses `ckpt-N`.
        name: Option<String>,
        /// Its members.
        volumes: Vec<VolumeId>,
        /// Cannot be read.
        nomount: bool,
        /// May be given up under pressure.
        removable: bool,
        /// Remembers which blocks change, and keeps none of them.
        nodata: bool,
        /// A note.
        note: String,
    },
    /// Removes a checkpoint.
    CheckpointRemove {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// Another name.
    CheckpointRename {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The new name.
        name: String,
    },
    /// Holds a checkpoint, or lets it go.
    CheckpointHold {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Hold, or let go.
        held: bool,
    },
    /// Sets or clears flags; `None` stays.
    CheckpointFlag {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// May be given up under pressure.
        removable: Option<bool>,
        /// Cannot be read.
        nomount: Option<bool>,
    },
    /// Makes a checkpoint nodata: it keeps no images any more. Nothing brings them back.
    CheckpointConvert {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// Sets what a volume's checkpoints may own, and whether that is enforced.
    QuotaSet {
        /// The volume.
        volume: VolumeId,
        /// The limits.
        quota: Quota,
        /// Also where its checkpoints own more than that already: some are given up by the next write.
        below_use: bool,
    },
    /// Rolls back one volume.
    Rollback {
        /// The volume.
        volume: VolumeId,
        /// The image.
        source: Source,
        /// Only this volume, although the checkpoint has other members.
        only: bool,
    },
    /// Rolls back every member volume of a checkpoint in one commit.
    RollbackAll {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// Rolls back files.
    RollbackFiles {
        /// The volume.
        volume: VolumeId,
        /// The image.
        source: Source,
        /// Paths, looked up in the image; a directory means its tree.
        paths: Vec<Bytes>,
        /// Mode, owner, times and extended attributes of living files too.
        attributes: bool,
        /// Delete what the image does not have.
        delete_new: bool,
    },
    /// Undoes the latest administrative change (of one volume, or of the store).
    Undo {
        /// Of this volume only.
        volume: Option<VolumeId>,
    },
    /// Does again what was undone last.
    Redo {
        /// Of this volume only.
        volume: Option<VolumeId>,
    },
    /// Records the count of the oldest bulk movement of a volume ([`crate::owner::settle`] counts it outside the lock).
    Settle {
        /// The volume.
        volume: VolumeId,
        /// The number of its scope event.
        scope: Seq,
        /// The movements.
        shifts: Vec<Shift>,
    },
    /// Copies versions elsewhere; the payload holds them.
    Relocate {
        /// Runs of birth addresses, at most [`crate::MAX_RELOCATED`] versions together.
        births: Vec<(u64, u32)>,
    },
    /// Gives back space whose survivors were copied elsewhere.
    ReclaimSegments {
        /// Runs of addresses, at most [`crate::MAX_RECLAIMED`].
        ranges: Vec<(u64, u32)>,
    },
    /// Sets how far back a volume can be viewed.
    RetentionSet {
        /// The volume.
        volume: VolumeId,
        /// From now on.
        retention: Retention,
    },
    /// Moves the history windows of all volumes on.
    ReleaseHistory {
        /// The first position that can still be viewed.
        before: Seq,
    },
    /// Gives up one checkpoint for good.
    CheckpointGiveUp {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        cause: GiveUp,
    },
    /// Gives up the checkpoint that is the next to go when the store is full.
    GiveWay,
    /// Sets when checkpoints are taken of a volume, and which are kept; `None`: no more.
    ScheduleSet {
        /// The volume.
        volume: VolumeId,
        /// From now on.
        schedule: Option<Schedule>,
    },
    /// Records that earlier events have been moved out of the store.
    MoveArchive {
        /// The first event that is still there.
        before: Seq,
        /// The chain hash of the frame before it.
        chain: [u8; 32],
    },
    /// Sets how many bytes archived events may take.
    AuditSet {
        /// From now on; `None`: as many as there are.
        keep: Option<u64>,
    },
    /// Records a digest.
    RecordDigest {
        /// The position.
        at: Seq,
        /// The digest.
        digest: u128,
    },
    /// Records that the wall clock jumped.
    RecordClockJump {
        /// What it should have shown.
        expected: u64,
        /// What it showed.
        found: u64,
    },
    /// Records refused commands.
    RecordRefused {
        /// The kind's stable name.
        kind: String,
        /// The message.
        message: String,
        /// How many.
        count: u32,
    },
}

impl Command {
    /// Says whether it gives space back, in the end or at once: what is set aside for that is for nothing else.
    #[must_use]
    pub fn gives_space_back(&self) -> bool {
        matches!(
            self,
            Command::Relocate { .. }
                | Command::ReclaimSegments { .. }
                | Command::ReleaseHistory { .. }
                | Command::GiveWay
                | Command::CheckpointGiveUp { .. }
                | Command::MoveArchive { .. }
                | Command::Settle { .. }
        )
    }

    /// Says whether it is a file system's call.
    #[must_use]
    pub fn is_of_files(&self) -> bool {
        matches!(
            self,
            Command::Create { .. }
                | Command::Link { .. }
                | Command::Unlink { .. }
                | Command::Rename { .. }
                | Command::Write { .. }
                | Command::Truncate { .. }
                | Command::Preallocate { .. }
                | Command::Share { .. }
                | Command::SetAttributes { .. }
                | Command::SetXattr { .. }
                | Command::RemoveXattr { .. }
        )
    }

    /// Says whether it can put another tree, or other content, under those who have files open.
    #[must_use]
    pub fn swaps(&self) -> bool {
        matches!(
            self,
            Command::Rollback { .. }
                | Command::RollbackAll { .. }
                | Command::RollbackFiles { .. }
                | Command::Undo { .. }
                | Command::Redo { .. }
                | Command::CloneReset { .. }
                | Command::VolumeRemove { .. }
        )
    }

    /// Says whether it is administrative: refusals of those are recorded, and they never cause a deletion.
    #[must_use]
    pub fn is_administrative(&self) -> bool {
        matches!(
            self,
            Command::VolumeCreate { .. }
                | Command::VolumeRename { .. }
                | Command::VolumeRemove { .. }
                | Command::CloneCreate { .. }
                | Command::CloneReset { .. }
                | Command::CheckpointCreate { .. }
                | Command::CheckpointRemove { .. }
                | Command::CheckpointRename { .. }
                | Command::CheckpointHold { .. }
                | Command::CheckpointFlag { .. }
                | Command::CheckpointConvert { .. }
                | Command::QuotaSet { .. }
                | Command::RetentionSet { .. }
                | Command::CheckpointGiveUp { .. }
                | Command::ScheduleSet { .. }
                | Command::AuditSet { .. }
                | Command::Rollback { .. }
                | Command::RollbackAll { .. }
                | Command::RollbackFiles { .. }
                | Command::Undo { .. }
                | Command::Redo { .. }
        )
    }
}
