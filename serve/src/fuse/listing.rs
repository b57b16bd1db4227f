//! Answers to the reading of directories.

use super::answers::Requests;
use super::convert::{file_attr, kind, nothing};
use super::session::{LONG, NOT_AT_ALL};
use crate::metrics::Op;
use crate::mounted::Entry;
use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, Request};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

impl Requests {
    /// Names, numbers and kinds.
    pub(super) fn list(
        &self,
        request: &Request,
        node: INodeNo,
        (handle, offset): (u64, u64),
        mut reply: ReplyDirectory,
    ) {
        let begun = Instant::now();
        let add = &mut |entry: Entry<'_>| {
            reply.add(
                INodeNo(entry.node),
                entry.next,
                kind(entry.kind),
                OsStr::from_bytes(entry.name),
            )
        };
        let read = self.mounted.readdir(node.0, handle, offset, false, add);
        match self.done(Op::Readdir, begun, request, node, read) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    /// Attributes as well: each entry is a lookup.
    pub(super) fn list_plus(
        &self,
        request: &Request,
        node: INodeNo,
        (handle, offset): (u64, u64),
        mut reply: ReplyDirectoryPlus,
    ) {
        let begun = Instant::now();
        let lasting = if self.mounted.lasts(node.0) {
            LONG
        } else {
            NOT_AT_ALL
        };
        let add = &mut |entry: Entry<'_>| {
            // The directory itself and its parent have none: the kernel takes nothing from these but the number.
            let (attr, time) = match &entry.attr {
                Some(attr) => (file_attr(attr), lasting),
                None => {
                    let mut like = nothing();
                    like.kind = kind(entry.kind);
                    like.ino = INodeNo(entry.node);
                    (like, NOT_AT_ALL)
                }
            };
            let name = OsStr::from_bytes(entry.name);
            reply.add(attr.ino, entry.next, name, &time, &attr, Generation(0))
        };
        let read = self.mounted.readdir(node.0, handle, offset, true, add);
        match self.done(Op::Readdir, begun, request, node, read) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}
