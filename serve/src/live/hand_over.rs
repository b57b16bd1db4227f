//! Before an image is taken, the kernel hands over what processes changed through mappings.

use super::Live;
use super::mounts::Mount;
use crate::nodes::OWN;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use strand_engine::{Command, Fileset, Ino, Source, VolumeId};

/// Files open for writing up to which each is waited for.
const FEW: usize = 32;

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
            if mount.handing_over.swap(true, Ordering::AcqRel) {
                tracing::warn!(path = %mount.path.display(), "an earlier hand-over has not ended: going on without this one");
                continue;
            }
            let (said, heard) = mpsc::channel();
            let theirs = mount.clone();
            let thread = std::thread::Builder::new()
                .name("hand-over".into())
                .spawn(move || {
                    write_back(&theirs);
                    theirs.handing_over.store(false, Ordering::Release);
                    let _ = said.send(()); // whoever waited may have gone on
                });
            if let Err(error) = thread {
                mount.handing_over.store(false, Ordering::Release);
                tracing::warn!(%error, "no thread for a hand-over");
                continue;
            }
            if heard.recv_timeout(self.options().hand_over).is_err() {
                tracing::warn!(path = %mount.path.display(), "mapped pages were not handed over in time: the image may lack them");
            }
        }
    }
}

fn write_back(mount: &Arc<Mount>) {
    let mounted = &mount.mounted;
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    mounted
        .handing_over
        .store(u32::try_from(thread).unwrap_or(0), Ordering::Relaxed);
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let outcome =
        rustix::fs::open(&mount.path, directory, Mode::empty()).and_then(rustix::fs::syncfs);
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
    let path = mount.path.join(OsStr::from_bytes(&path));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let outcome = rustix::fs::open(path, flags, Mode::empty()).and_then(rustix::fs::fdatasync);
    if let Err(error) = outcome {
        tracing::debug!(%error, %ino, "not waited for");
    }
}
