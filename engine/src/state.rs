//! The state: what a fold of the events yields. Persistent all the way down, so that a clone is a handful of
//! reference counts, and a frozen image is a root.

use crate::block::BlockRef;
use crate::event::{Actor, Bytes, Cause, Source};
use crate::ids::{ActorId, CheckpointId, EventTime, Ino, Seq, VolumeId};
use crate::images::Images;
use crate::queue::Queue;
use crate::quota::Quota;
use crate::radix::Radix;
use crate::schedule::Schedule;
use crate::space::{Places, Retention};
use imbl::{OrdMap, OrdSet};
use std::ops;
use std::sync::Arc;
use strand_journal::BlockAddr;

/// How many administrative changes can be undone. What falls out of it (removed volumes and checkpoints among it) is forgotten.
pub const UNDO_DEPTH: usize = 64;

/// The most that a pause between two events adds to [`State::elapsed`], in ns: one hour. A clock that was set forward while the store was closed makes nothing
/// older than that.
pub const LONGEST_PAUSE: u64 = 3_600_000_000_000;

/// A file's blocks: logical block index to version.
pub type BlockMap = Radix<BlockRef>;

/// A directory's entries.
pub type Names = OrdMap<Bytes, Ino>;

/// Extended attributes.
pub type Xattrs = OrdMap<Bytes, Bytes>;

/// The whole store, as a pure function of its events.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Number of the last event folded; 0 before the first.
    pub seq: Seq,
    /// Time of that event.
    pub time: EventTime,
    /// The last commit boundary: the last event of the last whole command.
    pub boundary: Seq,
    /// The next inode number, and what it was at the last boundary.
    pub next_ino: Ino,
    /// `next_ino` at the last commit boundary: what the running command created is from here on.
    pub boundary_ino: Ino,
    /// The next volume id.
    pub next_volume: VolumeId,
    /// The next checkpoint id.
    pub next_checkpoint: CheckpointId,
    /// The next actor number.
    pub next_actor: ActorId,
    /// The volumes.
    pub volumes: OrdMap<VolumeId, Arc<Volume>>,
    /// Volumes by name.
    pub volume_names: OrdMap<Arc<str>, VolumeId>,
    /// Removed volumes that undo can bring back.
    pub removed_volumes: OrdMap<VolumeId, Arc<Volume>>,
    /// The checkpoints.
    pub checkpoints: OrdMap<CheckpointId, Arc<Checkpoint>>,
    /// Checkpoints by name.
    pub checkpoint_names: OrdMap<Arc<str>, CheckpointId>,
    /// Removed checkpoints that undo can bring back.
    pub removed_checkpoints: OrdMap<CheckpointId, Arc<Checkpoint>>,
    /// Actors seen.
    pub actors: OrdMap<ActorId, Arc<Actor>>,
    /// Actors by content.
    pub actor_ids: OrdMap<Arc<Actor>, ActorId>,
    /// Administrative changes, oldest first, at most [`UNDO_DEPTH`].
    pub changes: Queue<Arc<Change>>,
    /// The last recorded digest, and its position.
    pub digest: Option<(Seq, u128)>,
    /// Set by the first event.
    pub created: Option<EventTime>,
    /// Where versions lie that were moved, and what space was given back.
    pub places: Places,
    /// Time that passed between the events, in ns: a pause counts as [`LONGEST_PAUSE`] at most, and a jump of the clock not at all.
    pub elapsed: u64,
    /// The first event that is still in the store; 0: all are.
    pub horizon: Seq,
    /// How many bytes archived events may take.
    pub audit: Option<u64>,
}

