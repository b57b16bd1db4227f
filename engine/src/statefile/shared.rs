//! Writing things that are shared: every node, inode, list of names and file tree once, by number.

use super::chunk::{ChunkWriter, Counts};
use super::record::{
    BLOCK_BRANCH, BLOCK_LEAF, BodyRecord, INODE_BRANCH, INODE_LEAF, InodeRecord, MAX_NODE_BYTES,
    PART_BYTES, Record, RootRecord, SPREAD_BRANCH, SPREAD_LEAF,
};
use crate::block::BlockRef;
use crate::event::Bytes;
use crate::ids::Ino;
use crate::radix::{NodeId, NodeSink, Radix, SeenNodes};
use crate::state::{Body, Fileset, Inode, Names, Place, Xattrs};
use imbl::ordmap::DiffItem;
use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::Arc;

/// One radix type's nodes so far.
#[derive(Default)]
struct Nodes {
    seen: SeenNodes,
    written: u64,
}

/// What tells file trees apart, once their tables are numbered.
#[derive(Eq, PartialEq, Hash)]
struct TreeKey {
    root: u64,
    inodes: RootRecord,
    blocks: u64,
    orphans: Vec<u64>,
}

/// Numbers what has been written. Shared things are known by where they lie in memory, which is sound for as long as
/// the state that is written stays borrowed.
pub(super) struct Shared<'d> {
    out: ChunkWriter<'d>,
    scratch: Vec<u8>,
    pub(super) counts: Counts,
    blocks: Nodes,
    tables: Nodes,
    spreads: Nodes,
    inodes: HashMap<*const Inode, u64>,
    places: HashMap<*const Place, u64>,
    xattrs: HashMap<*const Xattrs, u64>,
    /// The newest list of names written for each directory.
    names: HashMap<u64, (u64, Names)>,
    names_written: u64,
    filesets: HashMap<TreeKey, u64>,
    trees: Vec<Fileset>,
}

impl<'d> Shared<'d> {
    pub(super) fn new(out: ChunkWriter<'d>) -> Self {
        Self {
            out,
            scratch: Vec::new(),
            counts: Counts::default(),
            blocks: Nodes::default(),
            tables: Nodes::default(),
            spreads: Nodes::default(),
            inodes: HashMap::new(),
            places: HashMap::new(),
            xattrs: HashMap::new(),
            names: HashMap::new(),
            names_written: 0,
            filesets: HashMap::new(),
            trees: Vec::new(),
        }
    }

