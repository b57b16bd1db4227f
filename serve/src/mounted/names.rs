//! Names: look up, create, link, unlink, rename.

use super::{Attr, Caller, Mounted, attr};
use crate::core::Inside;
use crate::errno::{Answer, errno};
use crate::nodes::{OWN, ROOT, VIRTUAL};
use rustix::io::Errno;
use std::sync::Arc;
use strand_engine::{Command, Done, Event, Ino, Kind, MAX_FILE_NAME, NewBody, VolumeId};

/// The directory of the images, at the root of every mount of a live volume.
pub(super) const STRAND: &[u8] = b".strand";

impl Mounted {
    /// The node of a name, told to the kernel once more; `None` where there is no such name.
    pub(crate) fn lookup(&self, parent: u64, name: &[u8]) -> Answer<Option<Attr>> {
        if name.len() > MAX_FILE_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        if self.is_strand(parent, name) {
            return self.strand_dir().map(Some);
        }
        let (view, dir) = self.parts(parent);
        if view == VIRTUAL {
            return self.virtual_lookup(parent, name);
        }
        let swaps = self.nodes.swaps();
        let found = self.look(view, |tree| {
            let Some(inode) = tree.inode(dir) else {
                return Err(Errno::STALE);
            };
            let names = inode.names().ok_or(Errno::NOTDIR)?;
            Ok(names.get(name).and_then(|ino| {
                tree.inode(*ino)
                    .map(|inode| self.attr_of(view, *ino, inode))
            }))
        })??;
        if let Some(attr) = &found {
            self.nodes.learn(attr.node, swaps);
        }
        Ok(found)
    }

    pub(super) fn is_strand(&self, parent: u64, name: &[u8]) -> bool {
        parent == ROOT && name == STRAND && self.is_live()
    }

    /// Where names are changed: the volume, the directory, and the gate, held.
    fn change(&self, parent: u64, name: &[u8]) -> Answer<(VolumeId, Ino, Inside<'_>)> {
        let (view, dir) = self.parts(parent);
        let (volume, gate) = self.enter(view)?;
        if self.is_strand(parent, name) {
            return Err(Errno::PERM);
        }
        Ok((volume, dir, gate))
    }

    pub(super) fn submit(&self, caller: &Caller, command: Command) -> Answer<Done> {
        let done = self
            .core
            .store
            .submit(&caller.actor, command)
            .map_err(|e| errno(&e))?;
        self.changed(0, done.last);
        Ok(done)
    }

    /// A new inode with a name; told to the kernel.
    pub(crate) fn make(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        body: NewBody,
        mode: u32,
    ) -> Answer<Attr> {
        self.core.with_room(0, &mut || {
            let (volume, dir, _gate) = self.change(parent, name)?;
            let ino = self.create_inode(caller, (volume, dir), name, body.clone(), mode)?;
            let attr = self.own_attr(ino)?;
            self.nodes.learn(attr.node, self.nodes.swaps());
            Ok(attr)
        })
    }

    pub(super) fn create_inode(
        &self,
        caller: &Caller,
        (volume, dir): (VolumeId, Ino),
        name: &[u8],
        body: NewBody,
        mode: u32,
    ) -> Answer<Ino> {
        let done = self.submit(
            caller,
            Command::Create {
                volume,
                dir,
                name: name.into(),
                body,
                mode: mode & 0o7777,
                uid: caller.uid,
                gid: caller.gid,
            },
        )?;
        let created = done.events.iter().find_map(|event| match event {
            Event::Created { ino, .. } => Some(*ino),
            _ => None,
        });
        created.ok_or(Errno::IO)
    }

    pub(super) fn own_attr(&self, ino: Ino) -> Answer<Attr> {
        self.look(OWN, |tree| {
            tree.inode(ino).map(|inode| self.attr_of(OWN, ino, inode))
        })?
        .ok_or(Errno::STALE)
    }

    /// One more name for a file; told to the kernel once more.
    pub(crate) fn link(
        &self,
        caller: &Caller,
        node: u64,
        parent: u64,
        name: &[u8],
    ) -> Answer<Attr> {
        self.core.with_room(0, &mut || {
            let (view, ino) = self.parts(node);
            let (volume, dir, _gate) = self.change(parent, name)?;
            if view != OWN {
                return Err(Errno::XDEV);
            }
            let command = Command::Link {
                volume,
                ino,
                dir,
                name: name.into(),
            };
            match self.core.store.submit(&caller.actor, command) {
                Ok(done) => self.changed(0, done.last),
                Err(error) if error.kind() == Kind::CrossLink => return Err(Errno::MLINK),
                Err(error) => return Err(errno(&error)),
            };
            let attr = self.own_attr(ino)?;
            self.nodes.learn(attr.node, self.nodes.swaps());
            Ok(attr)
        })
    }

    /// Removes a name: of an empty directory where `dir_wanted`, else of anything else.
    pub(crate) fn unlink(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        dir_wanted: bool,
    ) -> Answer<()> {
        self.core.with_room(0, &mut || {
            let (volume, dir, _gate) = self.change(parent, name)?;
            let last = self.attr_at(dir, name)?;
            let done = self.submit(
                caller,
                Command::Unlink {
                    volume,
                    dir,
                    name: name.into(),
                    dir_wanted,
                },
            )?;
            self.bury_gone(&done, last);
            Ok(())
        })
    }

    /// Moves a name, over another one or not, or exchanges two.
    pub(crate) fn rename(
        &self,
        caller: &Caller,
        (from, from_name): (u64, &[u8]),
        (to, to_name): (u64, &[u8]),
        no_replace: bool,
        exchange: bool,
    ) -> Answer<()> {
        self.core.with_room(0, &mut || {
            let (to_view, to_dir) = self.parts(to);
            let (volume, from_dir, _gate) = self.change(from, from_name)?;
            if to_view != OWN {
                return Err(Errno::XDEV);
            }
            if self.is_strand(to, to_name) {
                return Err(Errno::PERM);
            }
            let last = self.attr_at(to_dir, to_name)?;
            let done = self.submit(
                caller,
                Command::Rename {
                    volume,
                    from_dir,
                    from_name: from_name.into(),
                    to_dir,
                    to_name: to_name.into(),
                    no_replace,
                    exchange,
                },
            )?;
            self.bury_gone(&done, last);
            Ok(())
        })
    }

    /// What stands at a name of the live tree, if the kernel holds it.
    fn attr_at(&self, dir: Ino, name: &[u8]) -> Answer<Option<(Ino, Attr)>> {
        self.look(OWN, |tree| {
            let ino = tree.child(dir, name)?;
            let node = self.node(OWN, ino);
            let inode: &Arc<_> = tree.inode(ino)?;
            Some((ino, attr(node, inode)))
        })
    }

    /// Remembers what an inode was whose last name went, for those who still hold it.
    fn bury_gone(&self, done: &Done, last: Option<(Ino, Attr)>) {
        let gone = done.events.iter().find_map(|event| match event {
            Event::Unlinked {
                ino, keep: false, ..
            }
            | Event::Renamed {
                over: Some((ino, false)),
                ..
            } => Some(*ino),
            _ => None,
        });
        if let (Some(gone), Some((ino, attr))) = (gone, last)
            && gone == ino
            && (attr.nlink == 1 || attr.mode & 0o170_000 == 0o040_000)
        {
            let ctime = i64::try_from(done.time).unwrap_or(attr.ctime);
            let buried = Attr {
                nlink: 0,
                ctime,
                ..attr
            };
            self.nodes.bury(attr.node, buried);
        }
    }
}
