//! What the kernel believes and no longer should: pages, attributes, names.

use fuser::{INodeNo, Notifier};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// "All names of this mount are to be looked up again": a notification that the library does not have (kernels from 6.16 on).
const INC_EPOCH: i32 = 8;
/// The size of a notification without a body, in bytes.
const BARE: u32 = 16;

/// The kernel's caches of one mount. Never call these while holding what a request needs, or from a thread that serves requests: the
/// kernel may wait for a request to be answered first.
#[derive(Debug)]
pub(crate) struct Caches {
    notifier: Notifier,
    device: OwnedFd,
    /// All names are never dropped at once.
    one_by_one: bool,
}

impl Caches {
    pub(super) fn new(notifier: Notifier, device: OwnedFd, one_by_one: bool) -> Self {
        Self {
            notifier,
            device,
            one_by_one,
        }
    }

    /// Drops pages and attributes of a node.
    pub(crate) fn drop_inode(&self, node: u64) {
        heed(self.notifier.inval_inode(INodeNo(node), 0, 0), "pages");
    }

    /// Drops the attributes of a node; its pages stay.
    pub(crate) fn drop_attributes(&self, node: u64) {
        heed(
            self.notifier.inval_inode(INodeNo(node), -1, 0),
            "attributes",
        );
    }

    /// Drops a name, or the knowledge that there is none.
    pub(crate) fn drop_name(&self, parent: u64, name: &[u8]) {
        heed(
            self.notifier
                .inval_entry(INodeNo(parent), OsStr::from_bytes(name)),
            "a name",
        );
    }

    /// Drops all names of the mount; false where the kernel cannot.
    pub(crate) fn drop_all_names(&self) -> bool {
        if self.one_by_one {
            return false;
        }
        let mut message = [0; BARE as usize];
        message[..4].copy_from_slice(&BARE.to_ne_bytes());
        message[4..8].copy_from_slice(&INC_EPOCH.to_ne_bytes());
        match rustix::io::write(&self.device, &message) {
            Ok(_) => true,
            Err(Errno::INVAL) => false,
            Err(error) => {
                tracing::debug!(%error, "the kernel was not told to drop all names");
                false
            }
        }
    }
}

/// What the kernel does not hold needs no dropping.
fn heed(outcome: io::Result<()>, what: &str) {
    match outcome {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {}
        Err(error) => tracing::warn!(%error, what, "the kernel did not drop what it remembered"),
    }
}
