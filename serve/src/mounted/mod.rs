//! One mount: what its requests mean for the store. Nothing here knows the kernel's protocol; `fuse` translates.

mod attributes;
mod content;
mod directory;
mod names;
mod ranges;
mod strand;

pub(crate) use attributes::{Time, Wanted};
pub(crate) use directory::Entry;
pub(crate) use strand::Visit;

use crate::core::{Core, Gate, Inside};
use crate::errno::{Answer, errno};
use crate::fuse::Caches;
use crate::handles::Handles;
use crate::nodes::{self, Nodes, OWN, ROOT, VIRTUAL, parts};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use strand_engine::{Actor, Body, Fileset, Ino, Inode, Lease, Seq, Source, VolumeId};

/// What a mount shows.
#[derive(Debug)]
pub(crate) enum Base {
    /// A volume as it lives.
    Live {
        volume: VolumeId,
        root: Ino,
        gate: Arc<Gate>,
    },
    /// An image, and what keeps it from being given up.
    Frozen {
        volume: VolumeId,
        tree: Fileset,
        lease: Mutex<Option<Lease>>,
    },
}

/// A mount.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) core: Arc<Core>,
    pub(crate) base: Base,
    pub(crate) nodes: Nodes,
    pub(crate) handles: Handles,
    swap: Mutex<Swap>,
    /// What the kernel remembers of the mount, once it runs.
    pub(crate) caches: OnceLock<Caches>,
    /// Files open for writing of which the kernel once wrote mapped pages back.
    mapped: Mutex<BTreeSet<Ino>>,
    /// The thread that makes the kernel hand over mapped pages; 0: none.
    pub(crate) handing_over: AtomicU32,
    /// The last event of whatever was changed here, or can be seen here and was changed before.
    changed: AtomicU64,
}

/// What happens between the moment when another tree is under the mount and the one when the kernel has dropped what it remembers.
#[derive(Default)]
struct Swap {
    running: u32,
    /// What is answered afterwards: nobody begins to write meanwhile, with sizes and pages of the tree before.
    after: Vec<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Swap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Swap({} running, {} wait)",
            self.running,
            self.after.len()
        )
    }
}

/// While it lives, the kernel remembers another tree than there is.
#[derive(Debug)]
pub(crate) struct Swapping(Arc<Mounted>);

impl Swapping {
    /// Another tree is under a mount, and its gate is still closed.
    pub(crate) fn begin(mounted: Arc<Mounted>) -> Self {
        mounted.swap().running += 1;
        mounted.nodes.swapped();
        mounted.changed_till_now(0);
        Self(mounted)
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        let mut swap = self.0.swap();
        swap.running -= 1;
        if swap.running > 0 {
            return;
        }
        let after = std::mem::take(&mut swap.after);
        drop(swap);
        for then in after {
            then();
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
    pub(crate) actor: Arc<Actor>,
}

/// What an inode is, as `stat` shows it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Attr {
    /// The node's number; files show it as their inode number.
    pub(crate) node: u64,
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// In units of 512 bytes.
    pub(crate) blocks: u64,
    /// Times in ns since the Unix epoch.
    pub(crate) atime: i64,
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
    pub(crate) rdev: u32,
}

impl Mounted {
    /// A mount of a view; `by` says who holds it.
    pub(crate) fn new(
        core: Arc<Core>,
        source: Source,
        by: String,
    ) -> Result<Self, strand_engine::Error> {
        let base = match source {
            Source::Live(volume) => Base::Live {
                volume,
                root: core.store.look(volume, |v| v.live.root)?,
                gate: core.gate(volume),
            },
            frozen => {
                let (tree, lease) = core.store.leased_view(frozen, by, None)?;
                Base::Frozen {
                    volume: frozen.volume(),
                    lease: Mutex::new(Some(lease)),
                    tree,
                }
            }
        };
        let mounted = Self {
            core,
            base,
            nodes: Nodes::default(),
            handles: Handles::default(),
            swap: Mutex::default(),
            caches: OnceLock::new(),
            mapped: Mutex::default(),
            handing_over: AtomicU32::new(0),
            changed: AtomicU64::new(0),
        };
        mounted.nodes.learn(ROOT, 0);
        Ok(mounted)
    }

