//! Records back into a state. Nothing is believed: every number named must have been given out before, every list
//! must end, every tree must hang together.

mod lists;
mod objects;
mod space;

use super::chunk::Counts;
use super::record::{
    BLOCK_BRANCH, BLOCK_LEAF, BodyRecord, INODE_BRANCH, INODE_LEAF, InodeRecord, Record,
    RootRecord, RootsRecord, SPREAD_BRANCH, SPREAD_LEAF,
};
use super::tree::check_tree;
use crate::block::{BLOCK, BlockRef, MAX_FILE_SIZE};
use crate::ids::{ActorId, CheckpointId, Ino};
use crate::name::MAX_SYMLINK;
use crate::queue::Queue;
use crate::radix::{LoadError, Loader, NodeId};
use crate::state::{
    Body, FileBody, Fileset, Image, Inode, Names, Pending, Place, Returned, Roots, State, Xattrs,
};
use imbl::{OrdMap, OrdSet};
use lists::Open;
use objects::{change, once};
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
    /// Nodata images of the next list of images, and what they mark.
    nodata: Vec<(u32, u64)>,
    pending: Queue<Arc<Pending>>,
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
            nodata: Vec::new(),
            pending: Queue::new(),
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
            Record::Quota {
                volume,
                removed,
                quota,
            } => self.quota(volume, removed, quota),
            Record::Window {
                volume,
                removed,
                retention,
                history,
                schedule,
            } => self.window(volume, removed, (retention, history, schedule)),
            Record::Returned {
                volume,
                removed,
                at,
                position,
                fileset,
            } => {
                let root = named(&self.trees, fileset)?;
                self.returned(volume, removed, Returned { at, position, root })
            }
            Record::Moved { versions } => self.moved(&versions),
            Record::Reclaimed { ranges } => self.reclaimed(&ranges),
            Record::Ages {
                elapsed,
                horizon,
                audit,
            } => {
                self.state.elapsed = elapsed;
                self.state.horizon = horizon;
                self.state.audit = audit;
                Ok(())
            }
            Record::Taken { checkpoints } => self.taken(&checkpoints),
            Record::Nodata { images } => {
                self.nodata.extend(images);
                Ok(())
            }
        }
    }

    fn roots(&self, record: RootsRecord) -> Result<Roots, Wrong> {
        Ok(Roots {
            live: named(&self.trees, record.live)?,
            images: named(&self.images, record.images)?.into(),
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
            nodata: false,
        };
        let near = near.map(|id| named(&self.trees, id)).transpose()?;
        check_tree(near.as_ref(), &tree)?;
        self.trees.push(tree);
        self.counts.filesets += 1;
        Ok(())
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