/// One POSIX file tree with its checkpoints.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: Arc<str>,
    /// The event that created it.
    pub created: Seq,
    /// When.
    pub created_time: EventTime,
    /// The image a clone started from, kept for reset.
    pub origin: Option<Origin>,
    /// The live tree.
    pub live: Fileset,
    /// The images that checkpoints keep of it, oldest first.
    pub images: Images,
    /// Images of removed checkpoints, for undo. They own nothing.
    pub removed_images: OrdMap<CheckpointId, Image>,
    /// Versions that are, or were, mapped at more than one place.
    pub spread: Spread,
    /// Bulk movements of ownership not counted yet, oldest first.
    pub pending: Queue<Arc<Pending>>,
    /// Grows with every rollback and reset: open handles from before are stale.
    pub generation: u64,
    /// Time of the last change to the live tree.
    pub changed: EventTime,
    /// What its checkpoints may own together.
    pub quota: Quota,
    /// How far back it can be viewed.
    pub retention: Retention,
    /// The first position that can be viewed: its creation, or where its history window begins.
    pub history: Seq,
    /// When checkpoints are taken of it, and which are kept.
    pub schedule: Option<Schedule>,
    /// Trees that came back from a position, oldest first, until the history window has passed that.
    pub returned: Queue<Arc<Returned>>,
}

/// A tree that a rollback, of a volume or of files, brought back from a position: versions in it may have been dead in between, and the history window shows
/// them again.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The event that brought it last.
    pub at: Seq,
    /// The position that it came from.
    pub position: Seq,
    /// The tree there.
    pub root: Fileset,
}

/// What a clone started from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The image.
    pub source: Source,
    /// Its root.
    pub root: Fileset,
}

/// A file tree: a root pointer, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Fileset {
    /// The root directory.
    pub root: Ino,
    /// The inodes.
    pub inodes: Radix<Arc<Inode>>,
    /// Number of mapped blocks (a shared one counts at each place).
    pub blocks: u64,
    /// Inodes without a name that open handles keep.
    pub orphans: OrdSet<Ino>,
    /// Its files cannot be read: a view of a nodata image. No tree of the state has it set.
    pub nodata: bool,
}

/// An inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inode {
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names (directories: 2 + subdirectories).
    pub nlink: u32,
    /// Access time, ns since the Unix epoch.
    pub atime: i64,
    /// Modification time, ns since the Unix epoch.
    pub mtime: i64,
    /// Change time, ns since the Unix epoch.
    pub ctime: i64,
    /// The directory that the last name was made in (for paths; a directory's is its true parent).
    pub parent: Ino,
    /// Extended attributes.
    pub xattrs: Option<Arc<Xattrs>>,
    /// What it is.
    pub body: Body,
}

/// What an inode is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// A regular file.
    File(FileBody),
    /// A directory.
    Dir(Names),
    /// A symbolic link.
    Symlink(Bytes),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    Char(u64),
    /// A block device.
    Block(u64),
}

/// A regular file. Bytes past `size` in its last block are zero, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileBody {
    /// Its size in bytes.
    pub size: u64,
    /// Its blocks; what is not mapped reads as zeros.
    pub map: BlockMap,
}

/// A frozen image of one or more volumes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Its id.
    pub id: CheckpointId,
    /// Its name, unique in the store.
    pub name: Arc<str>,
    /// Its position.
    pub seq: Seq,
    /// Its time.
    pub time: EventTime,
    /// [`State::elapsed`] when it was taken: its age counts from there, whatever was done to the clock since.
    pub elapsed: u64,
    /// Who took it.
    pub actor: ActorId,
    /// Its member volumes, ascending.
    pub volumes: Vec<VolumeId>,
    /// May be given up under space pressure.
    pub removable: bool,
    /// Cannot be read, cloned or rolled back to.
    pub nomount: bool,
    /// Cannot be removed.
    pub held: bool,
    /// The user's note.
    pub note: Arc<str>,
}

/// What one checkpoint keeps of one volume.
#[derive(Clone, Debug)]
pub struct Image {
    /// The frozen tree.
    pub root: Fileset,
    /// Versions born at or after this address are younger than the image.
    pub born: BlockAddr,
    /// Its ledger. A nodata image owns nothing.
    pub ledger: Ledger,
    /// It remembers which blocks changed, and keeps none of them: the tree names versions that may be gone.
    pub nodata: bool,
    /// Versions of a nodata image that are live no more and that no newer image maps: what changed since, in blocks.
    pub marks: u64,
}

