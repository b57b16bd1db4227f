//! Mounting and unmounting: as root by the system's calls, as anybody else through `fusermount3`.

use super::answers::Requests;
use super::notify::Caches;
use crate::ground::Ground;
use crate::mounted::Mounted;
use fuser::{Config, InitFlags, KernelConfig, Session, SessionACL};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;
use strand_engine::{Kind, Refusal};

/// Threads that serve one mount. None waits for a flush, but for one at a time that leads a short one, so a few are enough.
const THREADS: usize = 4;
const DEVICE: &str = "/dev/fuse";
/// The program by which users other than root mount and unmount.
const HELPER: &str = "fusermount3";
const HELPER_CONF: &str = "/etc/fuse.conf";
/// The part of the type behind `fuse.`, by which lists of mounts can be searched.
const SUBTYPE: &str = "strand";

/// How long the kernel may believe what it was told: every change comes through it, or is followed by a notification.
pub(super) const LONG: Duration = Duration::from_secs(7 * 86_400);
/// Names of checkpoints are asked for every time: they come and go by commands.
pub(super) const NOT_AT_ALL: Duration = Duration::ZERO;
/// The longest write that the kernel sends at once, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Requests that the kernel may have under way in the background (read-ahead, write-back).
const MAX_BACKGROUND: u16 = 64;

/// What of the kernel's offers is taken. Not that `open` cuts the file at once (`FUSE_ATOMIC_O_TRUNC`): it would be asked for before the kernel looks whether the
/// file may be written, and a program that runs would be cut by an open that is refused.
pub(super) fn agree(config: &mut KernelConfig) {
    for wanted in [
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_DONT_MASK,
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        // Pages are dropped by notification only, not because a time looks newer.
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    ] {
        if config.add_capabilities(wanted).is_err() {
            tracing::debug!(?wanted, "the kernel does not offer it");
        }
    }
    let _ = config.set_max_write(MAX_WRITE);
    let _ = config.set_max_background(MAX_BACKGROUND);
    // What the kernel offers is the most it allows.
    if let Err(most) = config.set_max_readahead(u32::MAX) {
        let _ = config.set_max_readahead(most);
    }
}

/// Where to mount, and how.
#[derive(Debug)]
pub(crate) struct Place {
    /// The mount point, opened by whoever asked.
    pub(crate) at: File,
    /// Its path, without links.
    pub(crate) path: PathBuf,
    /// The same without its path.
    pub(crate) ground: Arc<Ground>,
    /// What lists of mounts show as the source.
    pub(crate) source: OsString,
    pub(crate) read_only: bool,
    pub(crate) allow_other: bool,
}

/// Mounts and serves on a thread, which ends when the mount is gone and every request answered; `ended` runs then, however that came.
pub(crate) fn serve(
    mounted: Arc<Mounted>,
    place: &Place,
    ended: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Refusal> {
    let root = rustix::process::geteuid().is_root();
    let device = if root {
        mount_directly(place)?
    } else {
        mount_by_helper(place)?
    };
    run(mounted, place, device, ended).map_err(|error| {
        if let Err(left) = unmount(&place.ground, &place.path, true) {
            tracing::warn!(%left, "a mount that never worked stays");
        }
        cannot(place, &error)
    })
}

fn run(
    mounted: Arc<Mounted>,
    place: &Place,
    device: OwnedFd,
    ended: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    place.ground.mounted()?;
    let own = device.as_fd().try_clone_to_owned()?;
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // More threads need more descriptors of the device, which a user may not be allowed to open.
    config.clone_fd = open_device().is_ok();
    let requests = Requests {
        mounted: mounted.clone(),
        visits: Arc::new(AtomicUsize::new(0)),
    };
    // Who may come in is the kernel's to decide, by the options of the mount.
    let session = Session::from_fd(requests, device, SessionACL::All, config)?;
    let one_by_one = mounted.core.options.names_one_by_one;
    // Before the first request is answered, and the kernel remembers anything of it.
    let _ = mounted
        .caches
        .set(Caches::new(session.notifier(), own, one_by_one));
    std::thread::Builder::new()
        .name("mount".into())
        .spawn(move || {
            if let Err(error) = session.run() {
                tracing::error!(%error, "a mount ended badly");
            }
            ended();
        })
}

fn cannot(place: &Place, error: &io::Error) -> Refusal {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => Kind::Permission,
        _ => Kind::Io,
    };
    refusal(place, kind).why(error.to_string())
}

fn refusal(place: &Place, kind: Kind) -> Refusal {
    Refusal::new(kind, format!("cannot mount at {}", place.path.display()))
}

