//! Files from an image back into the live tree.
//!
//! A path is looked up in the image. Where its inode still lives, content and size go back into it, under its present names. Else the file at
//! that path, if a regular file of its own stands there that the image does not know, gets the content; else it is created with the image's
//! attributes. A directory means its tree. What the image knows is never overwritten with something else of it: that is refused.

use super::files::keeps;
use super::inode;
use crate::command::Request;
use crate::event::{Bytes, Event, NewBody, SetAttributes, Source};
use crate::evolve::restore_changes;
use crate::ids::{Ino, VolumeId};
use crate::refusal::{Kind, Refusal};
use crate::state::{Body, Fileset, Inode, State, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// How deep a file rollback follows directories: each level takes stack.
const MAX_DEPTH: usize = 1024;

/// How files go back.
pub(super) struct Restore {
    /// Mode, owner, times and extended attributes of living files too.
    pub(super) attributes: bool,
    /// Delete what the image does not have.
    pub(super) delete_new: bool,
    /// Delete of what the image does not have only inodes of this range (undo of a file rollback).
    pub(super) delete_created: Option<Range<u64>>,
}

struct Plan<'a> {
    how: &'a Restore,
    request: &'a Request<'a>,
    volume: VolumeId,
    live: &'a Fileset,
    image: &'a Fileset,
    source: Source,
    next_ino: u64,
    /// Names made by this plan.
    made: BTreeMap<(Ino, Bytes), Ino>,
    /// Image inodes re-created by this plan, with their new numbers.
    reborn: BTreeMap<Ino, Ino>,
    /// Image inodes dealt with, and where they went.
    done: BTreeSet<(Ino, Ino)>,
    /// Live inodes that took an image inode's place, and whose.
    adopted: BTreeMap<Ino, Ino>,
    /// Names that this plan removes.
    removed: BTreeSet<(Ino, Bytes)>,
    /// Inodes whose attributes are dealt with.
    attributed: BTreeSet<Ino>,
    /// How deep in the tree this plan is.
    depth: usize,
    /// Names left of inodes whose names this plan removes.
    links: BTreeMap<Ino, u32>,
    events: Vec<Event>,
}

impl Restore {
    /// The events for `paths`, in order; empty where nothing differs.
    pub(super) fn events(
        &self,
        state: &State,
        volume: &Volume,
        image: &Fileset,
        source: Source,
        paths: &[Bytes],
        request: &Request<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let mut plan = Plan {
            how: self,
            request,
            volume: volume.id,
            live: &volume.live,
            image,
            source,
            next_ino: state.next_ino.0,
            made: BTreeMap::new(),
            reborn: BTreeMap::new(),
            done: BTreeSet::new(),
            adopted: BTreeMap::new(),
            removed: BTreeSet::new(),
            attributed: BTreeSet::new(),
            depth: 0,
            links: BTreeMap::new(),
            events: Vec::new(),
        };
        for path in paths {
            plan.path(path)?;
        }
        Ok(plan.events)
    }
}

fn occupied(name: &[u8], why: &str) -> Refusal {
    Refusal::new(
        Kind::Exists,
        format!("{} cannot be re-created", String::from_utf8_lossy(name)),
    )
    .why(why)
    .next("move that away first, or roll the whole volume back")
}

fn parts(path: &[u8]) -> Vec<Bytes> {
    path.split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .map(Bytes::from)
        .collect()
}

