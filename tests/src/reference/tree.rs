//! A file tree that is copied in full wherever a real one would be shared.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes in a block.
pub const BLOCK: u64 = 4096;

/// An inode number of the reference (not the engine's: the two are matched by comparison).
pub type Ino = u64;

/// The identity of one written block: assigned at each write, never again.
pub type Version = u64;

/// One mapped block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// Which version it is.
    pub version: Version,
    /// Its 4,096 bytes.
    pub bytes: Vec<u8>,
}

/// What a node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its mapped blocks; bytes past the size are zero.
        blocks: BTreeMap<u64, Block>,
    },
    /// A directory.
    Dir {
        /// Its entries.
        names: BTreeMap<Vec<u8>, Ino>,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    Char(u64),
    /// A block device.
    BlockDevice(u64),
}

/// An inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Access time, where somebody set it.
    pub atime: Option<i64>,
    /// Modification time, where somebody set it and nothing changed since.
    pub mtime: Option<i64>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it is.
    pub kind: Kind,
}

/// A tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tree {
    /// The root directory.
    pub root: Ino,
    /// Every inode.
    pub nodes: BTreeMap<Ino, Node>,
    /// Inodes without a name.
    pub orphans: BTreeSet<Ino>,
}

impl Node {
    /// A new node.
    #[must_use]
    pub fn new(kind: Kind, mode: u32, uid: u32, gid: u32) -> Self {
        Self {
            mode,
            uid,
            gid,
            atime: None,
            mtime: None,
            xattrs: BTreeMap::new(),
            kind,
        }
    }

    /// Says whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir { .. })
    }

    /// Says whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// The same sort of thing as another node.
    #[must_use]
    pub fn same_kind(&self, other: &Node) -> bool {
        std::mem::discriminant(&self.kind) == std::mem::discriminant(&other.kind)
    }

    /// Entries of a directory.
    #[must_use]
    pub fn names(&self) -> Option<&BTreeMap<Vec<u8>, Ino>> {
        match &self.kind {
            Kind::Dir { names } => Some(names),
            _ => None,
        }
    }

    /// Entries of a directory, to change.
    pub fn names_mut(&mut self) -> Option<&mut BTreeMap<Vec<u8>, Ino>> {
        match &mut self.kind {
            Kind::Dir { names } => Some(names),
            _ => None,
        }
    }

    /// Size of a file.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Mapped blocks of a file.
    #[must_use]
    pub fn blocks(&self) -> Option<&BTreeMap<u64, Block>> {
        match &self.kind {
            Kind::File { blocks, .. } => Some(blocks),
            _ => None,
        }
    }

    /// The bytes of a file's block, as they read.
    #[must_use]
    pub fn block_bytes(&self, block: u64) -> Vec<u8> {
        self.blocks()
            .and_then(|b| b.get(&block))
            .map_or_else(|| vec![0; BLOCK as usize], |b| b.bytes.clone())
    }

    /// Bytes of a file, as they read: short at its end.
    #[must_use]
    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let end = offset.saturating_add(length).min(self.size());
        let mut out = Vec::new();
        let mut at = offset;
        while at < end {
            let upto = (at / BLOCK + 1).saturating_mul(BLOCK).min(end);
            let bytes = self.block_bytes(at / BLOCK);
            out.extend_from_slice(&bytes[(at % BLOCK) as usize..((upto - 1) % BLOCK) as usize + 1]);
            at = upto;
        }
        out
    }
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new(root: Ino, mode: u32, uid: u32, gid: u32) -> Self {
        let node = Node::new(
            Kind::Dir {
                names: BTreeMap::new(),
            },
            mode,
            uid,
            gid,
        );
        Self {
            root,
            nodes: BTreeMap::from([(root, node)]),
            orphans: BTreeSet::new(),
        }
    }

    /// Number of names of a node (2 + subdirectories for a directory), counted.
    #[must_use]
    pub fn links(&self, ino: Ino) -> u32 {
        let is_dir = self.nodes.get(&ino).is_some_and(Node::is_dir);
        if is_dir {
            if self.orphans.contains(&ino) {
                return 0;
            }
            let names = self.nodes[&ino].names();
            let below = names.map_or(0, |n| {
                n.values()
                    .filter(|c| self.nodes.get(c).is_some_and(Node::is_dir))
                    .count()
            });
            return 2 + below as u32;
        }
        let count = |node: &Node| {
            node.names()
                .map_or(0, |n| n.values().filter(|c| **c == ino).count())
        };
        self.nodes.values().map(count).sum::<usize>() as u32
    }

    /// The directory that holds a directory.
    #[must_use]
    pub fn parent(&self, dir: Ino) -> Option<Ino> {
        if dir == self.root {
            return Some(dir);
        }
        self.nodes
            .iter()
            .find(|(_, n)| n.names().is_some_and(|n| n.values().any(|c| *c == dir)))
            .map(|(ino, _)| *ino)
    }

    /// Says whether `dir` is `below`, or stands above it.
    #[must_use]
    pub fn contains(&self, dir: Ino, below: Ino) -> bool {
        let mut at = below;
        loop {
            if at == dir {
                return true;
            }
            match self.parent(at) {
                Some(up) if up != at => at = up,
                _ => return false,
            }
        }
    }

    /// The entry of a directory.
    #[must_use]
    pub fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.nodes.get(&dir)?.names()?.get(name).copied()
    }

    /// Walks a path.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Ino> {
        path.split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .try_fold(self.root, |dir, name| self.child(dir, name))
    }

    /// Every path with its inode, parents first, the root's is empty.
    #[must_use]
    pub fn paths(&self) -> Vec<(Vec<u8>, Ino)> {
        self.paths_below(Vec::new(), self.root)
    }

    /// Every path at and below one, parents first.
    #[must_use]
    pub fn paths_below(&self, path: Vec<u8>, ino: Ino) -> Vec<(Vec<u8>, Ino)> {
        let mut out = vec![(path, ino)];
        let mut at = 0;
        while at < out.len() {
            let (path, ino) = out[at].clone();
            if let Some(names) = self.nodes.get(&ino).and_then(Node::names) {
                for (name, child) in names {
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend_from_slice(name);
                    out.push((below, *child));
                }
            }
            at += 1;
        }
        out
    }

    /// Every version that the tree maps.
    #[must_use]
    pub fn versions(&self) -> BTreeSet<Version> {
        self.nodes
            .values()
            .filter_map(Node::blocks)
            .flat_map(|b| b.values().map(|b| b.version))
            .collect()
    }

    /// Number of mapped blocks, a shared one at each place.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.nodes
            .values()
            .filter_map(Node::blocks)
            .map(|b| b.len() as u64)
            .sum()
    }

    /// Removes the inodes without a name.
    pub fn drop_orphans(&mut self) {
        for ino in std::mem::take(&mut self.orphans) {
            self.nodes.remove(&ino);
        }
    }
}