fn open_device() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn mount_directly(place: &Place) -> Result<OwnedFd, Refusal> {
    let device = open_device().map_err(|error| match error {
        Errno::NOENT | Errno::NXIO | Errno::NODEV => refusal(place, Kind::Unsupported)
            .why(format!("there is no {DEVICE}"))
            .next("load the kernel's fuse module: modprobe fuse"),
        Errno::ACCESS | Errno::PERM => refusal(place, Kind::Permission)
            .why(format!("{DEVICE} may not be opened"))
            .next(format!("allow it: chmod 666 {DEVICE}")),
        other => cannot(place, &other.into()),
    })?;
    let mode = place.at.metadata().map_err(|e| cannot(place, &e))?.mode();
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let mut options = format!(
        "fd={},rootmode={mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw()
    );
    if place.allow_other {
        options.push_str(",allow_other");
    }
    let options = CString::new(options).map_err(|e| cannot(place, &e.into()))?;
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    if place.read_only {
        flags |= MountFlags::RDONLY;
    }
    // The descriptor, not the path: what was looked at is what is mounted on.
    let at = format!("/proc/self/fd/{}", place.at.as_raw_fd());
    let kind = format!("fuse.{SUBTYPE}");
    rustix::mount::mount(
        place.source.as_os_str(),
        at,
        kind,
        flags,
        options.as_c_str(),
    )
    .map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => refusal(place, Kind::Permission)
            .why("the system does not let this process mount")
            .next("run it with CAP_SYS_ADMIN, or as an ordinary user with fusermount3"),
        Errno::NODEV => refusal(place, Kind::Unsupported)
            .why("the kernel has no FUSE")
            .next("load its module: modprobe fuse"),
        other => cannot(place, &other.into()),
    })?;
    Ok(device)
}

fn mount_by_helper(place: &Place) -> Result<OwnedFd, Refusal> {
    match rustix::fs::access(
        DEVICE,
        rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK,
    ) {
        Ok(()) => {}
        Err(Errno::NOENT) => {
            return Err(refusal(place, Kind::Unsupported)
                .why(format!("there is no {DEVICE}"))
                .next("load the kernel's fuse module: modprobe fuse"));
        }
        Err(_) => {
            return Err(refusal(place, Kind::Permission)
                .why(format!("{DEVICE} may not be opened by this user"))
                .next(format!("let users mount, as root: chmod 666 {DEVICE}")));
        }
    }
    if place.allow_other && !others_allowed() {
        return Err(refusal(place, Kind::Permission)
            .why(format!("{HELPER_CONF} does not let users allow others in"))
            .next(format!(
                "add the line user_allow_other to {HELPER_CONF}, or mount without --allow-other"
            )));
    }
    let (ours, theirs) = UnixStream::pair().map_err(|e| cannot(place, &e))?;
    // The helper inherits its end; everything else here closes on exec.
    rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).map_err(|e| cannot(place, &e.into()))?;
    let mut options = OsString::from("fsname=");
    options.push(escaped(&place.source));
    options.push(format!(
        ",subtype={SUBTYPE},default_permissions,noatime,nosuid,nodev"
    ));
    if place.read_only {
        options.push(",ro");
    }
    if place.allow_other {
        options.push(",allow_other");
    }
    let helper = Command::new(HELPER)
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(&place.path)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    drop(theirs);
    let helper = helper.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refusal(place, Kind::Unsupported)
            .why(format!(
                "{HELPER} is not installed, and only root mounts without it"
            ))
            .next("install it: apt-get install fuse3"),
        _ => cannot(place, &error),
    })?;
    let device = receive(&ours);
    let output = helper.wait_with_output().map_err(|e| cannot(place, &e))?;
    match device {
        Ok(Some(device)) => Ok(device),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().trim_start_matches("fusermount3: ");
            let kind = if said.contains("ermission") || said.contains("not permitted") {
                Kind::Permission
            } else {
                Kind::Io
            };
            Err(refusal(place, kind)
                .why(format!("{HELPER} says: {said}"))
                .next("the mount point must be a directory that this user owns"))
        }
    }
}

/// Commas separate options.
fn escaped(source: &OsString) -> OsString {
    let mut bytes = Vec::with_capacity(source.len());
    for byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

fn others_allowed() -> bool {
    std::fs::read_to_string(HELPER_CONF)
        .is_ok_and(|conf| conf.lines().any(|line| line.trim() == "user_allow_other"))
}

/// The device that the helper mounted; `None` where it did not.
fn receive(from: &UnixStream) -> rustix::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(from, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            return Ok(descriptors.next());
        }
    }
    Ok(None)
}

/// Unmounts; with `anyhow` also where files are open: then the name goes now, and the rest when they close (for root: at once, with errors
/// for whoever has them open).
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] where files are open; `EINVAL` where it is not mounted any more.
pub(crate) fn unmount(ground: &Ground, path: &Path, anyhow: bool) -> io::Result<()> {
    if !ground.is_ours() {
        return Err(Errno::INVAL.into()); // as the system says it: nothing of ours is mounted there
    }
    let mut flags = UnmountFlags::NOFOLLOW;
    if anyhow {
        flags |= UnmountFlags::DETACH | UnmountFlags::FORCE;
    }
    match rustix::mount::unmount(ground.path(), flags) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let output = Command::new(HELPER)
        .args(if anyhow { &["-u", "-z"][..] } else { &["-u"] })
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let kind = if said.contains("busy") {
        io::ErrorKind::ResourceBusy
    } else {
        io::ErrorKind::Other
    };
    Err(io::Error::new(kind, said))
}
