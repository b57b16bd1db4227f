//! Comparing everything.

use super::{Lockstep, Pairs};
use crate::reference::{BLOCK, Kind, Node, Reference, Tree};
use std::collections::{BTreeSet, VecDeque};
use strand_engine::owner::{living_brute, marked_brute, owned_brute};
use strand_engine::quota::usage;
use strand_engine::{Body, Fileset, Ino, Inode, Source, State, Store, Volume, VolumeId};
use strand_journal::BlockAddr;

/// How much of the bytes a comparison reads. Maps, names and attributes are always compared in full.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Depth {
    /// The bytes of the live trees and of one image in so many.
    Sampled(u64),
    /// All bytes.
    Full,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!(
            "{what}: {ours:?} by the reference, {theirs:?} by the engine"
        ))
    }
}

impl Lockstep {
    /// Compares every tree, image, ledger and flag.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&mut self, depth: Depth) -> Result<(), String> {
        let state = self.store().state();
        let (reference, store) = (
            &self.reference,
            self.store.as_ref().expect("open between steps"),
        );
        let mut comparison = Comparison {
            store,
            inos: &mut self.inos,
            versions: &mut self.versions,
            depth,
            turn: state.seq,
        };
        comparison.checkpoints(reference, &state)?;
        same(
            "number of volumes",
            reference.volumes.len(),
            state.volumes.len(),
        )?;
        same(
            "number of removed volumes",
            reference.removed_volumes.len(),
            state.removed_volumes.len(),
        )?;
        for (number, ours) in &reference.volumes {
            let theirs = state
                .volume(VolumeId(*number))
                .ok_or(format!("the engine has no volume {number}"))?;
            comparison
                .volume(ours, theirs)
                .map_err(|e| format!("volume {number} ({}): {e}", ours.name))?;
        }
        for (number, ours) in &reference.removed_volumes {
            let theirs = state
                .removed_volumes
                .get(&VolumeId(*number))
                .ok_or(format!("the engine forgot volume {number}"))?;
            comparison
                .volume(ours, theirs)
                .map_err(|e| format!("removed volume {number} ({}): {e}", ours.name))?;
        }
        for leased in &self.leased {
            let still = store.still_leased(&leased.lease);
            still.map_err(|e| format!("a lease without an end: {e}"))?;
            comparison
                .tree(&leased.ours, &leased.theirs, true)
                .map_err(|e| format!("a view that is leased: {e}"))?;
        }
        comparison.liveness(reference, &state)
    }

    /// Compares remembered positions that can still be viewed: every one of which `wanted` says so.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare_positions(&mut self, wanted: impl Fn(u64) -> bool) -> Result<(), String> {
        let store = self.store.as_ref().expect("open between steps");
        let mut comparison = Comparison {
            store,
            inos: &mut self.inos,
            versions: &mut self.versions,
            depth: Depth::Full,
            turn: 0,
        };
        for (position, trees) in &self.reference.history {
            for (number, ours) in trees {
                let viewable = self.reference.viewable_from(*number) <= *position;
                let there = self.reference.volumes.contains_key(number);
                if !viewable || !there || !wanted(*position) {
                    continue;
                }
                let place = format!("volume {number} at {position}");
                let mut ours = ours.clone();
                ours.drop_orphans();
                let source = Source::Position(VolumeId(*number), *position);
                let theirs = store.view(source).map_err(|e| format!("{place}: {e}"))?;
                comparison
                    .tree(&ours, &theirs, true)
                    .map_err(|e| format!("{place}: {e}"))?;
            }
        }
        Ok(())
    }
}

struct Comparison<'a> {
    store: &'a Store,
    inos: &'a mut Pairs,
    versions: &'a mut Pairs,
    depth: Depth,
    turn: u64,
}

