//! What events are made of: bodies, attributes, causes, ranges, images, movements.

use super::Bytes;
use crate::ids::{CheckpointId, Seq, VolumeId};
use serde::{Deserialize, Serialize};

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
    /// An image became nodata.
    Conversion,
    /// A checkpoint gave way to a quota.
    Quota,
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

/// One movement of ownership, counted in blocks ([`Event::Settled`](crate::Event::Settled)).
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
    /// A nodata checkpoint is the newest that knew them, and they are live no more: it marks them as changed.
    Marked {
        /// The checkpoint.
        to: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
    /// A nodata checkpoint marks them no longer: they are live again, or a newer checkpoint knows them.
    Unmarked {
        /// The checkpoint.
        from: CheckpointId,
        /// Number of versions.
        blocks: u64,
    },
}
