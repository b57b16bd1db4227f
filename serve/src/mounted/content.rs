//! Content: open files, bytes in and out.

use super::{Attr, Base, Caller, Mounted};
use crate::actors::holders;
use crate::core::Inside;
use crate::errno::{Answer, errno};
use crate::handles::Handle;
use crate::nodes::OWN;
use rustix::io::Errno;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strand_engine::{
    Actor, BLOCK, Command, Error, Fileset, Ino, Kind, NewBody, SetAttributes, VolumeId,
};

const SUID: u32 = 0o4000;
const SGID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o0010;
const CAPABILITY: &[u8] = b"security.capability";
/// Readings of at least so many bytes, each no further than that from the one before, are a sequential reader's.
const LONG_READ: u64 = 64 << 10;
const NEAR: u64 = 4 << 20;
/// So many blocks ahead of it the disk should know (2 MiB).
const READY: u64 = 512;

/// A live file is read so often again where what was read has gone meanwhile.
const READ_AGAIN: u32 = 3;

thread_local! {
    /// What a thread reads into: the kernel asks for at most 1 MiB at once.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An opened file.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The handle's number.
    pub(crate) handle: u64,
}

/// What a write must take away from a file besides its old bytes.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(super) enum Privileges {
    /// The capability only: whoever writes may keep the set-user-id bits.
    Capability,
    /// Set-user-id and set-group-id too.
    All,
}

impl Mounted {
    /// Opens a file; `flags` are those of `open(2)`.
    pub(crate) fn open(&self, caller: &Caller, node: u64, flags: i32) -> Answer<Opened> {
        let mut open = || self.open_now(caller, node, flags);
        self.core.with_room(0, &mut open)
    }

    fn open_now(&self, caller: &Caller, node: u64, flags: i32) -> Answer<Opened> {
        let (view, ino) = self.parts(node);
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if view != OWN || matches!(self.base, Base::Frozen { .. }) {
            if writes || flags & libc::O_TRUNC != 0 {
                return Err(Errno::ROFS);
            }
            if self.look(view, |tree| tree.inode(ino).is_none())? {
                return Err(Errno::STALE);
            }
            return Ok(self.opened(caller, view, ino, false));
        }
        let (volume, _gate) = self.enter(view)?;
        if writes || flags & libc::O_TRUNC != 0 {
            self.may_begin_to_write(node)?;
        }
        let store = &self.core.store;
        if !store.open_existing(volume, ino).map_err(|e| errno(&e))? {
            return Err(Errno::STALE);
        }
        if flags & libc::O_TRUNC != 0
            && let Err(error) = self.cut(caller, volume, ino)
        {
            self.closed(&caller.actor, volume, ino);
            return Err(error);
        }
        Ok(self.opened(caller, view, ino, writes))
    }

    fn cut(&self, caller: &Caller, volume: VolumeId, ino: Ino) -> Answer<()> {
        self.drop_privileges(&caller.actor, volume, ino, privileges(caller.uid))?;
        let done = self.core.store.truncate(&caller.actor, volume, ino, 0);
        self.changed(0, done.map_err(|e| errno(&e))?.last);
        Ok(())
    }

    fn opened(&self, caller: &Caller, view: u16, ino: Ino, writes: bool) -> Opened {
        let handle = self.handles.open(Handle {
            view,
            ino,
            writes,
            opener: caller.actor.clone(),
            stale: AtomicBool::new(false),
            read_to: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
        });
        Opened { handle }
    }