impl Comparison<'_> {
    fn checkpoints(&self, reference: &Reference, state: &State) -> Result<(), String> {
        let ours: Vec<_> = reference
            .checkpoints
            .iter()
            .map(|(n, c)| {
                (
                    *n,
                    c.name.clone(),
                    c.volumes.clone(),
                    c.removable,
                    c.nomount,
                    c.held,
                )
            })
            .collect();
        let theirs: Vec<_> = state
            .checkpoints
            .iter()
            .map(|(n, c)| {
                let volumes: Vec<u32> = c.volumes.iter().map(|v| v.0).collect();
                (
                    n.0,
                    c.name.to_string(),
                    volumes,
                    c.removable,
                    c.nomount,
                    c.held,
                )
            })
            .collect();
        same("checkpoints", ours, theirs)?;
        for (number, checkpoint) in &state.checkpoints {
            same(
                "a checkpoint by its name",
                Some(number),
                state.checkpoint_names.get(&checkpoint.name),
            )?;
        }
        same(
            "names of checkpoints",
            state.checkpoints.len(),
            state.checkpoint_names.len(),
        )?;
        let ours: Vec<u32> = reference.removed_checkpoints.keys().copied().collect();
        let theirs: Vec<u32> = state.removed_checkpoints.keys().map(|c| c.0).collect();
        same("removed checkpoints", ours, theirs)
    }

    fn volume(&mut self, ours: &crate::reference::Volume, theirs: &Volume) -> Result<(), String> {
        same("name", ours.name.as_str(), &*theirs.name)?;
        self.tree(&ours.live, &theirs.live, true)
            .map_err(|e| format!("live: {e}"))?;
        let (a, b): (Vec<u32>, Vec<u32>) = (
            ours.images.keys().copied().collect(),
            theirs.images.keys().map(|c| c.0).collect(),
        );
        same("images", a, b)?;
        let (a, b): (Vec<u32>, Vec<u32>) = (
            ours.removed_images.keys().copied().collect(),
            theirs.removed_images.keys().map(|c| c.0).collect(),
        );
        same("removed images", a, b)?;
        let there = |c: &&u32| ours.images.contains_key(c) || ours.removed_images.contains_key(c);
        let all = theirs.images.iter().chain(&theirs.removed_images);
        let (a, b): (BTreeSet<u32>, BTreeSet<u32>) = (
            ours.nodata.iter().filter(there).copied().collect(),
            all.filter(|(_, i)| i.nodata).map(|(c, _)| c.0).collect(),
        );
        same("nodata images", a, b)?;
        let images = ours.images.values().zip(theirs.images.values());
        let removed = ours
            .removed_images
            .values()
            .zip(theirs.removed_images.values());
        for (index, (mine, image)) in images.chain(removed).enumerate() {
            let bytes = match self.depth {
                _ if image.nodata => false,
                Depth::Full => true,
                Depth::Sampled(n) => (self.turn + index as u64).is_multiple_of(n),
            };
            self.tree(mine, &image.root, bytes)
                .map_err(|e| format!("image {index}: {e}"))?;
        }
        match (&ours.origin, &theirs.origin) {
            (Some(mine), Some(origin)) => self
                .tree(mine, &origin.root, self.depth == Depth::Full)
                .map_err(|e| format!("origin: {e}"))?,
            (mine, origin) => same("is a clone", mine.is_some(), origin.is_some())?,
        }
        self.ownership(ours, theirs)?;
        self.spread(ours, theirs)
    }

    /// Ownership by brute force on both sides, and the books.
    fn ownership(&self, ours: &crate::reference::Volume, theirs: &Volume) -> Result<(), String> {
        let counted = Reference::owned(ours);
        let walked = owned_brute(theirs);
        let walked: std::collections::BTreeMap<u32, u64> =
            walked.into_iter().map(|(c, n)| (c.0, n)).collect();
        same("owned, by brute force", &counted, &walked)?;
        let marked = Reference::marked(ours);
        let walked = marked_brute(theirs);
        let walked: std::collections::BTreeMap<u32, u64> =
            walked.into_iter().map(|(c, n)| (c.0, n)).collect();
        same("marked, by brute force", &marked, &walked)?;
        same(
            "first position to be viewed",
            ours.history.max(theirs.created),
            theirs.history,
        )?;
        let quota = theirs.quota;
        let limits = (quota.soft, quota.hard, quota.on, quota.fail_writes);
        let mine = ours.quota;
        same(
            "limits",
            (mine.soft, mine.hard, mine.on, mine.fail_writes),
            limits,
        )?;
        if !theirs.settling() {
            same("usage", Reference::usage(ours) * BLOCK, usage(theirs))?;
            let nodata = theirs.images.iter().filter(|(_, i)| i.nodata);
            let books = nodata.map(|(c, i)| (c.0, i.marks)).collect();
            same("marked, by the books", marked, books)?;
            let books: std::collections::BTreeMap<u32, u64> = theirs
                .images
                .iter()
                .map(|(c, i)| (c.0, i.ledger.owned()))
                .collect();
            if books != counted {
                let ledgers: Vec<_> = theirs.images.iter().map(|(c, i)| (c.0, i.ledger)).collect();
                return Err(format!(
                    "owned: counted {counted:?}, by the ledgers {books:?}: {ledgers:?}"
                ));
            }
        }
        Ok(())
    }

    /// A version that is mapped at more than one place, in whatever tree of the volume, is known to be.
    fn spread(&self, ours: &crate::reference::Volume, theirs: &Volume) -> Result<(), String> {
        let mut places: std::collections::BTreeMap<u64, BTreeSet<(u64, u64)>> =
            std::collections::BTreeMap::new();
        let trees = [&ours.live]
            .into_iter()
            .chain(ours.images.values())
            .chain(ours.removed_images.values())
            .chain(&ours.origin);
        for (ino, node) in trees.flat_map(|t| &t.nodes) {
            for (block, mapped) in node.blocks().into_iter().flatten() {
                places
                    .entry(mapped.version)
                    .or_default()
                    .insert((*ino, *block));
            }
        }
        for (version, places) in places.iter().filter(|(_, p)| p.len() > 1) {
            let addr = self
                .versions
                .theirs(*version)
                .ok_or("a version without an address")?;
            let known = theirs.spread.get(addr).ok_or(format!(
                "version {version} is mapped at {places:?}, but not known as spread"
            ))?;
            for (ino, block) in places {
                let there = self.inos.theirs(*ino).unwrap_or(0);
                if !known.iter().any(|p| p.ino.0 == there && p.block == *block) {
                    return Err(format!(
                        "version {version} is mapped at ({ino}, {block}), known are only {known:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What any root keeps, on both sides.
    fn liveness(&self, reference: &Reference, state: &State) -> Result<(), String> {
        let kept = living_brute(state);
        let ours: BTreeSet<u64> = reference
            .living()
            .iter()
            .filter_map(|v| self.versions.theirs(*v))
            .collect();
        same(
            "number of versions that a root keeps",
            reference.living().len(),
            ours.len(),
        )?;
        same("versions that a root keeps", &ours, &kept)?;
        for birth in kept {
            let present = state.places.find(BlockAddr(birth));
            let present = present.ok_or(format!("version {birth} lives and was given back"))?;
            if state.places.is_reclaimed(present.0) {
                return Err(format!("version {birth} lies at {present:?}, given back"));
            }
        }
        Ok(())
    }

    fn tree(&mut self, ours: &Tree, theirs: &Fileset, bytes: bool) -> Result<(), String> {
        let mut queue = VecDeque::from([(ours.root, theirs.root)]);
        let mut seen = BTreeSet::from([ours.root]);
        same("orphans", ours.orphans.len(), theirs.orphans.len())?;
        for orphan in &ours.orphans {
            let theirs = self
                .inos
                .theirs(*orphan)
                .ok_or("an orphan that was never compared")?;
            queue.push_back((*orphan, Ino(theirs)));
            seen.insert(*orphan);
        }
        while let Some((mine, ino)) = queue.pop_front() {
            self.inos.pair(mine, ino.0)?;
            let node = &ours.nodes[&mine];
            let inode = theirs
                .inode(ino)
                .ok_or(format!("inode {mine} ({ino}) is missing"))?;
            self.inode(ours, theirs, (mine, ino), bytes)
                .map_err(|e| format!("inode {mine} ({ino}): {e}"))?;
            let (Some(names), Some(entries)) = (node.names(), inode.names()) else {
                continue;
            };
            let (a, b): (Vec<&[u8]>, Vec<&[u8]>) = (
                names.keys().map(Vec::as_slice).collect(),
                entries.keys().map(|n| &**n).collect(),
            );
            same("names", a, b)?;
            for ((name, child), (_, their_child)) in names.iter().zip(entries) {
                self.inos
                    .pair(*child, their_child.0)
                    .map_err(|e| format!("{}: {e}", String::from_utf8_lossy(name)))?;
                if theirs
                    .inode(*their_child)
                    .is_some_and(|i| i.is_dir() && i.parent != ino)
                {
                    return Err(format!(
                        "directory {their_child} does not know its parent {ino}"
                    ));
                }
                if seen.insert(*child) {
                    queue.push_back((*child, *their_child));
                }
            }
        }
        same("inodes", ours.nodes.len() as u64, theirs.inodes.len())?;
        same(
            "inodes with a name, or orphans",
            seen.len(),
            ours.nodes.len(),
        )?;
        same("mapped blocks", ours.mapped(), theirs.blocks)
    }

    fn inode(
        &mut self,
        ours: &Tree,
        theirs: &Fileset,
        (mine, ino): (u64, Ino),
        bytes: bool,
    ) -> Result<(), String> {
        let (node, inode) = (&ours.nodes[&mine], theirs.inode(ino).ok_or("missing")?);
        same(
            "mode, uid, gid",
            (node.mode, node.uid, node.gid),
            (inode.mode, inode.uid, inode.gid),
        )?;
        same("links", ours.links(mine), inode.nlink)?;
        same("atime", node.atime, node.atime.map(|_| inode.atime))?;
        let mtime = node.mtime.filter(|_| !node.is_dir());
        same("mtime", mtime, mtime.map(|_| inode.mtime))?;
        let xattrs: Vec<(&[u8], &[u8])> = node
            .xattrs
            .iter()
            .map(|(n, v)| (n.as_slice(), v.as_slice()))
            .collect();
        let theirs_xattrs: Vec<(&[u8], &[u8])> = inode
            .xattrs
            .iter()
            .flat_map(|x| x.iter().map(|(n, v)| (&**n, &**v)))
            .collect();
        same("extended attributes", xattrs, theirs_xattrs)?;
        match (&node.kind, &inode.body) {
            (Kind::File { .. }, Body::File(_)) => self.content(node, theirs, (inode, ino), bytes),
            (Kind::Dir { .. }, Body::Dir(_))
            | (Kind::Fifo, Body::Fifo)
            | (Kind::Socket, Body::Socket) => Ok(()),
            (Kind::Symlink(a), Body::Symlink(b)) => same("target", a.as_slice(), &**b),
            (Kind::Char(a), Body::Char(b)) | (Kind::BlockDevice(a), Body::Block(b)) => {
                same("device", a, b)
            }
            (a, b) => Err(format!("kind: {a:?} by the reference, {b:?} by the engine")),
        }
    }

    fn content(
        &mut self,
        node: &Node,
        tree: &Fileset,
        (inode, ino): (&Inode, Ino),
        bytes: bool,
    ) -> Result<(), String> {
        let (Some(blocks), Some(file)) = (node.blocks(), inode.file()) else {
            return Err("no file".into());
        };
        same("size", node.size(), file.size)?;
        same(
            "mapped blocks",
            blocks.keys().copied().collect::<Vec<_>>(),
            file.map.iter().map(|(b, _)| b).collect(),
        )?;
        for ((block, mapped), (_, version)) in blocks.iter().zip(file.map.iter()) {
            self.versions
                .pair(mapped.version, version.addr().0)
                .map_err(|e| format!("version of block {block}: {e}"))?;
        }
        if !bytes {
            return Ok(());
        }
        let mut buffer = vec![0xaa; BLOCK as usize * 3];
        for start in windows(node) {
            let expected = node.read(start, buffer.len() as u64);
            let got = self
                .store
                .read(tree, ino, start, &mut buffer)
                .map_err(|e| format!("read at {start}: {e}"))?;
            if buffer[..got] != expected[..] {
                let at = expected
                    .iter()
                    .zip(&buffer[..got])
                    .position(|(a, b)| a != b);
                return Err(format!(
                    "bytes differ at {start} + {at:?}; {} expected, {got} read",
                    expected.len()
                ));
            }
        }
        Ok(())
    }
}

/// Offsets from which three blocks are read: over everything mapped, and over the end.
fn windows(node: &Node) -> Vec<u64> {
    let mut starts: Vec<u64> = Vec::new();
    for block in node.blocks().into_iter().flat_map(|b| b.keys()) {
        if starts.last().is_none_or(|s| block * BLOCK >= s + 3 * BLOCK) {
            starts.push(block.saturating_sub(1) * BLOCK);
        }
    }
    starts.push(node.size().saturating_sub(10));
    starts
}
