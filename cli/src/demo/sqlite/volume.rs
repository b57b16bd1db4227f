//! The safe half of the VFS: the files of one volume as SQLite wants them, by path and by open handle.

use super::locks::{FileLocks, Holder, Level};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use strand_engine::{
    Actor, Command, Error, Fileset, Ino, Kind, NewBody, Refusal, Store, Volume, VolumeId,
};

/// Permission bits of the files that SQLite creates.
const NEW_FILE_MODE: u32 = 0o644;

/// The volumes that have a VFS now: connections through different registrations must meet in one table of locks.
static IN_USE: Mutex<Vec<Weak<VolumeFiles>>> = Mutex::new(Vec::new());

/// The files of one volume, with the locks that connections hold on them.
pub(crate) struct VolumeFiles {
    store: Arc<Store>,
    volume: VolumeId,
    locks: Mutex<BTreeMap<Ino, FileLocks>>,
    next_holder: AtomicU64,
}

/// How a file is to be opened.
#[derive(Copy, Clone, Debug)]
pub(crate) struct OpenHow {
    /// Create it where it is missing.
    pub(crate) create: bool,
    /// Refuse where it is there.
    pub(crate) exclusive: bool,
    /// Remove its name when it is closed.
    pub(crate) delete_on_close: bool,
}

/// One open file of a volume. Its locks and its hold on the inode go when it is dropped.
pub(crate) struct VolumeFile {
    files: Arc<VolumeFiles>,
    actor: Arc<Actor>,
    path: Vec<u8>,
    ino: Ino,
    /// The volume's generation at opening: after a rollback the handle is stale, and so is whatever SQLite has cached.
    generation: u64,
    holder: Holder,
    delete_on_close: bool,
}

impl VolumeFiles {
    /// The one table of files for this volume of this store.
    pub(crate) fn of(store: &Arc<Store>, volume: VolumeId) -> Arc<Self> {
        let mut in_use = unpoisoned(&IN_USE);
        in_use.retain(|files| files.strong_count() > 0);
        let known = in_use
            .iter()
            .filter_map(Weak::upgrade)
            .find(|f| f.volume == volume && Arc::ptr_eq(&f.store, store));
        known.unwrap_or_else(|| {
            let files = Arc::new(Self {
                store: Arc::clone(store),
                volume,
                locks: Mutex::default(),
                next_holder: AtomicU64::new(1),
            });
            in_use.push(Arc::downgrade(&files));
            files
        })
    }

    /// Says whether something has this path. An empty file counts as missing, as SQLite's own VFS has it: it may be the leftover of a crash.
    pub(crate) fn exists(&self, path: &[u8]) -> Result<bool, Refusal> {
        let volume = self.now()?;
        let inode = volume
            .live
            .lookup(path)
            .and_then(|ino| volume.live.inode(ino));
        Ok(inode.is_some_and(|inode| inode.file().is_none_or(|file| file.size > 0)))
    }