    /// The mount is gone: what it showed may go too, and what was looked at through it, although somebody may have this for a moment longer.
    pub(crate) fn end(&self) {
        if let Base::Frozen { lease, .. } = &self.base {
            drop(lease.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        self.nodes.end();
    }

    fn swap(&self) -> MutexGuard<'_, Swap> {
        self.swap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something once the kernel has dropped what it remembers of the tree before: now, where it has.
    pub(crate) fn after_swap(&self, then: Box<dyn FnOnce() + Send>) {
        let mut swap = self.swap();
        if swap.running > 0 {
            swap.after.push(then);
            return;
        }
        drop(swap);
        then();
    }

    /// Under the gate: says why nobody may begin to write to a node now. [`Errno::AGAIN`]: after the swap, as `ESTALE`. [`Errno::STALE`]: the kernel
    /// has not asked since a swap; it looks the path up again by itself, and comes back.
    fn may_begin_to_write(&self, node: u64) -> Answer<()> {
        if self.swap().running > 0 {
            return Err(Errno::AGAIN);
        }
        if self.nodes.is_fresh(node) {
            return Ok(());
        }
        self.nodes.ask(node);
        Err(Errno::STALE)
    }

    /// The volume shown, live or as it was.
    pub(crate) fn volume(&self) -> VolumeId {
        match &self.base {
            Base::Live { volume, .. } | Base::Frozen { volume, .. } => *volume,
        }
    }

    /// The inode of the root.
    pub(crate) fn root(&self) -> Ino {
        match &self.base {
            Base::Live { root, .. } => *root,
            Base::Frozen { tree, .. } => tree.root,
        }
    }

    /// View and inode of a node.
    pub(crate) fn parts(&self, node: u64) -> (u16, Ino) {
        if node == ROOT {
            (OWN, self.root())
        } else {
            parts(node)
        }
    }

    /// The node of an inode of a view.
    pub(crate) fn node(&self, view: u16, ino: Ino) -> u64 {
        if view == OWN && ino == self.root() {
            ROOT
        } else {
            nodes::node(view, ino)
        }
    }

    /// Looks at the tree of a view.
    pub(crate) fn look<R>(&self, view: u16, at: impl FnOnce(&Fileset) -> R) -> Answer<R> {
        match (&self.base, view) {
            (Base::Live { volume, .. }, OWN) => self
                .core
                .store
                .look(*volume, |v| at(&v.live))
                .map_err(|e| errno(&e)),
            (Base::Frozen { tree, .. }, OWN) => {
                self.core.store.health().map_err(|e| errno(&e))?;
                Ok(at(tree))
            }
            (_, view) => {
                let tree = self.nodes.tree(view).ok_or(Errno::STALE)?;
                self.core.store.health().map_err(|e| errno(&e))?;
                Ok(at(&tree))
            }
        }
    }

    /// The tree of a view, to read from without any lock.
    pub(crate) fn tree(&self, view: u16) -> Answer<Fileset> {
        self.look(view, Fileset::clone)
    }

    /// Something was changed, up to this event, and put so many bytes in memory. Before anybody is answered.
    pub(crate) fn changed(&self, bytes: u64, last: Seq) {
        self.changed.fetch_max(last, Ordering::AcqRel);
        self.core.committer.note(bytes);
    }

    /// As [`Mounted::changed`], up to the last event that there is.
    pub(crate) fn changed_till_now(&self, bytes: u64) {
        self.changed(bytes, self.core.store.journal().placed());
    }

    /// Says whether everything that was changed here is durable: nobody has to wait for what others change elsewhere. An error where a flush
    /// failed.
    pub(crate) fn is_durable(&self) -> Answer<bool> {
        let journal = self.core.store.journal();
        journal.health().map_err(|e| errno(&e.into()))?;
        Ok(self.changed.load(Ordering::Acquire) <= journal.flushed())
    }

    /// Lets a change of the live tree in; whoever swaps trees waits until it is over. `EROFS` where nothing can be changed.
    pub(crate) fn enter(&self, view: u16) -> Answer<(VolumeId, Inside<'_>)> {
        match &self.base {
            Base::Live { volume, gate, .. } if view == OWN => {
                Ok((*volume, gate.read().unwrap_or_else(PoisonError::into_inner)))
            }
            _ => Err(Errno::ROFS),
        }
    }

    /// What an inode looks like.
    pub(crate) fn attr_of(&self, view: u16, ino: Ino, inode: &Inode) -> Attr {
        attr(self.node(view, ino), inode)
    }

    /// Attributes of a node; of one whose last name went as they were then.
    pub(crate) fn getattr(&self, node: u64) -> Answer<Attr> {
        let (view, ino) = self.parts(node);
        if view == VIRTUAL {
            return self.virtual_attr(node);
        }
        let swaps = self.nodes.swaps();
        let found = self.look(view, |tree| {
            tree.inode(ino).map(|inode| self.attr_of(view, ino, inode))
        })?;
        self.nodes.refresh(node, swaps);
        found.or_else(|| self.nodes.gone(node)).ok_or(Errno::STALE)
    }

    /// Says whether a request comes from the thread that makes the kernel hand over mapped pages.
    pub(crate) fn is_handing_over(&self, thread: u32) -> bool {
        thread != 0 && self.handing_over.load(Ordering::Relaxed) == thread
    }

    /// Files that may have mapped pages which are not written back, as far as that can be known: all that are open for writing where those are
    /// few, else those of which pages were written back before.
    pub(crate) fn perhaps_mapped(&self, few: usize) -> BTreeSet<Ino> {
        let open = self.handles.all();
        let writers = open.iter().filter(|h| h.view == OWN && h.writes);
        let writers: BTreeSet<Ino> = writers.map(|h| h.ino).collect();
        if writers.len() <= few {
            return writers;
        }
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.intersection(&writers).copied().collect()
    }

    /// The kernel wrote mapped pages of a file back.
    fn note_mapped(&self, ino: Ino) {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.insert(ino);
    }

    /// A handle for writing was closed: with the last one a file is not mapped any more.
    fn note_closed(&self, ino: Ino) {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if mapped.contains(&ino) && !self.handles.all().iter().any(|h| h.writes && h.ino == ino) {
            mapped.remove(&ino);
        }
    }

    /// The target of a symbolic link.
    pub(crate) fn readlink(&self, node: u64) -> Answer<Vec<u8>> {
        let (view, ino) = self.parts(node);
        self.look(view, |tree| match tree.inode(ino).map(|i| &i.body) {
            Some(Body::Symlink(target)) => Ok(target.to_vec()),
            Some(_) => Err(Errno::INVAL),
            None => Err(Errno::STALE),
        })?
    }
}

/// What an inode looks like under a node's number.
fn attr(node: u64, inode: &Inode) -> Attr {
    Attr {
        node,
        mode: inode.type_bits() | inode.mode,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        size: match &inode.body {
            Body::Dir(_) => 4096,
            _ => inode.size(),
        },
        blocks: inode.blocks() * 8,
        atime: inode.atime,
        mtime: inode.mtime,
        ctime: inode.ctime,
        rdev: match inode.body {
            Body::Char(device) | Body::Block(device) => device as u32,
            _ => 0,
        },
    }
}
