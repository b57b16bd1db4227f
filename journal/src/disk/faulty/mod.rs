//! A disk in memory that fails as disks do. Deterministic: one seed, one outcome.
//!
//! What it may do:
//! - **At a crash** ([`FaultyDisk::crash`]) any unsynced write may be lost, kept, or torn at 512-byte sectors, and they may
//!   reach the medium in any order. Of the unsynced changes to a directory a prefix survives, each directory for itself. A
//!   file whose name was not synced is gone, whatever was synced into it; a new length not synced may be the old one.
//! - **On demand** the Nth call fails ([`FaultyDisk::fail_call`], [`FaultyDisk::fail_nth`]), the power fails during the
//!   Nth call ([`FaultyDisk::crash_at`]), a write goes to the wrong place ([`FaultyDisk::misdirect_nth_write`]), bits rot
//!   ([`FaultyDisk::flip`]), space runs out ([`FaultyDisk::limit_space`]).
//! - **A failed write** leaves any number of its sectors behind.
//! - **A failed flush** leaves the cache lying: what was to be flushed can still be read and counts as clean, though part of
//!   it never reached the medium; a later flush succeeds and does not bring it there.
//!
//! What it may not do: lose what a flush made durable, report a flush that did not happen, lose single sectors of what a
//! flush reported, or invent bytes that nobody wrote.

mod image;
mod namespace;
mod seed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use image::Image;
use namespace::Namespace;
use seed::Seed;

use super::memory::{Locks, copy_from};
use super::{Disk, DiskFile, Lock, LockError};

/// The kinds of calls that can be made to fail.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[non_exhaustive]
pub enum CallKind {
    /// Reading; never counted by [`FaultyDisk::calls`].
    Read,
    /// Writing into a file.
    Write,
    /// Flushing a file.
    Sync,
    /// Flushing a directory.
    SyncDir,
    /// Making a file.
    Create,
    /// Removing a file.
    Remove,
    /// Renaming a file.
    Rename,
    /// Making a directory.
    CreateDir,
    /// Making a file longer.
    Extend,
    /// Punching a hole.
    Punch,
}

/// The disk. Clones show the same files.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    world: Arc<Mutex<World>>,
    locks: Locks,
}

#[derive(Debug)]
struct World {
    files: Vec<Image>,
    names: Namespace,
    seed: Seed,
    plan: Plan,
    calls: u64,
    by_kind: BTreeMap<CallKind, u64>,
    log: Vec<CallKind>,
    space: Option<u64>,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
struct Plan {
    fail_calls: Vec<u64>,
    fail_kinds: Vec<(CallKind, u64)>,
    crash_at: Option<u64>,
    misdirect: Option<(u64, u64)>,
}

/// What is to become of a call.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Fate {
    Done,
    Failed,
    /// The power goes during the call: it may be done in part, and nobody hears of it.
    Cut,
}

impl Fate {
    fn error(self) -> io::Error {
        match self {
            Fate::Cut => io::Error::other("the power is gone"),
            _ => io::Error::other("the disk failed"),
        }
    }
}

impl FaultyDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> FaultyDisk {
        FaultyDisk::with(World {
            files: Vec::new(),
            names: Namespace::default(),
            seed: Seed::new(seed),
            plan: Plan::default(),
            calls: 0,
            by_kind: BTreeMap::new(),
            log: Vec::new(),
            space: None,
            dead: false,
        })
    }

    fn with(world: World) -> FaultyDisk {
        FaultyDisk {
            world: Arc::new(Mutex::new(world)),
            locks: Locks::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls so far that change something or flush: the crash points of a scenario are 1 to this.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// The kinds of those calls, in order.
    pub fn log(&self) -> Vec<CallKind> {
        self.world().log.clone()
    }

    /// The `n`th call (from 1, as [`FaultyDisk::calls`] counts) fails.
    pub fn fail_call(&self, n: u64) {
        self.world().plan.fail_calls.push(n);
    }

    /// The `n`th call of a kind (from 1) fails.
    pub fn fail_nth(&self, kind: CallKind, n: u64) {
        self.world().plan.fail_kinds.push((kind, n));
    }

    /// The power goes during the `n`th call (from 1); it and all later calls fail. See [`FaultyDisk::crash`].
    pub fn crash_at(&self, n: u64) {
        self.world().plan.crash_at = Some(n);
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// The `n`th write (from 1) lands at `offset` of its file instead.
    pub fn misdirect_nth_write(&self, n: u64, offset: u64) {
        self.world().plan.misdirect = Some((n, offset));
    }

    /// No more than `bytes` can be allocated, all files together.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.world().space = bytes;
    }

    /// Flips the bits of `mask` in a byte, in the cache and on the medium. False if there is no such byte.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) -> bool {
        let mut world = self.world();
        match world.names.file(path) {
            Some(id) => world.files[id].flip(offset, mask),
            None => false,
        }
    }

    /// The bytes of a file as a program would read them.
    pub fn file_bytes(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(world.files[world.names.file(path)?].seen.clone())
    }

    /// Replaces the bytes of a file, durably and uncounted: for tests that cut and forge. Makes it where it is missing.
    pub fn set_file_bytes(&self, path: &str, bytes: &[u8]) {
        let mut world = self.world();
        let image = Image::durable(bytes.to_vec());
        match world.names.file(path) {
            Some(id) => world.files[id] = image,
            None => {
                let id = world.files.len();
                world.files.push(image);
                world.names.link_durably(path, id);
            }
        }
    }

    /// All files, by path.
    pub fn paths(&self) -> Vec<String> {
        self.world().names.paths()
    }

    /// The disk as it is found after a power loss, with no plans and no locks. What became of the unsynced is the seed's
    /// choice; the disk itself stays as it is, so that one moment can be lost in many ways.
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        let world = self.world();
        let mut seed = Seed::new(seed);
        let names = world.names.crash(&mut seed);
        let mut files = world.files.clone();
        for image in &mut files {
            image.crash(&mut seed);
        }
        FaultyDisk::with(World {
            files,
            names,
            seed,
            plan: Plan::default(),
            calls: 0,
            by_kind: BTreeMap::new(),
            log: Vec::new(),
            space: world.space,
            dead: false,
        })
    }
}

