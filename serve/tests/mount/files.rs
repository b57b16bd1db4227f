//! Content: sizes, holes, shared blocks, flags of `open`, privileges that writing takes away.

use crate::setting::setting;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

fn opened(path: &Path) -> File {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn holes_are_punched_found_and_free() {
    let Some(s) = setting() else { return };
    let file = opened(&s.at.join("f"));
    file.write_all_at(&[1; 5 * 4096], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 4096, 8192).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (5 * 4096, 3 * 8));
    let seek = |what| rustix::fs::seek(&file, what);
    assert_eq!(seek(SeekFrom::Hole(0)), Ok(4096));
    assert_eq!(seek(SeekFrom::Data(4096)), Ok(3 * 4096));
    assert_eq!(seek(SeekFrom::Hole(3 * 4096)), Ok(5 * 4096));
    assert_eq!(seek(SeekFrom::Data(5 * 4096)), Err(Errno::NXIO));
    assert_eq!(seek(SeekFrom::Hole(5 * 4096)), Err(Errno::NXIO));
    let mut bytes = vec![9; 8192];
    file.read_exact_at(&mut bytes, 4096).unwrap();
    assert!(bytes.iter().all(|b| *b == 0));

    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 6 * 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6 * 4096);
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 9 * 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6 * 4096);
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 10, 7 * 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 7 * 4096 + 10);
    let mut bytes = vec![9; 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [[1; 10], [0; 10]].concat());
    let collapse = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(Errno::OPNOTSUPP));
    let huge = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 60);
    assert!(matches!(huge, Err(Errno::NOSPC | Errno::FBIG)));
}

#[test]
fn files_may_be_huge_where_they_are_holes() {
    let Some(s) = setting() else { return };
    let file = opened(&s.at.join("f"));
    let far = 16u64 << 40;
    file.set_len(far).unwrap();
    file.write_all_at(b"end", far - 3).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 8);
    let mut bytes = [0; 3];
    file.read_exact_at(&mut bytes, far - 3).unwrap();
    assert_eq!(&bytes, b"end");
    assert_eq!(
        rustix::fs::seek(&file, SeekFrom::Data(0)),
        Ok(far / 4096 * 4096 - 4096)
    );
    file.set_len(5).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(fs::read(s.at.join("f")).unwrap(), [0; 10]);
}

