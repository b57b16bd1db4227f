//! What mounts must forget after a change that did not come through them. Called without any lock that a request needs.

use super::Live;
use super::mounts::Mount;
use crate::fuse::Caches;
use crate::mounted::Mounted;
use crate::nodes::{OWN, ROOT};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::sync::Arc;
use strand_engine::{Event, Fileset, Ino, VolumeId};

/// Another tree stands under a mount: every node that the kernel holds and that differs is dropped, and all names. Costs by what the kernel
/// holds, not by what the volume has.
pub(super) fn replaced(mount: &Mount, before: &Fileset, after: &Fileset) {
    let Some(caches) = mount.caches() else {
        return;
    };
    let mounted = &mount.mounted;
    let known = mounted.nodes.own();
    if !caches.drop_all_names() {
        drop_names(caches, mounted, &known, before, after);
    }
    for ino in std::iter::once(mounted.root()).chain(known) {
        if !same(before, after, ino) {
            caches.drop_inode(mounted.node(OWN, ino));
        }
    }
}

fn same(before: &Fileset, after: &Fileset, ino: Ino) -> bool {
    match (before.inode(ino), after.inode(ino)) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// For kernels that cannot drop all names at once: of every directory that the kernel holds, every name that means something else now, or
/// something that changed.
fn drop_names(
    caches: &Caches,
    mounted: &Mounted,
    known: &[Ino],
    before: &Fileset,
    after: &Fileset,
) {
    let replaced: BTreeSet<Ino> = known
        .iter()
        .copied()
        .filter(|ino| !same(before, after, *ino))
        .collect();
    for dir in std::iter::once(mounted.root()).chain(known.iter().copied()) {
        let names = |tree: &Fileset| {
            tree.inode(dir)
                .and_then(|inode| inode.names().cloned())
                .unwrap_or_default()
        };
        let old = names(before);
        let drop_name = |name: &[u8]| caches.drop_name(mounted.node(OWN, dir), name);
        // What the name means is another inode now, or the same as it was at another time: the kernel has to ask for that as well.
        if same(before, after, dir) {
            for (name, ino) in &old {
                if replaced.contains(ino) {
                    drop_name(name);
                }
            }
            continue;
        }
        let new = names(after);
        let all: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for name in all {
            let (was, is) = (old.get(name), new.get(name));
            if was != is || was.is_some_and(|ino| replaced.contains(ino)) {
                drop_name(name);
            }
        }
    }
}

impl Live {
    /// Drops exactly what events touched.
    pub(super) fn touched(&self, events: &[Event]) {
        for event in events {
            let Some(volume) = event.volume() else {
                continue;
            };
            let Some(mount) = self.mounts.of(volume) else {
                continue;
            };
            mount.mounted.changed_till_now(0);
            if let Some(caches) = mount.caches() {
                forget(caches, &mount.mounted, event);
                if let Some(ino) = event.rewritten() {
                    self.resized(&mount, ino);
                }
            }
        }
    }

    /// Drops a file's pages and attributes.
    pub(super) fn rewritten(&self, volume: VolumeId, ino: Ino) {
        let Some(mount) = self.mounts.of(volume) else {
            return;
        };
        mount.mounted.changed_till_now(0);
        if let Some(caches) = mount.caches() {
            caches.drop_inode(mount.mounted.node(OWN, ino));
            self.resized(&mount, ino);
        }
    }

    /// The kernel appends at the size it remembers, and does not ask: where somebody may append, it is made to ask now.
    fn resized(&self, mount: &Mount, ino: Ino) {
        if !mount.mounted.handles.writer(ino) {
            return;
        }
        let tree = self.store().live(mount.source.volume());
        let Some(path) = tree.and_then(|tree| tree.path_of(ino)) else {
            return;
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let asked = mount.ground.open(&path, flags).and_then(rustix::fs::fstat);
        if let Err(error) = asked {
            tracing::debug!(%error, %ino, "the kernel keeps the size it knew");
        }
    }
}

fn forget(caches: &Caches, mounted: &Mounted, event: &Event) {
    let node = |ino: Ino| mounted.node(OWN, ino);
    if let Some(ino) = event.rewritten() {
        caches.drop_inode(node(ino));
        return;
    }
    let name = |dir: Ino, name: &[u8]| {
        caches.drop_name(node(dir), name);
        caches.drop_attributes(node(dir));
    };
    match event {
        Event::Created { dir, name: n, .. } => name(*dir, n),
        Event::Linked {
            dir, name: n, ino, ..
        }
        | Event::Unlinked {
            dir, name: n, ino, ..
        } => {
            name(*dir, n);
            caches.drop_attributes(node(*ino));
        }
        Event::Renamed {
            from_dir,
            from_name,
            to_dir,
            to_name,
            over,
            ..
        } => {
            name(*from_dir, from_name);
            name(*to_dir, to_name);
            if let Some((ino, _)) = over {
                caches.drop_attributes(node(*ino));
            }
            moved(caches, mounted, *to_dir, to_name);
        }
        Event::Exchanged {
            a_dir,
            a_name,
            b_dir,
            b_name,
            ..
        } => {
            name(*a_dir, a_name);
            name(*b_dir, b_name);
            moved(caches, mounted, *a_dir, a_name);
            moved(caches, mounted, *b_dir, b_name);
        }
        Event::AttributesSet { ino, .. }
        | Event::XattrSet { ino, .. }
        | Event::XattrRemoved { ino, .. } => caches.drop_attributes(node(*ino)),
        _ => {}
    }
}

/// A file that moved has another change time.
fn moved(caches: &Caches, mounted: &Mounted, dir: Ino, name: &[u8]) {
    if let Ok(Some(ino)) = mounted.look(OWN, |tree| tree.child(dir, name)) {
        let node = mounted.node(OWN, ino);
        if node != ROOT {
            caches.drop_attributes(node);
        }
    }
}
