//! The C half of the VFS: SQLite's calls, turned into safe ones. All `unsafe` of the program that has to do with SQLite is here.
//!
//! What the calls promise SQLite (`xDeviceCharacteristics`), and why it is true of a volume:
//! - *sequential*: commits reach the journal in the order of the calls, and a crash keeps a prefix of them;
//! - *atomic 4 KiB*: a write of one block is one commit, all or none;
//! - *safe append*: a write past the end is one event, which carries bytes and size together;
//! - *power-safe overwrite*: nothing outside the written range is touched, ever.
//!
//! There is no shared memory (`xShmMap`): WAL works with `PRAGMA locking_mode=EXCLUSIVE`, rollback journals always.
//! A panic never crosses into C: it becomes an I/O error.
#![allow(unsafe_code)]

use super::locks::Level;
use super::scratch::ScratchFile;
use super::volume::{OpenHow, VolumeFile, VolumeFiles, absolute};
use rusqlite::ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use strand_engine::{Actor, BLOCK, Kind, Refusal, Store, VolumeId};

/// The longest path that SQLite may ask for, in bytes, with its NUL.
const MAX_PATH: c_int = 4096;
/// What a write never tears below.
const SECTOR_SIZE: c_int = BLOCK as c_int;

/// A volume registered with SQLite under a name. Open with [`rusqlite::Connection::open_with_flags_and_vfs`]; paths are the
/// volume's. Dropping it takes the name away: open files go on, new ones are refused.
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
    pub(crate) fn register(name: &str, store: Arc<Store>, volume: VolumeId, actor: Actor) -> Result<Self, Refusal> {
        static REGISTERING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);

        let refuse = |kind, why: &str| Refusal::new(kind, format!("cannot register {name:?} with SQLite")).why(why);
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
        let registration: &'static Registration =
            Box::leak(Box::new(Registration { name: c_name, files, actor: Arc::new(actor), system }));
        let vfs: *mut ffi::sqlite3_vfs = Box::leak(Box::new(vfs_of(registration)));
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
        self.registration.files.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Registration {
    fn files(&self) -> Result<Arc<VolumeFiles>, Refusal> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        files.ok_or_else(|| Refusal::new(Kind::Stale, "the volume is no longer registered with SQLite"))
    }
}

/// An open file, as SQLite allocates it: `szOsFile` bytes, of which the first are SQLite's.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// What is behind an open file.
enum Handle {
    Volume(VolumeFile),
    Scratch(ScratchFile),
}

static IO_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

fn vfs_of(registration: &'static Registration) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: size_of::<OpenFile>() as c_int,
        mxPathname: MAX_PATH,
        pNext: ptr::null_mut(),
        zName: registration.name.as_ptr(),
        pAppData: ptr::from_ref(registration).cast_mut().cast(),
        xOpen: Some(x_open),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        xDlOpen: Some(x_dl_open),
        xDlError: Some(x_dl_error),
        xDlSym: Some(x_dl_sym),
        xDlClose: Some(x_dl_close),
        xRandomness: Some(x_randomness),
        xSleep: Some(x_sleep),
        xCurrentTime: Some(x_current_time),
        xGetLastError: Some(x_get_last_error),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
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

/// # Safety
/// `vfs` is one that [`SqliteVfs::register`] made.
unsafe fn registration(vfs: *mut ffi::sqlite3_vfs) -> &'static Registration {
    // SAFETY: `pAppData` was set to a leaked `Registration`.
    unsafe { &*(*vfs).pAppData.cast::<Registration>() }
}

/// # Safety
/// `name` is NUL-terminated and not null.
unsafe fn path<'a>(name: *const c_char) -> &'a [u8] {
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(name) }.to_bytes()
}

