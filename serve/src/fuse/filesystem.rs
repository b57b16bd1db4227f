//! Requests in, replies out. No request waits here for another one, nor for a flush, but for the one that leads a short flush: such replies move to
//! the committer, or to a thread of their own.

use super::answers::{self, Requests, attributes, empty, entry, xattr};
use super::convert::{file_attr, kind, nanos, nothing};
use super::session::{self, LONG, NOT_AT_ALL};
use crate::metrics::Op;
use crate::mounted::Wanted;
use crate::nodes::ROOT;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Instant, SystemTime};
use strand_engine::{BLOCK, NewBody};

impl Filesystem for Requests {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        session::agree(config);
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
        attributes(reply)(self.done(Op::Getattr, begun, request, node, found));
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
        self.changed((Op::Setattr, begun), request, node, set, attributes(reply));
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
        let device = u64::from(rdev);
        let body = match kind(mode) {
            FileType::NamedPipe => NewBody::Fifo,
            FileType::Socket => NewBody::Socket,
            FileType::CharDevice => NewBody::Char(device),
            FileType::BlockDevice => NewBody::Block(device),
            _ => NewBody::File,
        };
        let mode = mode & !umask;
        self.make(Op::Mknod, request, (parent, name), body, mode, reply);
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
        let (body, mode) = (NewBody::Dir, mode & !umask);
        self.make(Op::Mkdir, request, (parent, name), body, mode, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(Op::Unlink, request, (parent, name), reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove(Op::Rmdir, request, (parent, name), reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let body = NewBody::Symlink(target.as_os_str().as_bytes().into());
        self.make(Op::Symlink, request, (parent, name), body, 0o777, reply);
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
        self.changed((Op::Rename, begun), request, parent, moved, empty(reply));
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
        self.changed((Op::Link, begun), request, node, made, entry(reply));
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
        let written = written.map(|()| data.len() as u64);
        self.changed(
            (Op::Write, begun),
            request,
            node,
            written,
            answers::written(reply),
        );
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
        empty(reply)(self.done(Op::Release, begun, request, node, Ok(())));
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
        reply: ReplyDirectory,
    ) {
        self.list(request, node, (handle.0, offset), reply);
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.list_plus(request, node, (handle.0, offset), reply);
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
        self.changed((Op::Xattr, begun), request, node, set, empty(reply));
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
        xattr(
            reply,
            size,
            self.done(Op::Xattr, begun, request, node, value),
        );
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let begun = Instant::now();
        let names = self.mounted.listxattr(&self.caller(request), node.0);
        xattr(
            reply,
            size,
            self.done(Op::Xattr, begun, request, node, names),
        );
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let begun = Instant::now();
        let gone = self
            .mounted
            .removexattr(&self.caller(request), node.0, name.as_bytes());
        self.changed((Op::Xattr, begun), request, node, gone, empty(reply));
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
        let mounted = self.mounted.clone();
        self.changed(
            (Op::Create, begun),
            request,
            parent,
            made,
            move |made| match made {
                Ok((attr, opened)) => reply.created(
                    &LONG,
                    &file_attr(&attr),
                    Generation(0),
                    FileHandle(opened.handle),
                    FopenFlags::FOPEN_KEEP_CACHE,
                ),
                Err(Errno::EAGAIN) => {
                    mounted.after_swap(Box::new(move || reply.error(Errno::ESTALE)));
                }
                Err(error) => reply.error(error),
            },
        );
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
        self.changed((Op::Fallocate, begun), request, node, done, empty(reply));
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
        self.changed(
            (Op::CopyRange, begun),
            request,
            to,
            copied,
            answers::written(reply),
        );
    }
}
