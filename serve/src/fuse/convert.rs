//! What the kernel's words mean here, and the other way round: attributes, kinds, times, error numbers.

use crate::mounted::{Attr, Time};
use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strand_engine::BLOCK;

pub(super) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}

pub(super) fn system_time(ns: i64) -> SystemTime {
    let size = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 {
        UNIX_EPOCH - size
    } else {
        UNIX_EPOCH + size
    }
}

/// The inverse of how the library makes a time: before the epoch it takes away the nanoseconds that it should add.
pub(super) fn nanos(time: TimeOrNow) -> Time {
    let TimeOrNow::SpecificTime(time) = time else {
        return Time::Now;
    };
    let ns = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => {
            let before = before.duration();
            -i128::from(before.as_secs()) * 1_000_000_000 + i128::from(before.subsec_nanos())
        }
    };
    let within = ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Time::At(i64::try_from(within).unwrap_or_default())
}

pub(super) fn kind(mode: u32) -> FileType {
    match mode & 0o170_000 {
        0o010_000 => FileType::NamedPipe,
        0o020_000 => FileType::CharDevice,
        0o040_000 => FileType::Directory,
        0o060_000 => FileType::BlockDevice,
        0o120_000 => FileType::Symlink,
        0o140_000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.node),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: kind(attr.mode),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

/// What the kernel remembers as "there is no such name".
pub(super) fn nothing() -> FileAttr {
    file_attr(&Attr {
        node: 0,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        atime: 0,
        mtime: 0,
        ctime: 0,
        rdev: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_come_back() {
        // As the library makes them of -2 s + 250 ms.
        let made = UNIX_EPOCH - Duration::new(2, 250_000_000);
        let Time::At(ns) = nanos(TimeOrNow::SpecificTime(made)) else {
            panic!("a time");
        };
        assert_eq!(ns, -1_750_000_000);
        assert_eq!(system_time(ns), UNIX_EPOCH - Duration::from_millis(1750));
    }
}
