//! What the kernel says is mounted: to find the store that a path lies in, and what a daemon that died left behind.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The file system type of our mounts; the kernel leaves the part behind the dot out where it does not know it.
const KINDS: [&[u8]; 2] = [b"fuse.strand", b"fuse"];

/// A mount of a view of some store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreMount {
    /// Where.
    pub point: PathBuf,
    /// The store's directory.
    pub store: PathBuf,
}

/// The mounts of views of stores, in the order they were made: a later one may hide an earlier.
///
/// # Errors
/// Where the kernel does not say.
pub fn store_mounts() -> io::Result<Vec<StoreMount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The store whose mount a path lies in, if it lies in one.
#[must_use]
pub fn store_of(path: &Path) -> Option<PathBuf> {
    let mounts = store_mounts().ok().filter(|mounts| !mounts.is_empty())?;
    let absolute = std::path::absolute(path).ok()?;
    // A mount whose daemon died cannot be asked, so nothing is resolved below it.
    let within = |path: &Path| {
        let inside = mounts.iter().filter(|mount| path.starts_with(&mount.point));
        inside
            .max_by_key(|mount| mount.point.as_os_str().len())
            .map(|mount| mount.store.clone())
    };
    within(&absolute).or_else(|| within(&absolute.canonicalize().ok()?))
}

fn parse(text: &[u8]) -> Vec<StoreMount> {
    text.split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `id parent major:minor root point options [tags…] - type source options`; blanks in a word are written in octal.
fn parse_line(line: &[u8]) -> Option<StoreMount> {
    let mut words = line.split(|byte| *byte == b' ');
    let point = words.nth(4)?;
    let mut behind = words.skip_while(|word| *word != b"-").skip(1);
    let (kind, source) = (behind.next()?, behind.next()?);
    let store = plain(source);
    // Other FUSE file systems name no absolute path, or one that is no store.
    let ours = KINDS.contains(&kind) && store.is_absolute();
    let certain = kind == KINDS[0] || store.join("STORE").is_file();
    (ours && certain).then(|| StoreMount {
        point: plain(point),
        store,
    })
}

fn plain(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let code = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = code.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &rest[3..];
            }
            None => bytes.push(byte),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Takes away what mounts of this store a daemon left that is gone: whoever holds the store's lock knows that nobody serves them.
/// Gives the mount points, each with what stood in the way.
pub fn detach_stale(store: &Path) -> Vec<(PathBuf, io::Result<()>)> {
    let Ok(mounts) = store_mounts() else {
        return Vec::new();
    };
    let ours = mounts.into_iter().filter(|mount| mount.store == store);
    // The newest first: one may lie on the other.
    let mut points: Vec<PathBuf> = ours.map(|mount| mount.point).collect();
    points.reverse();
    points
        .into_iter()
        .map(|point| {
            let detached = detach(&point);
            (point, detached)
        })
        .collect()
}

fn detach(point: &Path) -> io::Result<()> {
    let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(point, flags) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            // What fusermount3 mounted for an ordinary user it also takes away.
            let ended = std::process::Command::new("fusermount3")
                .args(["-u", "-z", "-q", "--"])
                .arg(std::ffi::OsStr::from_bytes(point.as_os_str().as_bytes()))
                .status()?;
            if ended.success() {
                Ok(())
            } else {
                Err(io::Error::other("fusermount3 -u -z refused it"))
            }
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_told_from_others() {
        let text = b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
            40 22 0:50 / /mnt/a\\040b rw,nosuid shared:5 master:1 - fuse.strand /srv/tank rw,user_id=0\n\
            41 22 0:51 / /mnt/sshfs rw - fuse.sshfs host:/dir rw\n\
            42 22 0:52 / /mnt/other rw - fuse /no/store/here rw\n\
            broken line\n";
        assert_eq!(
            parse(text),
            [StoreMount {
                point: "/mnt/a b".into(),
                store: "/srv/tank".into(),
            }]
        );
    }

    #[test]
    fn octal_is_undone_and_nothing_else() {
        assert_eq!(plain(b"/a\\134b\\011\\9"), PathBuf::from("/a\\b\t\\9"));
        assert_eq!(plain(b"/x\\"), PathBuf::from("/x\\"));
    }
}
