//! How requests are answered: at once, after a flush, or from a thread of their own.

use super::convert::{errno, file_attr};
use super::session::{LONG, NOT_AT_ALL};
use crate::committer::Then;
use crate::errno::Answer;
use crate::metrics::Op;
use crate::mounted::{Attr, Caller, Mounted, Visit};
use fuser::{
    Errno, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite, ReplyXattr, Request,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use strand_engine::NewBody;

/// Views of `.strand/at/` that may be folded at once; more are refused with `EAGAIN`.
const MOST_VISITS: usize = 4;

/// A mount, as the protocol's library calls it.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) mounted: Arc<Mounted>,
    pub(super) visits: Arc<AtomicUsize>,
}

impl Requests {
    pub(super) fn caller(&self, request: &Request) -> Caller {
        Caller {
            uid: request.uid(),
            gid: request.gid(),
            pid: request.pid(),
            actor: self
                .mounted
                .core
                .actors
                .caller(request.pid(), request.uid()),
        }
    }

    /// Counts an operation.
    pub(super) fn answered(
        &self,
        op: Op,
        begun: Instant,
        failed: bool,
        request: &Request,
        node: u64,
    ) {
        let mounted = &self.mounted;
        mounted.core.metrics.answered(op, begun, failed, || {
            let (_, ino) = mounted.parts(node);
            (mounted.volume(), ino, self.caller(request).actor)
        });
    }

    pub(super) fn done<T>(
        &self,
        op: Op,
        begun: Instant,
        request: &Request,
        node: INodeNo,
        answer: Answer<T>,
    ) -> Result<T, Errno> {
        self.answered(op, begun, answer.is_err(), request, node.0);
        answer.map_err(errno)
    }

    /// Answers a change: at once, or after a commit where so much is unflushed that whoever goes on changing should wait.
    pub(super) fn changed<T: Send + 'static>(
        &self,
        (op, begun): (Op, Instant),
        request: &Request,
        node: INodeNo,
        answer: Answer<T>,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let core = &self.mounted.core;
        match self.done(op, begun, request, node, answer) {
            Ok(done) if core.committer.is_full() => {
                core.metrics.held_back();
                core.committer.after_flush(Box::new(move |durable| {
                    reply(if durable { Ok(done) } else { Err(Errno::EIO) });
                }));
            }
            answer => reply(answer),
        }
    }

    /// Makes an inode with a name.
    pub(super) fn make(
        &self,
        op: Op,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        body: NewBody,
        mode: u32,
        reply: ReplyEntry,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let made = self
            .mounted
            .make(&caller, parent.0, name.as_bytes(), body, mode);
        self.changed((op, begun), request, parent, made, entry(reply));
    }

    /// Removes a name, of a directory or of anything else.
    pub(super) fn remove(
        &self,
        op: Op,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        reply: ReplyEmpty,
    ) {
        let begun = Instant::now();
        let caller = self.caller(request);
        let gone = self
            .mounted
            .unlink(&caller, parent.0, name.as_bytes(), op == Op::Rmdir);
        self.changed((op, begun), request, parent, gone, empty(reply));
    }

    /// A reply that goes out once everything carried out before is durable: at once, where nothing is new.
    pub(super) fn after_flush(&self, op: Op, request: &Request, node: INodeNo, reply: ReplyEmpty) {
        let begun = Instant::now();
        let durable = self.mounted.is_durable();
        if durable != Ok(false) {
            empty(reply)(self.done(op, begun, request, node, durable.map(drop)));
            return;
        }
        let caller = self.caller(request);
        let mounted = self.mounted.clone();
        let then: Then = Box::new(move |durable| {
            mounted.core.metrics.answered(op, begun, !durable, || {
                let (_, ino) = mounted.parts(node.0);
                (mounted.volume(), ino, caller.actor.clone())
            });
            if durable {
                reply.ok();
            } else {
                reply.error(Errno::EIO);
            }
        });
        self.mounted.core.committer.soon_flushed(then);
    }

    /// Looks a view up that may have to be folded, on a thread of its own.
    pub(super) fn visit(&self, visit: Visit, name: &[u8], reply: ReplyEntry) {
        if self.visits.fetch_add(1, Ordering::AcqRel) >= MOST_VISITS {
            self.visits.fetch_sub(1, Ordering::AcqRel);
            reply.error(Errno::EAGAIN);
            return;
        }
        let (mounted, visiting) = (self.mounted.clone(), Visiting(self.visits.clone()));
        let name = name.to_owned();
        let found = move || {
            let _visiting = visiting;
            match mounted.visit(visit, &name) {
                Ok(Some(attr)) => {
                    reply.entry_with_ttls(&LONG, &NOT_AT_ALL, &file_attr(&attr), Generation(0));
                }
                Ok(None) => reply.error(Errno::ENOENT),
                Err(error) => reply.error(errno(error)),
            }
            mounted.tidy_visits();
        };
        if let Err(error) = std::thread::Builder::new()
            .name("visit".into())
            .spawn(found)
        {
            // The reply went with the closure: it answers with an error as it is dropped.
            tracing::warn!(%error, "no thread for a view");
        }
    }
}

/// A view is looked up; that is over when this is dropped, however it ended.
struct Visiting(Arc<AtomicUsize>);

impl Drop for Visiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) fn entry(reply: ReplyEntry) -> impl FnOnce(Result<Attr, Errno>) {
    move |answer| match answer {
        Ok(attr) => reply.entry(&LONG, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(error),
    }
}

pub(super) fn attributes(reply: ReplyAttr) -> impl FnOnce(Result<Attr, Errno>) {
    move |answer| match answer {
        Ok(attr) => reply.attr(&LONG, &file_attr(&attr)),
        Err(error) => reply.error(error),
    }
}

pub(super) fn empty(reply: ReplyEmpty) -> impl FnOnce(Result<(), Errno>) {
    move |answer| match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

pub(super) fn written(reply: ReplyWrite) -> impl FnOnce(Result<u64, Errno>) {
    move |answer| match answer {
        Ok(size) => reply.written(u32::try_from(size).unwrap_or(u32::MAX)),
        Err(error) => reply.error(error),
    }
}

pub(super) fn xattr(reply: ReplyXattr, size: u32, value: Result<Vec<u8>, Errno>) {
    match value {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(error) => reply.error(error),
    }
}
