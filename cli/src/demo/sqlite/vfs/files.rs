//! What SQLite asks of an open file.
//!
//! What the calls promise SQLite (`xDeviceCharacteristics`), and why it is true of a volume:
//! - *sequential*: commits reach the journal in the order of the calls, and a crash keeps a prefix of them;
//! - *atomic 4 KiB*: a write of one block is one commit, all or none;
//! - *safe append*: a write past the end is one event, which carries bytes and size together;
//! - *power-safe overwrite*: nothing outside the written range is touched, ever.

use super::super::locks::Level;
use super::super::scratch::ScratchFile;
use super::super::volume::VolumeFile;
use super::guarded;
use rusqlite::ffi;
use std::ffi::{c_int, c_void};
use std::ptr;
use strand_engine::{BLOCK, Kind, Refusal};

/// What a write never tears below, in bytes.
const SECTOR_SIZE: c_int = BLOCK as c_int;

/// An open file, as SQLite allocates it: `szOsFile` bytes, of which the first are SQLite's.
#[repr(C)]
pub(super) struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// What is behind an open file.
pub(super) enum Handle {
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

/// Makes it a file that SQLite knows is not open.
///
/// # Safety
/// `file` has room for an [`OpenFile`].
pub(super) unsafe fn vacate(file: *mut ffi::sqlite3_file) {
    // SAFETY: by the contract of this function; without methods SQLite will not close it.
    unsafe { (*file).pMethods = ptr::null() };
}

/// Makes it an open file.
///
/// # Safety
/// `file` has room for an [`OpenFile`], and is vacant.
pub(super) unsafe fn occupy(file: *mut ffi::sqlite3_file, handle: Handle) {
    let open = file.cast::<OpenFile>();
    // SAFETY: by the contract of this function.
    unsafe {
        (*open).handle = Box::into_raw(Box::new(handle));
        (*open).base.pMethods = &raw const IO_METHODS;
    }
}

/// # Safety
/// `file` was opened by [`occupy`] and not closed since; SQLite lets one thread at a time use it.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `occupy` put a boxed handle there, and `x_close` alone takes it away.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// # Safety
/// SQLite's contract for `xClose`: the file was opened, and is not used again.
unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = file.cast::<OpenFile>();
    // SAFETY: `occupy` boxed it, and SQLite closes a file once.
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
unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: an open file, and `amount` bytes that are SQLite's to lend; they are initialised before they are borrowed.
    let (handle, buf) = unsafe {
        let amount = usize::try_from(amount).unwrap_or(0);
        ptr::write_bytes(out.cast::<u8>(), 0, amount);
        (
            handle(file),
            std::slice::from_raw_parts_mut(out.cast::<u8>(), amount),
        )
    };
    guarded(ffi::SQLITE_IOERR_READ, || {
        let offset = position(offset)?;
        let read = match handle {
            Handle::Volume(file) => file.read(offset, buf)?,
            Handle::Scratch(file) => file.read(offset, buf),
        };
        buf[read..].fill(0);
        Ok(if read < buf.len() {
            ffi::SQLITE_IOERR_SHORT_READ
        } else {
            ffi::SQLITE_OK
        })
    })
}

/// # Safety
/// SQLite's contract for `xWrite`: `data` has `amount` bytes.
unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: an open file, and `amount` bytes to read.
    let (handle, data) = unsafe {
        (
            handle(file),
            std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(amount).unwrap_or(0)),
        )
    };
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
        Handle::Volume(file) => Ok(if file.lock(level_of(level)) {
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_BUSY
        }),
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
unsafe extern "C" fn x_file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
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