/// # Safety
/// `file` was opened by [`x_open`] and not closed since; SQLite lets one thread at a time use it.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `x_open` put a boxed handle there, and `x_close` alone takes it away.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// # Safety
/// SQLite's contract for `xOpen`: `file` has `szOsFile` bytes.
unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let open = file.cast::<OpenFile>();
    // SAFETY: `file` has room for an `OpenFile`; without methods SQLite will not close it.
    unsafe { (*open).base.pMethods = ptr::null() };
    // SAFETY: SQLite passes our VFS, and a terminated name or none.
    let (registration, path) = unsafe { (registration(vfs), (!name.is_null()).then(|| path(name))) };
    guarded(ffi::SQLITE_CANTOPEN, || {
        let opened = match path {
            None => Handle::Scratch(ScratchFile::default()),
            Some(path) => {
                let how = OpenHow {
                    create: flags & ffi::SQLITE_OPEN_CREATE != 0,
                    exclusive: flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0,
                    delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
                };
                Handle::Volume(registration.files()?.open(&registration.actor, path, how)?)
            }
        };
        // SAFETY: as above; `out_flags` is null or SQLite's.
        unsafe {
            (*open).handle = Box::into_raw(Box::new(opened));
            (*open).base.pMethods = &raw const IO_METHODS;
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xDelete`.
unsafe extern "C" fn x_delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite passes our VFS and a terminated name.
    let (registration, path) = unsafe { (registration(vfs), path(name)) };
    guarded(ffi::SQLITE_IOERR_DELETE, || match registration.files()?.remove(&registration.actor, path, sync_dir != 0) {
        Ok(()) => Ok(ffi::SQLITE_OK),
        Err(refused) if refused.kind == Kind::NotFound => Ok(ffi::SQLITE_IOERR_DELETE_NOENT),
        Err(refused) => Err(refused),
    })
}

/// # Safety
/// SQLite's contract for `xAccess`.
unsafe extern "C" fn x_access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, found: *mut c_int) -> c_int {
    // SAFETY: SQLite passes our VFS and a terminated name.
    let (registration, path) = unsafe { (registration(vfs), path(name)) };
    guarded(ffi::SQLITE_IOERR_ACCESS, || {
        let exists = registration.files()?.exists(path)?;
        // SAFETY: SQLite passes room for the answer.
        unsafe { *found = c_int::from(exists) };
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xFullPathname`: `out` has `size` bytes.
unsafe extern "C" fn x_full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a terminated name.
    let path = unsafe { path(name) };
    guarded(ffi::SQLITE_CANTOPEN, || {
        let full = absolute(path);
        if full.len() >= usize::try_from(size).unwrap_or(0) {
            return Ok(ffi::SQLITE_CANTOPEN);
        }
        // SAFETY: `full` and its NUL fit into `size` bytes.
        unsafe {
            ptr::copy_nonoverlapping(full.as_ptr(), out.cast::<u8>(), full.len());
            *out.add(full.len()) = 0;
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xDlOpen`. No extensions are loaded through a volume.
unsafe extern "C" fn x_dl_open(_: *mut ffi::sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

/// # Safety
/// SQLite's contract for `xDlError`: `message` has `size` bytes.
unsafe extern "C" fn x_dl_error(_: *mut ffi::sqlite3_vfs, size: c_int, message: *mut c_char) {
    if size > 0 {
        // SAFETY: there is room for one byte: the empty message.
        unsafe { *message = 0 };
    }
}

/// # Safety
/// SQLite's contract for `xDlSym`.
unsafe extern "C" fn x_dl_sym(
    _: *mut ffi::sqlite3_vfs,
    _: *mut c_void,
    _: *const c_char,
) -> Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

/// # Safety
/// SQLite's contract for `xDlClose`.
unsafe extern "C" fn x_dl_close(_: *mut ffi::sqlite3_vfs, _: *mut c_void) {}

/// # Safety
/// SQLite's contract for `xRandomness`.
unsafe extern "C" fn x_randomness(vfs: *mut ffi::sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite's own VFS gets the arguments as they came.
    unsafe {
        let system = registration(vfs).system;
        (*system).xRandomness.map_or(0, |call| call(system, size, out))
    }
}

/// # Safety
/// SQLite's contract for `xSleep`.
unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let system = registration(vfs).system;
        (*system).xSleep.map_or(0, |call| call(system, microseconds))
    }
}

/// # Safety
/// SQLite's contract for `xCurrentTime`.
unsafe extern "C" fn x_current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let system = registration(vfs).system;
        (*system).xCurrentTime.map_or(ffi::SQLITE_ERROR, |call| call(system, out))
    }
}

/// # Safety
/// SQLite's contract for `xGetLastError`.
unsafe extern "C" fn x_get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// # Safety
/// SQLite's contract for `xClose`: the file was opened, and is not used again.
unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = file.cast::<OpenFile>();
    // SAFETY: `x_open` boxed it, and SQLite closes a file once.
    let handle = unsafe {
        (*open).base.pMethods = ptr::null();
        Box::from_raw((*open).handle)
    };
    guarded(ffi::SQLITE_IOERR_CLOSE, || {
        drop(handle);
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xRead`: `out` has `amount` bytes.
unsafe extern "C" fn x_read(file: *mut ffi::sqlite3_file, out: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: an open file, and `amount` bytes that are SQLite's to lend; they are initialised before they are borrowed.
    let (handle, buf) = unsafe {
        let amount = usize::try_from(amount).unwrap_or(0);
        ptr::write_bytes(out.cast::<u8>(), 0, amount);
        (handle(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), amount))
    };
    guarded(ffi::SQLITE_IOERR_READ, || {
        let offset = position(offset)?;
        let read = match handle {
            Handle::Volume(file) => file.read(offset, buf)?,
            Handle::Scratch(file) => file.read(offset, buf),
        };
        buf[read..].fill(0);
        Ok(if read < buf.len() { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK })
    })
}

/// # Safety
/// SQLite's contract for `xWrite`: `data` has `amount` bytes.
unsafe extern "C" fn x_write(file: *mut ffi::sqlite3_file, data: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: an open file, and `amount` bytes to read.
    let (handle, data) =
        unsafe { (handle(file), std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(amount).unwrap_or(0))) };
    guarded(ffi::SQLITE_IOERR_WRITE, || {
        let offset = position(offset)?;
        match handle {
            Handle::Volume(file) => file.write(offset, data)?,
            Handle::Scratch(file) => file.write(offset, data)?,
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xTruncate`.
unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_TRUNCATE, || {
        let size = position(size)?;
        match handle {
            Handle::Volume(file) => file.truncate(size)?,
            Handle::Scratch(file) => file.truncate(size),
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xSync`. Every kind of sync is a full one.
unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_FSYNC, || {
        if let Handle::Volume(file) = handle {
            file.sync()?;
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xFileSize`.
unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_FSTAT, || {
        let size = match handle {
            Handle::Volume(file) => file.size()?,
            Handle::Scratch(file) => file.size(),
        };
        // SAFETY: SQLite passes room for the answer.
        unsafe { *out = i64::try_from(size).unwrap_or(i64::MAX) };
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xLock`.
unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_LOCK, || match handle {
        Handle::Volume(file) => Ok(if file.lock(level_of(level)) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }),
        Handle::Scratch(_) => Ok(ffi::SQLITE_OK),
    })
}

/// # Safety
/// SQLite's contract for `xUnlock`.
unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_UNLOCK, || {
        if let Handle::Volume(file) = handle {
            file.unlock(level_of(level));
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xCheckReservedLock`.
unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, || {
        let reserved = matches!(handle, Handle::Volume(file) if file.reserved());
        // SAFETY: SQLite passes room for the answer.
        unsafe { *out = c_int::from(reserved) };
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xFileControl`: `argument` points to what `operation` says.
unsafe extern "C" fn x_file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    guarded(ffi::SQLITE_IOERR, || {
        let answer = match (operation, handle) {
            (ffi::SQLITE_FCNTL_LOCKSTATE, Handle::Volume(file)) => file.level() as c_int,
            (ffi::SQLITE_FCNTL_HAS_MOVED, Handle::Volume(file)) => c_int::from(file.has_moved()),
            _ => return Ok(ffi::SQLITE_NOTFOUND),
        };
        // SAFETY: both operations take a pointer to an int.
        unsafe { *argument.cast::<c_int>() = answer };
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xSectorSize`.
unsafe extern "C" fn x_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

/// # Safety
/// SQLite's contract for `xDeviceCharacteristics`.
unsafe extern "C" fn x_device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_SEQUENTIAL
        | ffi::SQLITE_IOCAP_ATOMIC4K
        | ffi::SQLITE_IOCAP_SAFE_APPEND
        | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// SQLite's numbers for the levels are those of [`Level`].
fn level_of(level: c_int) -> Level {
    match level {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

fn position(offset: i64) -> Result<u64, Refusal> {
    u64::try_from(offset).map_err(|_| Refusal::new(Kind::Invalid, "a negative offset"))
}
