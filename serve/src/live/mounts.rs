//! The mounts of a store: made, listed, ended.

use super::hand_over::HandOver;
use super::obstacles;
use super::{Live, MountInfo, MountRequest};
use crate::core::Core;
use crate::fuse::{self, Caches, Place, unmount};
use crate::ground::{Device, Ground};
use crate::mounted::Mounted;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strand_engine::{Kind, Refusal, Source, VolumeId};

/// How long an ending waits for a mount whose files somebody keeps open.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Where room is short, what was looked at through `.strand/` stays so long.
const VIEWS_STAY_SHORT: Duration = Duration::from_secs(3);

/// How far the kernel reads ahead, in KiB.
const READ_AHEAD_KIB: u32 = 1024;

/// A mount of this store.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) label: String,
    pub(crate) source: Source,
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) mounted: Arc<Mounted>,
    over: Mutex<bool>,
    ended: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) ground: Arc<Ground>,
    pub(super) hand_over: HandOver,
}

/// All mounts, by path.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    by_path: Mutex<BTreeMap<PathBuf, Arc<Mount>>>,
}

impl Mount {
    /// What the kernel remembers of it.
    pub(crate) fn caches(&self) -> Option<&Caches> {
        self.mounted.caches.get()
    }

    /// The mount is gone: whatever it had open is closed, and what it wrote is durable, before anybody who waits hears of it.
    fn end(&self, core: &Core) {
        for handle in self.mounted.handles.close_all() {
            self.mounted.let_go(&handle);
        }
        self.mounted.end();
        if let Err(error) = core.store.sync() {
            tracing::error!(%error, path = %self.path.display(), "what was written last is not durable");
        }
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.notify_all();
        tracing::info!(path = %self.path.display(), "unmounted");
    }

