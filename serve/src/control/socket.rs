//! The socket's place: `control` in the store's directory. While it is there, others may pass through that directory to reach it,
//! and find everything else in it closed.

use rustix::fs::{Mode, OFlags};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket's name in the store's directory.
pub const CONTROL: &str = "control";
/// The longest path that a socket's address holds.
const LONGEST: usize = 107;
/// A store's directory, at rest.
const CLOSED: u32 = 0o700;
/// A store's directory while it is served: others may pass, and list nothing.
const PASSED: u32 = 0o711;
/// The socket: who may do what is the daemon's decision.
const OPEN: u32 = 0o666;

/// What an earlier daemon left that did not end in good order.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Stale {
    /// Its socket.
    Socket,
    /// Nothing.
    Nothing,
}

/// A path short enough for an address, and what keeps it valid.
struct Address {
    path: PathBuf,
    _dir: Option<OwnedFd>,
}

fn address(store: &Path) -> io::Result<Address> {
    let path = store.join(CONTROL);
    if path.as_os_str().as_bytes().len() <= LONGEST {
        return Ok(Address { path, _dir: None });
    }
    let dir = rustix::fs::open(
        store,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let path = format!("/proc/self/fd/{}/{CONTROL}", dir.as_raw_fd());
    Ok(Address {
        path: path.into(),
        _dir: Some(dir),
    })
}

/// A connection to the daemon that serves a store; `None` where none does.
pub(crate) fn connect(store: &Path) -> io::Result<Option<UnixStream>> {
    let address = match address(store) {
        Err(error) if nobody(&error) => return Ok(None),
        other => other?,
    };
    match UnixStream::connect(&address.path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if nobody(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// No socket, one that nobody listens to, or a directory that says itself who may not enter.
fn nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotADirectory
            | ErrorKind::PermissionDenied
    )
}

/// A listening socket in a store's directory; it goes, and the directory is closed again, when this is dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: UnixListener,
    store: PathBuf,
    mode: u32,
    pub(crate) stale: Stale,
}

impl Bound {
    /// Takes the place. The caller holds the store's lock, so a socket that is there already is a dead daemon's.
    pub(crate) fn new(store: &Path) -> io::Result<Bound> {
        let mode = fs::metadata(store)?.permissions().mode() & 0o7777;
        let address = address(store)?;
        let stale = remove_stale(&address.path)?;
        close_inside(store)?;
        // Made with its mode, not given it afterwards: by then another file could stand there.
        let mask = rustix::process::umask(Mode::from_raw_mode(!OPEN & 0o777));
        let listener = UnixListener::bind(&address.path);
        rustix::process::umask(mask);
        let listener = listener?;
        fs::set_permissions(store, Permissions::from_mode(mode | PASSED))?;
        let mode = match stale {
            // It was never given back what it had.
            Stale::Socket if mode == PASSED => CLOSED,
            _ => mode,
        };
        Ok(Bound {
            listener,
            store: store.to_owned(),
            mode,
            stale,
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let closed = fs::set_permissions(&self.store, Permissions::from_mode(self.mode));
        let gone = fs::remove_file(self.store.join(CONTROL));
        if let Err(error) = closed.and(gone) {
            tracing::warn!(%error, "the control socket stays behind");
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<Stale> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path)?;
            Ok(Stale::Socket)
        }
        Ok(_) => Err(io::Error::new(
            ErrorKind::AlreadyExists,
            format!("{CONTROL} in the store's directory is no socket"),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Stale::Nothing),
        Err(error) => Err(error),
    }
}

/// Everything in the store's directory is its owner's alone.
fn close_inside(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if !kind.is_dir() && !kind.is_file() {
            continue;
        }
        let mode = entry.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(mode & 0o700))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    #[test]
    fn the_directory_is_passed_while_served_and_closed_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("s");
        fs::create_dir(&store).expect("made");
        fs::set_permissions(&store, Permissions::from_mode(0o700)).expect("set");
        fs::write(store.join("STORE"), b"x").expect("written");
        let bound = Bound::new(&store).expect("bound");
        assert_eq!((mode(&store), mode(&store.join("STORE"))), (0o711, 0o600));
        assert!(connect(&store).expect("asked").is_some());
        assert_eq!(bound.stale, Stale::Nothing);
        drop(bound);
        assert_eq!(mode(&store), 0o700);
        assert!(connect(&store).expect("asked").is_none());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_what_is_none_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("set");
        let path = dir.path().join(CONTROL);
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(connect(dir.path()).expect("asked").is_none());
        let bound = Bound::new(dir.path()).expect("bound");
        assert_eq!(bound.stale, Stale::Socket);
        drop(bound);
        assert_eq!(mode(dir.path()), 0o700);
        fs::write(&path, b"mine").expect("written");
        assert!(Bound::new(dir.path()).is_err());
        assert_eq!(fs::read(&path).expect("kept"), b"mine");
    }

    #[test]
    fn a_long_path_has_a_socket_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("d".repeat(150));
        fs::create_dir(&store).expect("made");
        let bound = Bound::new(&store).expect("bound");
        assert!(connect(&store).expect("asked").is_some());
        drop(bound);
    }
}