/// The double entry: `copied out + handed in − handed down − released = owned`, in blocks.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Ledger {
    /// Versions that left the live volume into this checkpoint.
    pub copied_out: u64,
    /// Versions that came from another checkpoint.
    pub handed_in: u64,
    /// Versions that went to another checkpoint.
    pub handed_down: u64,
    /// Versions that are live again, or gone.
    pub released: u64,
}

impl Ledger {
    /// Versions owned, by the books.
    #[must_use]
    pub fn owned(&self) -> u64 {
        self.copied_out
            .wrapping_add(self.handed_in)
            .wrapping_sub(self.handed_down)
            .wrapping_sub(self.released)
    }
}

/// One place in a tree: a block of a file.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Place {
    /// The file.
    pub ino: Ino,
    /// The block.
    pub block: u64,
}

/// Versions mapped, now or once, at more than one place of a volume's trees: all those places. A version that is not in here is
/// mapped, in whatever tree, at one place only. It only grows.
pub type Spread = Radix<Arc<[Place]>>;

/// A bulk movement of ownership that waits to be counted: the roots before and after.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The number of its scope event.
    pub scope: Seq,
    /// Why.
    pub cause: Cause,
    /// The roots before.
    pub before: Roots,
    /// The roots after; `None` until its cause is folded.
    pub after: Option<Roots>,
}

/// All roots of a volume at one position.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The live tree.
    pub live: Fileset,
    /// The images, oldest first.
    pub images: Images,
}

/// An administrative change, for undo and redo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The number of the event that made it.
    pub seq: Seq,
    /// When.
    pub time: EventTime,
    /// The volumes it concerns, ascending.
    pub volumes: Vec<VolumeId>,
    /// What it was.
    pub what: What,
    /// Set while it is undone: the checkpoint that keeps the state before the undo, for a rollback or reset.
    pub undone: Option<Option<CheckpointId>>,
}

/// What an administrative change was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// Volumes were rolled back; `before` keeps what was.
    RolledBack {
        /// The state before.
        before: CheckpointId,
    },
    /// A clone was reset; `before` keeps what was.
    Reset {
        /// The state before.
        before: CheckpointId,
    },
    /// Files were rolled back.
    FilesRolledBack {
        /// The state before.
        before: CheckpointId,
        /// The image.
        source: Source,
        /// The paths asked for.
        paths: Vec<Bytes>,
        /// With attributes.
        attributes: bool,
        /// New files were deleted.
        delete_new: bool,
        /// Inodes that the rollback created.
        created: ops::Range<u64>,
    },
    /// A volume was renamed.
    VolumeRenamed {
        /// The volume.
        volume: VolumeId,
        /// Its name before.
        from: Arc<str>,
        /// Its name after.
        to: Arc<str>,
    },
    /// A checkpoint was renamed.
    CheckpointRenamed {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Its name before.
        from: Arc<str>,
        /// Its name after.
        to: Arc<str>,
    },
    /// A volume was removed.
    VolumeRemoved {
        /// The volume.
        volume: VolumeId,
    },
    /// A checkpoint was removed.
    CheckpointRemoved {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
}

impl Inode {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&FileBody> {
        match &self.body {
            Body::File(file) => Some(file),
            _ => None,
        }
    }

    /// The entries, if it is a directory.
    #[must_use]
    pub fn names(&self) -> Option<&Names> {
        match &self.body {
            Body::Dir(names) => Some(names),
            _ => None,
        }
    }

    /// Says whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir(_))
    }

    /// The type bits of `st_mode`.
    #[must_use]
    pub fn type_bits(&self) -> u32 {
        match self.body {
            Body::Fifo => 0o010_000,
            Body::Char(_) => 0o020_000,
            Body::Dir(_) => 0o040_000,
            Body::Block(_) => 0o060_000,
            Body::File(_) => 0o100_000,
            Body::Symlink(_) => 0o120_000,
            Body::Socket => 0o140_000,
        }
    }

    /// The size that `stat` shows, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::File(file) => file.size,
            Body::Symlink(target) => target.len() as u64,
            Body::Dir(names) => names.len() as u64,
            _ => 0,
        }
    }

    /// Number of mapped blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.file().map_or(0, |f| f.map.len())
    }
}

