//! What this machine offers to the tests, and what happens where it does not.

use rustix::process::{Pid, Signal};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where PostgreSQL 15 lies on Debian; `STRAND_POSTGRES` names another directory of its programs.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
/// Users that may stand in for an ordinary one, in this order.
const ORDINARY: [&str; 3] = ["strandtest", "postgres", "nobody"];

/// A user of this machine.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether the tests run as root: then they need somebody else where root is not welcome.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a test needs and this machine lacks: it is skipped, unless skipping is forbidden.
pub(crate) fn skip(test: &str, lacks: &str) {
    assert!(
        std::env::var_os("STRAND_NO_SKIP").is_none(),
        "{test}: {lacks}, and STRAND_NO_SKIP forbids to skip"
    );
    pass_over(test, lacks);
}

/// What no installation brings to a machine that lacks it: the test is skipped, and says so.
pub(crate) fn pass_over(test: &str, lacks: &str) {
    // Past the test harness, which swallows what a passing test prints.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{test}: skipped: {lacks}\n").as_bytes(),
    );
}

/// Whether FUSE can be used by whoever runs the tests; says why not.
pub(crate) fn fuse(test: &str) -> bool {
    let missing = match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    {
        Ok(_) if is_root() || program("fusermount3").is_some() => return true,
        Ok(_) => "fusermount3 is not installed".to_owned(),
        Err(e) => format!("/dev/fuse cannot be opened: {e}"),
    };
    skip(test, &missing);
    false
}

/// Whether an ordinary user can use FUSE; says why not.
pub(crate) fn fuse_for_all(test: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    if !fuse(test) {
        return false;
    }
    let open = fs::metadata("/dev/fuse").is_ok_and(|m| m.permissions().mode() & 0o006 == 0o006);
    let missing = if is_root() && !open {
        "/dev/fuse is closed to ordinary users (chmod 666 /dev/fuse, as udev does)"
    } else if program("fusermount3").is_none() {
        "fusermount3 is not installed"
    } else {
        return true;
    };
    skip(test, missing);
    false
}

/// The directory of PostgreSQL's programs; says where they are missing.
pub(crate) fn postgres(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("STRAND_POSTGRES").map_or(PathBuf::from(POSTGRES), PathBuf::from);
    if ["initdb", "postgres", "pgbench", "pg_amcheck"]
        .iter()
        .all(|program| dir.join(program).exists())
    {
        return Some(dir);
    }
    skip(test, &format!("PostgreSQL is not in {}", dir.display()));
    None
}

/// Somebody who is not root; nobody where the tests run as an ordinary user already.
pub(crate) fn ordinary_user() -> Option<User> {
    if !is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("the users are listed");
    let user = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (
                fields.next()?,
                fields.next()?,
                fields.next()?,
                fields.next()?,
            );
            (name == wanted).then_some(User {
                name: name.to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        })
    };
    Some(
        ORDINARY
            .iter()
            .find_map(|name| user(name))
            .expect("every Debian has a nobody"),
    )
}

/// Where a program is, if it is anywhere.
fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain([PathBuf::from("/usr/bin"), PathBuf::from("/bin")])
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
}

/// Whether a process runs; one that ended and was not waited for does not.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
            Some(!matches!(state, 'Z' | 'X'))
        })
        .unwrap_or(false)
}

/// The processes that this one started and that still run.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let listing = fs::read_dir("/proc").expect("/proc is mounted");
    listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')')
        .next()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// `kill -9`, by number.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

/// Waits until `done`, at most so long.
#[track_caller]
pub(crate) fn wait_for(what: &str, at_most: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < at_most, "waited {at_most:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Gives a file or directory to a user.
pub(crate) fn give(path: &Path, user: Option<&User>) {
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).expect("root may");
    }
}
