//! The records of a state file, one after the other in its chunks.
//!
//! A record's first byte says what it is. [`BLOCK_LEAF`] and the like are the nodes of the radix maps, laid out by
//! hand because there are so many; everything else is a [`Record`] in postcard, whose variant number is that byte.
//! Things that others share are numbered 0, 1, 2 … in the order they stand in the file, each kind for itself, and are
//! named by that number, which is always a lower one: whatever a record names stands before it.

use crate::event::{Actor, Cause, Source};
use crate::quota::Quota;
use crate::radix::{DumpedRoot, NodeId};
use crate::schedule::Schedule;
use crate::space::Retention;
use crate::state::Ledger;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops;

/// A leaf of a block map: bitmap, then ten packed bytes for each entry.
pub(super) const BLOCK_LEAF: u8 = 0x80;
/// A branch of a block map: bitmap, then for each child how many nodes ago it stood.
pub(super) const BLOCK_BRANCH: u8 = 0x81;
/// A leaf of an inode table: bitmap, then for each entry how many inodes ago it stood.
pub(super) const INODE_LEAF: u8 = 0x82;
/// A branch of an inode table, as that of a block map.
pub(super) const INODE_BRANCH: u8 = 0x83;
/// A leaf of a spread: bitmap, then for each entry how many lists of places ago it stood.
pub(super) const SPREAD_LEAF: u8 = 0x84;
/// A branch of a spread, as that of a block map.
pub(super) const SPREAD_BRANCH: u8 = 0x85;

/// Most bytes of a node's record: kind, bitmap, sixteen of the longest entries.
pub(super) const MAX_NODE_BYTES: usize = 3 + 16 * 10;
/// About how many bytes of names, places and the like go into one record; a longer list takes several.
pub(super) const PART_BYTES: usize = 32 * 1024;

