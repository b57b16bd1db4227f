//! Whether a file tree hangs together: no dangling names, no lost inodes, no cycles, the counts right.
//!
//! A tree is judged by how it differs from one already judged, so that a thousand images that share almost all of it
//! cost little more than one. The argument is by sums: in a good tree every inode is named as often as it says;
//! if what changed shifts both sides by the same, the other tree is good as well.

use super::decode::Wrong;
use crate::ids::Ino;
use crate::state::{Fileset, Inode};
use imbl::ordmap::DiffItem;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Checks `tree`, given that `near` is good.
pub(super) fn check_tree(near: Option<&Fileset>, tree: &Fileset) -> Result<(), Wrong> {
    let nothing = Fileset::default();
    let near = near.unwrap_or(&nothing);
    let mut sums = Sums::default();
    let mut blocks = near.blocks;
    let mut changed_dirs = Vec::new();
    for change in near.inodes.diff(&tree.inodes) {
        let ino = Ino(change.key);
        sums.touched.push(ino);
        if ino.0 == 0 {
            return Err("an inode has the number 0".into());
        }
        if let (Some(before), Some(after)) = (change.before, change.after)
            && before.type_bits() != after.type_bits()
        {
            return Err(format!("inode {ino} became another kind of file").into());
        }
        blocks = blocks
            .wrapping_sub(change.before.map_or(0, |inode| inode.blocks()))
            .wrapping_add(change.after.map_or(0, |inode| inode.blocks()));
        sums.names(ino, change.before, change.after, near, tree)?;
        if change.after.is_some_and(|inode| inode.is_dir()) {
            changed_dirs.push(ino);
        }
    }
    sums.touched
        .extend(near.orphans.iter().chain(&tree.orphans).copied());
    sums.touched.extend([near.root, tree.root]);
    if blocks != tree.blocks {
        return Err(format!(
            "the tree says {} mapped blocks, its files have {blocks}",
            tree.blocks
        )
        .into());
    }
    let root = tree
        .inode(tree.root)
        .filter(|inode| inode.is_dir())
        .ok_or("the tree has no root directory")?;
    if root.parent != tree.root {
        return Err("the root directory has a parent".into());
    }
    for ino in &tree.orphans {
        if tree
            .inode(*ino)
            .is_none_or(|inode| inode.is_dir() || inode.nlink != 0)
        {
            return Err(format!("inode {ino} cannot be without a name").into());
        }
    }
    sums.settle(near, tree)?;
    reach_root(tree, &changed_dirs)
}

/// How the other tree's sums differ, each inode's to be compared with what it says of itself.
#[derive(Default)]
struct Sums {
    /// Names more or less, by the inode they name.
    names: Vec<(Ino, i64)>,
    /// A directory named by a directory counts 1, one that says that this is its parent −1.
    parents: Vec<((Ino, Ino), i64)>,
    /// Subdirectories more or less, by their parent.
    subdirs: Vec<(Ino, i64)>,
    /// Every inode that may say something else than before.
    touched: Vec<Ino>,
}

impl Sums {
    /// The entries of one directory, and its own link to its parent.
    fn names(
        &mut self,
        ino: Ino,
        before: Option<&Arc<Inode>>,
        after: Option<&Arc<Inode>>,
        near: &Fileset,
        tree: &Fileset,
    ) -> Result<(), Wrong> {
        let names =
            |inode: Option<&Arc<Inode>>| inode.and_then(|i| i.names()).cloned().unwrap_or_default();
        let (old, new) = (names(before), names(after));
        for change in old.diff(&new) {
            let (gone, come) = match change {
                DiffItem::Add(_, come) => (None, Some(*come)),
                DiffItem::Update {
                    old: (_, gone),
                    new: (_, come),
                } => (Some(*gone), Some(*come)),
                DiffItem::Remove(_, gone) => (Some(*gone), None),
            };
            if let Some(gone) = gone {
                self.names.push((gone, -1));
                if near.inode(gone).is_some_and(|inode| inode.is_dir()) {
                    self.parents.push(((ino, gone), -1));
                }
            }
            if let Some(come) = come {
                let child = tree.inode(come).ok_or_else(|| {
                    format!("directory {ino} names inode {come}, which is not there")
                })?;
                self.names.push((come, 1));
                if child.is_dir() {
                    self.parents.push(((ino, come), 1));
                }
            }
        }
        for (inode, of, sign) in [(before, near, -1), (after, tree, 1)] {
            if let Some(dir) = inode.filter(|inode| inode.is_dir() && ino != of.root) {
                self.parents.push(((dir.parent, ino), -sign));
                self.subdirs.push((dir.parent, sign));
            }
        }
        Ok(())
    }

    /// Compares the sums with what the inodes say.
    fn settle(mut self, near: &Fileset, tree: &Fileset) -> Result<(), Wrong> {
        self.touched.sort_unstable();
        self.touched.dedup();
        for ino in &self.touched {
            let says = expected_names(tree, *ino) - expected_names(near, *ino);
            self.names.push((*ino, -says));
            let dirs = |of: &Fileset| {
                of.inode(*ino)
                    .filter(|i| i.is_dir())
                    .map_or(0, |i| i64::from(i.nlink) - 2)
            };
            self.subdirs.push((*ino, dirs(near) - dirs(tree)));
        }
        if let Some(ino) = unbalanced(self.names) {
            return Err(format!("inode {ino} is not named as often as it says").into());
        }
        if let Some((dir, ino)) = unbalanced(self.parents) {
            return Err(format!("directory {ino} and its parent {dir} do not agree").into());
        }
        if let Some(ino) = unbalanced(self.subdirs) {
            return Err(
                format!("directory {ino} does not have as many links as subdirectories").into(),
            );
        }
        Ok(())
    }
}

/// How often a tree's directories have to name an inode.
fn expected_names(tree: &Fileset, ino: Ino) -> i64 {
    match tree.inode(ino) {
        Some(inode) if inode.is_dir() => i64::from(ino != tree.root),
        Some(inode) => i64::from(inode.nlink),
        None => 0,
    }
}

/// The least key whose amounts do not add up to nothing.
fn unbalanced<K: Ord + Copy>(mut amounts: Vec<(K, i64)>) -> Option<K> {
    amounts.sort_unstable();
    amounts
        .chunk_by(|a, b| a.0 == b.0)
        .find(|same| same.iter().map(|(_, n)| n).sum::<i64>() != 0)
        .map(|same| same[0].0)
}

/// Every changed directory leads to the root by its parents: there is no cycle.
fn reach_root(tree: &Fileset, dirs: &[Ino]) -> Result<(), Wrong> {
    // Which walk came by here first: an earlier one is known to have reached the root.
    let mut seen = HashMap::from([(tree.root, 0)]);
    for (walk, dir) in dirs.iter().enumerate() {
        let walk = walk + 1;
        let mut at = *dir;
        loop {
            match seen.entry(at) {
                Entry::Occupied(there) if *there.get() == walk => {
                    return Err(format!("directory {dir} does not lead to the root").into());
                }
                Entry::Occupied(_) => break,
                Entry::Vacant(free) => free.insert(walk),
            };
            let above = tree
                .inode(at)
                .filter(|inode| inode.is_dir())
                .map(|inode| inode.parent);
            at = above.ok_or_else(|| format!("directory {dir} does not lead to the root"))?;
        }
    }
    Ok(())
}
