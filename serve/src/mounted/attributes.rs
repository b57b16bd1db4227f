//! Attributes: modes, owners, times, extended attributes, and the room there is.

use super::content::without_privileges;
use super::{Attr, Caller, Mounted};
use crate::errno::{Answer, errno};
use crate::nodes::VIRTUAL;
use rustix::io::Errno;
use strand_engine::{BLOCK, Command, Kind, SetAttributes};

/// What `setattr` asks for; `None` stays.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Time>,
    pub(crate) mtime: Option<Time>,
    pub(crate) handle: Option<u64>,
}

/// A time to set.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Time {
    /// What the clock shows.
    Now,
    /// In ns since the Unix epoch.
    At(i64),
}

/// The room there is, in blocks of 4 KiB, and files likewise.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Statfs {
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
}

impl Mounted {
    /// Sets attributes; gives what they are then.
    pub(crate) fn setattr(&self, caller: &Caller, node: u64, wanted: Wanted) -> Answer<Attr> {
        self.core.with_room(0, &mut || {
            if let Some(size) = wanted.size {
                self.resize(caller, node, wanted.handle, size)?;
            }
            let (view, ino) = self.parts(node);
            let (volume, _gate) = self.enter(view)?;
            let now = || i64::try_from(self.core.store.clock().wall()).unwrap_or(i64::MAX);
            let time = |time: Option<Time>| {
                time.map(|time| match time {
                    Time::Now => now(),
                    Time::At(at) => at,
                })
            };
            let mut set = SetAttributes {
                mode: wanted.mode.map(|mode| mode & 0o7777),
                uid: wanted.uid,
                gid: wanted.gid,
                atime: time(wanted.atime),
                mtime: time(wanted.mtime),
            };
            if set.uid.is_some() || set.gid.is_some() {
                let mode = self
                    .look(view, |tree| {
                        tree.inode(ino)
                            .filter(|inode| !inode.is_dir())
                            .map(|inode| inode.mode)
                    })?
                    .map(|mode| (mode, without_privileges(set.mode.unwrap_or(mode))))
                    .filter(|(before, after)| before != after);
                set.mode = mode.map(|(_, after)| after).or(set.mode);
                self.drop_privileges(
                    &caller.actor,
                    volume,
                    ino,
                    super::content::Privileges::Capability,
                )?;
            }
            if set != SetAttributes::default() {
                self.submit(caller, Command::SetAttributes { volume, ino, set })
                    .map_err(|error| match error {
                        Errno::NOENT => Errno::STALE,
                        other => other,
                    })?;
            }
            self.getattr(node)
        })
    }

    /// An extended attribute's value.
    pub(crate) fn getxattr(&self, node: u64, name: &[u8]) -> Answer<Vec<u8>> {
        supported(name)?;
        let (view, ino) = self.parts(node);
        if view == VIRTUAL {
            return Err(Errno::NODATA);
        }
        self.look(view, |tree| {
            let inode = tree.inode(ino).ok_or(Errno::STALE)?;
            let value = inode.xattrs.as_ref().and_then(|x| x.get(name));
            value.map(|v| v.to_vec()).ok_or(Errno::NODATA)
        })?
    }

    /// The names of extended attributes, each ended by a NUL. Trusted ones are shown to the superuser only.
    pub(crate) fn listxattr(&self, caller: &Caller, node: u64) -> Answer<Vec<u8>> {
        let (view, ino) = self.parts(node);
        if view == VIRTUAL {
            return Ok(Vec::new());
        }
        self.look(view, |tree| {
            let inode = tree.inode(ino).ok_or(Errno::STALE)?;
            let mut list = Vec::new();
            for name in inode.xattrs.iter().flat_map(|x| x.keys()) {
                if caller.uid == 0 || !name.starts_with(b"trusted.") {
                    list.extend_from_slice(name);
                    list.push(0);
                }
            }
            Ok(list)
        })?
    }

    /// Sets an extended attribute; `flags` are those of `setxattr(2)`.
    pub(crate) fn setxattr(
        &self,
        caller: &Caller,
        node: u64,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Answer<()> {
        self.core.with_room(0, &mut || {
            supported(name)?;
            let (view, ino) = self.parts(node);
            let (volume, _gate) = self.enter(view)?;
            let create = match flags {
                libc::XATTR_CREATE => Some(true),
                libc::XATTR_REPLACE => Some(false),
                0 => None,
                _ => return Err(Errno::INVAL),
            };
            let command = Command::SetXattr {
                volume,
                ino,
                name: name.into(),
                value: value.into(),
                create,
            };
            self.change_xattr(caller, command, value.len() as u64)
        })
    }

    /// Removes an extended attribute.
    pub(crate) fn removexattr(&self, caller: &Caller, node: u64, name: &[u8]) -> Answer<()> {
        self.core.with_room(0, &mut || {
            supported(name)?;
            let (view, ino) = self.parts(node);
            let (volume, _gate) = self.enter(view)?;
            let command = Command::RemoveXattr {
                volume,
                ino,
                name: name.into(),
            };
            self.change_xattr(caller, command, 0)
        })
    }

    fn change_xattr(&self, caller: &Caller, command: Command, bytes: u64) -> Answer<()> {
        match self.core.store.submit(&caller.actor, command) {
            Ok(done) => {
                self.changed(bytes, done.last);
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                Kind::NotFound => Errno::NODATA,
                Kind::TooLarge => Errno::TOOBIG,
                _ => errno(&error),
            }),
        }
    }

    /// The room there is: what can really still be written.
    pub(crate) fn statfs(&self) -> Answer<Statfs> {
        let store = &self.core.store;
        let space = store.journal().space();
        let used = space.used_bytes / BLOCK;
        let free = store.writable_bytes() / BLOCK;
        let blocks = match space.capacity {
            Some(capacity) => capacity / BLOCK,
            None => used + space.free_blocks,
        };
        let files = self.look(crate::nodes::OWN, |tree| tree.inodes.len())?;
        Ok(Statfs {
            blocks: blocks.max(free),
            free,
            files: files.saturating_add(free),
            files_free: free,
        })
    }
}

fn supported(name: &[u8]) -> Answer<()> {
    let known: [&[u8]; 3] = [b"user.", b"security.", b"trusted."];
    match known.iter().any(|prefix| name.starts_with(prefix)) {
        true => Ok(()),
        false => Err(Errno::OPNOTSUPP),
    }
}