/// Everything but nodes. A list too long for one record goes on in the next one of the same kind while `more` is set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// A directory's entries: those of an earlier list, or none, with changes.
    Names {
        base: Option<u64>,
        #[serde(borrow)]
        removed: Vec<&'a [u8]>,
        #[serde(borrow)]
        set: Vec<(&'a [u8], u64)>,
        more: bool,
    },
    /// A set of extended attributes.
    Xattrs {
        #[serde(borrow)]
        set: Vec<(&'a [u8], &'a [u8])>,
        more: bool,
    },
    /// An inode.
    Inode(#[serde(borrow)] InodeRecord<'a>),
    /// Places that one version is mapped at: file and block.
    Places { places: Vec<(u64, u64)>, more: bool },
    /// Inodes without a name, for the next `Fileset`.
    Orphans(Vec<u64>),
    /// A file tree. `near` is an earlier one that much is shared with, a hint for what to compare it with.
    Fileset {
        near: Option<u64>,
        root: u64,
        inodes: RootRecord,
        blocks: u64,
    },
    /// The images of a volume: those of an earlier list, or none, with changes.
    Images {
        base: Option<u64>,
        removed: Vec<u32>,
        set: Vec<ImageRecord>,
        more: bool,
    },
    /// A bulk movement not counted yet, for the next `Volume`.
    Pending {
        scope: u64,
        cause: Cause,
        before: RootsRecord,
        after: Option<RootsRecord>,
    },
    /// A volume.
    Volume(#[serde(borrow)] VolumeRecord<'a>),
    /// A checkpoint.
    Checkpoint(#[serde(borrow)] CheckpointRecord<'a>),
    /// An actor.
    Actor { id: u32, who: Cow<'a, Actor> },
    /// An administrative change.
    Change(#[serde(borrow)] ChangeRecord<'a>),
    /// The counters. The last record.
    Counters(CountersRecord),
    /// The nodata images of the next `Images` that ends, and what they mark.
    Nodata { images: Vec<(u32, u64)> },
    /// The quota of a volume that stands before it.
    Quota {
        volume: u32,
        removed: bool,
        quota: Quota,
    },
    /// What else is set of a volume that stands before it.
    Window {
        volume: u32,
        removed: bool,
        retention: Retention,
        history: u64,
        schedule: Option<Schedule>,
    },
    /// A tree that came back from a position, of a volume that stands before it.
    Returned {
        volume: u32,
        removed: bool,
        at: u64,
        position: u64,
        fileset: u64,
    },
    /// Versions that were moved, ascending over all such records: birth and present address.
    Moved { versions: Vec<(u64, u64)> },
    /// Address ranges that were given back, ascending over all such records: first and one past the last.
    Reclaimed { ranges: Vec<(u64, u64)> },
    /// Elapsed time and the audit horizon.
    Ages {
        elapsed: u64,
        horizon: u64,
        audit: Option<u64>,
    },
    /// Elapsed time when checkpoints that stand before it were taken.
    Taken { checkpoints: Vec<(u32, u64)> },
}

/// The root of a radix map.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub(super) struct RootRecord {
    pub(super) node: Option<u64>,
    pub(super) height: u8,
    pub(super) len: u64,
}

impl From<DumpedRoot> for RootRecord {
    fn from(root: DumpedRoot) -> Self {
        Self {
            node: root.node.map(|id| id.0),
            height: root.height,
            len: root.len,
        }
    }
}

impl From<RootRecord> for DumpedRoot {
    fn from(root: RootRecord) -> Self {
        Self {
            node: root.node.map(NodeId),
            height: root.height,
            len: root.len,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InodeRecord<'a> {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) atime: i64,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    pub(super) parent: u64,
    pub(super) xattrs: Option<u64>,
    #[serde(borrow)]
    pub(super) body: BodyRecord<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BodyRecord<'a> {
    File { size: u64, map: RootRecord },
    Dir { names: u64 },
    Symlink(&'a [u8]),
    Fifo,
    Socket,
    Char(u64),
    Block(u64),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub(super) checkpoint: u32,
    pub(super) fileset: u64,
    pub(super) born: u64,
    pub(super) copied_out: u64,
    pub(super) handed_in: u64,
    pub(super) handed_down: u64,
    pub(super) released: u64,
}

impl ImageRecord {
    pub(super) fn ledger(&self) -> Ledger {
        Ledger {
            copied_out: self.copied_out,
            handed_in: self.handed_in,
            handed_down: self.handed_down,
            released: self.released,
        }
    }
}

#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(super) struct RootsRecord {
    pub(super) live: u64,
    pub(super) images: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VolumeRecord<'a> {
    pub(super) removed: bool,
    pub(super) id: u32,
    pub(super) name: &'a str,
    pub(super) created: u64,
    pub(super) created_time: u64,
    pub(super) origin: Option<(Source, u64)>,
    pub(super) live: u64,
    pub(super) images: u64,
    pub(super) removed_images: u64,
    pub(super) spread: RootRecord,
    pub(super) generation: u64,
    pub(super) changed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord<'a> {
    pub(crate) removed: bool,
    pub(crate) id: u32,
    pub(crate) name: &'a str,
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) actor: u32,
    pub(crate) volumes: Vec<u32>,
    pub(crate) removable: bool,
    pub(crate) nomount: bool,
    pub(crate) held: bool,
    pub(crate) note: &'a str,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChangeRecord<'a> {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) volumes: Vec<u32>,
    #[serde(borrow)]
    pub(crate) what: WhatRecord<'a>,
    pub(crate) undone: Option<Option<u32>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WhatRecord<'a> {
    RolledBack {
        before: u32,
    },
    Reset {
        before: u32,
    },
    FilesRolledBack {
        before: u32,
        source: Source,
        #[serde(borrow)]
        paths: Vec<&'a [u8]>,
        attributes: bool,
        delete_new: bool,
        created: ops::Range<u64>,
    },
    VolumeRenamed {
        volume: u32,
        from: &'a str,
        to: &'a str,
    },
    CheckpointRenamed {
        checkpoint: u32,
        from: &'a str,
        to: &'a str,
    },
    VolumeRemoved {
        volume: u32,
    },
    CheckpointRemoved {
        checkpoint: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CountersRecord {
    pub(super) seq: u64,
    pub(super) time: u64,
    pub(super) boundary: u64,
    pub(super) next_ino: u64,
    pub(super) boundary_ino: u64,
    pub(super) next_volume: u32,
    pub(super) next_checkpoint: u32,
    pub(super) next_actor: u32,
    pub(super) digest: Option<(u64, u128)>,
    pub(super) created: Option<u64>,
}
