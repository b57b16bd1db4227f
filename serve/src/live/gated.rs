//! Commands that put another tree under a mount: they come in when no request is inside, look at who has files open for writing, swap, and
//! let everybody in again; what the kernel remembers is dropped afterwards.

use super::mounts::Mount;
use super::{Force, Live, caches};
use crate::mounted::{Base, Swapping};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use strand_engine::{
    Actor, Command, Done, Error, Event, Fileset, Ino, Kind, Refusal, Source, State, VolumeId,
};

/// What of a volume a command changes.
#[derive(Debug)]
pub(super) enum Concern {
    /// All of it.
    Volume,
    /// It goes.
    Removal,
    /// These files.
    Files(BTreeSet<Ino>),
}

impl Concern {
    fn holds(&self, ino: Ino) -> bool {
        match self {
            Concern::Volume | Concern::Removal => true,
            Concern::Files(files) => files.contains(&ino),
        }
    }
}

/// Says whether a command can put another tree, or other content, under those who have files open.
pub(super) fn swaps(command: &Command) -> bool {
    matches!(
        command,
        Command::Rollback { .. }
            | Command::RollbackAll { .. }
            | Command::RollbackFiles { .. }
            | Command::Undo { .. }
            | Command::Redo { .. }
            | Command::CloneReset { .. }
            | Command::VolumeRemove { .. }
    )
}

impl Live {
    /// As [`strand_engine::Store::run`], under the gates of everything mounted.
    pub(super) fn swap(
        &self,
        actor: &Actor,
        command: Command,
        force: Force,
    ) -> Result<Done, Error> {
        let store = self.store();
        // May fold history, and flushes: before any gate closes.
        let views = store.prepare(&command)?;
        let mut changed: Vec<(Arc<Mount>, Option<Fileset>, Concern)> = Vec::new();
        let (done, swapping) = {
            // No mount begins meanwhile: it would see the old tree and hear of nothing.
            let by_path = self.mounts.lock();
            let mut live: Vec<Arc<Mount>> = by_path
                .values()
                .filter(|m| matches!(m.source, Source::Live(_)))
                .cloned()
                .collect();
            live.sort_unstable_by_key(|m| m.source.volume());
            let gates: Vec<_> = live.iter().filter_map(|m| gate(m)).collect();
            let _closed: Vec<_> = gates
                .iter()
                .map(|gate| gate.write().unwrap_or_else(PoisonError::into_inner))
                .collect();
            let Ok(events) = store.plan_prepared(actor, command.clone(), &views) else {
                // To be refused again, and recorded.
                return store.submit_prepared(actor, command, &views);
            };
            let mut concerns = concerns(&events);
            for mount in live {
                let volume = mount.source.volume();
                if let Some(concern) = concerns.remove(&volume) {
                    changed.push((mount, store.live(volume), concern));
                }
            }
            for (mount, _, concern) in &changed {
                if let Some(refusal) = in_the_way(&store.state(), mount, concern, &command, force) {
                    store.note_refusal(&refusal);
                    return Err(refusal.into());
                }
            }
            let done = store.submit_prepared(actor, command, &views)?;
            for (mount, _, concern) in &changed {
                for handle in mount.mounted.handles.all() {
                    if handle.writes && concern.holds(handle.ino) {
                        handle.stale.store(true, Ordering::Relaxed);
                    }
                }
            }
            let swapping: Vec<Swapping> = changed
                .iter()
                .map(|(mount, _, _)| Swapping::begin(mount.mounted.clone()))
                .collect();
            (done, swapping)
        };
        for (mount, before, _) in &changed {
            let after = store.live(mount.source.volume());
            if let (Some(before), Some(after)) = (before, after) {
                caches::replaced(mount, before, &after);
            }
        }
        // Whoever wanted to begin writing meanwhile goes on now, with the sizes and pages that are.
        drop(swapping);
        store.finish(&done, &views)?;
        Ok(done)
    }
}

fn gate(mount: &Mount) -> Option<Arc<crate::core::Gate>> {
    match &mount.mounted.base {
        Base::Live { gate, .. } => Some(gate.clone()),
        Base::Frozen { .. } => None,
    }
}

/// What a command's events change, by volume.
fn concerns(events: &[Event]) -> BTreeMap<VolumeId, Concern> {
    let mut concerns: BTreeMap<VolumeId, Concern> = BTreeMap::new();
    let mut whole = |volume: VolumeId, concern: Concern| {
        concerns.insert(volume, concern);
    };
    for event in events {
        match event {
            Event::RolledBack { volumes, .. } => {
                for (volume, _) in volumes {
                    whole(*volume, Concern::Volume);
                }
            }
            Event::CloneReset { volume, .. } => whole(*volume, Concern::Volume),
            Event::VolumeRemoved { volume } => whole(*volume, Concern::Removal),
            _ => {}
        }
    }
    for event in events {
        let (volume, ino) = match event {
            Event::FileRestored { volume, ino, .. }
            | Event::Unlinked { volume, ino, .. }
            | Event::Created { volume, ino, .. }
            | Event::Linked { volume, ino, .. }
            | Event::OrphanDropped { volume, ino }
            | Event::Written { volume, ino, .. }
            | Event::Punched { volume, ino, .. }
            | Event::Truncated { volume, ino, .. }
            | Event::AttributesSet { volume, ino, .. }
            | Event::XattrSet { volume, ino, .. }
            | Event::XattrRemoved { volume, ino, .. } => (volume, ino),
            _ => continue,
        };
        let files = concerns
            .entry(*volume)
            .or_insert_with(|| Concern::Files(BTreeSet::new()));
        if let Concern::Files(files) = files {
            files.insert(*ino);
        }
    }
    concerns
}

/// Why a command must not be carried out now: the volume is mounted and would go, or files are open for writing.
fn in_the_way(
    state: &State,
    mount: &Mount,
    concern: &Concern,
    command: &Command,
    force: Force,
) -> Option<Refusal> {
    let volume = state.volume(mount.source.volume())?;
    if matches!(concern, Concern::Removal) {
        let refusal = Refusal::new(Kind::Busy, format!("cannot remove volume {}", volume.name));
        return Some(
            refusal
                .why(format!("it is mounted at {}", mount.path.display()))
                .next(format!("strand umount {}", mount.path.display())),
        );
    }
    if force == Force::Yes {
        return None;
    }
    let open = mount.mounted.handles.all();
    let writers: Vec<_> = open
        .iter()
        .filter(|h| h.writes && !h.stale.load(Ordering::Relaxed) && concern.holds(h.ino))
        .collect();
    let first = writers.first()?;
    let files: BTreeSet<Ino> = writers.iter().map(|h| h.ino).collect();
    let what = match command {
        Command::Undo { .. } => format!("undo a change of {}", volume.name),
        Command::Redo { .. } => format!("redo a change of {}", volume.name),
        Command::CloneReset { .. } => format!("reset {}", volume.name),
        _ => format!("roll back {}", volume.name),
    };
    let count = match files.len() {
        1 => "1 file is open for writing".to_owned(),
        n => format!("{n} files are open for writing"),
    };
    let path = volume.live.path_of(first.ino).map_or_else(
        || format!("inode {}", first.ino),
        |path| String::from_utf8_lossy(&path).into_owned(),
    );
    let more = match files.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Some(
        Refusal::new(Kind::Busy, format!("cannot {what}: {count}"))
            .why(format!(
                "{}[{}] has {path}{more}",
                first.opener.name, first.opener.pid
            ))
            .next("stop it, or add --force; strand status"),
    )
}
