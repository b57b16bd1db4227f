//! Names: create, link, unlink, rename, attributes, handles.

use super::tree::{Ino, Kind, Node, Tree};
use super::{Reference, Refused, VolumeNumber};

/// A rename.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rename {
    /// The directory before.
    pub from_dir: Ino,
    /// The name before.
    pub from_name: Vec<u8>,
    /// The directory after.
    pub to_dir: Ino,
    /// The name after.
    pub to_name: Vec<u8>,
    /// Refuse a name that is taken.
    pub no_replace: bool,
    /// Exchange the two.
    pub exchange: bool,
}

fn check_name(name: &[u8]) -> Result<(), Refused> {
    match name {
        b"" | b"." | b".." => Err("invalid-name"),
        _ if name.len() > 255 => Err("name-too-long"),
        _ if name.contains(&b'/') || name.contains(&0) => Err("invalid-name"),
        _ => Ok(()),
    }
}

fn entries(tree: &Tree, dir: Ino) -> Result<&std::collections::BTreeMap<Vec<u8>, Ino>, Refused> {
    tree.nodes
        .get(&dir)
        .ok_or("not-found")?
        .names()
        .ok_or("not-a-directory")
}

pub(super) fn enter(tree: &mut Tree, dir: Ino, name: &[u8], ino: Ino) {
    let node = tree.nodes.get_mut(&dir).expect("checked before");
    node.mtime = None;
    node.names_mut()
        .expect("checked before")
        .insert(name.to_vec(), ino);
}

pub(super) fn leave(tree: &mut Tree, dir: Ino, name: &[u8]) {
    let node = tree.nodes.get_mut(&dir).expect("checked before");
    node.mtime = None;
    node.names_mut().expect("checked before").remove(name);
}

