//! Names, links, modes and owners, as a demanding suite would ask.

use crate::setting::setting;
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn code<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn renames_replace_exchange_or_refuse() {
    let Some(s) = setting() else { return };
    let (a, b, d) = (s.at.join("a"), s.at.join("b"), s.at.join("d"));
    fs::write(&a, b"a").unwrap();
    fs::write(&b, b"b").unwrap();
    fs::create_dir(&d).unwrap();
    let with = |from: &Path, to: &Path, flags| rustix::fs::renameat_with(CWD, from, CWD, to, flags);
    assert_eq!(with(&a, &b, RenameFlags::NOREPLACE), Err(Errno::EXIST));
    with(&a, &b, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"b");
    assert_eq!(with(&a, &b, RenameFlags::WHITEOUT), Err(Errno::INVAL));
    assert_eq!(code(fs::rename(&a, &d)), libc::EISDIR);
    assert_eq!(code(fs::rename(&d, &a)), libc::ENOTDIR);
    assert_eq!(code(fs::rename(&d, d.join("in"))), libc::EINVAL);
    fs::rename(&a, &b).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"b");
    fs::create_dir(s.at.join("e")).unwrap();
    fs::write(s.at.join("e/x"), b"").unwrap();
    assert_eq!(code(fs::rename(&d, s.at.join("e"))), libc::ENOTEMPTY);
    fs::rename(s.at.join("e"), &d).unwrap();
    assert!(d.join("x").exists());
    assert_eq!(fs::metadata(&s.at).unwrap().nlink(), 3);
}

#[test]
fn links_are_counted_and_unlinked_files_live_while_open() {
    let Some(s) = setting() else { return };
    let (a, b) = (s.at.join("a"), s.at.join("b"));
    fs::write(&a, b"content").unwrap();
    fs::hard_link(&a, &b).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().nlink(), 2);
    assert_eq!(
        fs::metadata(&a).unwrap().ino(),
        fs::metadata(&b).unwrap().ino()
    );
    let open = File::options().read(true).write(true).open(&a).unwrap();
    fs::remove_file(&a).unwrap();
    assert_eq!(open.metadata().unwrap().nlink(), 1);
    fs::remove_file(&b).unwrap();
    assert_eq!(open.metadata().unwrap().nlink(), 0);
    std::os::unix::fs::FileExt::write_all_at(&open, b"C", 0).unwrap();
    let mut bytes = [0; 7];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"Content");
    drop(open);
    fs::create_dir(s.at.join("d")).unwrap();
    assert_eq!(
        code(fs::hard_link(s.at.join("d"), s.at.join("e"))),
        libc::EPERM
    );
    let held = File::open(s.at.join("d")).unwrap();
    fs::remove_dir(s.at.join("d")).unwrap();
    assert_eq!(held.metadata().unwrap().nlink(), 0);
    assert_eq!(code(File::create(s.at.join("d/x"))), libc::ENOENT);
}

#[test]
fn long_names_and_targets_have_their_limits() {
    let Some(s) = setting() else { return };
    let longest = s.at.join("n".repeat(255));
    fs::write(&longest, b"x").unwrap();
    assert_eq!(
        code(fs::write(s.at.join("n".repeat(256)), b"")),
        libc::ENAMETOOLONG
    );
    let target = "t".repeat(4095);
    symlink(&target, s.at.join("l")).unwrap();
    assert_eq!(
        fs::read_link(s.at.join("l")).unwrap().as_os_str(),
        target.as_str()
    );
    assert_eq!(fs::symlink_metadata(s.at.join("l")).unwrap().len(), 4095);
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe\n");
    fs::write(s.at.join(bytes), b"bytes").unwrap();
    assert!(
        fs::read_dir(&s.at)
            .unwrap()
            .any(|e| e.unwrap().file_name() == bytes)
    );
}

#[test]
fn every_kind_of_file_is_made() {
    let Some(s) = setting() else { return };
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(
            CWD,
            s.at.join(name),
            kind,
            Mode::from_raw_mode(0o644),
            device,
        )
        .unwrap();
        fs::symlink_metadata(s.at.join(name)).unwrap()
    };
    assert!(make("fifo", FileType::Fifo, 0).file_type().is_fifo());
    assert!(make("socket", FileType::Socket, 0).file_type().is_socket());
    assert!(make("file", FileType::RegularFile, 0).is_file());
    let device = rustix::fs::makedev(259, 70_000);
    let char = make("char", FileType::CharacterDevice, device);
    assert!(char.file_type().is_char_device() && char.rdev() == device);
    let block = make("block", FileType::BlockDevice, device);
    assert!(block.file_type().is_block_device() && block.rdev() == device);
    let _listener = std::os::unix::net::UnixListener::bind(s.at.join("listening")).unwrap();
    std::os::unix::net::UnixStream::connect(s.at.join("listening")).unwrap();
}