    /// Writes the end of the file. Says how many bytes it has.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.out.finish(self.counts)
    }

    pub(super) fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.scratch.clear();
        postcard::to_io(record, &mut self.scratch).map_err(io::Error::other)?;
        self.out
            .room(self.scratch.len())?
            .extend_from_slice(&self.scratch);
        self.counts.records += 1;
        Ok(())
    }

    /// A file tree, with everything in it that is not there yet. `near`: the number of one it shares much with.
    pub(super) fn fileset(&mut self, tree: &Fileset, near: Option<u64>) -> io::Result<u64> {
        // What differs from the near tree goes first, while the numbers of the inodes are at hand: nodes do not know them.
        let known = near
            .map(|id| self.trees[id as usize].inodes.clone())
            .unwrap_or_default();
        for change in known.diff(&tree.inodes) {
            if let Some(inode) = change.after {
                self.inode(Some(change.key), inode)?;
            }
        }
        let mut seen = mem::take(&mut self.tables.seen);
        let dumped = tree.inodes.dump(&mut seen, &mut Tables { shared: self });
        self.tables.seen = seen;
        let inodes = RootRecord::from(dumped?);
        let orphans: Vec<u64> = tree.orphans.iter().map(|ino| ino.0).collect();
        let key = TreeKey {
            root: tree.root.0,
            inodes,
            blocks: tree.blocks,
            orphans,
        };
        if let Some(&id) = self.filesets.get(&key) {
            return Ok(id);
        }
        for part in key.orphans.chunks(PART_BYTES / 8) {
            self.record(&Record::Orphans(part.to_vec()))?;
        }
        self.record(&Record::Fileset {
            near,
            root: tree.root.0,
            inodes,
            blocks: tree.blocks,
        })?;
        let id = self.filesets.len() as u64;
        self.filesets.insert(key, id);
        self.trees.push(tree.clone());
        self.counts.filesets += 1;
        Ok(id)
    }

    pub(super) fn spread(&mut self, spread: &Radix<Arc<[Place]>>) -> io::Result<RootRecord> {
        let mut seen = mem::take(&mut self.spreads.seen);
        let dumped = spread.dump(&mut seen, &mut Spreads { shared: self });
        self.spreads.seen = seen;
        dumped.map(RootRecord::from)
    }

    /// `ino`: its number where that is known, which spares a directory's names from being written in full.
    fn inode(&mut self, ino: Option<u64>, inode: &Arc<Inode>) -> io::Result<u64> {
        if let Some(&id) = self.inodes.get(&Arc::as_ptr(inode)) {
            return Ok(id);
        }
        let xattrs = inode
            .xattrs
            .as_ref()
            .map(|set| self.xattrs(set))
            .transpose()?;
        let body = match &inode.body {
            Body::File(file) => {
                let mut seen = mem::take(&mut self.blocks.seen);
                let dumped = file.map.dump(&mut seen, &mut Blocks { shared: self });
                self.blocks.seen = seen;
                BodyRecord::File {
                    size: file.size,
                    map: dumped?.into(),
                }
            }
            Body::Dir(names) => BodyRecord::Dir {
                names: self.names(ino, names)?,
            },
            Body::Symlink(target) => BodyRecord::Symlink(target),
            Body::Fifo => BodyRecord::Fifo,
            Body::Socket => BodyRecord::Socket,
            Body::Char(device) => BodyRecord::Char(*device),
            Body::Block(device) => BodyRecord::Block(*device),
        };
        let Inode {
            mode,
            uid,
            gid,
            nlink,
            atime,
            mtime,
            ctime,
            parent,
            ..
        } = **inode;
        self.record(&Record::Inode(InodeRecord {
            mode,
            uid,
            gid,
            nlink,
            atime,
            mtime,
            ctime,
            parent: parent.0,
            xattrs,
            body,
        }))?;
        let id = self.counts.inodes;
        self.counts.inodes += 1;
        self.inodes.insert(Arc::as_ptr(inode), id);
        Ok(id)
    }

    fn xattrs(&mut self, set: &Arc<Xattrs>) -> io::Result<u64> {
        if let Some(&id) = self.xattrs.get(&Arc::as_ptr(set)) {
            return Ok(id);
        }
        let mut part: Vec<(&[u8], &[u8])> = Vec::new();
        let mut bytes = 0;
        for (name, value) in set.iter() {
            if bytes >= PART_BYTES {
                self.record(&Record::Xattrs {
                    set: mem::take(&mut part),
                    more: true,
                })?;
                bytes = 0;
            }
            bytes += name.len() + value.len() + 8;
            part.push((name, value));
        }
        self.record(&Record::Xattrs {
            set: part,
            more: false,
        })?;
        let id = self.xattrs.len() as u64;
        self.xattrs.insert(Arc::as_ptr(set), id);
        Ok(id)
    }

    /// A directory's entries, as changes to the list last written for it where that is the shorter way.
    fn names(&mut self, dir: Option<u64>, names: &Names) -> io::Result<u64> {
        let known = dir.and_then(|dir| self.names.get(&dir)).cloned();
        if let Some((id, last)) = &known
            && last.diff(names).next().is_none()
        {
            return Ok(*id);
        }
        // More changes than half the entries: the whole list is as short, and needs no other.
        let base = known.filter(|(_, last)| {
            last.diff(names).take(names.len() / 2 + 1).count() <= names.len() / 2
        });
        let mut part = NamesPart {
            base: base.as_ref().map(|(id, _)| *id),
            ..NamesPart::default()
        };
        match &base {
            Some((_, last)) => {
                for change in last.diff(names) {
                    match change {
                        DiffItem::Add(name, ino)
                        | DiffItem::Update {
                            new: (name, ino), ..
                        } => part.set(name, *ino),
                        DiffItem::Remove(name, _) => part.remove(name),
                    }
                    part.spill(self)?;
                }
            }
            None => {
                for (name, ino) in names {
                    part.set(name, *ino);
                    part.spill(self)?;
                }
            }
        }
        part.write(self, false)?;
        let id = self.names_written;
        self.names_written += 1;
        if let Some(dir) = dir {
            self.names.insert(dir, (id, names.clone()));
        }
        Ok(id)
    }

    fn place_list(&mut self, list: &Arc<[Place]>) -> io::Result<u64> {
        if let Some(&id) = self.places.get(&list.as_ptr()).filter(|_| !list.is_empty()) {
            return Ok(id);
        }
        let mut left = &list[..];
        loop {
            let (part, rest) = left.split_at(left.len().min(PART_BYTES / 16));
            let places = part
                .iter()
                .map(|place| (place.ino.0, place.block))
                .collect();
            self.record(&Record::Places {
                places,
                more: !rest.is_empty(),
            })?;
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        let id = self.places.len() as u64;
        self.places.insert(list.as_ptr(), id);
        Ok(id)
    }

    fn branch(&mut self, kind: u8, own: u64, children: &[(u8, NodeId)]) -> io::Result<()> {
        let ids = children.iter().map(|(slot, id)| (*slot, id.0));
        self.ago(kind, own, ids)
    }

    /// A node whose entries are numbers below `own`, written as their distance from it.
    fn ago(
        &mut self,
        kind: u8,
        own: u64,
        entries: impl Iterator<Item = (u8, u64)> + Clone,
    ) -> io::Result<()> {
        let to = self.out.room(MAX_NODE_BYTES)?;
        to.push(kind);
        to.extend_from_slice(&bitmap(entries.clone().map(|(slot, _)| slot)).to_le_bytes());
        for (_, id) in entries {
            put_varint(to, own - id);
        }
        self.counts.records += 1;
        Ok(())
    }
}