impl Reference {
    /// A new inode with a name.
    ///
    /// # Errors
    /// `not-found`, `not-a-directory`, `exists`, `invalid-name`, `name-too-long`.
    pub fn create(
        &mut self,
        volume: VolumeNumber,
        dir: Ino,
        name: &[u8],
        kind: Kind,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<Ino, Refused> {
        let tree = &self.volume(volume)?.live;
        check_name(name)?;
        if entries(tree, dir)?.contains_key(name) {
            return Err("exists");
        }
        let parent = &tree.nodes[&dir];
        let inherits = parent.mode & 0o2000 != 0;
        let gid = if inherits { parent.gid } else { gid };
        let mode = if inherits && matches!(kind, Kind::Dir { .. }) {
            mode | 0o2000
        } else {
            mode
        };
        let ino = self.new_ino();
        let tree = self.live(volume)?;
        tree.nodes.insert(ino, Node::new(kind, mode, uid, gid));
        enter(tree, dir, name, ino);
        Ok(ino)
    }

    /// One more name.
    ///
    /// # Errors
    /// `not-found`, `not-a-directory`, `not-allowed`, `exists`, `invalid-name`.
    pub fn link(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        dir: Ino,
        name: &[u8],
    ) -> Result<(), Refused> {
        let tree = &self.volume(volume)?.live;
        check_name(name)?;
        if entries(tree, dir)?.contains_key(name) {
            return Err("exists");
        }
        if tree.nodes.get(&ino).ok_or("not-found")?.is_dir() {
            return Err("not-allowed");
        }
        let tree = self.live(volume)?;
        enter(tree, dir, name, ino);
        tree.orphans.remove(&ino);
        Ok(())
    }

    /// What happens to an inode that may have lost its last name.
    fn lose(&mut self, volume: VolumeNumber, ino: Ino) -> Result<(), Refused> {
        let open = self.is_open(volume, ino);
        let tree = self.live(volume)?;
        let named = tree
            .nodes
            .values()
            .filter_map(Node::names)
            .any(|n| n.values().any(|c| *c == ino));
        if !named && open && !tree.nodes[&ino].is_dir() {
            tree.orphans.insert(ino);
        } else if !named {
            tree.nodes.remove(&ino);
        }
        Ok(())
    }

    /// Removes a name.
    ///
    /// # Errors
    /// `not-found`, `not-a-directory`, `is-a-directory`, `not-empty`.
    pub fn unlink(
        &mut self,
        volume: VolumeNumber,
        dir: Ino,
        name: &[u8],
        dir_wanted: bool,
    ) -> Result<(), Refused> {
        let tree = &self.volume(volume)?.live;
        let ino = *entries(tree, dir)?.get(name).ok_or("not-found")?;
        match (tree.nodes[&ino].names(), dir_wanted) {
            (Some(_), false) => return Err("is-a-directory"),
            (None, true) => return Err("not-a-directory"),
            (Some(names), true) if !names.is_empty() => return Err("not-empty"),
            _ => {}
        }
        self.within_quota(volume, true, |r| {
            leave(r.live(volume)?, dir, name);
            r.lose(volume, ino)
        })
    }

    /// Moves or exchanges names.
    ///
    /// # Errors
    /// `not-found`, `not-a-directory`, `is-a-directory`, `not-empty`, `exists`, `invalid`, `invalid-name`.
    pub fn rename(&mut self, volume: VolumeNumber, r: &Rename) -> Result<(), Refused> {
        let tree = &self.volume(volume)?.live;
        let ino = *entries(tree, r.from_dir)?
            .get(&r.from_name)
            .ok_or("not-found")?;
        let over = entries(tree, r.to_dir)?.get(&r.to_name).copied();
        check_name(&r.to_name)?;
        let moves_into_itself =
            |ino: Ino, dir: Ino| tree.nodes[&ino].is_dir() && tree.contains(ino, dir);
        if moves_into_itself(ino, r.to_dir) {
            return Err("invalid");
        }
        if r.exchange {
            let other = over.ok_or("not-found")?;
            if moves_into_itself(other, r.from_dir) {
                return Err("invalid");
            }
            if ino == other {
                return Ok(());
            }
            let tree = self.live(volume)?;
            enter(tree, r.from_dir, &r.from_name, other);
            enter(tree, r.to_dir, &r.to_name, ino);
            return Ok(());
        }
        if r.no_replace && over.is_some() {
            return Err("exists");
        }
        if over == Some(ino) {
            return Ok(());
        }
        if let Some(over) = over {
            match (tree.nodes[&ino].is_dir(), tree.nodes[&over].names()) {
                (true, None) => return Err("not-a-directory"),
                (false, Some(_)) => return Err("is-a-directory"),
                (true, Some(names)) if !names.is_empty() => return Err("not-empty"),
                _ => {}
            }
        }
        self.within_quota(volume, true, |reference| {
            let tree = reference.live(volume)?;
            leave(tree, r.from_dir, &r.from_name);
            enter(tree, r.to_dir, &r.to_name, ino);
            match over {
                Some(over) => reference.lose(volume, over),
                None => Ok(()),
            }
        })
    }

    /// Sets attributes: mode, uid, gid, atime, mtime.
    ///
    /// # Errors
    /// `not-found`.
    pub fn set_attributes(
        &mut self,
        volume: VolumeNumber,
        ino: Ino,
        (mode, uid, gid): (Option<u32>, Option<u32>, Option<u32>),
        (atime, mtime): (Option<i64>, Option<i64>),
    ) -> Result<(), Refused> {
        let node = self.node(volume, ino)?;
        node.mode = mode.unwrap_or(node.mode);
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        node.atime = atime.or(node.atime);
        node.mtime = mtime.or(node.mtime);
        Ok(())
    }

    /// A handle keeps an inode.
    ///
    /// # Errors
    /// None: a handle on nothing keeps nothing.
    pub fn open_handle(&mut self, volume: VolumeNumber, ino: Ino) -> Result<(), Refused> {
        *self.handles.entry((volume, ino)).or_default() += 1;
        Ok(())
    }

    /// The last handle of an unlinked inode takes it away.
    ///
    /// # Errors
    /// None today: closing what is not open changes nothing.
    pub fn close_handle(&mut self, volume: VolumeNumber, ino: Ino) -> Result<(), Refused> {
        let Some(count) = self.handles.get_mut(&(volume, ino)) else {
            return Ok(());
        };
        *count -= 1;
        if *count == 0 {
            self.handles.remove(&(volume, ino));
            if self
                .live(volume)
                .is_ok_and(|tree| tree.orphans.contains(&ino))
            {
                self.drop_orphan(volume, ino)?;
            }
        }
        Ok(())
    }

    /// What only a handle kept goes. No quota refuses that.
    pub(super) fn drop_orphan(&mut self, volume: VolumeNumber, ino: Ino) -> Result<(), Refused> {
        self.within_quota(volume, false, |r| {
            let tree = r.live(volume)?;
            tree.orphans.remove(&ino);
            tree.nodes.remove(&ino);
            Ok(())
        })
    }
}