#[test]
fn a_setgid_directory_hands_its_group_down() {
    let Some(s) = setting() else { return };
    let dir = s.at.join("d");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, None, Some(4711)).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o2775)).unwrap();
    fs::write(dir.join("f"), b"").unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    assert_eq!(fs::metadata(dir.join("f")).unwrap().gid(), 4711);
    let sub = fs::metadata(dir.join("sub")).unwrap();
    assert_eq!((sub.gid(), sub.mode() & 0o2000), (4711, 0o2000));
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    let Some(s) = setting() else { return };
    let path = s.at.join("f");
    fs::write(&path, b"x").unwrap();
    let set = |access: (i64, i64), modification: (i64, i64)| {
        let time = |(tv_sec, tv_nsec): (i64, i64)| Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: time(access),
            last_modification: time(modification),
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        fs::metadata(&path).unwrap()
    };
    let m = set((1_700_000_000, 123_456_789), (-2, 250_000_000));
    assert_eq!((m.atime(), m.atime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!((m.mtime(), m.mtime_nsec()), (-2, 250_000_000));
    let m = set((5, 0), (0, rustix::fs::UTIME_OMIT));
    assert_eq!((m.atime(), m.mtime()), (5, -2));
    let m = set((0, rustix::fs::UTIME_OMIT), (0, rustix::fs::UTIME_NOW));
    assert!(m.atime() == 5 && m.mtime() > 1_700_000_000);
    let before = m.ctime() * 1_000_000_000 + m.ctime_nsec();
    std::thread::sleep(std::time::Duration::from_millis(5));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let m = fs::metadata(&path).unwrap();
    assert!(m.ctime() * 1_000_000_000 + m.ctime_nsec() > before);
}

#[test]
fn extended_attributes_are_kept_by_their_rules() {
    let Some(s) = setting() else { return };
    let path = s.at.join("f");
    fs::write(&path, b"x").unwrap();
    use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
    let set = |name: &str, value: &[u8], flags| setxattr(&path, name, value, flags);
    let none = XattrFlags::empty();
    set("user.a", b"one", none).unwrap();
    set("trusted.b", b"two", none).unwrap();
    set("security.c", b"", none).unwrap();
    assert_eq!(set("user.a", b"x", XattrFlags::CREATE), Err(Errno::EXIST));
    assert_eq!(set("user.z", b"x", XattrFlags::REPLACE), Err(Errno::NODATA));
    assert_eq!(set("system.odd", b"x", none), Err(Errno::OPNOTSUPP));
    assert_eq!(set("odd", b"x", none), Err(Errno::OPNOTSUPP));
    let mut buffer = vec![0; 100];
    let length = getxattr(&path, "user.a", &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"one");
    assert_eq!(
        getxattr(&path, "user.a", &mut vec![0; 2]),
        Err(Errno::RANGE)
    );
    assert_eq!(
        getxattr(&path, "user.none", &mut buffer),
        Err(Errno::NODATA)
    );
    let length = listxattr(&path, &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"security.c\0trusted.b\0user.a\0");
    assert_eq!(set("user.big", &[1; 65_536], none), Err(Errno::TOOBIG));
    set("user.large", &[1; 60 * 1024], none).unwrap();
    removexattr(&path, "user.large").unwrap();
    assert_eq!(removexattr(&path, "user.large"), Err(Errno::NODATA));
}

#[test]
fn a_listing_is_stable_under_change() {
    let Some(s) = setting() else { return };
    let dir = s.at.join("d");
    fs::create_dir(&dir).unwrap();
    for i in 0..3000 {
        File::create(dir.join(format!("{i:04}"))).unwrap();
    }
    let mut seen = Vec::new();
    for (i, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if i % 3 == 0 {
            fs::remove_file(dir.join(&name)).unwrap();
            File::create(dir.join(format!("new{i}"))).unwrap();
        }
        seen.push(name);
    }
    let mut old: Vec<_> = seen.iter().filter(|n| !n.starts_with("new")).collect();
    old.sort();
    old.dedup();
    assert_eq!(old.len(), 3000, "each once, none missed");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3000);
    // Going back to a place that was told finds the entry that came next.
    let mut listing = rustix::fs::Dir::new(File::open(&dir).unwrap()).unwrap();
    let mut places = Vec::new();
    for _ in 0..50 {
        let entry = listing.read().unwrap().unwrap();
        places.push((entry.offset(), listing_next(&mut listing)));
    }
    for (offset, next) in places.into_iter().rev() {
        listing.seek(offset).unwrap();
        assert_eq!(listing_next(&mut listing), next);
    }
}

fn listing_next(listing: &mut rustix::fs::Dir) -> Vec<u8> {
    let entry = listing.read().unwrap().unwrap();
    entry.file_name().to_bytes().to_vec()
}
