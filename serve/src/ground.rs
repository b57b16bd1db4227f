//! Where a mount stands, found again without its path: whoever owns a directory on the way could have led that elsewhere meanwhile, and
//! the daemon may be root.

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The ground of a mount. It keeps no descriptor of the mount itself, which would be busy then.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The directory that holds the mount point; nobody can rename that while something is mounted there.
    parent: OwnedFd,
    name: OsString,
    /// The mount's device, once it is there.
    device: OnceLock<Device>,
}

/// Major and minor number.
pub(crate) type Device = (u32, u32);

impl Ground {
    /// Of an opened mount point and its path.
    pub(crate) fn of(at: &File, path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            parent: rustix::fs::openat(at, "..", flags, Mode::empty())?,
            name: path.file_name().ok_or(Errno::INVAL)?.to_owned(),
            device: OnceLock::new(),
        })
    }

    /// The mount is there: remembers its device.
    pub(crate) fn mounted(&self) -> Result<Device> {
        let found = device(&self.parent, &self.name)?;
        Ok(*self.device.get_or_init(|| found))
    }

    /// The mount's root, without asking whoever serves it; [`Errno::STALE`] where something else is mounted there.
    fn root(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())?;
        match self.device.get() {
            Some(ours) if device(&root, OsStr::new(""))? == *ours => Ok(root),
            _ => Err(Errno::STALE),
        }
    }

    /// Opens a path below the mount, through no link and into no other mount; the root where it is empty.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let path = if path.is_empty() { b"." } else { path };
        rustix::fs::openat2(
            self.root()?,
            OsStr::from_bytes(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            inside,
        )
    }

    /// A path of the mount point for the system's own calls in this process: links on the way to it do not count.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd())).join(&self.name)
    }

    /// Says whether what is mounted there now is what was.
    pub(crate) fn is_ours(&self) -> bool {
        self.root().is_ok()
    }
}

/// The device of what is there. Nobody is asked: also where whoever serves a mount hangs.
fn device(at: &OwnedFd, name: &OsStr) -> Result<Device> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(at, name, flags, StatxFlags::TYPE)?;
    Ok((found.stx_dev_major, found.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_led_elsewhere_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let (way, elsewhere) = (scratch.path().join("way"), scratch.path().join("elsewhere"));
        for dir in [&way, &elsewhere] {
            std::fs::create_dir_all(dir.join("mnt")).unwrap();
        }
        std::fs::write(way.join("mnt/here"), b"").unwrap();
        let path = way.join("mnt");
        let ground = Ground::of(&File::open(&path).unwrap(), &path).unwrap();
        ground.mounted().unwrap();
        std::fs::rename(&way, scratch.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &way).unwrap();
        assert!(ground.path().join("here").exists());
        ground.open(b"here", OFlags::RDONLY).unwrap();
        assert!(ground.is_ours());
    }

    #[test]
    fn no_link_leads_out() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mnt");
        std::fs::create_dir_all(path.join("dir")).unwrap();
        std::os::unix::fs::symlink("/", path.join("root")).unwrap();
        let ground = Ground::of(&File::open(&path).unwrap(), &path).unwrap();
        ground.mounted().unwrap();
        ground.open(b"dir", OFlags::RDONLY).unwrap();
        ground.open(b"", OFlags::RDONLY).unwrap();
        for out in [&b"root"[..], b"root/etc", b"../mnt", b"/"] {
            ground.open(out, OFlags::RDONLY).unwrap_err();
        }
    }
}
