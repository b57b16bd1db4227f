//! What SQLite asks of the VFS itself: to open, remove and look for files by name; the rest goes to SQLite's own VFS.

use super::super::scratch::ScratchFile;
use super::super::volume::{OpenHow, absolute};
use super::files::{self, Handle, OpenFile};
use super::{Registration, guarded};
use rusqlite::ffi;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use strand_engine::Kind;

/// The longest path that SQLite may ask for, in bytes, with its NUL.
const MAX_PATH: c_int = 4096;

/// The table of calls that SQLite gets; it points to `registration`.
pub(super) fn vfs_of(registration: &'static Registration) -> ffi::sqlite3_vfs {
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

/// # Safety
/// `vfs` is one that [`vfs_of`] made.
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
/// SQLite's contract for `xOpen`: `file` has `szOsFile` bytes.
unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` has room for an `OpenFile`.
    unsafe { files::vacate(file) };
    // SAFETY: SQLite passes our VFS, and a terminated name or none.
    let (registration, path) =
        unsafe { (registration(vfs), (!name.is_null()).then(|| path(name))) };
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
            files::occupy(file, opened);
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(ffi::SQLITE_OK)
    })
}

/// # Safety
/// SQLite's contract for `xDelete`.
unsafe extern "C" fn x_delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: SQLite passes our VFS and a terminated name.
    let (registration, path) = unsafe { (registration(vfs), path(name)) };
    guarded(ffi::SQLITE_IOERR_DELETE, || {
        match registration
            .files()?
            .remove(&registration.actor, path, sync_dir != 0)
        {
            Ok(()) => Ok(ffi::SQLITE_OK),
            Err(refused) if refused.kind == Kind::NotFound => Ok(ffi::SQLITE_IOERR_DELETE_NOENT),
            Err(refused) => Err(refused),
        }
    })
}

/// # Safety
/// SQLite's contract for `xAccess`.
unsafe extern "C" fn x_access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
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
unsafe extern "C" fn x_randomness(
    vfs: *mut ffi::sqlite3_vfs,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's own VFS gets the arguments as they came.
    unsafe {
        let system = registration(vfs).system;
        (*system)
            .xRandomness
            .map_or(0, |call| call(system, size, out))
    }
}

/// # Safety
/// SQLite's contract for `xSleep`.
unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let system = registration(vfs).system;
        (*system)
            .xSleep
            .map_or(0, |call| call(system, microseconds))
    }
}

/// # Safety
/// SQLite's contract for `xCurrentTime`.
unsafe extern "C" fn x_current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let system = registration(vfs).system;
        (*system)
            .xCurrentTime
            .map_or(ffi::SQLITE_ERROR, |call| call(system, out))
    }
}

/// # Safety
/// SQLite's contract for `xGetLastError`.
unsafe extern "C" fn x_get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
