//! Before an image is taken, the kernel hands over what processes changed through mappings.

use super::Live;
use super::mounts::Mount;
use crate::nodes::OWN;
use rustix::fs::OFlags;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strand_engine::{Command, Fileset, Ino, Source, VolumeId};

/// Files open for writing up to which each is waited for.
const FEW: usize = 32;

/// The hand-over of a mount: one at a time.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    runs: Mutex<bool>,
    ended: Condvar,
}

impl HandOver {
    fn runs(&self) -> MutexGuard<'_, bool> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until none runs; false where that takes too long.
    fn wait(&self, until: Instant) -> Option<MutexGuard<'_, bool>> {
        let mut runs = self.runs();
        while *runs {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            runs = match self.ended.wait_timeout(runs, left) {
                Ok((runs, _)) => runs,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        Some(runs)
    }

    fn end(&self) {
        *self.runs() = false;
        self.ended.notify_all();
    }
}

/// Whatever becomes of a hand-over's thread, the next one may run.
struct Running(Arc<Mount>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.hand_over.end();
    }
}

/// The volumes of which a command takes, or keeps, the live tree; `None`: it may be any.
fn taken(command: &Command) -> Option<Vec<VolumeId>> {
    match command {
        Command::CheckpointCreate { volumes, .. } => Some(volumes.clone()),
        Command::CloneCreate {
            source: Source::Live(volume),
            ..
        }
        | Command::Rollback { volume, .. }
        | Command::RollbackFiles { volume, .. }
        | Command::CloneReset { volume } => Some(vec![*volume]),
        Command::RollbackAll { .. } | Command::Undo { .. } | Command::Redo { .. } => None,
        _ => Some(Vec::new()),
    }
}

impl Live {
    /// Makes the kernel write dirty mapped pages of the volumes concerned, outside all locks; goes on without them after a time.
    pub(super) fn hand_over(&self, command: &Command) {
        let mounts: Vec<Arc<Mount>> = match taken(command) {
            Some(volumes) => volumes.iter().filter_map(|v| self.mounts.of(*v)).collect(),
            None => self.mounts.all(),
        };
        for mount in mounts {
            if mount.read_only || mount.mounted.handles.counts().0 == 0 {
                continue; // pages that are dirty belong to a file open for writing
            }
            if !hand_over(&mount, self.options().hand_over) {
                tracing::warn!(path = %mount.path.display(), "mapped pages were not handed over in time: the image may lack them");
            }
        }
    }
}

/// False where it took too long: this one, or one before it that hangs.
fn hand_over(mount: &Arc<Mount>, most: Duration) -> bool {
    let until = Instant::now() + most;
    let Some(mut runs) = mount.hand_over.wait(until) else {
        return false;
    };
    *runs = true;
    drop(runs);
    let running = Running(mount.clone());
    let thread = std::thread::Builder::new()
        .name("hand-over".into())
        .spawn(move || write_back(&running.0));
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for a hand-over");
        return false;
    }
    mount.hand_over.wait(until).is_some()
}

fn write_back(mount: &Arc<Mount>) {
    let mounted = &mount.mounted;
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    mounted
        .handing_over
        .store(u32::try_from(thread).unwrap_or(0), Ordering::Relaxed);
    let outcome = mount
        .ground
        .open(b"", OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(rustix::fs::syncfs);
    if let Err(error) = outcome {
        tracing::warn!(%error, path = %mount.path.display(), "mapped pages were not handed over");
    }
    // All dirty pages are on their way now; the kernel does not wait for their arrival, but for single files it does.
    if let Ok(tree) = mounted.tree(OWN) {
        for ino in mounted.perhaps_mapped(FEW) {
            wait_for(mount, &tree, ino);
        }
    }
    mounted.handing_over.store(0, Ordering::Relaxed);
}

fn wait_for(mount: &Mount, tree: &Fileset, ino: Ino) {
    let Some(path) = tree.path_of(ino) else {
        return; // without a name it is in no image
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let outcome = mount
        .ground
        .open(&path, flags)
        .and_then(rustix::fs::fdatasync);
    if let Err(error) = outcome {
        tracing::debug!(%error, %ino, "not waited for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_one_hangs_waits_for_it_and_not_for_ever() {
        let one = Arc::new(HandOver::default());
        *one.wait(Instant::now()).unwrap() = true;
        let soon = Instant::now() + Duration::from_millis(30);
        assert!(one.wait(soon).is_none());
        assert!(Instant::now() >= soon);
        let later = one.clone();
        let waiting = std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(60);
            later.wait(until).is_some()
        });
        one.end();
        assert!(waiting.join().unwrap());
    }
}