    fn wait(&self, most: Duration) -> bool {
        let until = Instant::now() + most;
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            over = match self.ended.wait_timeout(over, left) {
                Ok((over, _)) => over,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

impl Mounts {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Mount>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mount of a live volume.
    pub(crate) fn of(&self, volume: VolumeId) -> Option<Arc<Mount>> {
        let live = Source::Live(volume);
        self.lock().values().find(|m| m.source == live).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Mount>> {
        self.lock().values().cloned().collect()
    }

    /// Lets go of what was looked at through `.strand/`, and is no more.
    pub(super) fn tidy_views(&self) {
        for mount in self.all() {
            let core = &mount.mounted.core;
            let so_long = core.options.views_stay;
            mount
                .mounted
                .tidy_views(match core.store.is_short_of_room() {
                    true => so_long.min(VIEWS_STAY_SHORT),
                    false => so_long,
                });
        }
    }

    fn remove(&self, mount: &Arc<Mount>) {
        let mut by_path = self.lock();
        if by_path
            .get(&mount.path)
            .is_some_and(|there| Arc::ptr_eq(there, mount))
        {
            by_path.remove(&mount.path);
        }
    }
}

impl Live {
    /// Mounts a view.
    ///
    /// # Errors
    /// Each obstacle with its own message: no FUSE, a mount point that is not an empty directory, one inside the store, a live
    /// volume that is mounted already.
    pub fn mount(self: &Arc<Self>, request: MountRequest) -> Result<MountInfo, Refusal> {
        let path = obstacles::look(&request, self.directory())?;
        let by = format!("mounted at {}", path.display());
        let mounted =
            Mounted::new(self.core.clone(), request.source, by).map_err(|e| e.refusal())?;
        let ground = Ground::of(&request.at, &path).map_err(|error| {
            Refusal::new(Kind::Io, format!("cannot mount at {}", path.display()))
                .why(error.to_string())
        })?;
        let ground = Arc::new(ground);
        let read_only = request.read_only || !matches!(request.source, Source::Live(_));
        let mount = Arc::new(Mount {
            label: request.label,
            source: request.source,
            path: path.clone(),
            read_only,
            mounted: Arc::new(mounted),
            over: Mutex::new(false),
            ended: Condvar::new(),
            thread: Mutex::default(),
            ground: ground.clone(),
            hand_over: HandOver::default(),
        });
        {
            let mut by_path = self.mounts.lock();
            let twice = matches!(request.source, Source::Live(_))
                .then(|| by_path.values().find(|m| m.source == request.source))
                .flatten();
            if let Some(there) = twice {
                return Err(
                    Refusal::new(Kind::Busy, format!("cannot mount {}", mount.label))
                        .why(format!("it is mounted at {}", there.path.display()))
                        .next("use that mount, or mount a checkpoint of it here"),
                );
            }
            if by_path.contains_key(&path) {
                return Err(obstacles::taken(&path));
            }
            by_path.insert(path.clone(), mount.clone());
        }
        // From here on it hears of what others change. What they changed before may not be durable yet, and can be seen here.
        mount.mounted.changed_till_now(0);
        let place = Place {
            at: request.at,
            path,
            ground,
            source: self
                .directory()
                .map_or_else(|| OsString::from("strand"), |d| d.as_os_str().to_owned()),
            read_only,
            // Where root mounts for somebody else, that one is an other.
            allow_other: request.allow_other
                || (rustix::process::geteuid().is_root() && request.uid != 0),
        };
        let (core, mounts, ending) = (self.core.clone(), self.mounts.clone(), mount.clone());
        let ended = move || {
            mounts.remove(&ending);
            ending.end(&core);
        };
        match fuse::serve(mount.mounted.clone(), &place, ended) {
            Ok(thread) => {
                *mount.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
                if let Ok(device) = mount.ground.mounted() {
                    read_ahead(device);
                }
                tracing::info!(path = %mount.path.display(), label = mount.label, "mounted");
                Ok(info(&mount))
            }
            Err(refusal) => {
                self.mounts.remove(&mount);
                Err(refusal)
            }
        }
    }

    /// Unmounts what [`Live::mounts`] lists at a path; everything written through the mount is durable when this returns.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where nothing of this store is mounted there; [`Kind::Busy`] where files are open.
    pub fn unmount(&self, at: &Path) -> Result<(), Refusal> {
        let found = self.mounts.lock().get(at).cloned();
        let mount = found.ok_or_else(|| {
            Refusal::new(Kind::NotFound, format!("cannot unmount {}", at.display()))
                .why("nothing of this store is mounted there")
                .next("strand status lists the mounts")
        })?;
        match unmount(&mount.ground, &mount.path, false) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(self.busy(&mount));
            }
            // Somebody else was quicker.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => {
                return Err(Refusal::new(
                    Kind::Io,
                    format!("cannot unmount {}", mount.path.display()),
                )
                .why(error.to_string()));
            }
        }
        if !mount.wait(LAST_REQUESTS) {
            tracing::warn!(path = %mount.path.display(), "its last requests are not answered yet");
        }
        self.store().sync().map_err(|error| error.refusal())
    }

    fn busy(&self, mount: &Mount) -> Refusal {
        let open = mount.mounted.handles.all();
        let why = match open.first() {
            Some(handle) => {
                let path = mount
                    .mounted
                    .tree(handle.view)
                    .ok()
                    .and_then(|tree| tree.path_of(handle.ino));
                let more = match open.len() {
                    1 => String::new(),
                    n => format!(" (and {} more)", n - 1),
                };
                format!(
                    "{}[{}] has {} open{more}",
                    handle.opener.name,
                    handle.opener.pid,
                    path.map_or_else(
                        || format!("inode {}", handle.ino),
                        |p| String::from_utf8_lossy(&p).into_owned()
                    )
                )
            }
            None => "a process has its working directory there".to_owned(),
        };
        Refusal::new(
            Kind::Busy,
            format!("cannot unmount {}", mount.path.display()),
        )
        .why(why)
        .next("close it, then try again; fuser -vm DIR lists the processes")
    }

    /// The mounts, by path.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountInfo> {
        self.mounts.lock().values().map(|m| info(m)).collect()
    }

    /// Ends every mount, also one whose files are open.
    pub(super) fn unmount_all(&self) {
        let all = self.mounts.all();
        for mount in &all {
            let quietly = unmount(&mount.ground, &mount.path, false);
            if let Err(error) = &quietly {
                tracing::warn!(%error, path = %mount.path.display(), "unmounted although it is in use");
                if let Err(error) = unmount(&mount.ground, &mount.path, true) {
                    tracing::error!(%error, path = %mount.path.display(), "cannot unmount");
                }
            }
        }
        for mount in all {
            if mount.wait(LAST_REQUESTS)
                && let Some(thread) = mount
                    .thread
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take()
                && thread.join().is_err()
            {
                tracing::error!(path = %mount.path.display(), "a mount's thread had died");
            }
        }
    }
}

/// Lets the kernel read further ahead than it would by itself: one request then brings 1 MiB instead of 128 KiB. Only root may say so.
fn read_ahead((major, minor): Device) {
    let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = std::fs::write(knob, READ_AHEAD_KIB.to_string()) {
        tracing::debug!(%error, "the kernel reads ahead as far as it likes");
    }
}

fn info(mount: &Mount) -> MountInfo {
    let (writers, handles) = mount.mounted.handles.counts();
    MountInfo {
        label: mount.label.clone(),
        source: mount.source,
        path: mount.path.clone(),
        read_only: mount.read_only,
        writers,
        handles,
    }
}
