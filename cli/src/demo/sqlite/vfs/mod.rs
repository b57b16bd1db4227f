//! The C half of the VFS: SQLite's calls, turned into safe ones. All `unsafe` of the program is in this folder: registration here, what
//! SQLite asks about names in [`names`], what it asks of open files in [`files`].
//!
//! There is no shared memory (`xShmMap`): WAL works with `PRAGMA locking_mode=EXCLUSIVE`, rollback journals always.
//! A panic never crosses into C: it becomes an I/O error.
#![allow(unsafe_code)]

mod files;
mod names;

use super::volume::VolumeFiles;
use rusqlite::ffi;
use std::ffi::{CStr, CString, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use strand_engine::{Actor, Kind, Refusal, Store, VolumeId};

/// A volume registered with SQLite under a name. Open with [`rusqlite::Connection::open_with_flags_and_vfs`]; paths are the
/// volume's. Dropping it takes the name away, and connections that are still
/// open can do no more: drop those first.
///
/// Several registrations of one volume (each with its own actor) share their locks.
pub(crate) struct SqliteVfs {
    registration: &'static Registration,
    vfs: *mut ffi::sqlite3_vfs,
}

// SAFETY: the pointer is to a leaked `sqlite3_vfs`, which only SQLite changes, under its own mutex.
unsafe impl Send for SqliteVfs {}
// SAFETY: as above; no method reads through the pointer.
unsafe impl Sync for SqliteVfs {}

/// What `pAppData` points to. It is leaked (some 300 bytes a registration), because a connection keeps its pointer to the VFS for as long as it
/// lives, and nothing tells us when; the store itself is let go when the [`SqliteVfs`] is dropped.
struct Registration {
    name: CString,
    files: Mutex<Option<Arc<VolumeFiles>>>,
    actor: Arc<Actor>,
    /// SQLite's own VFS, for what has nothing to do with files: randomness, sleep, time.
    system: *mut ffi::sqlite3_vfs,
}

// SAFETY: `system` is SQLite's own VFS, which lives as long as the process and is safe to call from any thread.
unsafe impl Sync for Registration {}

impl SqliteVfs {
    /// Registers `volume` of `store` under `name`; every event it causes has `actor` as its author.
    ///
    /// # Errors
    /// [`Kind::InvalidName`] for a name with a NUL, [`Kind::Exists`] where the name is taken, [`Kind::Io`] where SQLite refuses.
    pub(crate) fn register(
        name: &str,
        store: Arc<Store>,
        volume: VolumeId,
        actor: Actor,
    ) -> Result<Self, Refusal> {
        static REGISTERING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);

        let refuse = |kind, why: &str| {
            Refusal::new(kind, format!("cannot register {name:?} with SQLite")).why(why)
        };
        let c_name = CString::new(name).map_err(|_| refuse(Kind::InvalidName, "it holds a NUL"))?;
        // SAFETY: a NUL-terminated name; SQLite initialises itself on this call.
        if !unsafe { ffi::sqlite3_vfs_find(c_name.as_ptr()) }.is_null() {
            return Err(refuse(Kind::Exists, "the name is taken"));
        }
        // SAFETY: a null name asks for the default VFS.
        let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        if system.is_null() {
            return Err(refuse(Kind::Io, "SQLite has no VFS of its own"));
        }
        let files = Mutex::new(Some(VolumeFiles::of(&store, volume)));
        let registration: &'static Registration = Box::leak(Box::new(Registration {
            name: c_name,
            files,
            actor: Arc::new(actor),
            system,
        }));
        let vfs: *mut ffi::sqlite3_vfs = Box::leak(Box::new(names::vfs_of(registration)));
        // SAFETY: the struct, its name and its application data are leaked, so they outlive every use by SQLite.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        if code != ffi::SQLITE_OK {
            return Err(refuse(Kind::Io, &format!("SQLite answered {code}")));
        }
        Ok(Self { registration, vfs })
    }

    /// The name to open connections with.
    pub(crate) fn name(&self) -> &CStr {
        &self.registration.name
    }
}

impl Drop for SqliteVfs {
    fn drop(&mut self) {
        // SAFETY: the pointer was registered by `register`, and is unregistered once.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs) };
        self.registration
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

impl Registration {
    fn files(&self) -> Result<Arc<VolumeFiles>, Refusal> {
        let files = self
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        files.ok_or_else(|| {
            Refusal::new(
                Kind::Stale,
                "the volume is no longer registered with SQLite",
            )
        })
    }
}

/// Runs a callback's body: a refusal becomes a code of SQLite's, and so does a panic.
fn guarded(otherwise: c_int, body: impl FnOnce() -> Result<c_int, Refusal>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => code,
        Ok(Err(refused)) => {
            tracing::debug!(%refused, kind = refused.kind.name(), "SQLite is refused");
            code_of(refused.kind, otherwise)
        }
        Err(_) => {
            tracing::error!("a panic inside a call of SQLite's");
            otherwise
        }
    }
}

/// The code for a kind; `otherwise` is the I/O error of the call.
fn code_of(kind: Kind, otherwise: c_int) -> c_int {
    match kind {
        Kind::NoSpace | Kind::TooLarge => ffi::SQLITE_FULL,
        Kind::Damaged => ffi::SQLITE_IOERR_DATA,
        Kind::ReadOnly => ffi::SQLITE_READONLY,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_refusal_are_codes_to_sqlite() {
        let panics = || -> Result<c_int, Refusal> { panic!("inside a call") };
        assert_eq!(
            guarded(ffi::SQLITE_IOERR_READ, panics),
            ffi::SQLITE_IOERR_READ
        );
        for (kind, code) in [
            (Kind::NoSpace, ffi::SQLITE_FULL),
            (Kind::Damaged, ffi::SQLITE_IOERR_DATA),
            (Kind::ReadOnly, ffi::SQLITE_READONLY),
            (Kind::Poisoned, ffi::SQLITE_IOERR_WRITE),
        ] {
            assert_eq!(
                guarded(ffi::SQLITE_IOERR_WRITE, || Err(Refusal::new(kind, "no"))),
                code
            );
        }
    }
}