/// A record of names being gathered.
#[derive(Default)]
struct NamesPart<'a> {
    base: Option<u64>,
    removed: Vec<&'a [u8]>,
    set: Vec<(&'a [u8], u64)>,
    bytes: usize,
}

impl<'a> NamesPart<'a> {
    fn set(&mut self, name: &'a Bytes, ino: Ino) {
        self.set.push((name, ino.0));
        self.bytes += name.len() + 8;
    }

    fn remove(&mut self, name: &'a Bytes) {
        self.removed.push(name);
        self.bytes += name.len() + 1;
    }

    fn spill(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        if self.bytes < PART_BYTES {
            Ok(())
        } else {
            self.write(shared, true)
        }
    }

    fn write(&mut self, shared: &mut Shared<'_>, more: bool) -> io::Result<()> {
        let part = mem::take(self);
        shared.record(&Record::Names {
            base: part.base,
            removed: part.removed,
            set: part.set,
            more,
        })
    }
}

fn bitmap(slots: impl Iterator<Item = u8>) -> u16 {
    slots.fold(0, |bits, slot| bits | 1 << slot)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Takes the nodes of block maps.
struct Blocks<'a, 'd> {
    shared: &'a mut Shared<'d>,
}

impl NodeSink<BlockRef> for Blocks<'_, '_> {
    type Error = io::Error;

    fn leaf(&mut self, entries: &[(u8, &BlockRef)]) -> io::Result<NodeId> {
        let to = self.shared.out.room(MAX_NODE_BYTES)?;
        to.push(BLOCK_LEAF);
        to.extend_from_slice(&bitmap(entries.iter().map(|(slot, _)| *slot)).to_le_bytes());
        for (_, version) in entries {
            to.extend_from_slice(&version.to_bytes());
        }
        self.shared.counts.records += 1;
        Ok(self.shared.blocks.next())
    }

    fn branch(&mut self, children: &[(u8, NodeId)]) -> io::Result<NodeId> {
        self.shared
            .branch(BLOCK_BRANCH, self.shared.blocks.written, children)?;
        Ok(self.shared.blocks.next())
    }
}

/// Takes the nodes of inode tables.
struct Tables<'a, 'd> {
    shared: &'a mut Shared<'d>,
}

impl NodeSink<Arc<Inode>> for Tables<'_, '_> {
    type Error = io::Error;

    fn leaf(&mut self, entries: &[(u8, &Arc<Inode>)]) -> io::Result<NodeId> {
        let mut ids = Vec::with_capacity(entries.len());
        for (slot, inode) in entries {
            ids.push((*slot, self.shared.inode(None, inode)?));
        }
        self.shared
            .ago(INODE_LEAF, self.shared.counts.inodes, ids.iter().copied())?;
        Ok(self.shared.tables.next())
    }

    fn branch(&mut self, children: &[(u8, NodeId)]) -> io::Result<NodeId> {
        self.shared
            .branch(INODE_BRANCH, self.shared.tables.written, children)?;
        Ok(self.shared.tables.next())
    }
}

/// Takes the nodes of spreads.
struct Spreads<'a, 'd> {
    shared: &'a mut Shared<'d>,
}

impl NodeSink<Arc<[Place]>> for Spreads<'_, '_> {
    type Error = io::Error;

    fn leaf(&mut self, entries: &[(u8, &Arc<[Place]>)]) -> io::Result<NodeId> {
        let mut ids = Vec::with_capacity(entries.len());
        for (slot, list) in entries {
            ids.push((*slot, self.shared.place_list(list)?));
        }
        let own = self.shared.places.len() as u64;
        self.shared.ago(SPREAD_LEAF, own, ids.iter().copied())?;
        Ok(self.shared.spreads.next())
    }

    fn branch(&mut self, children: &[(u8, NodeId)]) -> io::Result<NodeId> {
        self.shared
            .branch(SPREAD_BRANCH, self.shared.spreads.written, children)?;
        Ok(self.shared.spreads.next())
    }
}

impl Nodes {
    /// The number of the node just written.
    fn next(&mut self) -> NodeId {
        self.written += 1;
        NodeId(self.written - 1)
    }
}