impl Fileset {
    /// The inode, if it is there.
    #[must_use]
    pub fn inode(&self, ino: Ino) -> Option<&Arc<Inode>> {
        self.inodes.get(ino.0)
    }

    /// The version mapped at a place.
    #[must_use]
    pub fn version(&self, place: Place) -> Option<BlockRef> {
        self.inode(place.ino)?.file()?.map.get(place.block).copied()
    }

    /// The entry `name` of directory `dir`.
    #[must_use]
    pub fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.inode(dir)?.names()?.get(name).copied()
    }

    /// Walks an absolute or relative path from the root directory; `.`, `..` and empty components are understood,
    /// symbolic links are not followed. `None` where a component is missing or not a directory.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Ino> {
        path.split(|b| *b == b'/')
            .try_fold(self.root, |dir, name| match name {
                b"" | b"." => Some(dir),
                b".." => self.inode(dir).filter(|i| i.is_dir()).map(|i| i.parent),
                name => self.child(dir, name),
            })
    }

    /// One path of an inode, without a leading `/`, by its parent links; `None` for orphans and unknown inodes.
    /// The root directory's is empty. Costs a look through each parent directory.
    #[must_use]
    pub fn path_of(&self, ino: Ino) -> Option<Vec<u8>> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut at = ino;
        let mut length = 0;
        while at != self.root {
            let parent = self.inode(at)?.parent;
            let (name, _) = self
                .inode(parent)?
                .names()?
                .iter()
                .find(|(_, child)| **child == at)?;
            length += name.len() + 1;
            if length > 1 << 20 {
                return None; // only a damaged tree has such a path
            }
            parts.push(name.clone());
            at = parent;
        }
        parts.reverse();
        Some(parts.join(&b'/'))
    }
}

impl Volume {
    /// All its roots.
    #[must_use]
    pub fn roots(&self) -> Roots {
        Roots {
            live: self.live.clone(),
            images: self.images.clone(),
        }
    }

    /// Says whether anything is set of its history window: it is not as it was made.
    pub(crate) fn has_window(&self) -> bool {
        self.retention != Retention::default()
            || self.history != self.created
            || self.schedule.is_some()
    }

    /// Remembers a tree that an event brings back from a position.
    pub(crate) fn bring_back(&mut self, at: Seq, source: Source, root: &Fileset) {
        let Source::Position(_, position) = source else {
            return;
        };
        // The files of one rollback come one by one.
        let last = self
            .returned
            .last()
            .filter(|last| last.position == position);
        if last.is_some() {
            self.returned.pop_back();
        }
        self.returned.push_back(Arc::new(Returned {
            at,
            position,
            root: root.clone(),
        }));
    }

    /// Says whether its ledgers wait for a count.
    #[must_use]
    pub fn settling(&self) -> bool {
        !self.pending.is_empty()
    }
}

impl State {
    /// The state before the first event.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            next_ino: Ino(1),
            boundary_ino: Ino(1),
            next_volume: VolumeId(1),
            next_checkpoint: CheckpointId(1),
            next_actor: ActorId(1),
            ..Self::default()
        }
    }

    /// The volume of that id.
    #[must_use]
    pub fn volume(&self, id: VolumeId) -> Option<&Arc<Volume>> {
        self.volumes.get(&id)
    }

    /// The volume of that name.
    #[must_use]
    pub fn volume_named(&self, name: &str) -> Option<&Arc<Volume>> {
        self.volumes.get(self.volume_names.get(name)?)
    }

    /// The checkpoint of that name.
    #[must_use]
    pub fn checkpoint_named(&self, name: &str) -> Option<&Arc<Checkpoint>> {
        self.checkpoints.get(self.checkpoint_names.get(name)?)
    }

    /// The image a checkpoint keeps of a volume.
    #[must_use]
    pub fn image(&self, volume: VolumeId, checkpoint: CheckpointId) -> Option<&Image> {
        self.volumes.get(&volume)?.images.get(&checkpoint)
    }
}
