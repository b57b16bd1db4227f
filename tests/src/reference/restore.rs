//! Files from an image back into the live tree: on the tree itself, name by name, as a patient person would.

use super::names::{enter, leave};
use super::tree::{Ino, Kind, Node, Tree};
use super::undo::What;
use super::{CheckpointNumber, Reference, Refused, Source, VolumeNumber};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a file rollback deletes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delete {
    /// Nothing.
    Nothing,
    /// What the image does not have.
    New,
    /// What the image does not have, if an earlier file rollback made it (an undo).
    Made(Range<Ino>),
}

/// A rollback of files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileRollback {
    /// The image.
    pub source: Source,
    /// Paths in the image.
    pub paths: Vec<Vec<u8>>,
    /// Attributes of living files too.
    pub attributes: bool,
    /// What goes.
    pub delete: Delete,
}

impl Reference {
    /// Rolls back files.
    ///
    /// # Errors
    /// `not-found`, `not-allowed`, `invalid`, `exists` where something else has the name now.
    pub fn rollback_files(
        &mut self,
        volume: VolumeNumber,
        source: Source,
        paths: &[Vec<u8>],
        (attributes, delete_new): (bool, bool),
        before_name: &str,
    ) -> Result<(), Refused> {
        self.image(source)?;
        if matches!(source, Source::Live(_)) || source.volume() != volume {
            return Err("not-allowed");
        }
        if paths.is_empty() {
            return Err("invalid");
        }
        let delete = if delete_new {
            Delete::New
        } else {
            Delete::Nothing
        };
        let rollback = FileRollback {
            source,
            paths: paths.to_vec(),
            attributes,
            delete,
        };
        let first = self.next_ino;
        if let Some(before) = self.restore_files(volume, &rollback, before_name)? {
            let created = first..self.next_ino;
            self.changed(
                vec![volume],
                What::Files {
                    volume,
                    again: rollback,
                    before,
                    created,
                },
            );
        }
        Ok(())
    }

    /// Restores files; gives the checkpoint that keeps the state before, `None` where nothing differed.
    pub(super) fn restore_files(
        &mut self,
        volume: VolumeNumber,
        rollback: &FileRollback,
        before_name: &str,
    ) -> Result<Option<CheckpointNumber>, Refused> {
        let live = self.volume(volume)?.live.clone();
        let image = match rollback.source {
            Source::Checkpoint(v, c) => {
                self.volume(v)?.images.get(&c).cloned().ok_or("not-found")?
            }
            other => self.image(other)?,
        };
        let mut image = image;
        image.drop_orphans();
        let open: BTreeSet<Ino> = self
            .handles
            .keys()
            .filter(|(v, _)| *v == volume)
            .map(|(_, ino)| *ino)
            .collect();
        let mut restore = Restore {
            live: live.clone(),
            before: &live,
            image: &image,
            rollback,
            open,
            next_ino: self.next_ino,
            reborn: BTreeMap::new(),
            taken: BTreeMap::new(),
            changed: false,
        };
        for path in &rollback.paths {
            restore.path(path)?;
        }
        let only_times = rollback.attributes && self.times_differ;
        if !restore.changed && !only_times {
            return Ok(None);
        }
        let (after, next_ino) = (restore.live, restore.next_ino);
        let before = self.before(vec![volume], before_name);
        self.next_ino = next_ino;
        self.live(volume)?.clone_from(&after);
        Ok(Some(before))
    }
}

struct Restore<'a> {
    live: Tree,
    before: &'a Tree,
    image: &'a Tree,
    rollback: &'a FileRollback,
    open: BTreeSet<Ino>,
    next_ino: Ino,
    /// Inodes of the image that were made again.
    reborn: BTreeMap<Ino, Ino>,
    /// Newer inodes at a path of the image, and for whom they stand in.
    taken: BTreeMap<Ino, Ino>,
    changed: bool,
}

