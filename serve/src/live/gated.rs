//! Commands that put another tree under a mount: they come in when no request is inside, look at who has files open for writing, swap, and
//! let everybody in again; what the kernel remembers is dropped afterwards.

use super::mounts::Mount;
use super::{Force, Live, caches};
use crate::core::Gate;
use crate::mounted::Swapping;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use strand_engine::{
    Actor, Command, Done, Error, Fileset, InUse, Kind, Source, Views, Writer, swapped,
};

impl Live {
    /// As [`strand_engine::Store::run`], behind closed gates: no request of a mount or of a client is inside.
    pub(super) fn swap(
        &self,
        actor: &Actor,
        command: Command,
        force: Force,
    ) -> Result<Done, Error> {
        let store = self.store();
        // May fold history, and flushes: before any gate closes.
        let views = store.prepare(&command)?;
        match self.swap_prepared(actor, command.clone(), &views, force) {
            // So may this: while all gates are open.
            Err(error) if error.kind() == Kind::NoSpace => {
                store.make_dead_room()?;
                self.swap_prepared(actor, command, &views, force)
            }
            other => other,
        }
    }

    fn swap_prepared(
        &self,
        actor: &Actor,
        command: Command,
        views: &Views,
        force: Force,
    ) -> Result<Done, Error> {
        let store = self.store();
        let mut changed: Vec<(Arc<Mount>, Option<Fileset>)> = Vec::new();
        let (done, swapping) = {
            // No mount begins meanwhile: it would see the old tree and hear of nothing.
            let by_path = self.mounts.lock();
            let mut live: Vec<Arc<Mount>> = by_path
                .values()
                .filter(|m| matches!(m.source, Source::Live(_)))
                .cloned()
                .collect();
            live.sort_unstable_by_key(|m| m.source.volume());
            let mut gates = self.core.gates();
            let all = gates.clone();
            let mut closed: BTreeMap<_, _> = all
                .iter()
                .map(|(volume, gate)| {
                    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
                    (*volume, closed)
                })
                .collect();
            let before: Vec<Option<Fileset>> = live
                .iter()
                .map(|mount| store.live(mount.source.volume()))
                .collect();
            let done = store.submit_live(actor, command, views, in_use(&live, force))?;
            let mut swapped = swapped(&done.events);
            // Who writes by the numbers of inodes, without a handle, learns that they are another tree's now.
            for volume in swapped.keys() {
                match closed.get_mut(volume) {
                    Some(swaps) => **swaps += 1,
                    None => drop(gates.insert(*volume, Arc::new(Gate::new(1)))),
                }
            }
            for (mount, before) in live.into_iter().zip(before) {
                let Some(what) = swapped.remove(&mount.source.volume()) else {
                    continue;
                };
                for handle in mount.mounted.handles.all() {
                    if handle.writes && what.holds(handle.ino) {
                        handle.stale.store(true, Ordering::Relaxed);
                    }
                }
                changed.push((mount, before));
            }
            let swapping: Vec<Swapping> = changed
                .iter()
                .map(|(mount, _)| Swapping::begin(mount.mounted.clone()))
                .collect();
            (done, swapping)
        };
        for (mount, before) in &changed {
            let after = store.live(mount.source.volume());
            if let (Some(before), Some(after)) = (before, after) {
                caches::replaced(mount, before, &after);
            }
        }
        // Whoever wanted to begin writing meanwhile goes on now, with the sizes and pages that are.
        drop(swapping);
        store.finish(&done, views)?;
        Ok(done)
    }
}

/// What the mounts of live volumes hold.
fn in_use(live: &[Arc<Mount>], force: Force) -> InUse {
    let writers = live.iter().flat_map(|mount| {
        let volume = mount.source.volume();
        let handles = mount.mounted.handles.all().into_iter();
        handles
            .filter(|handle| handle.writes && !handle.stale.load(Ordering::Relaxed))
            .map(move |handle| Writer {
                volume,
                ino: handle.ino,
                name: handle.opener.name.clone(),
                pid: handle.opener.pid,
            })
    });
    InUse {
        mounted: live
            .iter()
            .map(|mount| (mount.source.volume(), mount.path.display().to_string()))
            .collect(),
        writers: writers.collect(),
        held: Vec::new(),
        force: force == Force::Yes,
    }
}