    /// Removes the name; with `durable`, the removal is durable on return.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where it is missing, and what the engine refuses.
    pub(crate) fn remove(&self, actor: &Actor, path: &[u8], durable: bool) -> Result<(), Refusal> {
        let volume = self.now()?;
        let (dir, name) = parent(&volume.live, path)?;
        if volume.live.child(dir, name).is_none() {
            return Err(missing(path));
        }
        let command = Command::Unlink {
            volume: self.volume,
            dir,
            name: name.into(),
            dir_wanted: false,
        };
        self.store.submit(actor, command).map_err(refusal)?;
        if durable {
            self.store.sync().map_err(refusal)
        } else {
            Ok(())
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Exists`], [`Kind::IsADirectory`], and what the engine refuses.
    pub(crate) fn open(
        self: &Arc<Self>,
        actor: &Arc<Actor>,
        path: &[u8],
        how: OpenHow,
    ) -> Result<VolumeFile, Refusal> {
        let mut volume = self.now()?;
        if how.create && volume.live.lookup(path).is_none() {
            self.create(actor, &volume, path, how.exclusive)?;
            volume = self.now()?;
        } else if how.create && how.exclusive {
            return Err(exists(path));
        }
        let ino = volume.live.lookup(path).ok_or_else(|| missing(path))?;
        if volume
            .live
            .inode(ino)
            .is_none_or(|inode| inode.file().is_none())
        {
            return Err(
                Refusal::new(Kind::IsADirectory, format!("cannot open {}", shown(path)))
                    .why("it is not a regular file"),
            );
        }
        self.store.open_handle(self.volume, ino);
        let file = VolumeFile {
            files: Arc::clone(self),
            actor: Arc::clone(actor),
            path: path.to_vec(),
            ino,
            generation: volume.generation,
            holder: Holder(self.next_holder.fetch_add(1, Ordering::Relaxed)),
            delete_on_close: how.delete_on_close,
        };
        // From here on the handle keeps the inode; had its last name gone just before, there would be nothing to keep.
        file.size()?;
        Ok(file)
    }

    fn create(
        &self,
        actor: &Actor,
        volume: &Volume,
        path: &[u8],
        exclusive: bool,
    ) -> Result<(), Refusal> {
        let (dir, name) = parent(&volume.live, path)?;
        let (uid, gid) = volume
            .live
            .inode(dir)
            .map_or((0, 0), |inode| (inode.uid, inode.gid));
        let command = Command::Create {
            volume: self.volume,
            dir,
            name: name.into(),
            body: NewBody::File,
            mode: NEW_FILE_MODE,
            uid,
            gid,
        };
        match self.store.submit(actor, command) {
            Ok(_) => Ok(()),
            // Another connection was faster: its file is as good as ours.
            Err(error) if error.kind() == Kind::Exists && !exclusive => Ok(()),
            Err(error) => Err(refusal(error)),
        }
    }

    fn now(&self) -> Result<Arc<Volume>, Refusal> {
        self.store
            .state()
            .volume(self.volume)
            .cloned()
            .ok_or_else(|| stale("the volume is gone"))
    }
}

impl VolumeFile {
    /// Reads at `offset`; returns the number of bytes read, short at the end of the file.
    ///
    /// # Errors
    /// [`Kind::Damaged`] where the stored bytes do not match their checksum, [`Kind::Stale`] after a rollback.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Refusal> {
        let volume = self.volume()?;
        self.files
            .store
            .read(&volume.live, self.ino, offset, buf)
            .map_err(refusal)
    }

    /// Writes at `offset`; a write of one block is one commit, all or none. Durable after [`Self::sync`].
    ///
    /// # Errors
    /// [`Kind::NoSpace`], [`Kind::Stale`] after a rollback, and what else the engine refuses.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        self.volume()?;
        self.files
            .store
            .write(&self.actor, self.files.volume, self.ino, offset, data)
            .map(drop)
            .map_err(refusal)
    }

    /// Sets the size.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn truncate(&self, size: u64) -> Result<(), Refusal> {
        self.volume()?;
        self.files
            .store
            .truncate(&self.actor, self.files.volume, self.ino, size)
            .map(drop)
            .map_err(refusal)
    }

    /// Makes everything written to the store so far durable.
    ///
    /// # Errors
    /// [`Kind::Poisoned`] where a flush failed.
    pub(crate) fn sync(&self) -> Result<(), Refusal> {
        self.files.store.sync().map_err(refusal)
    }

    /// The size in bytes.
    ///
    /// # Errors
    /// [`Kind::Stale`] after a rollback.
    pub(crate) fn size(&self) -> Result<u64, Refusal> {
        let volume = self.volume()?;
        volume
            .live
            .inode(self.ino)
            .map(|inode| inode.size())
            .ok_or_else(|| stale("the file is gone"))
    }

    /// Raises the lock, or says no.
    pub(crate) fn lock(&self, wanted: Level) -> bool {
        unpoisoned(&self.files.locks)
            .entry(self.ino)
            .or_default()
            .acquire(self.holder, wanted)
    }

    /// Lowers the lock.
    pub(crate) fn unlock(&self, level: Level) {
        let mut locks = unpoisoned(&self.files.locks);
        if let Some(file) = locks.get_mut(&self.ino) {
            file.release(self.holder, level);
            if file.is_free() {
                locks.remove(&self.ino);
            }
        }
    }

    /// What this handle holds.
    pub(crate) fn level(&self) -> Level {
        unpoisoned(&self.files.locks)
            .get(&self.ino)
            .map_or(Level::None, |file| file.level(self.holder))
    }

    /// Says whether any connection is reserved or further.
    pub(crate) fn reserved(&self) -> bool {
        unpoisoned(&self.files.locks)
            .get(&self.ino)
            .is_some_and(FileLocks::reserved)
    }

    /// Says whether the path names another file by now, or none.
    pub(crate) fn has_moved(&self) -> bool {
        self.volume().map_or(true, |volume| {
            volume.live.lookup(&self.path) != Some(self.ino)
        })
    }

    fn volume(&self) -> Result<Arc<Volume>, Refusal> {
        let volume = self.files.now()?;
        if volume.generation == self.generation {
            Ok(volume)
        } else {
            Err(
                stale("the volume was rolled back since the file was opened")
                    .next("open the database again"),
            )
        }
    }
}

impl Drop for VolumeFile {
    fn drop(&mut self) {
        self.unlock(Level::None);
        // After a rollback the name may be another file's.
        if self.delete_on_close
            && !self.has_moved()
            && let Err(refused) = self.files.remove(&self.actor, &self.path, false)
        {
            tracing::debug!(%refused, "a temporary file stays");
        }
        if let Err(error) = self
            .files
            .store
            .close_handle(&self.actor, self.files.volume, self.ino)
        {
            tracing::warn!(%error, "an unlinked file stays until the store is opened again");
        }
    }
}

/// The absolute path, without `.`, `..` or empty components.
pub(crate) fn absolute(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
        .iter()
        .flat_map(|part| [&b"/"[..], part].concat())
        .collect()
}

fn parent<'a>(tree: &Fileset, path: &'a [u8]) -> Result<(Ino, &'a [u8]), Refusal> {
    let at = path
        .iter()
        .rposition(|b| *b == b'/')
        .map_or(0, |slash| slash + 1);
    let dir = tree
        .lookup(&path[..at])
        .ok_or_else(|| missing(&path[..at]))?;
    Ok((dir, &path[at..]))
}

fn refusal(error: Error) -> Refusal {
    error.refusal()
}

fn missing(path: &[u8]) -> Refusal {
    Refusal::new(Kind::NotFound, format!("there is no {}", shown(path)))
}

fn exists(path: &[u8]) -> Refusal {
    Refusal::new(Kind::Exists, format!("cannot create {}", shown(path))).why("it exists")
}

fn stale(why: &str) -> Refusal {
    Refusal::new(Kind::Stale, "the open file is stale").why(why)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Locks a table that stays whole whatever panics: every change to it is one insertion or removal.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn paths_become_absolute_and_plain() {
        for (path, plain) in [
            ("bank.db", "/bank.db"),
            ("/a/./b//../c", "/a/c"),
            ("../../x", "/x"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(absolute(path.as_bytes()), plain.as_bytes(), "{path}");
        }
    }
}