impl Plan<'_> {
    fn path(&mut self, path: &Bytes) -> Result<(), Refusal> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let parts = parts(path);
        if parts.iter().any(|part| **part == *b"..") {
            return Err(
                Refusal::new(Kind::Invalid, format!("{} cannot be rolled back", shown()))
                    .why("its path has .. in it")
                    .next("give the path from the volume's root"),
            );
        }
        let Some(target) = self.image.lookup(path) else {
            let alive = self.live.lookup(path);
            let (Some(ino), Some((name, dirs)), true) = (alive, parts.split_last(), self.deletes())
            else {
                if self.how.delete_created.is_some() {
                    return Ok(()); // an undo: it is gone already
                }
                let mut refusal =
                    Refusal::new(Kind::NotFound, format!("{} is not in the image", shown()));
                if alive.is_some() {
                    refusal = refusal
                        .why("it is newer than the image")
                        .next("add --delete-new to delete it");
                }
                return Err(refusal);
            };
            let dir = self
                .live
                .lookup(&dirs.join(&b'/'))
                .unwrap_or(self.live.root);
            return self.delete(dir, name, ino).map(|_| ());
        };
        let Some((name, dirs)) = parts.split_last() else {
            return self.restore_living(target, self.live.root);
        };
        if let Some(living) = self.living(target) {
            return self.restore_living(target, living);
        }
        let mut dir = self.live.root;
        let mut image_dir = self.image.root;
        for part in dirs {
            let in_image = self.image.child(image_dir, part);
            let Some(in_image) = in_image else {
                return Err(Refusal::new(
                    Kind::NotFound,
                    format!("{} is not in the image", shown()),
                ));
            };
            dir = self.directory(in_image, dir, part)?;
            image_dir = in_image;
        }
        self.entry(target, dir, name)
    }

    fn deletes(&self) -> bool {
        self.how.delete_new || self.how.delete_created.is_some()
    }

    /// The same inode in the live tree, if it lives there as the same kind of thing and has a name.
    fn living(&self, target: Ino) -> Option<Ino> {
        let (live, image) = (self.live.inode(target)?, self.image.inode(target)?);
        (live.type_bits() == image.type_bits()
            && live.nlink > 0
            && !self.live.orphans.contains(&target))
        .then_some(target)
    }

    fn restore_living(&mut self, target: Ino, living: Ino) -> Result<(), Refusal> {
        let image = inode(self.image, target)?.clone();
        if image.is_dir() {
            if self.how.attributes {
                self.attributes(living, &image);
            }
            return self.tree(target, living);
        }
        self.content(target, living, &image)
    }

    /// Content and size (and attributes, if asked) into a file of the live tree.
    fn content(&mut self, target: Ino, into: Ino, image: &Arc<Inode>) -> Result<(), Refusal> {
        if !self.done.insert((target, into)) {
            return Ok(());
        }
        let live = inode(self.live, into)?;
        if image.file().is_some() {
            if restore_changes(live, image, self.how.attributes) {
                self.events.push(Event::FileRestored {
                    volume: self.volume,
                    ino: into,
                    source: self.source,
                    from: target,
                    attributes: self.how.attributes,
                });
            }
        } else if self.how.attributes {
            self.attributes(into, image);
        }
        Ok(())
    }

    /// One entry of an image's directory, into a directory of the live tree.
    fn entry(&mut self, target: Ino, dir: Ino, name: &Bytes) -> Result<(), Refusal> {
        if let Some(living) = self.living(target) {
            return self.restore_living(target, living);
        }
        let image = inode(self.image, target)?.clone();
        if image.is_dir() {
            let dir = self.directory(target, dir, name)?;
            return self.tree(target, dir);
        }
        if let Some(reborn) = self.reborn.get(&target).copied() {
            match self.child(dir, name) {
                None => {
                    self.made.insert((dir, name.clone()), reborn);
                    self.events.push(Event::Linked {
                        volume: self.volume,
                        dir,
                        name: name.clone(),
                        ino: reborn,
                    });
                    return Ok(());
                }
                Some(at) if at == reborn => return Ok(()),
                Some(_) => {} // a newer file has this name: it takes the content, as it would have under any other name
            }
        }
        match self.child(dir, name) {
            None => {
                let ino = self.create(&image, dir, name);
                self.reborn.insert(target, ino);
                if image.file().is_some() {
                    self.events.push(Event::FileRestored {
                        volume: self.volume,
                        ino,
                        source: self.source,
                        from: target,
                        attributes: true,
                    });
                } else {
                    self.attributes(ino, &image);
                }
                Ok(())
            }
            Some(at) => {
                self.adopt(at, target, name)?;
                let live = inode(self.live, at)?;
                if image.file().is_none() && live.body != image.body {
                    return Err(occupied(name, "something else has its name now"));
                }
                self.content(target, at, &image)
            }
        }
    }

    /// Takes a live inode that stands where an image's belongs: of the same kind, unknown to the image, and for this one only.
    fn adopt(&mut self, at: Ino, target: Ino, name: &Bytes) -> Result<(), Refusal> {
        if self.reborn.get(&target) == Some(&at) {
            return Ok(());
        }
        let same_kind = self
            .live
            .inode(at)
            .zip(self.image.inode(target))
            .is_some_and(|(l, i)| l.type_bits() == i.type_bits());
        if !same_kind {
            return Err(occupied(name, "something of another kind has its name now"));
        }
        if self.image.inode(at).is_some() || *self.adopted.entry(at).or_insert(target) != target {
            return Err(occupied(
                name,
                "something else that the image holds has its name now",
            ));
        }
        Ok(())
    }

    fn tree(&mut self, target: Ino, dir: Ino) -> Result<(), Refusal> {
        if !self.done.insert((target, dir)) {
            return Ok(());
        }
        let Some(names) = inode(self.image, target)?.names().cloned() else {
            return Ok(());
        };
        self.descend()?;
        for (name, child) in &names {
            self.entry(*child, dir, name)?;
        }
        self.depth -= 1;
        if self.deletes() {
            let new: Vec<(Bytes, Ino)> = self
                .live
                .inode(dir)
                .and_then(|d| d.names())
                .map(|live| {
                    live.iter()
                        .filter(|(name, _)| !names.contains_key(*name))
                        .map(|(n, i)| (n.clone(), *i))
                        .collect()
                })
                .unwrap_or_default();
            for (name, ino) in new {
                self.delete(dir, &name, ino)?;
            }
        }
        Ok(())
    }

    /// The live directory that stands for an image's: the same inode, one of that name, or a new one.
    fn directory(&mut self, target: Ino, dir: Ino, name: &Bytes) -> Result<Ino, Refusal> {
        if let Some(living) = self.living(target) {
            return Ok(living);
        }
        match self.child(dir, name) {
            Some(at) => {
                self.adopt(at, target, name)?;
                Ok(at)
            }
            None => {
                let image = inode(self.image, target)?.clone();
                let ino = self.create(&image, dir, name);
                self.reborn.insert(target, ino);
                self.attributes(ino, &image);
                Ok(ino)
            }
        }
    }

    fn child(&self, dir: Ino, name: &Bytes) -> Option<Ino> {
        let key = (dir, name.clone());
        let made = self.made.get(&key).copied();
        made.or_else(|| {
            self.live
                .child(dir, name)
                .filter(|_| !self.removed.contains(&key))
        })
    }

    fn descend(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(
                Refusal::new(Kind::TooLarge, "directories are nested too deeply")
                    .why(format!("a file rollback goes {MAX_DEPTH} levels deep"))
                    .next(
                        "roll back the deeper directories by their own paths, or the whole volume",
                    ),
            );
        }
        Ok(())
    }

    fn create(&mut self, image: &Inode, dir: Ino, name: &Bytes) -> Ino {
        let body = match &image.body {
            Body::File(_) => NewBody::File,
            Body::Dir(_) => NewBody::Dir,
            Body::Symlink(target) => NewBody::Symlink(target.clone()),
            Body::Fifo => NewBody::Fifo,
            Body::Socket => NewBody::Socket,
            Body::Char(device) => NewBody::Char(*device),
            Body::Block(device) => NewBody::Block(*device),
        };
        let ino = Ino(self.next_ino);
        self.next_ino += 1;
        self.made.insert((dir, name.clone()), ino);
        let (mode, uid, gid) = (image.mode, image.uid, image.gid);
        self.events.push(Event::Created {
            volume: self.volume,
            dir,
            name: name.clone(),
            ino,
            body,
            mode,
            uid,
            gid,
        });
        ino
    }

    /// The image's attributes onto an inode that has others, or is new.
    fn attributes(&mut self, ino: Ino, image: &Inode) {
        if !self.attributed.insert(ino) {
            return;
        }
        let live = self.live.inode(ino);
        let set = SetAttributes {
            mode: Some(image.mode).filter(|v| live.is_none_or(|l| l.mode != *v)),
            uid: Some(image.uid).filter(|v| live.is_none_or(|l| l.uid != *v)),
            gid: Some(image.gid).filter(|v| live.is_none_or(|l| l.gid != *v)),
            atime: Some(image.atime).filter(|v| live.is_none_or(|l| l.atime != *v)),
            mtime: Some(image.mtime).filter(|v| live.is_none_or(|l| l.mtime != *v)),
        };
        let volume = self.volume;
        if set != SetAttributes::default() {
            self.events.push(Event::AttributesSet { volume, ino, set });
        }
        let empty = crate::state::Xattrs::new();
        let now = live.and_then(|l| l.xattrs.as_deref()).unwrap_or(&empty);
        let then = image.xattrs.as_deref().unwrap_or(&empty);
        for (name, value) in then
            .iter()
            .filter(|(name, value)| now.get(*name) != Some(value))
        {
            self.events.push(Event::XattrSet {
                volume,
                ino,
                name: name.clone(),
                value: value.clone(),
            });
        }
        for (name, _) in now.iter().filter(|(name, _)| !then.contains_key(*name)) {
            self.events.push(Event::XattrRemoved {
                volume,
                ino,
                name: name.clone(),
            });
        }
    }

    /// Deletes a name that the image does not have, with its tree. Says whether it went: what the image knows under another
    /// name stays, and the directories over it.
    fn delete(&mut self, dir: Ino, name: &Bytes, ino: Ino) -> Result<bool, Refusal> {
        if self.removed.contains(&(dir, name.clone())) {
            return Ok(true);
        }
        let found = inode(self.live, ino)?.clone();
        let mut all = true;
        self.descend()?;
        for (child_name, child) in found.names().into_iter().flatten() {
            all &= self.delete(ino, child_name, *child)?;
        }
        self.depth -= 1;
        let ours = self
            .how
            .delete_created
            .as_ref()
            .is_none_or(|created| created.contains(&ino.0));
        if !all || !ours || self.image.inode(ino).is_some() {
            return Ok(false);
        }
        self.removed.insert((dir, name.clone()));
        let left = self.links.entry(ino).or_insert(found.nlink);
        *left = left.saturating_sub(1);
        let keep = *left == 0
            && keeps(
                self.request,
                self.volume,
                &Inode {
                    nlink: 1,
                    ..(*found).clone()
                },
                ino,
            );
        self.events.push(Event::Unlinked {
            volume: self.volume,
            dir,
            name: name.clone(),
            ino,
            keep,
        });
        Ok(true)
    }
}
