//! Requests in, replies out. No request waits here for a disk to flush or for another request: such replies move to the committer, or to
//! a thread of their own.

use super::answers::Requests;
use super::convert::{file_attr, kind, nanos, nothing};
use crate::committer::Then;
use crate::metrics::Op;
use crate::mounted::Wanted;
use crate::nodes::ROOT;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use strand_engine::{BLOCK, NewBody};

/// How long the kernel may believe what it was told: every change comes through it, or is followed by a notification.
pub(super) const LONG: Duration = Duration::from_secs(7 * 86_400);
/// Names of checkpoints are asked for every time: they come and go by commands.
pub(super) const NOT_AT_ALL: Duration = Duration::ZERO;
/// The longest write that the kernel sends at once, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Requests that the kernel may have under way in the background (read-ahead, write-back).
const MAX_BACKGROUND: u16 = 64;

impl Filesystem for Requests {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            // Pages are dropped by notification only, not because a time looks newer.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ] {
            if config.add_capabilities(wanted).is_err() {
                tracing::debug!(?wanted, "the kernel does not offer it");
            }
        }
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        // What the kernel offers is the most it allows.
        if let Err(most) = config.set_max_readahead(u32::MAX) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let begun = Instant::now();
        if let Some(visit) = self.mounted.visits(parent.0, name.as_bytes()) {
            self.visit(visit, name.as_bytes(), reply);
            return;
        }
        let found = self.mounted.lookup(parent.0, name.as_bytes());
        let lasting = self.mounted.lasts(parent.0);
        match self.done(Op::Lookup, begun, request, parent, found) {
            Ok(Some(attr)) if !lasting => {
                reply.entry_with_ttls(&LONG, &NOT_AT_ALL, &file_attr(&attr), Generation(0));
            }
            Ok(Some(attr)) => reply.entry(&LONG, &file_attr(&attr), Generation(0)),
            Ok(None) if lasting => reply.entry(&LONG, &nothing(), Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, node: INodeNo, times: u64) {
        self.mounted.nodes.forget(node.0, times);
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let begun = Instant::now();
        let found = self.mounted.getattr(node.0);
        match self.done(Op::Getattr, begun, request, node, found) {
            Ok(attr) => reply.attr(&LONG, &file_attr(&attr)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let begun = Instant::now();
        let wanted = Wanted {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(nanos),
            mtime: mtime.map(nanos),
            handle: handle.map(|h| h.0),
        };
        let set = self.mounted.setattr(&self.caller(request), node.0, wanted);
        match self.done(Op::Setattr, begun, request, node, set) {
            Ok(attr) => reply.attr(&LONG, &file_attr(&attr)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let begun = Instant::now();
        let target = self.mounted.readlink(node.0);
        match self.done(Op::Readlink, begun, request, node, target) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let begun = Instant::now();
        let device = u64::from(rdev);
        let body = match kind(mode) {
            FileType::NamedPipe => NewBody::Fifo,
            FileType::Socket => NewBody::Socket,
            FileType::CharDevice => NewBody::Char(device),
            FileType::BlockDevice => NewBody::Block(device),
            _ => NewBody::File,
        };
        let caller = self.caller(request);
        let made = self
            .mounted
            .make(&caller, parent.0, name.as_bytes(), body, mode & !umask);
        self.entry(reply, self.done(Op::Mknod, begun, request, parent, made));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let made = self.mounted.make(
            &caller,
            parent.0,
            name.as_bytes(),
            NewBody::Dir,
            mode & !umask,
        );
        self.entry(reply, self.done(Op::Mkdir, begun, request, parent, made));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let begun = Instant::now();
        let gone = self
            .mounted
            .unlink(&self.caller(request), parent.0, name.as_bytes(), false);
        self.empty(reply, self.done(Op::Unlink, begun, request, parent, gone));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let begun = Instant::now();
        let gone = self
            .mounted
            .unlink(&self.caller(request), parent.0, name.as_bytes(), true);
        self.empty(reply, self.done(Op::Rmdir, begun, request, parent, gone));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let begun = Instant::now();
        let body = NewBody::Symlink(target.as_os_str().as_bytes().into());
        let caller = self.caller(request);
        let made = self
            .mounted
            .make(&caller, parent.0, name.as_bytes(), body, 0o777);
        self.entry(reply, self.done(Op::Symlink, begun, request, parent, made));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let begun = Instant::now();
        let known = RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE;
        let moved = if known.contains(flags) && flags != known {
            self.mounted.rename(
                &self.caller(request),
                (parent.0, name.as_bytes()),
                (to_parent.0, to_name.as_bytes()),
                flags.contains(RenameFlags::RENAME_NOREPLACE),
                flags.contains(RenameFlags::RENAME_EXCHANGE),
            )
        } else {
            Err(rustix::io::Errno::INVAL)
        };
        self.empty(reply, self.done(Op::Rename, begun, request, parent, moved));
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let begun = Instant::now();
        let made = self
            .mounted
            .link(&self.caller(request), node.0, parent.0, name.as_bytes());
        self.entry(reply, self.done(Op::Link, begun, request, node, made));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let begun = Instant::now();
        let opened = self.mounted.open(&self.caller(request), node.0, flags.0);
        match self.done(Op::Open, begun, request, node, opened) {
            Ok(opened) => {
                reply.opened(FileHandle(opened.handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            // The kernel looks the path up again by itself then, and learns the size that the file has now.
            Err(Errno::EAGAIN) => {
                let mounted = self.mounted.clone();
                self.mounted.after_swap(Box::new(move || {
                    mounted.nodes.ask(node.0);
                    reply.error(Errno::ESTALE);
                }));
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let begun = Instant::now();
        self.mounted.read(handle.0, offset, size as usize, |bytes| {
            match self.done(Op::Read, begun, request, node, bytes) {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(error),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // With `O_SYNC` and `O_DSYNC` the kernel sends an fsync of its own behind the write.
        let begun = Instant::now();
        let written = self.mounted.write(
            &self.caller(request),
            handle.0,
            offset,
            data,
            write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
            write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            flags.0,
        );
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.done(Op::Write, begun, request, node, written) {
            Ok(false) => reply.written(size),
            Ok(true) => {
                self.mounted.core.metrics.held_back();
                let answer: Then = Box::new(move |durable| {
                    if durable {
                        reply.written(size);
                    } else {
                        reply.error(Errno::EIO);
                    }
                });
                self.mounted.core.committer.after_flush(answer);
            }
            Err(error) => reply.error(error),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Closing promises nothing about disks. The kernel still writes mapped pages back, and does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let begun = Instant::now();
        self.mounted.release(handle.0);
        let released = self.done(Op::Release, begun, request, node, Ok(()));
        self.empty(reply, released);
    }

    fn fsync(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        if self.mounted.is_handing_over(request.pid()) {
            reply.ok(); // mapped pages are here now: that was all it wanted
            return;
        }
        self.after_flush(Op::Fsync, request, node, reply);
    }

    fn opendir(&self, request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let begun = Instant::now();
        let opened = self.mounted.opendir(node.0);
        match self.done(Op::Open, begun, request, node, opened) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let begun = Instant::now();
        let read = self
            .mounted
            .readdir(node.0, handle.0, offset, false, &mut |entry| {
                reply.add(
                    INodeNo(entry.node),
                    entry.next,
                    kind(entry.kind),
                    OsStr::from_bytes(entry.name),
                )
            });
        match self.done(Op::Readdir, begun, request, node, read) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let begun = Instant::now();
        let lasting = if self.mounted.lasts(node.0) {
            &LONG
        } else {
            &NOT_AT_ALL
        };
        let read = self
            .mounted
            .readdir(node.0, handle.0, offset, true, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                match &entry.attr {
                    Some(attr) => reply.add(
                        INodeNo(attr.node),
                        entry.next,
                        name,
                        lasting,
                        &file_attr(attr),
                        Generation(0),
                    ),
                    // The directory itself and its parent: the kernel takes nothing from these but the number.
                    None => {
                        let mut like = nothing();
                        like.kind = kind(entry.kind);
                        like.ino = INodeNo(entry.node);
                        reply.add(
                            like.ino,
                            entry.next,
                            name,
                            &NOT_AT_ALL,
                            &like,
                            Generation(0),
                        )
                    }
                }
            });
        match self.done(Op::Readdir, begun, request, node, read) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.mounted.handles.close_dir(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.after_flush(Op::Fsync, request, node, reply);
    }

    fn statfs(&self, request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let begun = Instant::now();
        let room = self.mounted.statfs();
        match self.done(Op::Statfs, begun, request, INodeNo(ROOT), room) {
            Ok(room) => reply.statfs(
                room.blocks,
                room.free,
                room.free,
                room.files,
                room.files_free,
                BLOCK as u32,
                255,
                BLOCK as u32,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let set = self
            .mounted
            .setxattr(&caller, node.0, name.as_bytes(), value, flags);
        self.empty(reply, self.done(Op::Xattr, begun, request, node, set));
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let begun = Instant::now();
        let value = self.mounted.getxattr(node.0, name.as_bytes());
        let value = self.done(Op::Xattr, begun, request, node, value);
        self.xattr(reply, size, value);
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let begun = Instant::now();
        let names = self.mounted.listxattr(&self.caller(request), node.0);
        let names = self.done(Op::Xattr, begun, request, node, names);
        self.xattr(reply, size, names);
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let begun = Instant::now();
        let gone = self
            .mounted
            .removexattr(&self.caller(request), node.0, name.as_bytes());
        self.empty(reply, self.done(Op::Xattr, begun, request, node, gone));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let made = self
            .mounted
            .create(&caller, parent.0, name.as_bytes(), mode & !umask, flags);
        match self.done(Op::Create, begun, request, parent, made) {
            Ok((attr, opened)) => reply.created(
                &LONG,
                &file_attr(&attr),
                Generation(0),
                FileHandle(opened.handle),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(Errno::EAGAIN) => self
                .mounted
                .after_swap(Box::new(move || reply.error(Errno::ESTALE))),
            Err(error) => reply.error(error),
        }
    }

    fn ioctl(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let done = self
            .mounted
            .fallocate(&caller, handle.0, offset, length, mode);
        self.empty(reply, self.done(Op::Fallocate, begun, request, node, done));
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let begun = Instant::now();
        let found = self.mounted.seek(handle.0, offset, whence);
        match self.done(Op::Lseek, begun, request, node, found) {
            Ok(offset) => reply.offset(offset),
            Err(error) => reply.error(error),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _from: INodeNo,
        from_handle: FileHandle,
        from_offset: u64,
        to: INodeNo,
        to_handle: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let begun = Instant::now();
        let copied = self.mounted.copy_range(
            &self.caller(request),
            (from_handle.0, from_offset),
            (to_handle.0, to_offset),
            length,
        );
        match self.done(Op::CopyRange, begun, request, to, copied) {
            Ok(copied) => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }
}
