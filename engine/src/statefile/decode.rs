//! Records back into a state. Nothing is believed: every number named must have been given out before, every list
//! must end, every tree must hang together.

use super::chunk::Counts;
use super::record::{
    BLOCK_BRANCH, BLOCK_LEAF, BodyRecord, ChangeRecord, CheckpointRecord, CountersRecord,
    INODE_BRANCH, INODE_LEAF, ImageRecord, InodeRecord, Record, RootRecord, RootsRecord,
    SPREAD_BRANCH, SPREAD_LEAF, VolumeRecord, WhatRecord,
};
use super::tree::check_tree;
use crate::block::{BLOCK, BlockRef, MAX_FILE_SIZE};
use crate::event::{Bytes, MAX_XATTR_VALUE};
use crate::ids::{ActorId, CheckpointId, Ino, VolumeId};
use crate::name::{MAX_FILE_NAME, MAX_SYMLINK, file_name_is_valid};
use crate::radix::{LoadError, Loader, NodeId};
use crate::state::{
    Body, Change, Checkpoint, FileBody, Fileset, Image, Inode, Names, Origin, Pending, Place,
    Roots, State, Volume, What, Xattrs,
};
use imbl::{OrdMap, OrdSet, Vector};
use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use strand_journal::BlockAddr;

/// What is wrong with a record.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) Cow<'static, str>);

impl From<&'static str> for Wrong {
    fn from(what: &'static str) -> Self {
        Self(what.into())
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self(what.into())
    }
}