impl Restore<'_> {
    fn path(&mut self, path: &[u8]) -> Result<(), Refused> {
        let parts: Vec<&[u8]> = path
            .split(|b| *b == b'/')
            .filter(|p| !p.is_empty() && *p != b".")
            .collect();
        if parts.contains(&&b".."[..]) {
            return Err("invalid");
        }
        let Some(target) = self.image.lookup(path) else {
            return self.newer_path(path, &parts);
        };
        let Some((name, dirs)) = parts.split_last() else {
            if self.rollback.attributes {
                self.attributes(target, self.live.root);
            }
            return self.tree(target, self.live.root);
        };
        if let Some(living) = self.living(target) {
            return self.into(target, living);
        }
        let (mut dir, mut image_dir) = (self.live.root, self.image.root);
        for part in dirs {
            image_dir = self.image.child(image_dir, part).ok_or("not-found")?;
            dir = self.directory(image_dir, dir, part)?;
        }
        self.entry(target, dir, name)
    }

    fn newer_path(&mut self, path: &[u8], parts: &[&[u8]]) -> Result<(), Refused> {
        if self.rollback.delete == Delete::Nothing {
            return Err("not-found");
        }
        let undo = matches!(self.rollback.delete, Delete::Made(_));
        let missing = if undo { Ok(()) } else { Err("not-found") };
        let Some((name, dirs)) = parts.split_last() else {
            return missing;
        };
        match (
            self.before.lookup(path),
            self.live.lookup(&dirs.join(&b'/')),
        ) {
            (Some(_), Some(dir)) if self.live.child(dir, name).is_some() => {
                self.delete(dir, name).map(|_| ())
            }
            (Some(_), _) => Ok(()),
            (None, _) => missing,
        }
    }

    /// The same inode, where it still lives under some name as the same kind of thing.
    fn living(&self, target: Ino) -> Option<Ino> {
        let (now, then) = (
            self.live.nodes.get(&target)?,
            self.image.nodes.get(&target)?,
        );
        (now.same_kind(then) && !self.live.orphans.contains(&target)).then_some(target)
    }

    fn into(&mut self, target: Ino, living: Ino) -> Result<(), Refused> {
        if self.rollback.attributes {
            self.attributes(target, living);
        }
        if self.image.nodes[&target].is_dir() {
            self.tree(target, living)
        } else {
            self.content(target, living)
        }
    }

    fn set(&mut self, ino: Ino, node: Node) {
        if self.live.nodes.get(&ino) != Some(&node) {
            self.changed = true;
            self.live.nodes.insert(ino, node);
        }
    }

    fn attributes(&mut self, target: Ino, to: Ino) {
        let (then, mut node) = (&self.image.nodes[&target], self.live.nodes[&to].clone());
        node.mode = then.mode;
        node.uid = then.uid;
        node.gid = then.gid;
        node.xattrs = then.xattrs.clone();
        self.set(to, node.clone());
        // Times are known only where somebody set them; they take no part in whether anything differs.
        node.atime = then.atime;
        node.mtime = then.mtime;
        self.live.nodes.insert(to, node);
    }

    fn content(&mut self, target: Ino, to: Ino) -> Result<(), Refused> {
        let (then, mut node) = (&self.image.nodes[&target], self.live.nodes[&to].clone());
        if node.is_file() && node.kind != then.kind {
            node.kind = then.kind.clone();
            node.mtime = if self.rollback.attributes {
                then.mtime
            } else {
                None
            };
            self.set(to, node);
        }
        Ok(())
    }

    fn entry(&mut self, target: Ino, dir: Ino, name: &[u8]) -> Result<(), Refused> {
        if let Some(living) = self.living(target) {
            return self.into(target, living);
        }
        let then = self.image.nodes[&target].clone();
        if then.is_dir() {
            let dir = self.directory(target, dir, name)?;
            return self.tree(target, dir);
        }
        match self.live.child(dir, name) {
            None if self.reborn.contains_key(&target) => {
                self.changed = true;
                enter(&mut self.live, dir, name, self.reborn[&target]);
                Ok(())
            }
            None => {
                self.make(target, dir, name, then);
                Ok(())
            }
            Some(at) if Some(&at) == self.reborn.get(&target) => Ok(()),
            Some(at) if self.live.nodes[&at].same_kind(&then) && self.may_stand_in(at, target) => {
                if !then.is_file() && self.live.nodes[&at].kind != then.kind {
                    return Err("exists");
                }
                if self.rollback.attributes {
                    self.attributes(target, at);
                }
                self.content(target, at)
            }
            Some(_) => Err("exists"),
        }
    }

    /// Something newer than the image may stand in for one thing of the image, whose name it has now.
    fn may_stand_in(&mut self, at: Ino, target: Ino) -> bool {
        !self.image.nodes.contains_key(&at) && *self.taken.entry(at).or_insert(target) == target
    }

    fn make(&mut self, target: Ino, dir: Ino, name: &[u8], mut node: Node) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.changed = true;
        if let Kind::Dir { names } = &mut node.kind {
            names.clear();
        }
        self.live.nodes.insert(ino, node);
        enter(&mut self.live, dir, name, ino);
        self.reborn.insert(target, ino);
        ino
    }

    fn directory(&mut self, target: Ino, dir: Ino, name: &[u8]) -> Result<Ino, Refused> {
        if let Some(living) = self.living(target) {
            return Ok(living);
        }
        match self.live.child(dir, name) {
            None => Ok(self.make(target, dir, name, self.image.nodes[&target].clone())),
            Some(at) if Some(&at) == self.reborn.get(&target) => Ok(at),
            Some(at) if self.live.nodes[&at].is_dir() && self.may_stand_in(at, target) => Ok(at),
            Some(_) => Err("exists"),
        }
    }

    fn tree(&mut self, target: Ino, dir: Ino) -> Result<(), Refused> {
        let names = self.image.nodes[&target]
            .names()
            .cloned()
            .unwrap_or_default();
        for (name, child) in &names {
            self.entry(*child, dir, name)?;
        }
        if self.rollback.delete != Delete::Nothing {
            let new: Vec<Vec<u8>> = self.live.nodes[&dir]
                .names()
                .into_iter()
                .flat_map(|n| n.keys())
                .filter(|n| !names.contains_key(*n))
                .cloned()
                .collect();
            for name in new {
                self.delete(dir, &name)?;
            }
        }
        Ok(())
    }

    /// Deletes a name and what is below it, but for what the image knows, and the directories over that.
    fn delete(&mut self, dir: Ino, name: &[u8]) -> Result<bool, Refused> {
        let ino = self.live.child(dir, name).ok_or("not-found")?;
        let below: Vec<Vec<u8>> = self.live.nodes[&ino]
            .names()
            .into_iter()
            .flat_map(|n| n.keys())
            .cloned()
            .collect();
        let mut all = true;
        for name in below {
            all &= self.delete(ino, &name)?;
        }
        let ours = match &self.rollback.delete {
            Delete::Nothing => false,
            Delete::New => !self.image.nodes.contains_key(&ino),
            Delete::Made(made) => made.contains(&ino) && !self.image.nodes.contains_key(&ino),
        };
        let made_now = self.reborn.values().any(|r| *r == ino);
        if !all || !ours || made_now {
            return Ok(false);
        }
        self.changed = true;
        leave(&mut self.live, dir, name);
        if self.live.links(ino) == 0 || self.live.nodes[&ino].is_dir() {
            if self.open.contains(&ino) && !self.live.nodes[&ino].is_dir() {
                self.live.orphans.insert(ino);
            } else {
                self.live.nodes.remove(&ino);
            }
        }
        Ok(true)
    }
}