#[test]
fn a_copied_range_shares_blocks() {
    let Some(s) = setting() else { return };
    let content: Vec<u8> = (0..1u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(s.at.join("a"), &content).unwrap();
    let before = s.live().store().journal().space().used_bytes;
    let (from, to) = (File::open(s.at.join("a")).unwrap(), opened(&s.at.join("b")));
    let (mut at, mut put) = (0, 100);
    let copied = rustix::fs::copy_file_range(&from, Some(&mut at), &to, Some(&mut put), 5000);
    assert_eq!(copied, Ok(5000));
    assert!(fs::read(s.at.join("b")).unwrap()[100..] == content[..5000]);
    fs::copy(s.at.join("a"), s.at.join("c")).unwrap();
    assert!(fs::read(s.at.join("c")).unwrap() == content);
    let taken = s.live().store().journal().space().used_bytes - before;
    assert!(taken < 1 << 20, "{taken} bytes for a copy");
    fs::write(s.at.join("c"), b"own").unwrap();
    assert!(fs::read(s.at.join("a")).unwrap() == content);
}

#[test]
fn flags_of_open_mean_what_they_say() {
    let Some(s) = setting() else { return };
    let path = s.at.join("f");
    fs::write(&path, b"0123456789").unwrap();
    let mut one = File::options().append(true).open(&path).unwrap();
    let mut two = File::options().append(true).open(&path).unwrap();
    one.write_all(b"a").unwrap();
    two.write_all(b"b").unwrap();
    one.write_all(b"c").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0123456789abc");
    let exclusive = File::options().write(true).create_new(true).open(&path);
    assert_eq!(exclusive.unwrap_err().raw_os_error(), Some(libc::EEXIST));
    let truncated = File::options().write(true).truncate(true).open(&path);
    assert_eq!(truncated.unwrap().metadata().unwrap().len(), 0);
    let mut direct = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap();
    direct.write_all(&[5; 3000]).unwrap();
    let mut bytes = vec![0; 5000];
    assert_eq!(direct.read_at(&mut bytes, 0).unwrap(), 3000);
    assert_eq!(direct.read(&mut bytes).unwrap(), 0);
    let temporary = File::options()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(&s.at);
    assert_eq!(
        temporary.unwrap_err().raw_os_error(),
        Some(libc::EOPNOTSUPP)
    );
}

#[test]
fn locks_work_between_descriptors() {
    let Some(s) = setting() else { return };
    let (one, two) = (opened(&s.at.join("f")), opened(&s.at.join("f")));
    one.lock().unwrap();
    assert!(two.try_lock().is_err());
    one.unlock().unwrap();
    two.try_lock().unwrap();
}

/// Runs a shell line as a user without privileges.
fn as_nobody(line: &str) -> bool {
    use std::os::unix::process::CommandExt;
    let status = std::process::Command::new("sh")
        .args(["-c", line])
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .status();
    status.unwrap().success()
}

#[test]
fn writing_takes_privileges_away() {
    let Some(s) = setting() else { return };
    fs::set_permissions(s.scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let path = s.at.join("f");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    let reset = |mode: u32| {
        fs::write(&path, b"content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    let shown = path.display();
    reset(0o6777);
    assert!(as_nobody(&format!("printf x >> {shown}")));
    assert_eq!(mode(), 0o777, "a write");
    reset(0o6767);
    assert!(as_nobody(&format!("printf x >> {shown}")));
    assert_eq!(mode(), 0o2767, "the group cannot execute");
    reset(0o6777);
    assert!(as_nobody(&format!("printf x > {shown}")));
    assert_eq!(mode(), 0o777, "a truncation at opening");
    reset(0o6777);
    assert!(as_nobody(&format!("truncate -s 1 {shown}")));
    assert_eq!(mode(), 0o777, "a truncation");
    reset(0o6777);
    fs::write(&path, b"by root").unwrap();
    assert_eq!(mode(), 0o6777, "root keeps them");
    std::os::unix::fs::chown(&path, Some(1), None).unwrap();
    assert_eq!(mode(), 0o777, "another owner");
    // The capability goes with any write. (A value of version 2: no bits.)
    let capability = [&[0, 0, 0, 2][..], &[0; 16]].concat();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, "security.capability", &capability, none).unwrap();
    fs::write(&path, b"x").unwrap();
    let left = rustix::fs::getxattr(&path, "security.capability", &mut [0; 64]);
    assert_eq!(left, Err(Errno::NODATA));
}

#[test]
fn permissions_and_the_sticky_bit_are_kept() {
    let Some(s) = setting() else { return };
    fs::set_permissions(s.scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let shown = |name: &str| s.at.join(name).display().to_string();
    fs::write(s.at.join("secret"), b"x").unwrap();
    fs::set_permissions(s.at.join("secret"), Permissions::from_mode(0o600)).unwrap();
    assert!(!as_nobody(&format!("cat {} 2>/dev/null", shown("secret"))));
    assert!(!as_nobody(&format!("touch {} 2>/dev/null", shown("new"))));
    fs::create_dir(s.at.join("tmp")).unwrap();
    fs::set_permissions(s.at.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
    fs::write(s.at.join("tmp/mine"), b"x").unwrap();
    assert!(!as_nobody(&format!(
        "rm -f {} 2>/dev/null",
        shown("tmp/mine")
    )));
    assert!(as_nobody(&format!(
        "umask 027; touch {0} && mkdir {0}d",
        shown("tmp/n")
    )));
    let made = fs::metadata(s.at.join("tmp/n")).unwrap();
    assert_eq!(
        (made.uid(), made.gid(), made.mode() & 0o7777),
        (65_534, 65_534, 0o640)
    );
    let made = fs::metadata(s.at.join("tmp/nd")).unwrap();
    assert_eq!(made.mode() & 0o7777, 0o750);
    assert!(as_nobody(&format!("rm {}", shown("tmp/n"))));
}

/// The kernel asks first whether the file may be written at all, and only then is it cut.
#[test]
fn a_program_that_runs_is_not_cut_by_an_open_that_is_refused() {
    let Some(s) = setting() else { return };
    let program = s.at.join("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    let whole = fs::read(&program).unwrap();
    let mut running = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::TRUNC;
    let cut = rustix::fs::open(&program, flags, rustix::fs::Mode::empty());
    assert_eq!(cut.err(), Some(Errno::TXTBSY));
    assert!(fs::read(&program).unwrap() == whole);
    assert!(running.try_wait().unwrap().is_none(), "it runs on");
    running.kill().unwrap();
    running.wait().unwrap();
    fs::write(&program, b"short").unwrap();
    assert_eq!(fs::read(&program).unwrap(), b"short");
}