impl From<LoadError> for Wrong {
    fn from(error: LoadError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<postcard::Error> for Wrong {
    fn from(error: postcard::Error) -> Self {
        Self(format!("a record does not parse: {error}").into())
    }
}

type Images = OrdMap<CheckpointId, Image>;

/// A list whose last part has not been read.
enum Open {
    Nothing,
    Names(Names),
    Xattrs(Xattrs),
    Places(Vec<Place>),
    Images(Images),
}

/// Rebuilds a state, record by record.
pub(super) struct Decoder {
    blocks: Loader<BlockRef>,
    tables: Loader<Arc<Inode>>,
    spreads: Loader<Arc<[Place]>>,
    inodes: Vec<Arc<Inode>>,
    places: Vec<Arc<[Place]>>,
    xattrs: Vec<Arc<Xattrs>>,
    names: Vec<Names>,
    trees: Vec<Fileset>,
    images: Vec<Images>,
    open: Open,
    orphans: OrdSet<Ino>,
    pending: Vector<Arc<Pending>>,
    children: Vec<NodeId>,
    state: State,
    counts: Counts,
    done: bool,
}

/// The rest of a chunk.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or("a node is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn bitmap(&mut self) -> Result<u16, Wrong> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err("a number is longer than it need be".into())
                } else {
                    Ok(value)
                };
            }
        }
        Err("a number is too large".into())
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            blocks: Loader::new(),
            tables: Loader::new(),
            spreads: Loader::new(),
            inodes: Vec::new(),
            places: Vec::new(),
            xattrs: Vec::new(),
            names: Vec::new(),
            trees: Vec::new(),
            images: Vec::new(),
            open: Open::Nothing,
            orphans: OrdSet::new(),
            pending: Vector::new(),
            children: Vec::new(),
            state: State::default(),
            counts: Counts::default(),
            done: false,
        }
    }

    /// Reads a chunk's records. An error comes with the offset of its record in the chunk.
    pub(super) fn chunk(&mut self, chunk: &[u8]) -> Result<(), (u64, Wrong)> {
        let mut rest = chunk;
        while let Some(&kind) = rest.first() {
            let at = (chunk.len() - rest.len()) as u64;
            rest = self.record(kind, rest).map_err(|wrong| (at, wrong))?;
        }
        Ok(())
    }

    /// The state, when all has been read, and how many parts it had.
    pub(super) fn finish(self) -> Result<(State, Counts), Wrong> {
        if !self.done {
            return Err("the file has no last record".into());
        }
        Ok((self.state, self.counts))
    }

    fn record<'a>(&mut self, kind: u8, bytes: &'a [u8]) -> Result<&'a [u8], Wrong> {
        if self.done {
            return Err("a record follows the last one".into());
        }
        self.counts.records += 1;
        if kind >= BLOCK_LEAF {
            if !matches!(self.open, Open::Nothing) {
                return Err("a list goes on after a node".into());
            }
            let mut from = Rest(&bytes[1..]);
            self.node(kind, &mut from)?;
            return Ok(from.0);
        }
        let (record, rest) = postcard::take_from_bytes::<Record<'_>>(bytes)?;
        match mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => self.begin(record)?,
            open => self.go_on(open, record)?,
        }
        Ok(rest)
    }

    fn node(&mut self, kind: u8, from: &mut Rest<'_>) -> Result<(), Wrong> {
        let bitmap = from.bitmap()?;
        let count = bitmap.count_ones() as usize;
        match kind {
            BLOCK_LEAF => {
                let (versions, _) = from.take(count * 10)?.as_chunks::<10>();
                let versions = versions.iter().map(|bytes| BlockRef::from_bytes(*bytes));
                if versions
                    .clone()
                    .any(|version| version.addr() == BlockAddr::NONE)
                {
                    return Err("a mapped block has no address".into());
                }
                self.blocks.leaf(bitmap, versions)?;
            }
            INODE_LEAF => {
                let ids = ago(from, count, self.inodes.len() as u64, &mut self.children)?;
                let inodes = &self.inodes;
                self.tables
                    .leaf(bitmap, ids.iter().map(|id| inodes[id.0 as usize].clone()))?;
            }
            SPREAD_LEAF => {
                let ids = ago(from, count, self.places.len() as u64, &mut self.children)?;
                let places = &self.places;
                self.spreads
                    .leaf(bitmap, ids.iter().map(|id| places[id.0 as usize].clone()))?;
            }
            BLOCK_BRANCH => {
                let ids = ago(from, count, self.blocks.len(), &mut self.children)?;
                self.blocks.branch(bitmap, ids)?;
            }
            INODE_BRANCH => {
                let ids = ago(from, count, self.tables.len(), &mut self.children)?;
                self.tables.branch(bitmap, ids)?;
            }
            SPREAD_BRANCH => {
                let ids = ago(from, count, self.spreads.len(), &mut self.children)?;
                self.spreads.branch(bitmap, ids)?;
            }
            _ => return Err(format!("there is no record of kind {kind}").into()),
        }
        Ok(())
    }

    /// A record that begins something.
    fn begin(&mut self, record: Record<'_>) -> Result<(), Wrong> {
        match record {
            Record::Names { base, .. } => {
                let names = base
                    .map(|id| named(&self.names, id))
                    .transpose()?
                    .unwrap_or_default();
                self.go_on(Open::Names(names), record.without_base())
            }
            Record::Images { base, .. } => {
                let images = base
                    .map(|id| named(&self.images, id))
                    .transpose()?
                    .unwrap_or_default();
                self.go_on(Open::Images(images), record.without_base())
            }
            Record::Xattrs { .. } => self.go_on(Open::Xattrs(Xattrs::new()), record),
            Record::Places { .. } => self.go_on(Open::Places(Vec::new()), record),
            Record::Inode(inode) => self.inode(inode),
            Record::Orphans(orphans) => {
                self.orphans.extend(orphans.into_iter().map(Ino));
                Ok(())
            }
            Record::Fileset {
                near,
                root,
                inodes,
                blocks,
            } => self.fileset(near, root, inodes, blocks),
            Record::Pending {
                scope,
                cause,
                before,
                after,
            } => {
                let before = self.roots(before)?;
                let after = after.map(|after| self.roots(after)).transpose()?;
                self.pending.push_back(Arc::new(Pending {
                    scope,
                    cause,
                    before,
                    after,
                }));
                Ok(())
            }
            Record::Volume(volume) => self.volume(&volume),
            Record::Checkpoint(checkpoint) => self.checkpoint(&checkpoint),
            Record::Actor { id, who } => {
                let who = Arc::new(who.into_owned());
                self.state.actor_ids.insert(who.clone(), ActorId(id));
                once(
                    self.state.actors.insert(ActorId(id), who),
                    "an actor stands there twice",
                )
            }
            Record::Change(record) => {
                self.state.changes.push_back(Arc::new(change(record)));
                Ok(())
            }
            Record::Counters(counters) => self.counters(&counters),
        }
    }

    /// A record that is part of a list.
    fn go_on(&mut self, open: Open, record: Record<'_>) -> Result<(), Wrong> {
        self.open = match (open, record) {
            (
                Open::Names(mut names),
                Record::Names {
                    base: None,
                    removed,
                    set,
                    more,
                },
            ) => {
                for name in removed {
                    names
                        .remove(name)
                        .ok_or("a name is removed that is not there")?;
                }
                for (name, ino) in set {
                    if !file_name_is_valid(name) {
                        return Err("a name cannot be a file name".into());
                    }
                    names.insert(Bytes::from(name), Ino(ino));
                }
                if more {
                    Open::Names(names)
                } else {
                    self.names.push(names);
                    Open::Nothing
                }
            }
            (Open::Xattrs(mut xattrs), Record::Xattrs { set, more }) => {
                for (name, value) in set {
                    if name.is_empty()
                        || name.len() > MAX_FILE_NAME
                        || value.len() > MAX_XATTR_VALUE
                    {
                        return Err("an extended attribute is too long, or has no name".into());
                    }
                    xattrs.insert(Bytes::from(name), Bytes::from(value));
                }
                if more {
                    Open::Xattrs(xattrs)
                } else {
                    self.xattrs.push(Arc::new(xattrs));
                    Open::Nothing
                }
            }
            (Open::Places(mut places), Record::Places { places: part, more }) => {
                places.extend(part.into_iter().map(|(ino, block)| Place {
                    ino: Ino(ino),
                    block,
                }));
                if more {
                    Open::Places(places)
                } else {
                    if !places.is_sorted_by(|a, b| a < b) {
                        return Err("places are not in order".into());
                    }
                    self.places.push(places.into());
                    Open::Nothing
                }
            }
            (
                Open::Images(mut images),
                Record::Images {
                    base: None,
                    removed,
                    set,
                    more,
                },
            ) => {
                for id in removed {
                    images
                        .remove(&CheckpointId(id))
                        .ok_or("an image is removed that is not there")?;
                }
                for record in set {
                    images.insert(CheckpointId(record.checkpoint), self.image(&record)?);
                }
                if more {
                    Open::Images(images)
                } else {
                    self.images.push(images);
                    Open::Nothing
                }
            }
            _ => return Err("a list breaks off".into()),
        };
        Ok(())
    }

    fn image(&self, record: &ImageRecord) -> Result<Image, Wrong> {
        let root = named(&self.trees, record.fileset)?;
        Ok(Image {
            root,
            born: BlockAddr(record.born),
            ledger: record.ledger(),
        })
    }

    fn roots(&self, record: RootsRecord) -> Result<Roots, Wrong> {
        Ok(Roots {
            live: named(&self.trees, record.live)?,
            images: named(&self.images, record.images)?,
        })
    }

    fn inode(&mut self, record: InodeRecord<'_>) -> Result<(), Wrong> {
        let body = match record.body {
            BodyRecord::File { size, map } => {
                let map = self.blocks.root(map.into())?;
                if size > MAX_FILE_SIZE
                    || map
                        .last()
                        .is_some_and(|(block, _)| block >= size.div_ceil(BLOCK))
                {
                    return Err("a file has blocks past its end, or is too large".into());
                }
                Body::File(FileBody { size, map })
            }
            BodyRecord::Dir { names } => Body::Dir(named(&self.names, names)?),
            BodyRecord::Symlink(target) if target.len() > MAX_SYMLINK => {
                return Err("a link's target is too long".into());
            }
            BodyRecord::Symlink(target) => Body::Symlink(target.into()),
            BodyRecord::Fifo => Body::Fifo,
            BodyRecord::Socket => Body::Socket,
            BodyRecord::Char(device) => Body::Char(device),
            BodyRecord::Block(device) => Body::Block(device),
        };
        if record.mode > 0o7777 {
            return Err("a mode has more than permission bits".into());
        }
        self.inodes.push(Arc::new(Inode {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            nlink: record.nlink,
            atime: record.atime,
            mtime: record.mtime,
            ctime: record.ctime,
            parent: Ino(record.parent),
            xattrs: record
                .xattrs
                .map(|id| named(&self.xattrs, id))
                .transpose()?,
            body,
        }));
        self.counts.inodes += 1;
        Ok(())
    }

    fn fileset(
        &mut self,
        near: Option<u64>,
        root: u64,
        inodes: RootRecord,
        blocks: u64,
    ) -> Result<(), Wrong> {
        let inodes = self.tables.root(inodes.into())?;
        let tree = Fileset {
            root: Ino(root),
            inodes,
            blocks,
            orphans: mem::take(&mut self.orphans),
        };
        let near = near.map(|id| named(&self.trees, id)).transpose()?;
        check_tree(near.as_ref(), &tree)?;
        self.trees.push(tree);
        self.counts.filesets += 1;
        Ok(())
    }

    fn volume(&mut self, record: &VolumeRecord<'_>) -> Result<(), Wrong> {
        let id = VolumeId(record.id);
        let origin = match record.origin {
            Some((source, tree)) => Some(Origin {
                source,
                root: named(&self.trees, tree)?,
            }),
            None => None,
        };
        let volume = Volume {
            id,
            name: record.name.into(),
            created: record.created,
            created_time: record.created_time,
            origin,
            live: named(&self.trees, record.live)?,
            images: named(&self.images, record.images)?,
            removed_images: named(&self.images, record.removed_images)?,
            spread: self.spreads.root(record.spread.into())?,
            pending: mem::take(&mut self.pending),
            generation: record.generation,
            changed: record.changed,
        };
        self.counts.volumes += 1;
        if record.removed {
            return once(
                self.state.removed_volumes.insert(id, Arc::new(volume)),
                "a volume stands there twice",
            );
        }
        once(
            self.state.volume_names.insert(volume.name.clone(), id),
            "two volumes have one name",
        )?;
        once(
            self.state.volumes.insert(id, Arc::new(volume)),
            "a volume stands there twice",
        )
    }

    fn checkpoint(&mut self, record: &CheckpointRecord<'_>) -> Result<(), Wrong> {
        let id = CheckpointId(record.id);
        let checkpoint = Arc::new(Checkpoint {
            id,
            name: record.name.into(),
            seq: record.seq,
            time: record.time,
            actor: ActorId(record.actor),
            volumes: record.volumes.iter().copied().map(VolumeId).collect(),
            removable: record.removable,
            nomount: record.nomount,
            held: record.held,
            note: record.note.into(),
        });
        self.counts.checkpoints += 1;
        if record.removed {
            return once(
                self.state.removed_checkpoints.insert(id, checkpoint),
                "a checkpoint stands there twice",
            );
        }
        once(
            self.state
                .checkpoint_names
                .insert(checkpoint.name.clone(), id),
            "two checkpoints have one name",
        )?;
        once(
            self.state.checkpoints.insert(id, checkpoint),
            "a checkpoint stands there twice",
        )
    }

    fn counters(&mut self, record: &CountersRecord) -> Result<(), Wrong> {
        if !self.pending.is_empty() || !self.orphans.is_empty() {
            return Err("parts of a volume or a tree are left over".into());
        }
        let state = &mut self.state;
        state.seq = record.seq;
        state.time = record.time;
        state.boundary = record.boundary;
        state.next_ino = Ino(record.next_ino);
        state.boundary_ino = Ino(record.boundary_ino);
        state.next_volume = VolumeId(record.next_volume);
        state.next_checkpoint = CheckpointId(record.next_checkpoint);
        state.next_actor = ActorId(record.next_actor);
        state.digest = record.digest;
        state.created = record.created;
        self.done = true;
        let greatest = self
            .trees
            .iter()
            .filter_map(|tree| tree.inodes.last())
            .map(|(ino, _)| ino)
            .max();
        super::whole::check_state(state, greatest.unwrap_or(0))
    }
}