impl World {
    /// Counts a call and says what becomes of it. A dead disk answers nothing.
    fn call(&mut self, kind: CallKind) -> io::Result<Fate> {
        if self.dead {
            return Err(Fate::Cut.error());
        }
        let nth = self.by_kind.entry(kind).or_default();
        *nth += 1;
        let nth = *nth;
        if kind != CallKind::Read {
            self.calls += 1;
            self.log.push(kind);
            if self.plan.crash_at == Some(self.calls) {
                self.dead = true;
                return Ok(Fate::Cut);
            }
            if self.plan.fail_calls.contains(&self.calls) {
                return Ok(Fate::Failed);
            }
        }
        let failed = self.plan.fail_kinds.contains(&(kind, nth));
        Ok(if failed { Fate::Failed } else { Fate::Done })
    }

    /// For calls that a failure leaves undone, and a power cut may leave done.
    fn simple(
        &mut self,
        kind: CallKind,
        apply: impl FnOnce(&mut World) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.call(kind)? {
            Fate::Done => apply(self),
            Fate::Failed => Err(Fate::Failed.error()),
            Fate::Cut => {
                // Unsynced anyway: whether it survives is decided by the crash.
                let _ = apply(self);
                Err(Fate::Cut.error())
            }
        }
    }

    fn free(&self) -> u64 {
        let used = |path: &String| {
            self.names
                .file(path)
                .map_or(0, |id| self.files[id].seen.len() as u64)
        };
        let used: u64 = self.names.paths().iter().map(used).sum();
        self.space.unwrap_or(1 << 60).saturating_sub(used)
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        self.names
            .file(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl FaultyDisk {
    fn handle(&self, id: usize) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile {
            disk: self.clone(),
            id,
        })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let size = usize::try_from(len).map_err(io::Error::other)?;
        let mut id = 0;
        self.world().simple(CallKind::Create, |world| {
            if world.names.file(path).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if len > world.free() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            id = world.files.len();
            world.files.push(Image::new(size));
            world.names.link(path, id)
        })?;
        Ok(self.handle(id))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        if world.dead {
            return Err(Fate::Cut.error());
        }
        let id = world.find(path)?;
        drop(world);
        Ok(self.handle(id))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        if world.dead {
            return Err(Fate::Cut.error());
        }
        world
            .names
            .list(dir)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.world()
            .simple(CallKind::Remove, |world| world.names.unlink(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world()
            .simple(CallKind::Rename, |world| world.names.rename(from, to))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.world().simple(CallKind::CreateDir, |world| {
            world.names.make_dir(path);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        match world.call(CallKind::SyncDir)? {
            Fate::Done => {
                world.names.sync(path);
                Ok(())
            }
            fate => Err(fate.error()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.world().free())
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.locks.take(true, timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.locks.take(false, timeout)
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    id: usize,
}

impl FaultyFile {
    fn read(&self, what: impl FnOnce(&Image) -> usize) -> io::Result<usize> {
        let mut world = self.disk.world();
        match world.call(CallKind::Read)? {
            Fate::Done => Ok(what(&world.files[self.id])),
            fate => Err(fate.error()),
        }
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.world().files[self.id].seen.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|image| copy_from(&image.seen, buf, offset))
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|image| copy_from(&image.medium(), buf, offset))
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut world = self.disk.world();
        let fate = world.call(CallKind::Write)?;
        let nth = world.by_kind.get(&CallKind::Write).copied().unwrap_or(0);
        let offset = match world.plan.misdirect {
            Some((n, elsewhere)) if n == nth => elsewhere,
            _ => offset,
        };
        if fate == Fate::Failed {
            let kept = world.seed.below(bytes.len() as u64 / 512 + 1) * 512;
            bytes.truncate(usize::try_from(kept).unwrap_or(0));
        }
        let end = offset.saturating_add(bytes.len() as u64);
        let grows = end.saturating_sub(world.files[self.id].seen.len() as u64);
        if grows > world.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        world.files[self.id].write(offset, bytes);
        if fate == Fate::Done {
            Ok(())
        } else {
            Err(fate.error())
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        let fate = world.call(CallKind::Sync)?;
        let World { files, seed, .. } = &mut *world;
        match fate {
            Fate::Done => files[self.id].sync(),
            Fate::Failed => files[self.id].fail_sync(seed),
            Fate::Cut => {}
        }
        if fate == Fate::Done {
            Ok(())
        } else {
            Err(fate.error())
        }
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        let size = usize::try_from(len).map_err(io::Error::other)?;
        self.disk.world().simple(CallKind::Extend, |world| {
            let grows = len.saturating_sub(world.files[self.id].seen.len() as u64);
            if grows > world.free() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            world.files[self.id].extend(size);
            Ok(())
        })
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.world().simple(CallKind::Punch, |world| {
            let image = &mut world.files[self.id];
            let end = usize::try_from(offset.saturating_add(len))
                .unwrap_or(usize::MAX)
                .min(image.seen.len());
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
            image.write(start, vec![0; end - start]);
            Ok(())
        })
    }
}
