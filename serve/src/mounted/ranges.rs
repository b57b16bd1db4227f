//! Ranges of a file: its size, promises of room, holes, shared blocks.

use super::content::{privileges, stale_errno};
use super::{Caller, Mounted};
use crate::errno::{Answer, errno};
use crate::nodes::OWN;
use rustix::io::Errno;
use strand_engine::{BLOCK, Body, Command, MAX_FILE_SIZE};

/// One request copies at most so much by sharing blocks, and so much byte by byte; the kernel asks again for the rest. So no request
/// keeps others waiting long.
const COPY_SHARED_BYTES: u64 = 128 << 20;
const COPY_BYTES: u64 = 1 << 20;

impl Mounted {
    /// Sets the size, through a handle or by name.
    pub(super) fn resize(
        &self,
        caller: &Caller,
        node: u64,
        handle: Option<u64>,
        size: u64,
    ) -> Answer<()> {
        if size > MAX_FILE_SIZE {
            return Err(Errno::FBIG);
        }
        let (view, ino) = self.parts(node);
        let (volume, _gate) = match handle {
            Some(handle) => {
                let (_, volume, gate) = self.writer(handle)?;
                (volume, gate)
            }
            None => self.enter(view)?,
        };
        self.drop_privileges(&caller.actor, volume, ino, privileges(caller.uid))?;
        let done = self.core.store.truncate(&caller.actor, volume, ino, size);
        let done = done.map_err(|e| {
            self.changed_till_now(BLOCK); // the privileges are gone
            stale_errno(&e)
        })?;
        self.changed(BLOCK, done.last);
        Ok(())
    }

    /// Promises room, punches holes, writes zeros; `mode` is that of `fallocate(2)`.
    pub(crate) fn fallocate(
        &self,
        caller: &Caller,
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Answer<()> {
        let mut change = || self.fallocate_now(caller, handle, offset, length, mode);
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return self.core.with_room(0, &mut change);
        }
        match change() {
            // A promise takes no room, and nothing is given up for it.
            Err(Errno::NOSPC) => {
                let made = self.core.store.make_dead_room();
                made.map_err(|e| errno(&e))?;
                change()
            }
            other => other,
        }
    }

    fn fallocate_now(
        &self,
        caller: &Caller,
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Answer<()> {
        let (handle, volume, _gate) = self.writer(handle)?;
        let (actor, ino, store) = (&*caller.actor, handle.ino, &self.core.store);
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let outcome = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => {
                let command = Command::Preallocate {
                    volume,
                    ino,
                    offset,
                    length,
                    keep_size: keep,
                };
                store.submit(actor, command)
            }
            libc::FALLOC_FL_PUNCH_HOLE if keep => store.punch(actor, volume, ino, offset, length),
            libc::FALLOC_FL_ZERO_RANGE if keep => store.punch(actor, volume, ino, offset, length),
            libc::FALLOC_FL_ZERO_RANGE => store.zero(actor, volume, ino, offset, length),
            _ => return Err(Errno::OPNOTSUPP),
        };
        let done = outcome.map_err(|e| stale_errno(&e));
        let done =
            done.and_then(|_| self.drop_privileges(actor, volume, ino, privileges(caller.uid)));
        self.changed_till_now(2 * BLOCK); // what failed may have got half-way
        done
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub(crate) fn seek(&self, handle: u64, offset: i64, whence: i32) -> Answer<i64> {
        let handle = self.handle(handle)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let found = self.look(handle.view, |tree| {
            let file = match tree.inode(handle.ino).map(|inode| &inode.body) {
                Some(Body::File(file)) => file,
                Some(_) => return Err(Errno::INVAL),
                None => return Err(Errno::STALE),
            };
            if offset >= file.size {
                return Err(Errno::NXIO);
            }
            match whence {
                libc::SEEK_DATA => file
                    .map
                    .next_at_or_after(offset / BLOCK)
                    .map(|(block, _)| (block * BLOCK).max(offset))
                    .filter(|at| *at < file.size)
                    .ok_or(Errno::NXIO),
                libc::SEEK_HOLE => Ok(file
                    .map
                    .next_gap(offset / BLOCK)
                    .saturating_mul(BLOCK)
                    .clamp(offset, file.size)),
                _ => Err(Errno::INVAL),
            }
        })??;
        i64::try_from(found).map_err(|_| Errno::OVERFLOW)
    }

    /// Copies a range by sharing blocks; gives how many bytes, which may be fewer than asked for.
    pub(crate) fn copy_range(
        &self,
        caller: &Caller,
        (from, from_offset): (u64, u64),
        (to, to_offset): (u64, u64),
        length: u64,
    ) -> Answer<u64> {
        self.core.with_room(COPY_BYTES / BLOCK, &mut || {
            let source = self.handle(from)?;
            if source.view != OWN {
                return Err(Errno::XDEV); // the kernel copies the bytes then
            }
            let (target, volume, _gate) = self.writer(to)?;
            let aligned = from_offset.is_multiple_of(BLOCK) && to_offset.is_multiple_of(BLOCK);
            let most = if aligned {
                COPY_SHARED_BYTES
            } else {
                COPY_BYTES
            };
            let copied = self.core.store.copy_range(
                &caller.actor,
                volume,
                source.ino,
                from_offset,
                target.ino,
                to_offset,
                length.min(most),
            );
            let bytes = copied.as_ref().map_or(COPY_BYTES, |copied| *copied);
            let done = copied.map_err(|e| stale_errno(&e)).and_then(|copied| {
                let what = privileges(caller.uid);
                self.drop_privileges(&caller.actor, volume, target.ino, what)?;
                Ok(copied)
            });
            // What failed may have got half-way.
            self.changed_till_now(if aligned { BLOCK } else { bytes });
            done
        })
    }
}