impl Record<'_> {
    /// A list's first part as if it were a later one.
    fn without_base(mut self) -> Self {
        if let Self::Names { base, .. } | Self::Images { base, .. } = &mut self {
            *base = None;
        }
        self
    }
}

/// The thing of that number, if it has been given out.
fn named<T: Clone>(table: &[T], id: u64) -> Result<T, Wrong> {
    usize::try_from(id)
        .ok()
        .and_then(|at| table.get(at))
        .cloned()
        .ok_or_else(|| format!("number {id} is named before it is there").into())
}

fn once<T>(before: Option<T>, twice: &'static str) -> Result<(), Wrong> {
    if before.is_some() {
        Err(twice.into())
    } else {
        Ok(())
    }
}

/// Numbers written as their distance from `own`, which all of them are below.
fn ago<'c>(
    from: &mut Rest<'_>,
    count: usize,
    own: u64,
    to: &'c mut Vec<NodeId>,
) -> Result<&'c [NodeId], Wrong> {
    to.clear();
    for _ in 0..count {
        let distance = from.varint()?;
        let id = own
            .checked_sub(distance)
            .filter(|_| distance > 0)
            .ok_or("a node names what is not there")?;
        to.push(NodeId(id));
    }
    Ok(to)
}

fn change(record: ChangeRecord<'_>) -> Change {
    let what = match record.what {
        WhatRecord::RolledBack { before } => What::RolledBack {
            before: CheckpointId(before),
        },
        WhatRecord::Reset { before } => What::Reset {
            before: CheckpointId(before),
        },
        WhatRecord::FilesRolledBack {
            before,
            source,
            paths,
            attributes,
            delete_new,
            created,
        } => What::FilesRolledBack {
            before: CheckpointId(before),
            source,
            paths: paths.into_iter().map(Bytes::from).collect(),
            attributes,
            delete_new,
            created,
        },
        WhatRecord::VolumeRenamed { volume, from, to } => What::VolumeRenamed {
            volume: VolumeId(volume),
            from: from.into(),
            to: to.into(),
        },
        WhatRecord::CheckpointRenamed {
            checkpoint,
            from,
            to,
        } => What::CheckpointRenamed {
            checkpoint: CheckpointId(checkpoint),
            from: from.into(),
            to: to.into(),
        },
        WhatRecord::VolumeRemoved { volume } => What::VolumeRemoved {
            volume: VolumeId(volume),
        },
        WhatRecord::CheckpointRemoved { checkpoint } => What::CheckpointRemoved {
            checkpoint: CheckpointId(checkpoint),
        },
    };
    Change {
        seq: record.seq,
        time: record.time,
        volumes: record.volumes.into_iter().map(VolumeId).collect(),
        what,
        undone: record.undone.map(|before| before.map(CheckpointId)),
    }
}