    /// Creates a file and opens it; opens the one that is there unless `O_EXCL`. Told to the kernel.
    pub(crate) fn create(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: i32,
    ) -> Answer<(Attr, Opened)> {
        self.core.with_room(0, &mut || {
            let (view, dir) = self.parts(parent);
            let (volume, gate) = self.enter(view)?;
            if self.is_strand(parent, name) {
                return Err(Errno::PERM);
            }
            let store = &self.core.store;
            match self.create_inode(caller, (volume, dir), name, NewBody::File, mode) {
                Ok(ino) => {
                    if !store.open_existing(volume, ino).map_err(|e| errno(&e))? {
                        return Err(Errno::STALE);
                    }
                    let attr = self.own_attr(ino)?;
                    self.nodes.learn(attr.node, self.nodes.swaps());
                    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
                    Ok((attr, self.opened(caller, view, ino, writes)))
                }
                Err(Errno::EXIST) if flags & libc::O_EXCL == 0 => {
                    drop(gate);
                    let attr = self.lookup(parent, name)?.ok_or(Errno::NOENT)?;
                    match self.open_now(caller, attr.node, flags) {
                        Ok(opened) => Ok((self.getattr(attr.node)?, opened)),
                        Err(error) => {
                            self.nodes.forget(attr.node, 1);
                            Err(error)
                        }
                    }
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Closes a file.
    pub(crate) fn release(&self, handle: u64) {
        let Some(handle) = self.handles.close(handle) else {
            return;
        };
        if handle.writes {
            self.note_closed(handle.ino);
        }
        self.let_go(&handle);
    }

    /// What a closed handle leaves to do.
    pub(crate) fn let_go(&self, handle: &Handle) {
        if let Base::Live { volume, .. } = &self.base
            && handle.view == OWN
        {
            let _gate = self.enter(OWN); // there is one: the base is live
            self.closed(&handle.opener, *volume, handle.ino);
        }
    }

    fn closed(&self, actor: &Actor, volume: VolumeId, ino: Ino) {
        if let Err(error) = self.core.store.close_handle(actor, volume, ino) {
            tracing::debug!(%error, "an unlinked file stays until the store is opened again");
        }
        self.core.committer.note(0); // nobody is promised that it is durable
    }

    pub(super) fn handle(&self, number: u64) -> Answer<Arc<Handle>> {
        self.handles.get(number).ok_or(Errno::BADF)
    }

    /// A handle that may write now, and the gate, held.
    pub(super) fn writer(&self, number: u64) -> Answer<(Arc<Handle>, VolumeId, Inside<'_>)> {
        let handle = self.handle(number)?;
        let (volume, gate) = self.enter(handle.view)?;
        // Under the gate: whoever swaps the tree marks the handles before it lets anybody in again.
        if handle.stale.load(Ordering::Relaxed) {
            return Err(Errno::STALE);
        }
        if !handle.writes {
            return Err(Errno::BADF);
        }
        Ok((handle, volume, gate))
    }

    /// Reads bytes and hands them on; fewer at the end of the file.
    pub(crate) fn read<R>(
        &self,
        handle: u64,
        offset: u64,
        size: usize,
        then: impl FnOnce(Answer<&[u8]>) -> R,
    ) -> R {
        BYTES.with_borrow_mut(|bytes| {
            let got = self.read_into(handle, offset, size, bytes);
            then(got.map(|got| &bytes[..got]))
        })
    }

    fn read_into(
        &self,
        handle: u64,
        offset: u64,
        size: usize,
        bytes: &mut Vec<u8>,
    ) -> Answer<usize> {
        let handle = self.handle(handle)?;
        if bytes.len() < size {
            bytes.resize(size, 0);
        }
        let live = handle.view == OWN && matches!(self.base, Base::Live { .. });
        let mut again = if live { READ_AGAIN } else { 0 };
        let (tree, got) = loop {
            let tree = self.tree(handle.view)?;
            let buf = &mut bytes[..size];
            match self.core.store.read(&tree, handle.ino, offset, buf) {
                // What was overwritten meanwhile may be given back already: there are newer bytes.
                Err(error) if again > 0 && error.kind() == Kind::Stale => again -= 1,
                read => break (tree, read.map_err(|e| stale_errno(&e))?),
            }
        };
        self.core.metrics.read(got as u64);
        self.read_ahead(&handle, &tree, offset, got as u64);
        Ok(got)
    }

    /// Has the disk bring what a sequential reader will want, however it lies in the journal.
    fn read_ahead(&self, handle: &Handle, tree: &Fileset, offset: u64, got: u64) {
        let end = offset + got;
        let before = handle.read_to.swap(end, Ordering::Relaxed);
        // Requests of one reader may overtake each other a little.
        if offset.abs_diff(before) > NEAR {
            handle.ahead.store(0, Ordering::Relaxed);
            return;
        }
        let (block, told) = (end / BLOCK, handle.ahead.load(Ordering::Relaxed));
        if got < LONG_READ || told > block + READY {
            return;
        }
        let from = told.max(block);
        match self.core.store.read_ahead(tree, handle.ino, from) {
            Ok(told) => handle.ahead.store(told, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "not read ahead"),
        }
    }

    /// Writes bytes. `written_back` says that the kernel wrote mapped pages: nobody knows who changed them.
    #[allow(clippy::too_many_arguments)] // those of the request
    pub(crate) fn write(
        &self,
        caller: &Caller,
        handle: u64,
        offset: u64,
        data: &[u8],
        written_back: bool,
        kill: bool,
        flags: i32,
    ) -> Answer<()> {
        let mut appends = flags & libc::O_APPEND != 0 && !written_back;
        self.core.with_room(data.len() as u64 / BLOCK + 2, &mut || {
            // Of a second try some may be there already.
            let end = std::mem::take(&mut appends).then_some(flags);
            self.write_now(caller, handle, offset, data, written_back, kill, end)
        })
    }

    /// As [`Mounted::write`]; `end` are the flags of who writes at the end of the file.
    #[allow(clippy::too_many_arguments)] // those of the request
    fn write_now(
        &self,
        caller: &Caller,
        handle: u64,
        offset: u64,
        data: &[u8],
        written_back: bool,
        kill: bool,
        end: Option<i32>,
    ) -> Answer<()> {
        let (handle, volume, _gate) = self.writer(handle)?;
        if let Some(flags) = end {
            self.check_end(handle.ino, offset, flags)?;
        }
        if written_back {
            // The kernel keeps one set of pages a file, and names any handle: whose page this is cannot be known.
            if self.handles.stale_writer(handle.ino) {
                return Err(Errno::STALE);
            }
            self.note_mapped(handle.ino);
        }
        let holders = (written_back || caller.pid == 0).then(|| self.holders_of(handle.ino));
        let actor = holders.as_ref().unwrap_or(&caller.actor);
        let what = if kill {
            Privileges::All
        } else {
            Privileges::Capability
        };
        self.drop_privileges(actor, volume, handle.ino, what)?;
        let written = self
            .core
            .store
            .write(actor, volume, handle.ino, offset, data);
        let done = written.map_err(|e| {
            self.changed_till_now(data.len() as u64); // a long write may have got half-way
            stale_errno(&e)
        })?;
        self.core.metrics.wrote(data.len() as u64);
        self.changed(data.len() as u64, done.last);
        Ok(())
    }

    /// The kernel appends at the size it remembers. After a swap that may be the one of the tree before, where another write was under way when
    /// it was told: better an error than a hole. Whoever opens the file again makes the kernel ask.
    fn check_end(&self, ino: Ino, offset: u64, flags: i32) -> Answer<()> {
        // The parts of a direct write may overtake each other.
        if self.nodes.swaps() == 0 || flags & libc::O_DIRECT != 0 {
            return Ok(());
        }
        let size = self.look(OWN, |tree| tree.inode(ino).map(|inode| inode.size()))?;
        if size == Some(offset) {
            return Ok(());
        }
        self.nodes.doubt(self.node(OWN, ino));
        Err(Errno::STALE)
    }

    fn holders_of(&self, ino: Ino) -> Actor {
        let open = self.handles.all();
        let writers = open
            .iter()
            .filter(|h| h.view == OWN && h.ino == ino && h.writes);
        holders(writers.map(|h| &h.opener))
    }

    /// Clears set-user-id, set-group-id (where the group may execute) and the file's capability, as writing does.
    pub(super) fn drop_privileges(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        what: Privileges,
    ) -> Answer<()> {
        let (mode, capable) = self.look(OWN, |tree| privileged(tree, ino))?;
        let mut events = Vec::new();
        let cleared = without_privileges(mode);
        if what == Privileges::All && cleared != mode {
            events.push(Command::SetAttributes {
                volume,
                ino,
                set: SetAttributes {
                    mode: Some(cleared),
                    ..SetAttributes::default()
                },
            });
        }
        if capable {
            events.push(Command::RemoveXattr {
                volume,
                ino,
                name: CAPABILITY.into(),
            });
        }
        for command in events {
            match self.core.store.submit(actor, command) {
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotFound => {} // somebody else was quicker
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(())
    }
}

fn privileged(tree: &Fileset, ino: Ino) -> (u32, bool) {
    match tree.inode(ino) {
        Some(inode) if !inode.is_dir() => {
            let capable = inode
                .xattrs
                .as_ref()
                .is_some_and(|x| x.contains_key(CAPABILITY));
            (inode.mode, capable)
        }
        _ => (0, false),
    }
}

/// A mode without set-user-id, and without set-group-id where the group may execute (else it means mandatory locking).
pub(super) fn without_privileges(mode: u32) -> u32 {
    let cleared = mode & !SUID;
    if mode & GROUP_EXECUTES != 0 {
        cleared & !SGID
    } else {
        cleared
    }
}

/// What a change of content takes away: the superuser keeps the bits, nobody keeps the capability.
pub(super) fn privileges(uid: u32) -> Privileges {
    if uid == 0 {
        Privileges::Capability
    } else {
        Privileges::All
    }
}

/// Through a handle, a file that is not there was rolled back.
pub(super) fn stale_errno(error: &Error) -> Errno {
    match error.kind() {
        Kind::NotFound => Errno::STALE,
        _ => errno(error),
    }
}
